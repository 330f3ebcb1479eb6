// async_pipeline: the next tile is on its way while this one is computed.
//
// What changed from bank_padding: there are two buffers, and elements go to shared
// memory by asynchronous copies that pass by the registers. Loads of one block of
// channels overlap the arithmetic of the one before, so that their latency no longer
// stands between two barriers. Bytes are the same; shared memory is twice as much, and
// comes with the launch. Elements cannot be widened on their way: float32 and float64.
// Before sm_80 the copies are loads and stores, and overlap little.
#pragma once

#include "../memory/dynamic.cuh"
#include "halo/tile.cuh"

namespace pyconv::conv_async_pipeline {

using Layout = halo::Layout<true, true>;

template <class Sum, class Tile, class Filter>
struct Buffers {
    halo::Shared<Sum, Tile, Filter, Layout> at[2];
};

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
    const X* __restrict__ bias,
    const X* residual,
    X* y) {
    using Memory = halo::Shared<X, Tile, Filter, Layout>;
    using Copy = halo::Asynchronous;
    auto& shared = dynamic_shared<Buffers<X, Tile, Filter>>();
    halo::Thread<X, W, Tile, Filter, Layout> mine(p, x, weight);
    const Index channels = static_cast<Index>(p.c / p.groups);
    bool is_bad = false; // met a weight that is not finite

    // A group of copies for every block of channels; none past the last, but a group.
    const auto issue = [&](Index first, int buffer) {
        if (first < channels) {
            halo::load_x<Tile, Filter, Layout, Copy, MODE, CHANNELS_LAST>(
                p, mine.block, first, mine.x, shared.at[buffer]);
            halo::load_weight<Tile, Filter, Layout, Copy>(
                p, mine.block, first, mine.weight, shared.at[buffer]);
        }
        commit_copies();
    };
    issue(0, 0);
    int buffer = 0;
    for (Index first = 0; first < channels; first += Tile::BLOCK_C) {
        issue(first + Tile::BLOCK_C, 1 - buffer);
        wait_copies<1>(); // all but the next tile's
        __syncthreads();  // the tiles are whole before anyone reads them
        const Memory& here = shared.at[buffer];
        if (MODE == PAD_ZEROS)
            for (int e = static_cast<int>(threadIdx.x);
                 e < Tile::BLOCK_C * Memory::TAPS * Tile::BLOCK_K;
                 e += Tile::THREADS)
                is_bad |= !is_finite(
                    here.weight
                        [e / Tile::BLOCK_K * Memory::WEIGHT_PITCH + e % Tile::BLOCK_K]);
        halo::accumulate<X, Tile, Filter, Layout>(
            here, mine.place, mine.first_filter, mine.sum);
        __syncthreads(); // everyone has read the tiles before they are overwritten
        buffer = 1 - buffer;
    }
    wait_copies<0>();

    const bool again = __syncthreads_or(is_bad) && MODE == PAD_ZEROS;
    mine.template store<ACTIVATION>(p, x, weight, bias, residual, y, again);
}

} // namespace pyconv::conv_async_pipeline
