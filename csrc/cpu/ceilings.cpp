// Every thread runs the same loop: a shared level of cache is shared by all of them.
#include "cpu/ceilings.hpp"

#include "core/threads.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace pyconv {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t ROUNDS = 5;
constexpr int64 FIRST_BLOCK = 1000; // multiply-adds of a chain
constexpr std::uintptr_t LINE_BYTES = 64;

// What one thread did in one round.
struct Stretch {
    Clock::time_point begin{};
    Clock::time_point end{};
    int64 times = 0;
};

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Waits until all threads have come here as often as this one, but no longer than a
// second: were their number changed meanwhile, some would never come.
void meet(std::atomic<int64>& arrived, int64 times, int64 threads) {
    arrived.fetch_add(1);
    const auto begin = Clock::now();
    while (arrived.load() < times * threads && seconds_since(begin) < 1.0) {
        std::this_thread::yield(); // there may be fewer cores
    }
}

// Units a second of `work(times, worker)`, which does `units` of them each time, on
// `threads` threads. `prepare(worker)` comes first, in the thread that will work.
// Neither throws: the others would wait for it.
template <class Prepare, class Work>
double
best_rate(int64 threads, double units, double seconds, Prepare prepare, Work work) {
    std::vector<std::array<Stretch, ROUNDS>> done(static_cast<std::size_t>(threads));
    std::atomic<int64> arrived{0};
    std::atomic<double> least{seconds};
    parallel_for(threads, true, [&](int64 begin, int64 end, int worker) {
        if (worker >= threads) {
            return; // more of them since they were counted
        }
        // One thread alone has the whole range where the pool could not be had.
        const int64 together = end - begin == threads ? 1 : threads;
        prepare(worker);
        work(1, worker);
        for (int sample = 0; sample < 3; ++sample) {
            const auto before = Clock::now();
            work(1, worker);
            const double once = std::max(seconds_since(before), 1e-8);
            double known = least.load();
            while (once < known && !least.compare_exchange_weak(known, once)) {
            }
        }
        // All do the same work, as often as the quickest can in the time.
        meet(arrived, 1, together);
        const auto times = std::max<int64>(
            1,
            static_cast<int64>(seconds / static_cast<double>(ROUNDS) / least.load()));
        for (std::size_t round = 0; round < ROUNDS; ++round) {
            meet(arrived, static_cast<int64>(round) + 2, together);
            Stretch& mine = done[static_cast<std::size_t>(worker)][round];
            mine.begin = Clock::now();
            work(times, worker);
            mine.end = Clock::now();
            mine.times = times;
        }
    });
    double best = 0.0;
    for (std::size_t round = 0; round < ROUNDS; ++round) {
        // From the first one's start to the last one's end: threads that had to wait
        // for a core did not work at the same time.
        Stretch all = done.front()[round];
        for (std::size_t worker = 1; worker < done.size(); ++worker) {
            const Stretch& each = done[worker][round];
            if (each.times > 0) {
                all.begin = std::min(all.begin, each.begin);
                all.end = std::max(all.end, each.end);
                all.times += each.times;
            }
        }
        const double seconds_taken =
            std::chrono::duration<double>(all.end - all.begin).count();
        best = std::max(best, units * static_cast<double>(all.times) / seconds_taken);
    }
    return best;
}

// Keeps a result that nobody wants.
template <class T>
void use(T value) {
    __asm__ volatile("" : : "m"(value));
}

} // namespace

template <class T>
double peak_flops(const IsaTable& isa, double seconds) {
    const Kernels<T>& kernels = kernels_of<T>(isa);
    const double flops = 2.0 * static_cast<double>(FUSED_CHAINS) *
                         static_cast<double>(kernels.lanes) *
                         static_cast<double>(FIRST_BLOCK);
    return best_rate(
        num_threads(),
        flops,
        seconds,
        [](int) {},
        [&](int64 times, int) {
            use(kernels.ceilings.multiply_adds(times * FIRST_BLOCK));
        });
}

template double peak_flops<float>(const IsaTable&, double);
template double peak_flops<double>(const IsaTable&, double);

double peak_dots(const IsaTable& isa, DotKind kind, double seconds) {
    const DotKernel& kernel = isa.dots[kind];
    if (kernel.rows == 0) {
        return 0.0;
    }
    constexpr int64 BLOCK = 64;
    return best_rate(
        num_threads(),
        static_cast<double>(kernel.peak_operations * BLOCK),
        seconds,
        [](int) {},
        [&](int64 times, int) {
            if (kernel.enter != nullptr) {
                kernel.enter();
            }
            kernel.peak(times * BLOCK);
            if (kernel.leave != nullptr) {
                kernel.leave();
            }
        });
}

double bandwidth(const IsaTable& isa, Sweep sweep, int64 bytes, double seconds) {
    const CeilingKernels<float>& kernels = isa.f32.ceilings;
    const int64 parts = sweep == Sweep::COPY ? 2 : 1;
    const int64 step = parts * SWEEP_STEP;
    const int64 count =
        std::max<int64>(1, bytes / static_cast<int64>(sizeof(float)) / step) *
        SWEEP_STEP;
    // Not touched before the thread that sweeps it does, so that it lies near to it.
    const auto elements = static_cast<std::size_t>(parts * count + SWEEP_STEP);
    const int64 threads = num_threads();
    std::vector<std::unique_ptr<float[]>> memory(static_cast<std::size_t>(threads));
    for (auto& mine : memory) {
        mine.reset(new float[elements]);
    }
    const auto line_of = [&](int worker) {
        float* const begin = memory[static_cast<std::size_t>(worker)].get();
        const auto past = reinterpret_cast<std::uintptr_t>(begin) % LINE_BYTES;
        return begin + (past == 0 ? 0 : LINE_BYTES - past) / sizeof(float);
    };
    return best_rate(
        threads,
        static_cast<double>(parts * count) * sizeof(float),
        seconds,
        [&](int worker) {
            std::fill_n(memory[static_cast<std::size_t>(worker)].get(), elements, 1.0F);
        },
        [&](int64 times, int worker) {
            float* const from = line_of(worker);
            for (int64 time = 0; time < times; ++time) {
                if (sweep == Sweep::LOAD) {
                    use(kernels.load(from, count));
                } else if (sweep == Sweep::STORE) {
                    kernels.store(from, count);
                } else {
                    kernels.copy(from, from + count, count);
                }
            }
        });
}

void load_sweep(const IsaTable& isa, const float* memory, int64 count) {
    parallel_for(count / SWEEP_STEP, true, [&](int64 begin, int64 end, int) {
        use(isa.f32.ceilings.load(
            memory + begin * SWEEP_STEP, (end - begin) * SWEEP_STEP));
    });
}

} // namespace pyconv
