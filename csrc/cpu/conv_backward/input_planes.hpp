// How the input gradient with pixels in the lanes is cut.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/conv_backward/phase_axis.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <vector>

namespace pyconv {

struct InputPlanes {
    std::vector<PhaseAxis> axes[3];
    int64 filters;  // of a group: those that are summed over
    int64 channels; // of a group, of the result
    int64 lanes;
    int64 columns;   // of a phase, summed between two fillings of scratch
    int vectors;     // of a register tile's row
    int64 tile;      // its rows: channels, or lines where a group has one channel
    int64 depth;     // lines of a phase, between two fillings
    Span height;     // outputs that line 0 of any phase meets, and one past the last
    Span width;      // and pixel 0
    int64 pitch;     // of a row of scratch
    int64 blocks[2]; // of lines and columns in a plane of the result

    InputPlanes(const ConvProblem& problem, const IsaTable& isa);

    // Elements of scratch: [plane][filter][row][column].
    int64 rows() const { return depth + height.count(); }
    int64 source_elements() const { return most_planes() * filters * rows() * pitch; }
    int64 most_planes() const;
    int64 phases() const {
        return static_cast<int64>(axes[0].size() * axes[1].size() * axes[2].size());
    }
    // Weights: [group][phase][channels of a tile][tap, reversed][filter][channel].
    int64 weight_elements(const ConvProblem& problem) const {
        return problem.k * channels * volume(problem.kernel);
    }
    // Sums: [phase along the line][row of a tile][column].
    int64 sum_pitch() const { return ceil_div(columns, lanes) * lanes; }
};

double
input_planes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement input_planes_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace pyconv
