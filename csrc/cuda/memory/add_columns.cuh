// Sums of threads side by side, added in one order in shared memory.
//
// A block's threads are PARTS x COLUMNS x CHANNELS, channels fastest; each has COUNT
// sums of its own. Those of a part's columns are added one after the other, some at a
// time. What a warp stores at once, and what it adds up, lies in different banks: parts
// that would begin in the same one are turned, and every sum begins that much later.
#pragma once

#include "../index.cuh"

namespace pyconv {

template <int THREADS_, int COLUMNS_, int CHANNELS_>
struct ColumnLayout {
    static constexpr int THREADS = THREADS_;
    static constexpr int COLUMNS = COLUMNS_;
    static constexpr int CHANNELS = CHANNELS_;
    static constexpr int PART = COLUMNS * CHANNELS; // threads
    static constexpr int SUMS = THREADS / COLUMNS;  // of a block, when added
    static constexpr int BANKS = 32;
    static constexpr int BESIDE = PART < BANKS ? BANKS / PART : 1; // parts
    static constexpr int PITCH = THREADS + SUMS / BESIDE;
    static_assert(THREADS % PART == 0, "whole parts");

    static __device__ int place(int part, int column, int channel) {
        return part * PART + (column + part / BESIDE) % COLUMNS * CHANNELS + channel;
    }
};

// store() takes a sum's number, its part and channel, and the total of the columns.
// STAGED_BYTES: of shared memory, for each thread.
template <class Layout, int STAGED_BYTES, int COUNT, class Sum, class Store>
__device__ inline void add_columns(const Sum (&sum)[COUNT], Store store) {
    constexpr int AT_ONCE = STAGED_BYTES / static_cast<int>(sizeof(Sum));
    constexpr int STAGED = AT_ONCE < COUNT ? AT_ONCE : COUNT;
    __shared__ Sum staged[STAGED * Layout::PITCH];
    const int thread = static_cast<int>(threadIdx.x);
    const int mine = Layout::place(
        thread / Layout::PART,
        thread / Layout::CHANNELS % Layout::COLUMNS,
        thread % Layout::CHANNELS);
#pragma unroll
    for (int first = 0; first < COUNT; first += STAGED) {
        if (first > 0)
            __syncthreads(); // everyone has read the sums before these
#pragma unroll
        for (int i = 0; i < STAGED; ++i)
            if (first + i < COUNT)
                staged[i * Layout::PITCH + mine] = sum[(first + i) % COUNT];
        __syncthreads(); // the sums are whole
#pragma unroll 1
        for (int i = thread; i < STAGED * Layout::SUMS; i += Layout::THREADS) {
            const int part = i % Layout::SUMS / Layout::CHANNELS;
            const int channel = i % Layout::CHANNELS;
            const int number = i / Layout::SUMS;
            if (first + number >= COUNT)
                break;
            Sum total{};
#pragma unroll
            for (int column = 0; column < Layout::COLUMNS; ++column)
                add(total,
                    staged
                        [number * Layout::PITCH +
                         Layout::place(part, column, channel)]);
            store(first + number, part, channel, total);
        }
    }
}

} // namespace pyconv
