// average: the mean of each window, with torch's rules for what it is divided by.
//
// divisor_override if given; else the taps inside the padded input (count_include_pad)
// or inside the input. ceil_mode's overhang past the padding never counts. An empty
// window gives 0. The sum is one chain in tap order.
//
// Global loads per output: T * R * S elements through L1; device memory about once.
#pragma once

#include "window.cuh"

namespace pyconv::pool_average {

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* /* max only */) {
    const PoolWindow window = pool_window<CHANNELS_LAST>(p);
    if (!window.mine)
        return;
    typename Element<T>::Sum sum{};
    for_each_tap(p, window, [&](Index from, Index) { add(sum, term_of(x[from])); });
    int64 count = 1;
    int64 inside = 1;
    for (int axis = 0; axis < 3; ++axis) {
        const PoolAxis& a = window.axis[axis];
        inside *= a.last - a.first;
        count *= p.count_include_pad != 0 ? a.padded : a.last - a.first;
    }
    if (p.divisor_override != 0)
        count = p.divisor_override;
    if (inside != 0 && count != 0)
        sum /= static_cast<typename Element<T>::Sum>(count);
    y[window.y] = result_of<T>(sum);
}

} // namespace pyconv::pool_average
