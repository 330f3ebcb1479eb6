// gradient: what a mean or a norm hands back to each element it was taken of.
//
// One thread gathers one element of dx from the outputs whose windows hold it, in their
// order: no atomics, and the same sum on every run. A mean gives grad / divisor, a norm
// grad y^(1 - p) |x|^(p - 1) sign(x), nothing where y is 0.
//
// Global loads per element: the windows that hold it, ceil(kernel / stride) along each
// axis, through L1; device memory about once.
#pragma once

#include "held.cuh"

namespace pyconv::pool_gradient {

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p,
    const T* __restrict__ grad,
    const int64* /* of maxima */,
    const T* __restrict__ x,
    const T* __restrict__ y,
    T* dx) {
    // setup: which element is mine
    const Index channels = static_cast<Index>(p.c);
    const Index elements =
        static_cast<Index>(p.n) * channels * static_cast<Index>(p.input[0]) *
        static_cast<Index>(p.input[1]) * static_cast<Index>(p.input[2]);
    const Index linear = thread_number();
    if (linear >= elements)
        return;
    const OutputCoordinates at =
        output_coordinates<CHANNELS_LAST>(linear, channels, p.input);
    const Index place = offset_of(at, p.x_pitch);
    using Sum = typename Element<T>::Sum;
    const bool is_norm = p.kind == POOL_LP;
    const Sum norm =
        is_norm ? static_cast<Sum>(__longlong_as_double(p.norm_bits)) : Sum(0);

    // compute: the windows that hold me
    const Range depth = candidates(p, 0, at.at[0]);
    const Range height = candidates(p, 1, at.at[1]);
    const Range width = candidates(p, 2, at.at[2]);
    const Sum value = is_norm ? term_of(x[place]) : Sum(0);
    Sum sum{};
    for (Index m = depth.first; m <= depth.last; ++m) {
        const PoolAxis in_depth = pool_axis(p, 0, m);
        if (!holds(in_depth, at.at[0]))
            continue;
        for (Index i = height.first; i <= height.last; ++i) {
            const PoolAxis in_height = pool_axis(p, 1, i);
            if (!holds(in_height, at.at[1]))
                continue;
            for (Index q = width.first; q <= width.last; ++q) {
                const PoolAxis in_width = pool_axis(p, 2, q);
                if (!holds(in_width, at.at[2]))
                    continue;
                const OutputCoordinates from{at.n, at.k, {m, i, q}};
                const Index source = offset_of(from, p.y_pitch);
                if (is_norm) {
                    const Sum part = share(norm, value, term_of(y[source]));
                    add_product(sum, term_of(grad[source]), part);
                    continue;
                }
                const int64 count =
                    divisor_of(p, count_taps(in_depth, in_height, in_width));
                sum += term_of(grad[source]) / static_cast<Sum>(count);
            }
        }
    }

    // store
    dx[place] = result_of<T>(sum);
}

} // namespace pyconv::pool_gradient
