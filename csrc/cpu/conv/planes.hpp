// Convolution with pixels in the lanes: what depthwise, grouped and few_channels share.
//
// The idea: with few channels to sum over and a row of pixels contiguous, vectors run
// along the output row. A unit of work is a block of output rows of one group: the
// input rows it needs are copied once into scratch that stays in cache, with the
// padding made real and, for a stride along W, taken apart into phases, so that every
// tap of every pixel is one unaligned load (micro/plane_tile.hpp). Scratch rows have
// room behind them for the last vector, so nothing outside the arrays is touched.
//
// Forms of the register tile, by what its rows are: FILTERS of one output row; ROWS,
// output rows of one filter; SLIDE, the same where each input row loaded serves all of
// them; LINE, stretches of one output row, where a tap a stretch further on is the next
// stretch's tap (long kernels).
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"

namespace pyconv {

// Scratch of a unit: [channel][tap plane][input row][phase][position].
struct PlaneLayout {
    int64 channels; // of one group
    int64 filters;  // of one group
    int64 terms;    // products of one output
    int64 phases;   // of the stride along W that some tap meets
    int64 phase_pitch;
    int64 row_pitch;
    int64 rows; // of input behind block_rows of output
    int64 plane_pitch;
    int64 channel_pitch;
    int64 column_blocks;
    int64 row_blocks;

    PlaneLayout(const ConvProblem& problem, const PlaneBlocking& blocking, int64 lanes);

    int64 elements() const { return channels * channel_pitch; }
    int64 units(const ConvProblem& problem) const {
        return problem.n * problem.groups * problem.output[0] * row_blocks *
               column_blocks;
    }
};

// "" or why the planes cannot hold this problem.
std::string planes_support(const ConvProblem& problem);

PlaneBlocking
plane_blocking(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

double planes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
double
planes_pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement
planes_movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

// The plan but for its algorithm.
ConvPlan
planes_plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

// Weights as the tiles read them: [filter block][tap][channel][filter of the block];
// every form but FILTERS has blocks of one.
void planes_pack(const ConvPlan& plan, const void* weight, void* packed);
void planes_run(const ConvPlan& plan, const ConvTensors& tensors);

} // namespace pyconv
