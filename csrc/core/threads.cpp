// The pool: one 32-bit word wakes everyone, one counter collects them.
//
// The word holds a job number and the count of ranges, so a worker without a range
// never reads the job, and the job may be overwritten as soon as those with one have
// finished. Waiting spins for up to 50 us, then sleeps in the kernel
// (std::atomic::wait): a row of small convolutions finds the workers awake, and an idle
// process costs nothing.
#include "core/threads.hpp"

#include "core/machine.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

namespace pyconv {
namespace {

constexpr std::uint32_t PARTS_BITS = 12;
constexpr std::uint32_t PARTS_MASK = (1U << PARTS_BITS) - 1;
constexpr int MOST_THREADS = static_cast<int>(PARTS_MASK);
// Longer than the Python work between two calls, shorter than a scheduler tick.
constexpr std::chrono::microseconds SPIN_TIME{50};

void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Waits until `done` holds for the word's value; returns that value.
template <class Done>
std::uint32_t await(const std::atomic<std::uint32_t>& word, bool spin, Done done) {
    std::uint32_t value = word.load(std::memory_order_acquire);
    if (spin && !done(value)) {
        const auto limit = std::chrono::steady_clock::now() + SPIN_TIME;
        do {
            for (int turn = 0; turn < 32 && !done(value); ++turn) {
                pause_processor();
                value = word.load(std::memory_order_acquire);
            }
        } while (!done(value) && std::chrono::steady_clock::now() < limit);
    }
    while (!done(value)) {
        word.wait(value, std::memory_order_acquire);
        value = word.load(std::memory_order_acquire);
    }
    return value;
}

thread_local bool inside_body = false;

// The processor this thread runs on; -1 where that cannot be told.
int current_processor() {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

// A worker that was woken on its caller's processor would wait there for the caller to
// sleep, and the two would take turns until the scheduler's next balance, many calls
// later. Shutting that processor out for a moment moves this thread at once.
void leave_processor(int processor) {
#if defined(__linux__)
    cpu_set_t all;
    if (processor < 0 || current_processor() != processor ||
        sched_getaffinity(0, sizeof(all), &all) != 0) {
        return;
    }
    cpu_set_t others = all;
    CPU_CLR(static_cast<unsigned>(processor), &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof(others), &others) == 0) {
        sched_setaffinity(0, sizeof(all), &all);
    }
#else
    static_cast<void>(processor);
#endif
}

class Pool {
  public:
    explicit Pool(int size) : spin_(size <= machine().cores) {
        threads_.reserve(static_cast<std::size_t>(size - 1));
        try {
            for (int index = 1; index < size; ++index) {
                threads_.emplace_back([this, index] { work(index); });
            }
        } catch (...) {
            // Out of threads: the ones already started must not outlive this object.
            stop();
            throw;
        }
    }

    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    ~Pool() { stop(); }

    int size() const { return static_cast<int>(threads_.size()) + 1; }

    void run(int64 items, int parts, RangeBody body) {
        body_ = &body;
        items_ = items;
        caller_processor_ = current_processor();
        error_ = nullptr;
        failed_.store(false, std::memory_order_relaxed);
        pending_.store(
            static_cast<std::uint32_t>(parts - 1), std::memory_order_relaxed);
        publish(static_cast<std::uint32_t>(parts));
        run_range(0, parts);
        await(pending_, spin_, [](std::uint32_t left) { return left == 0; });
        if (error_) {
            std::rethrow_exception(std::exchange(error_, nullptr));
        }
    }

  private:
    void publish(std::uint32_t parts) {
        ++job_;
        word_.store((job_ << PARTS_BITS) | parts);
        word_.notify_all();
    }

    void stop() {
        publish(0);
        for (std::thread& thread : threads_) {
            thread.join();
        }
        threads_.clear();
    }

    void work(int index) {
        std::uint32_t seen = 0;
        while (true) {
            seen =
                await(word_, spin_, [seen](std::uint32_t now) { return now != seen; });
            const int parts = static_cast<int>(seen & PARTS_MASK);
            if (parts == 0) {
                return;
            }
            if (index >= parts) {
                continue;
            }
            if (spin_) {
                leave_processor(caller_processor_);
            }
            run_range(index, parts);
            if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                pending_.notify_one();
            }
        }
    }

    void run_range(int index, int parts) {
        // Equal shares to within one item, without the overflow of items * index.
        const int64 share = items_ / parts;
        const int64 extra = items_ % parts;
        const int64 begin = share * index + std::min<int64>(index, extra);
        const int64 end = begin + share + (index < extra ? 1 : 0);
        inside_body = true;
        try {
            (*body_)(begin, end, index);
        } catch (...) {
            if (!failed_.exchange(true)) {
                error_ = std::current_exception();
            }
        }
        inside_body = false;
    }

    // Apart from each other: the caller writes one while the workers write the other.
    alignas(64) std::atomic<std::uint32_t> word_{0};
    alignas(64) std::atomic<std::uint32_t> pending_{0};
    alignas(64) RangeBody* body_ = nullptr;
    int64 items_ = 0;
    int caller_processor_ = -1;
    std::atomic<bool> failed_{false};
    std::exception_ptr error_;
    std::uint32_t job_ = 0;
    const bool spin_;
    std::vector<std::thread> threads_;
};

// Held by whoever uses the pool, and over fork().
std::mutex entry;
// Never destroyed at exit: joining there could wait for a thread the interpreter has
// already frozen. The workers sleep, and the operating system ends them.
Pool* pool = nullptr;
// A pool size the system refused; asking again could only be slow. Under `entry`.
int refused = 0;
std::atomic<int> wanted{0};

void before_fork() {
    entry.lock();
}

void after_fork_in_parent() {
    entry.unlock();
}

void after_fork_in_child() {
    // The workers do not exist here, so their pool can be neither used nor destroyed.
    pool = nullptr;
    entry.unlock();
}

void watch_forks() {
    static const int once =
        pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    static_cast<void>(once);
}

// The leading positive integer of an environment variable; 0 when there is none.
// OMP_NUM_THREADS may list one number per nesting level: "8,2".
int from_environment(const char* name, bool strict) {
    const char* text = std::getenv(name);
    if (text == nullptr || *text == '\0') {
        return 0;
    }
    int value = 0;
    const char* end = text + std::strlen(text);
    const auto parsed = std::from_chars(text, end, value);
    const bool valid = parsed.ec == std::errc() && value >= 1 &&
                       value <= MOST_THREADS && (!strict || parsed.ptr == end);
    if (!valid && strict) {
        throw std::invalid_argument(
            std::string(name) + " must be an integer from 1 to " +
            std::to_string(MOST_THREADS) + ", got '" + text + "'");
    }
    return valid ? value : 0;
}

int initial_threads() {
    if (const int own = from_environment("PYCONV_NUM_THREADS", true)) {
        return own;
    }
    if (const int openmp = from_environment("OMP_NUM_THREADS", false)) {
        return openmp;
    }
    return std::min(machine().cores, MOST_THREADS);
}

// Null when the system grants no threads (a container's limit): work then runs in the
// caller, with the same results, and is not held up by asking again.
Pool* pool_of(int size) {
    if (pool != nullptr && pool->size() != size) {
        delete std::exchange(pool, nullptr);
    }
    if (pool == nullptr) {
        if (size == refused) {
            return nullptr;
        }
        watch_forks();
        try {
            pool = new Pool(size);
        } catch (const std::system_error&) {
            refused = size;
        }
    }
    return pool;
}

} // namespace

int num_threads() {
    int count = wanted.load(std::memory_order_relaxed);
    if (count == 0) {
        count = initial_threads();
        wanted.store(count, std::memory_order_relaxed);
    }
    return count;
}

void set_num_threads(int count) {
    if (count < 1 || count > MOST_THREADS) {
        throw std::invalid_argument(
            "the number of threads must be from 1 to " + std::to_string(MOST_THREADS) +
            ", got " + std::to_string(count));
    }
    wanted.store(count, std::memory_order_relaxed);
}

void parallel_for(int64 items, bool parallel, RangeBody body) {
    if (items <= 0) {
        return;
    }
    if (parallel && items > 1 && !inside_body) {
        const int threads = num_threads();
        std::unique_lock<std::mutex> lock(entry, std::defer_lock);
        if (threads > 1 && lock.try_lock()) {
            const int parts = static_cast<int>(std::min<int64>(items, threads));
            if (Pool* workers = pool_of(threads)) {
                workers->run(items, parts, body);
                return;
            }
        }
    }
    body(0, items, 0);
}

} // namespace pyconv

int pyconv_get_num_threads() {
    // Called through ctypes, where an exception has nowhere to go.
    try {
        return pyconv::num_threads();
    } catch (...) {
        return std::min(pyconv::machine().cores, pyconv::MOST_THREADS);
    }
}

void pyconv_set_num_threads(int count) {
    // Called through ctypes, where an exception has nowhere to go.
    pyconv::set_num_threads(std::clamp(count, 1, pyconv::MOST_THREADS));
}
