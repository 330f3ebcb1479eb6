// register_tile: each thread keeps the sums of several outputs and several filters.
//
// What changed from shared_halo: a value read from shared memory is used more than
// once. One of x feeds THREAD_K filters, one weight THREAD_OUTPUTS outputs: 4 x 8 sums
// take 12 loads for 32 multiply-adds, where one sum takes 2 for 1. The filters' taps
// wait in shared memory beside x, and a tile of x serves BLOCK_K filters: global loads
// per output fall to (C/G) (HALO / (BLOCK_P BLOCK_Q BLOCK_K) + R S / (BLOCK_P BLOCK_Q))
// elements, for 3 x 3 and the wide tile 0.08 (C/G). Still there: the pitches of both
// tiles send a warp's addresses into the same banks. Registers: 115 ... 128, no spills.
#pragma once

#include "halo/tile.cuh"

namespace pyconv::conv_register_tile {

using Layout = halo::Layout<false, false>;

} // namespace pyconv::conv_register_tile
