// bank_padding: pitches and turns under which a warp's addresses fall into different
// banks.
//
// What changed from vector_loads: no byte and no request, only where in shared memory
// things lie and in which turn they come. Filters are stored across, so a pitch of
// BLOCK_K words puts a warp's stores into one bank: + 4 words spread them and keep
// vectors aligned. A warp spans several rows of a tile narrower than 32 columns: an odd
// multiple of the tile's width as the row's pitch puts them into different banks. Of the
// vectors of x each part of a warp stores another element first. No conflicts are left
// at stride 1 but of the stores of filters; at stride 2 reads of x have two-way ones.
// Shared memory grows by a few percent.
#pragma once

#include "halo/tile.cuh"

namespace pyconv::conv_bank_padding {

using Layout = halo::Layout<true, true>;

template <
    class X,
    class W,
    class Tile,
    class Filter,
    PaddingMode MODE,
    Activation ACTIVATION,
    bool CHANNELS_LAST,
    bool ALIGNED_ROWS>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const typename Element<X>::Sum* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y) {
    halo::
        run<X, W, Tile, Filter, Layout, MODE, ACTIVATION, CHANNELS_LAST, ALIGNED_ROWS>(
            p, x, weight, bias, residual, y);
}

} // namespace pyconv::conv_bank_padding
