// The pooling window of one output: which taps it holds on each axis.
//
// Where one thread computes one output, neighbouring threads share their taps through
// L1, so device memory is read about once. Taps outside the input are never read: each
// axis is cut to the range of taps that lie inside.
#pragma once

#include "../index.cuh"
#include "rules.cuh"

namespace pyconv {

struct PoolAxis {
    Index start; // input coordinate of tap 0, may be negative
    Index dilation;
    Index first; // taps first <= t < last lie inside the input
    Index last;
    Index padded; // taps inside the padded input; ceil_mode's overhang is not
};

__device__ inline PoolAxis pool_axis(const PoolProblem& p, int axis, Index output) {
    const Index extent = static_cast<Index>(p.input[axis]);
    if (p.adaptive != 0) {
        // The product may pass 32 bits.
        const int64 outputs = p.output[axis];
        const int64 from = output * p.input[axis] / outputs;
        const int64 to = ((output + 1) * p.input[axis] + outputs - 1) / outputs;
        const Index count = static_cast<Index>(to - from);
        return {static_cast<Index>(from), 1, 0, count, count};
    }
    const Index taps = static_cast<Index>(p.kernel[axis]);
    const Index dilation = static_cast<Index>(p.dilation[axis]);
    const Index start = output * static_cast<Index>(p.stride[axis]) -
                        static_cast<Index>(p.pad_before[axis]);
    const Index padded_extent = extent + static_cast<Index>(p.pad_after[axis]);
    PoolAxis a;
    a.start = start;
    a.dilation = dilation;
    a.first = start < 0 ? ceil_div(-start, dilation) : 0;
    a.last = start < extent ? ceil_div(extent - start, dilation) : 0;
    a.padded = start < padded_extent ? ceil_div(padded_extent - start, dilation) : 0;
    if (a.first > taps)
        a.first = taps;
    if (a.last > taps)
        a.last = taps;
    if (a.padded > taps)
        a.padded = taps;
    if (a.last < a.first)
        a.last = a.first;
    return a;
}

struct PoolWindow {
    PoolAxis axis[3];
    Index x;   // offset of the output's plane in x
    Index y;   // offset of the output
    bool mine; // false: this thread lies past the last output
};

template <bool CHANNELS_LAST>
__device__ inline PoolWindow pool_window(const PoolProblem& p) {
    PoolWindow window;
    const Index channels = static_cast<Index>(p.c);
    const Index outputs =
        static_cast<Index>(p.n) * channels * static_cast<Index>(p.output[0]) *
        static_cast<Index>(p.output[1]) * static_cast<Index>(p.output[2]);
    const Index linear = thread_number();
    window.mine = linear < outputs;
    if (!window.mine)
        return window;
    const OutputCoordinates at =
        output_coordinates<CHANNELS_LAST>(linear, channels, p.output);
    for (int axis = 0; axis < 3; ++axis)
        window.axis[axis] = pool_axis(p, axis, at.at[axis]);
    window.x = at.n * static_cast<Index>(p.x_pitch[0]) +
               at.k * static_cast<Index>(p.x_pitch[1]);
    window.y = offset_of(at, p.y_pitch);
    return window;
}

// Calls visit(offset in x, offset in the plane) for each tap inside the input, in
// order.
template <class Visit>
__device__ inline void
for_each_tap(const PoolProblem& p, const PoolWindow& window, Visit visit) {
    for (Index t = window.axis[0].first; t < window.axis[0].last; ++t) {
        const Index d = window.axis[0].start + t * window.axis[0].dilation;
        for (Index r = window.axis[1].first; r < window.axis[1].last; ++r) {
            const Index h = window.axis[1].start + r * window.axis[1].dilation;
            for (Index s = window.axis[2].first; s < window.axis[2].last; ++s) {
                const Index w = window.axis[2].start + s * window.axis[2].dilation;
                visit(
                    window.x + d * static_cast<Index>(p.x_pitch[2]) +
                        h * static_cast<Index>(p.x_pitch[3]) +
                        w * static_cast<Index>(p.x_pitch[4]),
                    (d * static_cast<Index>(p.input[1]) + h) *
                            static_cast<Index>(p.input[2]) +
                        w);
            }
        }
    }
}

__device__ inline TapCount
count_taps(const PoolAxis& depth, const PoolAxis& height, const PoolAxis& width) {
    return {
        static_cast<int64>(depth.last - depth.first) * (height.last - height.first) *
            (width.last - width.first),
        static_cast<int64>(depth.padded) * height.padded * width.padded};
}

// One thread, one window.
template <bool CHANNELS_LAST, class Rule, class T>
__device__ void pool_one_window(
    const PoolProblem& p,
    const Rule& rule,
    const T* __restrict__ x,
    T* y,
    int64* indices) {
    const PoolWindow window = pool_window<CHANNELS_LAST>(p);
    if (!window.mine)
        return;
    typename Rule::State state = rule.start();
    for_each_tap(p, window, [&](Index from, Index in_plane) {
        rule.take(state, x[from], in_plane);
    });
    y[window.y] =
        rule.result(state, count_taps(window.axis[0], window.axis[1], window.axis[2]));
    if (indices != nullptr)
        indices[window.y] = static_cast<int64>(Rule::place(state));
}

} // namespace pyconv
