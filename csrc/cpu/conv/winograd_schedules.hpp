// The order in which Winograd's stages go over the tiles.
//
// Fused: a small block of tiles goes through all three stages, panel of filters by
// panel, so that V, and M of one panel, never leave L2; U is streamed once a block.
// Staged: each stage goes over a large block before the next, the products point by
// point, so that V of one point stays in L2 and U is streamed once for many tiles; V
// and M go through L3. Deep layers need it: their U is larger than any cache.
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

// Runs a plan of winograd_plan, packing the weights first where they are not.
void run_winograd(const ConvPlan& plan, const ConvTensors& tensors);

} // namespace pyconv
