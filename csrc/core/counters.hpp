// Counters: what the processor counted while calls ran, summed over the pool's threads.
//
// One perf_event group a thread, of at most four events: larger groups share the few
// registers in turns, and some virtual machines then return garbage. Only the program's
// own work is counted, not the kernel's, which needs no privilege up to
// perf_event_paranoid 2.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pyconv {

// As perf_event_open names it: PERF_TYPE_RAW and the processor's own code, for example.
struct CounterEvent {
    std::uint32_t type;
    std::uint64_t config;
};

struct CounterReading {
    std::vector<std::uint64_t> values; // one an event
    // Nanoseconds the groups were wanted and were on the processor: where they differ,
    // the values cover a part of the time only.
    std::uint64_t enabled_ns;
    std::uint64_t running_ns;
};

class Counters {
  public:
    static constexpr std::size_t MOST_EVENTS = 4;

    // Opens the groups, stopped, on every thread that calls run on now.
    // Throws std::invalid_argument for none or too many events, and std::runtime_error
    // with the reason where the system refuses.
    explicit Counters(const std::vector<CounterEvent>& events);
    ~Counters();
    Counters(const Counters&) = delete;
    Counters& operator=(const Counters&) = delete;

    // Counting goes on where it stopped.
    void start();
    void stop();
    CounterReading read() const;

  private:
    void close_all();

    std::size_t events_;
    std::vector<int> leaders_; // one a thread
    std::vector<int> members_;
};

} // namespace pyconv
