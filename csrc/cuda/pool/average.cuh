// average: the mean of each window, with torch's rules for what it is divided by.
//
// divisor_override if given; else the taps inside the padded input (count_include_pad)
// or inside the input. ceil_mode's overhang past the padding never counts. An empty
// window gives 0. The sum is one chain in tap order.
//
// Global loads per output: T * R * S elements through L1; device memory about once.
#pragma once

#include "rules.cuh"
#include "window.cuh"

namespace pyconv::pool_average {

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* /* max only */) {
    pool_one_window<CHANNELS_LAST>(p, Mean<T>(p), x, y, nullptr);
}

} // namespace pyconv::pool_average
