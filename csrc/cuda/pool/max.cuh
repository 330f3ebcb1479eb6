// max: the largest value of each window, and where it was.
//
// NaN wins: a window that holds one gives NaN and the first one's place. Among equal
// maxima the first is kept. A window of nothing but padding gives what is less than any
// number, -inf or the smallest integer, and index -1. Halves are compared as float32.
//
// Global loads per output: T * R * S elements through L1; device memory about once.
#pragma once

#include "rules.cuh"
#include "window.cuh"

namespace pyconv::pool_max {

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* indices) {
    pool_one_window<CHANNELS_LAST>(p, Maximum<T>(p), x, y, indices);
}

} // namespace pyconv::pool_max
