// How the direct weight gradient is cut.
#pragma once

#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {

// Pixels of a panel's part that stays in L2.
inline constexpr int64 WEIGHT_CHUNK = 512;
// Of packed input and gradient, at a time: little enough to stay in cache until it is
// read, but so much that the sums, which every pass reads and writes, are few beside
// it.
inline constexpr int64 WEIGHT_PASS_BYTES = int64{4} << 20;
inline constexpr int64 WEIGHT_PASS_LIMIT = int64{32} << 20;
inline constexpr int64 WEIGHT_PASS_SUMS = 16;

// The shapes that plan and run agree on.
struct WeightBlocking {
    int vectors;      // of filters in a row of a tile
    int64 width;      // filters of a panel
    int64 panels;     // of a group
    int64 rows;       // (channel, tap) pairs of a group
    int64 tile_rows;  // of a register tile
    int64 tiles;      // of a group's rows
    int64 reach[3];   // input elements under all outputs, along each axis
    bool in_place;    // x is read where it lies
    int64 lines;      // of output, summed at a time
    int64 columns;    // of a line, where that is too long
    int64 grad_items; // elements of one sample's packed gradient
    int64 x_items;    // and of its copied input
    int64 samples;    // of a pass
    int64 sum_items;  // elements of all accumulators

    WeightBlocking(const ConvProblem& problem, const IsaTable& isa)
        : vectors(problem.k / problem.groups <= lanes_of(problem, isa) ? 1 : 2),
          width(vectors * lanes_of(problem, isa)),
          panels(ceil_div(problem.k / problem.groups, width)),
          rows(problem.c / problem.groups * volume(problem.kernel)),
          tile_rows(pyconv::tile_rows(problem, isa)), tiles(ceil_div(rows, tile_rows)),
          reach{}, in_place(true), lines(ceil_div(WEIGHT_CHUNK, problem.output[2])),
          columns(
              problem.output[2] <= 2 * WEIGHT_CHUNK ? problem.output[2] : WEIGHT_CHUNK),
          grad_items(problem.groups * panels * width * volume(problem.output)),
          x_items(0), samples(0), sum_items(problem.groups * panels * rows * width) {
        for (int axis = 0; axis < 3; ++axis) {
            reach[axis] = (problem.output[axis] - 1) * problem.stride[axis] +
                          (problem.kernel[axis] - 1) * problem.dilation[axis] + 1;
            in_place = in_place && problem.pad_before[axis] == 0 &&
                       reach[axis] <= problem.input[axis];
        }
        // Pixels that lie all channels apart are a cache line each, for every tile.
        in_place = in_place && (problem.x_pitch[1] != 1 || problem.x_pitch[4] == 1);
        x_items = in_place ? 0 : problem.c * volume(reach);
        const int64 bytes = (grad_items + x_items) * element_bytes(problem.dtype);
        const int64 pass = std::clamp(
            WEIGHT_PASS_SUMS * sum_items * element_bytes(problem.dtype),
            WEIGHT_PASS_BYTES,
            WEIGHT_PASS_LIMIT);
        samples = std::clamp<int64>(pass / bytes, 1, std::max<int64>(problem.n, 1));
        lines = std::min(lines, problem.output[0] * problem.output[1]);
    }

    // Vectors in a row of a panel's tiles: one where the last filters fit in it.
    int vectors_of(const ConvProblem& problem, int64 panel) const {
        const int64 left = problem.k / problem.groups - panel % panels * width;
        return left * vectors <= width ? 1 : vectors;
    }
    int64 width_of(const ConvProblem& problem, int64 panel) const {
        return width / vectors * vectors_of(problem, panel);
    }

    int64 workspace_bytes(const ConvProblem& problem) const {
        return (samples * (grad_items + x_items) + sum_items) *
               element_bytes(problem.dtype);
    }
};

} // namespace pyconv
