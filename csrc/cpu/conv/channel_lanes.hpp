// Depthwise convolution with channels in the lanes, for channels-last memory.
//
// The idea: pixels of a row share their list of taps unless a tap falls into the
// padding, so a row is a few single pixels at its ends and one long run between them;
// the run goes through tiles of pixels x all channels (micro/lane_tile.hpp) straight
// from x, nothing is copied. Weights lie as [tap][channel].
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

// One filter a channel, channels side by side, and enough of them to fill a vector.
bool suits_channel_lanes(const ConvProblem& problem, const IsaTable& isa);

double
channel_lanes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement channel_lanes_movement(const ConvProblem& problem, const Machine& host);

// The plan but for its algorithm.
ConvPlan channel_lanes_plan(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host);

void channel_lanes_pack(const ConvPlan& plan, const void* weight, void* packed);
void channel_lanes_run(const ConvPlan& plan, const ConvTensors& tensors);

} // namespace pyconv
