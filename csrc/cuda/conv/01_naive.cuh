// naive: one thread computes one output and keeps nothing for its neighbours.
//
// The definition of the operation in the order it is read: every tap, every channel,
// one chain of fused multiply-adds. Threads are numbered against y's memory, as a loop
// over filters inside one over pixels would run: channels first, neighbouring threads
// take neighbouring filters of one pixel, whose places in y lie a plane apart. It takes
// every problem (element types, ranks 1 to 3, any pitches, stride, dilation, groups,
// padding mode) and is the first rung of the ladder: what the caches save here is all
// there is.
//
// Global loads per output: 2 * (C/G) * T * R * S elements, no reuse in registers. A
// warp's load of x is one address (channels first), that of the weights and the store
// of y up to 32 sectors. Shared memory: none. Registers: 48 ... 56.
#pragma once

#include "../direct_sum.cuh"
#include "../epilogue.cuh"
#include "../index.cuh"

namespace pyconv::conv_naive {

template <class X, class W, Activation ACTIVATION, bool CHANNELS_LAST>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const typename Element<X>::Sum* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y) {
    // setup: which output is mine
    const Index filters = static_cast<Index>(p.k);
    const Index outputs =
        static_cast<Index>(p.n) * filters * static_cast<Index>(p.output[0]) *
        static_cast<Index>(p.output[1]) * static_cast<Index>(p.output[2]);
    const Index linear = thread_number();
    if (linear >= outputs)
        return;
    const OutputCoordinates at =
        output_coordinates<!CHANNELS_LAST>(linear, filters, p.output);

    // compute, store
    const Index offset = offset_of(at, p.y_pitch);
    y[offset] =
        finish<ACTIVATION>(direct_sum(p, at, x, weight), bias, at.k, residual, offset);
}

} // namespace pyconv::conv_naive
