// max: the largest value of each window, and where it was.
//
// NaN wins: a window that holds one gives NaN and the first one's place. Among equal
// maxima the first is kept. A window of nothing but padding gives -inf and index -1.
//
// Global loads per output: T * R * S elements through L1; device memory about once.
#pragma once

#include "window.cuh"

namespace pyconv::pool_max {

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* indices) {
    const PoolWindow window = pool_window<CHANNELS_LAST>(p);
    if (!window.mine)
        return;
    T best = T(-1) / T(0); // -inf, without <limits>
    Index place = -1;
    for_each_tap(p, window, [&](Index from, Index in_plane) {
        const T value = x[from];
        const bool first = place < 0;
        const bool nan = value != value && best == best;
        if (first || nan || value > best) {
            best = value;
            place = in_plane;
        }
    });
    y[window.y] = best;
    if (indices != nullptr)
        indices[window.y] = static_cast<int64>(place);
}

} // namespace pyconv::pool_max
