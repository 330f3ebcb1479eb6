// perf_event_open has no function in the C library: it is a system call by number.
#include "core/counters.hpp"

#include "core/threads.hpp"

#include <cerrno>
#include <cstring>
#include <stdexcept>

#if defined(__linux__)
#include <cstdio>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pyconv {

#if defined(__linux__)
namespace {

// What a read of a group leader returns, before the values themselves.
struct GroupHead {
    std::uint64_t count;
    std::uint64_t enabled_ns;
    std::uint64_t running_ns;
};

int open_event(const CounterEvent& event, pid_t thread, int leader) {
    perf_event_attr wanted{};
    wanted.size = sizeof(wanted);
    wanted.type = event.type;
    wanted.config = event.config;
    wanted.disabled = (leader < 0); // members follow their leader
    wanted.exclude_kernel = 1;
    wanted.exclude_hv = 1;
    wanted.read_format = PERF_FORMAT_GROUP | PERF_FORMAT_TOTAL_TIME_ENABLED |
                         PERF_FORMAT_TOTAL_TIME_RUNNING;
    return static_cast<int>(syscall(
        SYS_perf_event_open, &wanted, thread, -1, leader, PERF_FLAG_FD_CLOEXEC));
}

std::string refusal_of(int error) {
    if (error == EACCES || error == EPERM) {
        int level = 0; // no stream: see for_each_line in machine.cpp
        if (std::FILE* file = std::fopen("/proc/sys/kernel/perf_event_paranoid", "r")) {
            if (std::fscanf(file, "%d", &level) != 1) {
                level = 0;
            }
            std::fclose(file);
        }
        if (level > 2) {
            return "the kernel forbids counting (kernel.perf_event_paranoid is " +
                   std::to_string(level) + "; 2 or less allows it)";
        }
        return "the system forbids counting (a container's seccomp filter, perhaps)";
    }
    if (error == ENOENT || error == EOPNOTSUPP || error == ENODEV || error == EINVAL) {
        return "this processor shows no such counter (virtual machines often hide "
               "them)";
    }
    if (error == EMFILE || error == ENFILE) {
        return "no file descriptors are left for the counters";
    }
    return std::string("perf_event_open failed: ") + std::strerror(error);
}

// The threads that a call would run on: the caller and the pool's, which is made here
// if it was not there yet.
std::vector<pid_t> threads_of_calls() {
    std::vector<pid_t> threads(static_cast<std::size_t>(num_threads()), 0);
    parallel_for(num_threads(), true, [&](int64 begin, int64 end, int) {
        for (int64 index = begin; index < end; ++index) {
            threads[static_cast<std::size_t>(index)] =
                static_cast<pid_t>(syscall(SYS_gettid));
        }
    });
    // One thread did all of it where the pool was busy or could not be made.
    if (threads.front() == threads.back()) {
        threads.resize(1);
    }
    return threads;
}

} // namespace

Counters::Counters(const std::vector<CounterEvent>& events) : events_(events.size()) {
    if (events.empty() || events.size() > MOST_EVENTS) {
        throw std::invalid_argument(
            "a group counts 1 to " + std::to_string(MOST_EVENTS) + " events, not " +
            std::to_string(events.size()));
    }
    for (const pid_t thread : threads_of_calls()) {
        int leader = -1;
        for (const CounterEvent& event : events) {
            const int opened = open_event(event, thread, leader);
            if (opened < 0) {
                const int error = errno;
                close_all();
                throw std::runtime_error(refusal_of(error));
            }
            if (leader < 0) {
                leader = opened;
                leaders_.push_back(opened);
            } else {
                members_.push_back(opened);
            }
        }
    }
}

Counters::~Counters() {
    close_all();
}

void Counters::close_all() {
    for (const int member : members_) {
        close(member);
    }
    for (const int leader : leaders_) {
        close(leader);
    }
}

void Counters::start() {
    for (const int leader : leaders_) {
        ioctl(leader, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
    }
}

void Counters::stop() {
    for (const int leader : leaders_) {
        ioctl(leader, PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
    }
}

CounterReading Counters::read() const {
    CounterReading sum{std::vector<std::uint64_t>(events_, 0), 0, 0};
    std::vector<std::uint64_t> buffer(sizeof(GroupHead) / 8 + events_);
    const std::size_t wanted = buffer.size() * sizeof(buffer[0]);
    for (const int leader : leaders_) {
        if (::read(leader, buffer.data(), wanted) != static_cast<ssize_t>(wanted)) {
            throw std::runtime_error("the counters could not be read");
        }
        GroupHead head;
        std::memcpy(&head, buffer.data(), sizeof(head));
        sum.enabled_ns += head.enabled_ns;
        sum.running_ns += head.running_ns;
        for (std::size_t index = 0; index < events_; ++index) {
            sum.values[index] += buffer[sizeof(head) / 8 + index];
        }
    }
    return sum;
}

#else

Counters::Counters(const std::vector<CounterEvent>&) : events_(0) {
    throw std::runtime_error("counters are read through Linux's perf_event_open");
}
Counters::~Counters() = default;
void Counters::close_all() {}
void Counters::start() {}
void Counters::stop() {}
CounterReading Counters::read() const {
    return {};
}

#endif

} // namespace pyconv
