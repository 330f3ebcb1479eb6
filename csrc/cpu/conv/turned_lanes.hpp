// Depthwise convolution with channels in the lanes, for channels-first memory.
//
// The idea: rows of a small image are too short to fill vectors of pixels. Some
// channels of a sample are turned into scratch, channels side by side, convolved there
// (channel_lanes.hpp), and turned back on their way to y; all of it stays in L1 or L2.
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

// One filter a channel, enough channels to fill a vector, and whole planes that can be
// turned both ways.
bool suits_turned_lanes(const ConvProblem& problem, const IsaTable& isa);

double
turned_lanes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement turned_lanes_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host);

// The plan but for its algorithm.
ConvPlan
turned_lanes_plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

void turned_lanes_pack(const ConvPlan& plan, const void* weight, void* packed);
void turned_lanes_run(const ConvPlan& plan, const ConvTensors& tensors);

} // namespace pyconv
