// max: the largest value of each window, and where it was.
//
// NaN wins: a window that holds one gives NaN and the first one's place. Among equal
// maxima the first is kept. A window of nothing but padding gives what is less than any
// number, -inf or the smallest integer, and index -1. Halves are compared as float32.
//
// Global loads per output: T * R * S elements through L1; device memory about once.
#pragma once

#include "window.cuh"

namespace pyconv::pool_max {

// Less than every number, without <limits>.
template <class Number>
__device__ Number lowest() {
    if constexpr (IS_SAME<Number, float> || IS_SAME<Number, double>) {
        return Number(-1) / Number(0);
    } else if constexpr (Number(-1) > Number(0)) {
        return Number(0);
    } else {
        return static_cast<Number>(uint64(1) << (8 * sizeof(Number) - 1));
    }
}

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* indices) {
    const PoolWindow window = pool_window<CHANNELS_LAST>(p);
    if (!window.mine)
        return;
    using Number = decltype(number_of(T{}));
    Number best = lowest<Number>();
    Index place = -1;
    for_each_tap(p, window, [&](Index from, Index in_plane) {
        const Number value = number_of(x[from]);
        const bool first = place < 0;
        const bool nan = value != value && best == best;
        if (first || nan || value > best) {
            best = value;
            place = in_plane;
        }
    });
    y[window.y] = result_of<T>(best);
    if (indices != nullptr)
        indices[window.y] = static_cast<int64>(place);
}

} // namespace pyconv::pool_max
