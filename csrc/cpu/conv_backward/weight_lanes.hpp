// Weight gradients of groups of few channels: sums over pixels, filters in the lanes.
//
// The idea: a group's product has as many rows as it has channels and as many columns
// as it has filters: register tiles of it are nearly empty. A vector of filters of
// several groups is full. Under it lies, for each channel of a group, a vector of x in
// which every filter finds that channel of its own group: with one channel and filter a
// group x as it is, else x shuffled (micro/spread_lanes.hpp) once for all taps.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {

// Scratch of x that is filled at a time, and that tap rows pass over together.
inline constexpr int64 LANE_BAND_BYTES = int64{512} << 10;
inline constexpr int64 LANE_PASS_BYTES = int64{24} << 10;

struct LaneBlocking {
    int vectors;
    int64 width; // filters of a panel
    int64 panels;
    int64 channels; // of a group
    bool spread;    // x is shuffled
    int64 columns;  // of a line of x under all outputs, with padding
    int64 lines;    // of output, of a band
    int64 pass;     // of these, that a tap row passes over at a time

    LaneBlocking(const ConvProblem& problem, const IsaTable& isa)
        : vectors(problem.k <= lanes_of(problem, isa) ? 1 : 2),
          width(vectors * lanes_of(problem, isa)), panels(ceil_div(problem.k, width)),
          channels(problem.c / problem.groups),
          spread(problem.c != problem.groups || problem.k != problem.groups),
          columns(reach(problem, 2, problem.output[2])), lines(0), pass(0) {
        const int64 line = columns * pixel() * element_bytes(problem.dtype);
        const auto fitting = [&](int64 bytes) {
            const int64 room = bytes / line - reach(problem, 1, 1);
            return std::clamp<int64>(
                room / problem.stride[1] + 1, 1, problem.output[1]);
        };
        lines = fitting(LANE_BAND_BYTES / problem.kernel[0]);
        pass = fitting(LANE_PASS_BYTES);
    }

    // Elements of a pixel of x as the sums read it.
    int64 pixel() const { return channels * width; }
    // Elements of x along an axis that so many outputs meet.
    static int64 reach(const ConvProblem& problem, int axis, int64 outputs) {
        return (outputs - 1) * problem.stride[axis] +
               (problem.kernel[axis] - 1) * problem.dilation[axis] + 1;
    }
    int64 band_rows(const ConvProblem& problem) const {
        return reach(problem, 1, lines);
    }
    int64 x_elements(const ConvProblem& problem) const {
        return problem.kernel[0] * band_rows(problem) * columns * pixel();
    }
    int64 grad_elements(const ConvProblem& problem) const {
        return lines * problem.output[2] * width;
    }
    int64 sum_elements(const ConvProblem& problem) const {
        return volume(problem.kernel) * pixel();
    }
    // Channels of all groups that a panel's filters may belong to.
    int64 span(const ConvProblem& problem) const {
        const int64 groups = (width - 2) / (problem.k / problem.groups) + 2;
        return std::min(groups, problem.groups) * channels;
    }
    // Of a row of x before it is shuffled; a vector is read from its last pixel on.
    int64 row_elements(const ConvProblem& problem) const {
        return problem.input[2] * span(problem) + width;
    }
    // Whether the channels of every vector of filters lie within a vector.
    bool shuffles(const ConvProblem& problem, const IsaTable& isa) const {
        const int64 lanes = lanes_of(problem, isa);
        const int64 filters = problem.k / problem.groups;
        return ((lanes - 1) / filters + 1) * channels <= lanes && lanes % filters == 0;
    }
};

// The plan but for its algorithm's choice.
WeightPlan plan_weight_lanes(
    const ConvProblem& problem, const IsaTable& isa, const WeightAlgorithm& algorithm);
void run_weight_lanes(const WeightPlan& plan, const WeightTensors& tensors);
double
weight_lanes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement weight_lanes_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace pyconv
