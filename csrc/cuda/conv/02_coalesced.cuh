// coalesced: neighbouring threads write, and read, neighbouring addresses.
//
// What changed from naive: the numbering of the threads. The 32 threads of a warp ask
// for memory together, and are served in sectors of 32 bytes: numbered along y's memory
// they touch 4 sectors for one load of x and one of y, and one weight (channels first)
// or one x (channels last) for all, where naive touches up to 32. The bytes that
// threads ask for are the same: 2 (C/G) T R S elements per output; those that move
// between L1 and L2 fall up to eightfold. It takes every problem as naive does.
#pragma once

#include "../direct_sum.cuh"
#include "../epilogue.cuh"
#include "../index.cuh"

namespace pyconv::conv_coalesced {

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
        output_coordinates<CHANNELS_LAST>(linear, filters, p.output);

    // compute, store
    const Index offset = offset_of(at, p.y_pitch);
    y[offset] =
        finish<ACTIVATION>(direct_sum(p, at, x, weight), bias, at.k, residual, offset);
}

} // namespace pyconv::conv_coalesced
