// vector_loads: sixteen bytes a load where eight or four elements lie side by side.
//
// What changed from register_tile: the same elements in fewer instructions. A thread's
// eight filters come from shared memory in two loads instead of eight, 6 loads for 32
// multiply-adds instead of 12; rows of x come from global memory in aligned vectors,
// whose ends reach up to three elements past the halo (the bytes grow by that), where
// pitches and pointer are aligned and padding is zeros. On their way on into shared
// memory the parts of a warp's vectors meet in a few banks.
#pragma once

#include "halo/tile.cuh"

namespace pyconv::conv_vector_loads {

using Layout = halo::Layout<false, true>;

} // namespace pyconv::conv_vector_loads
