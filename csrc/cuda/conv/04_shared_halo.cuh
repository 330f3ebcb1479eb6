// shared_halo: a block of threads shares its input tile.
//
// What changed from cached_weights: windows of neighbouring outputs overlap, so a block
// loads its tile of x with the halo around it into shared memory once, BLOCK_C channels
// at a time, and its threads take their windows from there; still one output a thread.
// Global loads of x per output fall from (C/G) R S elements to (C/G) HALO / (BLOCK_P
// BLOCK_Q), for 3 x 3 and a tile of 8 x 32 from 9 (C/G) to 1.33 (C/G). Weights are
// again loads, one address for all of a block, through L1.
//
// Padding of zeros must add nothing, not even to weights that are not finite: a block
// whose filter has one does its outputs again.
#pragma once

#include "../direct_sum.cuh"
#include "../epilogue.cuh"
#include "halo/loads.cuh"

namespace pyconv::conv_shared_halo {

using Layout = halo::Layout<false, false>;

// Whether this thread's part of a filter is finite.
template <int THREADS, class W>
__device__ inline bool
is_part_finite(const ConvProblem& p, const W* __restrict__ filter) {
    const Index taps = static_cast<Index>(p.kernel[1] * p.kernel[2]);
    const Index elements = static_cast<Index>(p.c / p.groups) * taps;
    bool are_finite = true;
    for (Index e = static_cast<Index>(threadIdx.x); e < elements; e += THREADS) {
        const Index tap = e % taps;
        const W& weight = filter
            [e / taps * static_cast<Index>(p.w_pitch[1]) +
             tap / static_cast<Index>(p.kernel[2]) * static_cast<Index>(p.w_pitch[3]) +
             tap % static_cast<Index>(p.kernel[2]) * static_cast<Index>(p.w_pitch[4])];
        are_finite = are_finite && is_finite(term_of(weight));
    }
    return are_finite;
}

template <
    class X,
    class W,
    class Tile,
    class Filter,
    PaddingMode MODE,
    Activation ACTIVATION,
    bool CHANNELS_LAST>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const typename Element<X>::Sum* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y) {
    static_assert(
        Tile::BLOCK_K == 1 && Tile::THREAD_OUTPUTS == 1, "an output a thread");
    using Sum = typename Element<X>::Sum;
    using Memory = halo::Input<Sum, Tile, Filter, Layout>;
    __shared__ Memory shared;

    // setup: the block's tile and filter, the thread's output
    const halo::Block block = halo::block_of<Tile>(p);
    const Index channels = static_cast<Index>(p.c / p.groups);
    const int position = static_cast<int>(threadIdx.x);
    const int row = position / Tile::BLOCK_Q;
    const int column = position % Tile::BLOCK_Q;
    const OutputCoordinates at{
        block.n,
        block.group * static_cast<Index>(p.k / p.groups) + block.first_filter,
        {0, block.p + row, block.q + column}};
    const bool exists = at.at[1] < static_cast<Index>(p.output[1]) &&
                        at.at[2] < static_cast<Index>(p.output[2]);
    const X* tile_x = x + block.n * static_cast<Index>(p.x_pitch[0]) +
                      block.group * channels * static_cast<Index>(p.x_pitch[1]);
    const W* filter = weight + at.k * static_cast<Index>(p.w_pitch[0]);
    const bool again = MODE == PAD_ZEROS &&
                       __syncthreads_or(!is_part_finite<Tile::THREADS>(p, filter));

    // compute
    Sum sum{};
    for (Index first = 0; first < channels; first += Tile::BLOCK_C) {
        halo::load_x<Tile, Filter, Layout, halo::Direct, MODE, CHANNELS_LAST>(
            p, block, first, tile_x, shared);
        __syncthreads(); // the tile is whole before anyone reads it
        for (int c = 0; c < Tile::BLOCK_C && first + c < channels && exists; ++c)
            for (int r = 0; r < Filter::R; ++r)
#pragma unroll
                for (int s = 0; s < Filter::S; ++s) {
                    const int h = row * Filter::STRIDE_H + r * Filter::DILATION_H;
                    const int w = column * Filter::STRIDE_W + s * Filter::DILATION_W;
                    add_product(
                        sum,
                        shared.x[(c * Memory::HALO_H + h) * Memory::HALO_PITCH + w],
                        term_of(
                            filter
                                [(first + c) * static_cast<Index>(p.w_pitch[1]) +
                                 r * static_cast<Index>(p.w_pitch[3]) +
                                 s * static_cast<Index>(p.w_pitch[4])]));
                }
        __syncthreads(); // everyone has read the tile before it is overwritten
    }

    // store: outputs of the tile's edge are dropped
    if (!exists)
        return;
    if (again)
        sum = direct_sum(p, at, x, weight);
    const Index offset = offset_of(at, p.y_pitch);
    y[offset] = finish<ACTIVATION>(sum, bias, at.k, residual, offset);
}

} // namespace pyconv::conv_shared_halo
