// Reads the machine from the C library, /sys and /proc; every source may be missing, so
// each answer has a fallback that any processor of the last decade meets.
#include "core/machine.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#include <unistd.h>

namespace pyconv {
namespace {

// Calls take(line) for a file's lines until it says no. The C library's files: streams
// look up their locale's parts by numbers that all copies of the C++ library in a
// process share, and a module that was linked with one of its own finds others' there.
template <class Take>
void for_each_line(const std::string& path, Take take) {
    std::FILE* file = std::fopen(path.c_str(), "r");
    if (file == nullptr) {
        return;
    }
    std::string line;
    bool goes_on = true;
    for (int c = std::fgetc(file); goes_on && c != EOF; c = std::fgetc(file)) {
        if (c != '\n') {
            line.push_back(static_cast<char>(c));
            continue;
        }
        goes_on = take(line);
        line.clear();
    }
    if (goes_on && !line.empty()) {
        take(line);
    }
    std::fclose(file);
}

std::string first_line(const std::string& path) {
    std::string found;
    for_each_line(path, [&](const std::string& line) {
        found = line;
        return false;
    });
    return found;
}

// Takes the number that a text begins with, and the blanks around it; 0 if none does.
int64 take_number(std::string_view& text) {
    const auto skip = [&] {
        while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) {
            text.remove_prefix(1);
        }
    };
    skip();
    int64 value = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
    skip();
    return parsed.ec == std::errc() ? value : 0;
}

int affinity_count() {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        return CPU_COUNT(&set);
    }
#endif
    // More than 1024 processors do not fit a cpu_set_t; the library knows the count.
    return static_cast<int>(std::thread::hardware_concurrency());
}

double quota_of(int64 quota, int64 period) {
    return quota > 0 && period > 0
               ? static_cast<double>(quota) / static_cast<double>(period)
               : 0;
}

// "quota period" of cgroup v2, e.g. "150000 100000"; "max" means unlimited.
double quota_in(const std::string& path) {
    const std::string line = first_line(path);
    std::string_view text = line;
    const int64 quota = take_number(text);
    return quota_of(quota, take_number(text));
}

int64 number_in(const std::string& path) {
    const std::string line = first_line(path);
    std::string_view text = line;
    return take_number(text);
}

double tightest(double left, double right) {
    if (left <= 0) {
        return right;
    }
    return right <= 0 ? left : std::min(left, right);
}

// Processors granted by the control group; 0 when unlimited. Any ancestor may hold the
// limit, so the path is walked up to the root.
double cgroup_quota() {
    const std::string root = "/sys/fs/cgroup";
    double limit = quota_in(root + "/cpu.max");
    for_each_line("/proc/self/cgroup", [&](const std::string& line) {
        if (line.rfind("0::/", 0) == 0) {
            std::string path = line.substr(3);
            while (path.size() > 1) {
                limit = tightest(limit, quota_in(root + path + "/cpu.max"));
                path.erase(path.rfind('/'));
            }
        }
        return true;
    });
    // Version 1 keeps the two numbers in two files.
    return tightest(
        limit,
        quota_of(
            number_in(root + "/cpu/cpu.cfs_quota_us"),
            number_in(root + "/cpu/cpu.cfs_period_us")));
}

int usable_cores() {
    int cores = std::max(1, affinity_count());
    const double quota = cgroup_quota();
    if (quota > 0 && quota < cores) {
        cores = std::max(1, static_cast<int>(std::ceil(quota)));
    }
    return cores;
}

// "48K", "2048K", "32M" as /sys writes a cache size.
int64 parse_size(const std::string& text) {
    std::string_view left = text;
    const int64 value = take_number(left);
    if (left.starts_with('K')) {
        return value << 10;
    }
    return left.starts_with('M') ? value << 20 : value;
}

int64 cache_from_sys(int level) {
    const std::string base = "/sys/devices/system/cpu/cpu0/cache/index";
    for (int index = 0; index < 8; ++index) {
        const std::string folder = base + std::to_string(index);
        if (first_line(folder + "/level") == std::to_string(level) &&
            first_line(folder + "/type") != "Instruction") {
            return parse_size(first_line(folder + "/size"));
        }
    }
    return 0;
}

// Linux's own list first: the C library asks the processor, which under a hypervisor
// may name the whole socket's last cache.
int64 cache_bytes(int level) {
    if (const int64 listed = cache_from_sys(level); listed > 0) {
        return listed;
    }
    long bytes = 0;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    const int names[3] = {
        _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    bytes = sysconf(names[level - 1]);
#endif
    return std::max<int64>(0, bytes);
}

std::string model_name() {
    std::string found = "unknown";
    for_each_line("/proc/cpuinfo", [&](const std::string& line) {
        const auto colon = line.find(": ");
        if (colon == std::string::npos || line.rfind("model name", 0) != 0) {
            return true;
        }
        found = line.substr(colon + 2);
        return false;
    });
    return found;
}

Machine read_machine() {
    const int64 l1 = cache_bytes(1);
    const int64 l2 = cache_bytes(2);
    return Machine{
        .cores = usable_cores(),
        // 32 KiB and 256 KiB: the smallest of any x86-64 or Arm server core since 2011.
        .l1_bytes = l1 > 0 ? l1 : 32 << 10,
        .l2_bytes = l2 > 0 ? l2 : 256 << 10,
        .l3_bytes = std::max<int64>(0, cache_bytes(3)),
        .model = model_name(),
    };
}

} // namespace

const Machine& machine() {
    static const Machine value = read_machine();
    return value;
}

} // namespace pyconv
