// cached_weights: weights wait in constant memory, whose cache hands one to a whole
// warp.
//
// What changed from coalesced: a warp's threads take pixels of one filter, so all want
// the same weight at the same time; from constant memory it comes as an operand of the
// multiply-add, with no load instruction and nothing through L1. Global loads per
// output fall from 2 (C/G) T R S elements to (C/G) T R S, those of x. Constant memory
// holds 64 KB: a launch takes as many filters as fit, and is preceded by a copy of
// theirs. Limits: channels first (else neighbouring threads would want different
// weights, one after the other), weights without gaps; a filter of 64 KB at most.
#pragma once

#include "../direct_sum.cuh"
#include "../epilogue.cuh"
#include "../index.cuh"

extern "C" {
__constant__ alignas(16) unsigned char pyconv_cached_weights[65536];
}

namespace pyconv::conv_cached_weights {

template <class X, class W, Activation ACTIVATION>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
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
    const OutputCoordinates at = output_coordinates<false>(linear, filters, p.output);

    // compute, store
    const W* weight = reinterpret_cast<const W*>(pyconv_cached_weights);
    const Index offset = offset_of(at, p.y_pitch);
    y[offset] =
        finish<ACTIVATION>(direct_sum(p, at, x, weight), bias, at.k, residual, offset);
}

} // namespace pyconv::conv_cached_weights
