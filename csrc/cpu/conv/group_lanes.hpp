// Grouped convolution with filters in the lanes, for channels-last memory.
//
// The idea: a vector of filters spans several groups. Input pixels are copied into
// scratch once for each channel of a group, so that lane k of copy c holds channel c of
// k's group (micro/spread_lanes.hpp), with the padding made real; a tap of a channel is
// then a plain load under a vector of weights, as in a depthwise convolution
// (micro/lane_tile.hpp). The copying is paid back by every tap of the window.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"

namespace pyconv {

// Scratch of a unit: [tap plane][input row][input column][channel][filter].
struct GroupLayout {
    int64 channels; // of one group
    int64 filters;  // of one group
    int64 chunk;    // filters of a unit
    int64 rows;
    int64 columns;
    int64 column_pitch;
    int64 row_pitch;
    int64 plane_pitch;

    GroupLayout(const ConvProblem& problem, int64 vectors, int64 lanes, int64 high)
        : channels(problem.c / problem.groups), filters(problem.k / problem.groups),
          chunk(vectors * lanes),
          rows(
              (high - 1) * problem.stride[1] +
              (problem.kernel[1] - 1) * problem.dilation[1] + 1),
          columns(
              (problem.output[2] - 1) * problem.stride[2] +
              (problem.kernel[2] - 1) * problem.dilation[2] + 1),
          column_pitch(channels * chunk), row_pitch(columns * column_pitch),
          plane_pitch(rows * row_pitch) {}

    int64 elements(const ConvProblem& problem) const {
        return problem.kernel[0] * plane_pitch;
    }
};

// Whole vectors of filters whose channels lie within a vector, and scratch in L2.
bool suits_group_lanes(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host);

double
group_lanes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement group_lanes_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host);

// The plan but for its algorithm.
ConvPlan
group_lanes_plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

// Weights as [tap][channel of the group][filter].
void group_lanes_pack(const ConvPlan& plan, const void* weight, void* packed);
void group_lanes_run(const ConvPlan& plan, const ConvTensors& tensors);

} // namespace pyconv
