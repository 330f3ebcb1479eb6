// Reads the machine from the C library, /sys and /proc; every source may be missing, so
// each answer has a fallback that any processor of the last decade meets.
#include "core/machine.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#include <unistd.h>

namespace pyconv {
namespace {

std::string first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
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

// "quota period" of cgroup v2, e.g. "150000 100000"; "max" means unlimited.
double quota_in(const std::string& path) {
    std::istringstream text(first_line(path));
    double quota = 0;
    double period = 0;
    if (text >> quota >> period && quota > 0 && period > 0) {
        return quota / period;
    }
    return 0;
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
    std::ifstream groups("/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        if (line.rfind("0::/", 0) != 0) {
            continue;
        }
        std::string path = line.substr(3);
        while (path.size() > 1) {
            limit = tightest(limit, quota_in(root + path + "/cpu.max"));
            path.erase(path.rfind('/'));
        }
    }
    // Version 1 keeps the two numbers in two files.
    std::istringstream quota(first_line(root + "/cpu/cpu.cfs_quota_us"));
    std::istringstream period(first_line(root + "/cpu/cpu.cfs_period_us"));
    double numerator = 0;
    double denominator = 0;
    if (quota >> numerator && period >> denominator && numerator > 0 &&
        denominator > 0) {
        limit = tightest(limit, numerator / denominator);
    }
    return limit;
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
    std::istringstream stream(text);
    int64 value = 0;
    char unit = ' ';
    stream >> value >> unit;
    if (unit == 'K') {
        return value << 10;
    }
    return unit == 'M' ? value << 20 : value;
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
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        const auto colon = line.find(": ");
        if (colon != std::string::npos && line.rfind("model name", 0) == 0) {
            return line.substr(colon + 2);
        }
    }
    return "unknown";
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
