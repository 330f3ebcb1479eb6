// One output's sum as it is defined: every tap inside the input, every channel.
//
// The naive kernel is nothing else; kernels whose tiles hold the zeros of padding take
// it where a weight is not finite, since padding adds no term.
#pragma once

#include "index.cuh"

namespace pyconv {

// The taps of one axis are walked with the input coordinate, mapped into the input.
struct Axis {
    Index extent;
    Index taps;
    Index start;
    Index dilation;
};

__device__ inline Axis axis_of(const ConvProblem& p, int axis, Index output) {
    return Axis{
        static_cast<Index>(p.input[axis]),
        static_cast<Index>(p.kernel[axis]),
        output * static_cast<Index>(p.stride[axis]) -
            static_cast<Index>(p.pad_before[axis]),
        static_cast<Index>(p.dilation[axis])};
}

__device__ inline Index tap_index(const Axis& axis, Index tap, PaddingMode mode) {
    return input_index(axis.start + tap * axis.dilation, axis.extent, mode);
}

template <class X, class W>
__device__ typename Element<X>::Sum
dot(const ConvProblem& p,
    const Axis (&axis)[3],
    const X* __restrict__ x,
    const W* __restrict__ weight) {
    const PaddingMode mode = static_cast<PaddingMode>(p.padding_mode);
    const Index channels = static_cast<Index>(p.c / p.groups);
    const Index x_channel = static_cast<Index>(p.x_pitch[1]);
    const Index w_channel = static_cast<Index>(p.w_pitch[1]);
    typename Element<X>::Sum sum{};
    for (Index t = 0; t < axis[0].taps; ++t) {
        const Index d = tap_index(axis[0], t, mode);
        if (d < 0)
            continue;
        for (Index r = 0; r < axis[1].taps; ++r) {
            const Index h = tap_index(axis[1], r, mode);
            if (h < 0)
                continue;
            for (Index s = 0; s < axis[2].taps; ++s) {
                const Index w = tap_index(axis[2], s, mode);
                if (w < 0)
                    continue;
                const X* from = x + d * static_cast<Index>(p.x_pitch[2]) +
                                h * static_cast<Index>(p.x_pitch[3]) +
                                w * static_cast<Index>(p.x_pitch[4]);
                const W* tap = weight + t * static_cast<Index>(p.w_pitch[2]) +
                               r * static_cast<Index>(p.w_pitch[3]) +
                               s * static_cast<Index>(p.w_pitch[4]);
                for (Index c = 0; c < channels; ++c)
                    add_product(
                        sum, term_of(from[c * x_channel]), term_of(tap[c * w_channel]));
            }
        }
    }
    return sum;
}

// One output's sum: its group's channels against its filter.
template <class X, class W>
__device__ typename Element<X>::Sum direct_sum(
    const ConvProblem& p,
    const OutputCoordinates& at,
    const X* __restrict__ x,
    const W* __restrict__ weight) {
    const Axis axis[3] = {
        axis_of(p, 0, at.at[0]), axis_of(p, 1, at.at[1]), axis_of(p, 2, at.at[2])};
    const Index group = at.k / static_cast<Index>(p.k / p.groups);
    const Index first_channel = group * static_cast<Index>(p.c / p.groups);
    return dot(
        p,
        axis,
        x + at.n * static_cast<Index>(p.x_pitch[0]) +
            first_channel * static_cast<Index>(p.x_pitch[1]),
        weight + at.k * static_cast<Index>(p.w_pitch[0]));
}

// A thread's outputs one by one, where their tile's sums are of no use. find() gives
// the coordinates of number e, false if there is no such output. One body for all:
// unrolled like the tile's, it would be most of a kernel's code.
template <int OUTPUTS, class X, class W, class Find, class Store>
__device__ void direct_sums(
    const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    Find find,
    Store store) {
#pragma unroll 1
    for (int e = 0; e < OUTPUTS; ++e) {
        OutputCoordinates at;
        if (find(e, at))
            store(at, direct_sum(p, at, x, weight));
    }
}

} // namespace pyconv
