// lp: a norm of each window, (sum of |x|^p)^(1/p).
//
// Orders 1 and 2 need no powers. The sum is one chain in tap order; an empty window
// gives 0.
//
// Global loads per output: T * R * S elements through L1; device memory about once.
#pragma once

#include "rules.cuh"
#include "window.cuh"

namespace pyconv::pool_lp {

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* /* max only */) {
    pool_one_window<CHANNELS_LAST>(p, Norm<T, 0>(p), x, y, nullptr);
}

} // namespace pyconv::pool_lp
