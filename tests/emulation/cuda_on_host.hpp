// CUDA kernels on the CPU: enough of the language to run pyconv's device files.
//
// Blocks run one after another. Inside a block each CUDA thread is a fiber (ucontext);
// __syncthreads() gives control back, and the threads are resumed in a new random order
// each time, so a missing barrier shows. Shared memory is thread-local storage of this
// library, filled with NaN before every block, so a word that was never stored shows.
// A barrier that only part of a block reaches is reported as a deadlock.
//
// It proves index arithmetic and barriers, not memory ordering inside a barrier
// interval and not speed.
#pragma once

#include <dlfcn.h>
#include <link.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

struct Uint3 {
    unsigned x = 0;
    unsigned y = 0;
    unsigned z = 0;
};

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __shared__ static thread_local
#define __syncthreads() emulation::barrier()
#define threadIdx (emulation::running->index)
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block_extent)
#define gridDim (emulation::grid_extent)

inline double __longlong_as_double(long long bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

namespace emulation {

enum class State { READY, WAITING, DONE };

struct Fiber {
    ucontext_t context;
    Uint3 index;
    State state = State::READY;
    std::vector<unsigned char> stack;
};

// Not thread-local: the library's thread-local segment holds shared memory and nothing
// else (but the anchor below), so that it can be poisoned whole.
inline Fiber* running = nullptr;
inline ucontext_t scheduler;
inline Uint3 block_index;
inline Uint3 block_extent;
inline Uint3 grid_extent;
inline const std::function<void()>* body = nullptr;

inline void barrier() {
    running->state = State::WAITING;
    swapcontext(&running->context, &scheduler);
}

inline void fiber_main() {
    (*body)();
    running->state = State::DONE;
    swapcontext(&running->context, &scheduler);
}

// Makes the loader allocate this library's thread-local segment.
inline void touch_shared_memory() {
    static thread_local volatile char anchor = 0;
    anchor = 0;
}

inline int poison_segment(dl_phdr_info* info, std::size_t, void* wanted) {
    if (info->dlpi_addr != reinterpret_cast<std::uintptr_t>(wanted))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; ++i)
        if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_data != nullptr)
            std::memset(info->dlpi_tls_data, 0xff, info->dlpi_phdr[i].p_memsz);
    return 1;
}

inline void poison_shared_memory() {
    Dl_info library;
    if (dladdr(reinterpret_cast<void*>(&poison_segment), &library) == 0)
        return;
    dl_iterate_phdr(poison_segment, library.dli_fbase);
}

inline void reset(Fiber& fiber, unsigned number) {
    constexpr std::size_t STACK_BYTES = 64 * 1024;
    if (fiber.stack.empty())
        fiber.stack.resize(STACK_BYTES);
    fiber.index = Uint3{number, 0, 0};
    fiber.state = State::READY;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, fiber_main, 0);
}

// Runs one block to its end; false if part of it waits at a barrier for ever.
inline bool run_block(std::vector<Fiber>& fibers, std::mt19937& random) {
    std::vector<Fiber*> order;
    for (unsigned i = 0; i < fibers.size(); ++i) {
        reset(fibers[i], i);
        order.push_back(&fibers[i]);
    }
    for (;;) {
        std::shuffle(order.begin(), order.end(), random);
        std::size_t done = 0;
        for (Fiber* fiber : order) {
            if (fiber->state == State::READY) {
                running = fiber;
                swapcontext(&scheduler, &fiber->context);
            }
            done += fiber->state == State::DONE;
        }
        if (done == order.size())
            return true;
        if (done != 0)
            return false;
        for (Fiber* fiber : order)
            fiber->state = State::READY;
    }
}

// 0: ran; 1: deadlock.
inline int launch(
    unsigned blocks, unsigned threads, unsigned seed, const std::function<void()>& f) {
    std::vector<Fiber> fibers(threads);
    std::mt19937 random(seed);
    body = &f;
    block_extent = Uint3{threads, 1, 1};
    grid_extent = Uint3{blocks, 1, 1};
    touch_shared_memory();
    for (unsigned block = 0; block < blocks; ++block) {
        block_index = Uint3{block, 0, 0};
        poison_shared_memory();
        if (!run_block(fibers, random))
            return 1;
    }
    return 0;
}

} // namespace emulation
