// bank_padding: pitches and turns under which a warp's addresses fall into different
// banks.
//
// What changed from vector_loads: no byte and no request, only where in shared memory
// things lie and in which turn they come. Filters are stored across, so a pitch of
// BLOCK_K words puts a warp's stores into one bank: + 4 words spread them and keep
// vectors aligned. A warp spans several rows of a tile narrower than 32 columns: an odd
// multiple of the tile's width as the row's pitch puts them into different banks. Of
// the vectors of x each part of a warp stores another element first. No conflicts are
// left at stride 1 but of the stores of filters; at stride 2 reads of x have two-way
// ones. Shared memory grows by a few percent.
#pragma once

#include "halo/tile.cuh"

namespace pyconv::conv_bank_padding {

using Layout = halo::Layout<true, true>;

} // namespace pyconv::conv_bank_padding
