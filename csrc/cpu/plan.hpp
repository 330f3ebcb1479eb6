// A plan: everything decided about a problem before any array is seen.
//
// It depends on the problem, the instruction set and the machine's caches, never on the
// thread count or on array contents; it is immutable and can be printed.
#pragma once

#include "core/problem.hpp"
#include "cpu/isa/isa.hpp"

#include <string>
#include <utility>
#include <vector>

namespace pyconv {

struct ConvAlgorithm;
struct InputAlgorithm;
struct WeightAlgorithm;
struct PoolAlgorithm;
struct PoolGradAlgorithm;
struct UnaryAlgorithm;

using Blocking = std::vector<std::pair<std::string, int64>>;

// How depthwise, grouped and few_channels cut an output: pixels in the lanes in four
// forms (conv/planes.hpp), or channels (conv/channel_lanes.hpp, conv/group_lanes.hpp).
enum class PlaneForm { FILTERS, ROWS, SLIDE, LINE, LANES, LANE_ROWS };

struct PlaneBlocking {
    PlaneForm form;
    int64 rows;          // of the register tile: filters or output rows
    int64 vectors;       // in one row of it
    int64 block_rows;    // output rows that share one filling of scratch
    int64 block_columns; // and the stretch of each
};

// What is in a pooling's lanes: outputs of a row, by way of a line in scratch or picked
// in registers, or channels: the user's neighbours, or turned in scratch, lines or all.
enum class PoolForm { ROWS, PICKED, LANES, LINES, TURNED };

struct ConvPlan {
    ConvProblem problem;
    const ConvAlgorithm* algorithm;
    const IsaTable* isa;
    int vectors;          // in a register tile's row
    int64 filter_group;   // filter panels whose weights stay in L2 together
    int64 pixel_group;    // pixel panels or tiles that stay in L2 together
    int form = 0;         // which of the algorithm's variants
    bool staged = false;  // each stage over pixel_group before the next (winograd)
    bool passing = false; // weights not yet packed are transformed as they pass
    int64 chunk_taps = 0; // of the sum that is taken at a time (direct)
    int64 chunk_channels = 0;
    int64 turned_blocks = 0;   // blocks of pixels whose input is turned together
    bool turned_ahead = false; // all of the input, before the first
    int64 samples = 1;         // whose bands are multiplied together (dot_product)
    bool parallel;             // worth the cost of waking a thread
    Blocking blocking;         // the numbers above, by name
    int64 workspace_bytes;  // scratch of a call: what is shared, and one thread's own
    int64 packed_bytes = 0; // of the packed weights; 0: nothing to keep
    std::string packing{};  // names their order: plans of one layer may share them
    PlaneBlocking planes{}; // of depthwise, grouped and few_channels
    std::vector<ConvPlan> inner{}; // of widened: of a call, and of a layer
};

// How an input gradient is computed in one piece.
struct InputPlan {
    ConvProblem problem;
    const InputAlgorithm* algorithm;
    const IsaTable* isa;
    bool parallel;
    Blocking blocking;
    int64 workspace_bytes;
};

// How a weight gradient is computed.
struct WeightPlan {
    ConvProblem problem;
    const WeightAlgorithm* algorithm;
    const IsaTable* isa;
    bool parallel;
    Blocking blocking;
    int64 workspace_bytes;
};

struct PoolPlan {
    PoolProblem problem;
    const PoolAlgorithm* algorithm;
    const IsaTable* isa;
    PoolForm form = PoolForm::ROWS;
    int64 channels = 1; // that are pooled together
    bool parallel;
    Blocking blocking;
    int64 workspace_bytes;
};

struct PoolGradPlan {
    PoolProblem problem;
    const PoolGradAlgorithm* algorithm;
    const IsaTable* isa;
    PoolForm form = PoolForm::ROWS;
    int64 channels = 1;
    bool parallel;
    Blocking blocking;
    int64 workspace_bytes;
};

struct UnaryPlan {
    ConvProblem problem;
    const UnaryAlgorithm* algorithm;
    const IsaTable* isa;
    int64 channels = 1; // that are done together
    int64 lines = 1;    // of windows that are done together
    bool parallel;
    Blocking blocking;
    int64 workspace_bytes;
};

} // namespace pyconv
