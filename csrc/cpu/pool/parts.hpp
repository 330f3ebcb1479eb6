// How the channels of a pooling are cut, and which memory orders a plane may have.
#pragma once

#include "core/machine.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/isa.hpp"
#include "cpu/plan.hpp"

#include <algorithm>

namespace pyconv {

// Elements of the line between the two reductions: a third of an L1, with the rows that
// stream past it.
inline constexpr int64 LINE_ELEMENTS = 4096;
// Parts that make two threads equally busy.
inline constexpr int64 POOL_PARTS = 8;
inline constexpr int64 CACHE_LINE_BYTES = 64;

// Pixels of a plane side by side, row after row.
inline bool dense_pixels(const int64 (&extent)[3], const int64 (&pitch)[5]) {
    return (extent[2] == 1 || pitch[4] == 1) &&
           (extent[1] == 1 || pitch[3] == extent[2]) &&
           (extent[0] == 1 || pitch[2] == extent[1] * extent[2]);
}

inline int lanes_of(const PoolProblem& problem, const IsaTable& isa) {
    return problem.dtype == FLOAT32 ? isa.f32.lanes : isa.f64.lanes;
}

// Loads part of a vector as quickly as all of it.
inline bool loads_masked(const IsaTable& isa) {
    return isa.vector_bytes >= 32;
}

// Stores it so too, and picks lanes from two vectors.
inline bool has_masks(const IsaTable& isa) {
    return isa.vector_bytes == 64;
}

inline bool pool_channels_last(const PoolProblem& problem) {
    return problem.x_pitch[1] == 1 && problem.y_pitch[1] == 1 && problem.c > 1;
}

// Bytes of one channel, input and output, and of the indices.
inline int64 channel_bytes(const PoolProblem& problem) {
    const int64 index = problem.return_indices != 0 ? 8 : 0;
    return volume(problem.input) * element_bytes(problem.dtype) +
           volume(problem.output) * (element_bytes(problem.dtype) + index);
}

// `row` elements would be in the lanes.
inline PoolForm pool_form(
    const PoolProblem& problem, const IsaTable& isa, const Machine& host, int64 row) {
    if (pool_channels_last(problem)) {
        return PoolForm::LANES;
    }
    const int64 lanes = lanes_of(problem, isa);
    const bool fits = channel_bytes(problem) * lanes <= host.l2_bytes / 4;
    const bool is_short = row < 2 * lanes || problem.adaptive != 0;
    const bool turns = dense_pixels(problem.input, problem.x_pitch) &&
                       dense_pixels(problem.output, problem.y_pitch);
    return problem.c > 1 && fits && is_short && turns ? PoolForm::TURNED
                                                      : PoolForm::ROWS;
}

// That are pooled together.
inline int64 pool_channels(
    const PoolProblem& problem,
    PoolForm form,
    const IsaTable& isa,
    const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    if (form == PoolForm::TURNED) {
        const int64 fitting = host.l1_bytes * 3 / 4 / (channel_bytes(problem) * lanes);
        return std::clamp<int64>(fitting, 1, POOL_PARTS) * lanes;
    }
    // Short lines between the reductions, and enough parts to share.
    const int64 rows = problem.n * problem.output[0] * problem.output[1];
    const int64 most = std::max<int64>(LINE_ELEMENTS / problem.kernel[2], lanes);
    const int64 line = CACHE_LINE_BYTES / element_bytes(problem.dtype);
    const int64 fair =
        rows >= POOL_PARTS / 2 ? problem.c : ceil_div(problem.c * rows, POOL_PARTS);
    const int64 wanted = std::min({problem.c, most, std::max({fair, lanes, line})});
    return ceil_div(wanted, lanes) * lanes;
}

// Channels cut into parts of plan.channels, the last of them the rest.
struct Parts {
    int64 channels;
    int64 each;

    int64 count() const { return ceil_div(channels, each); }
    int64 size(int64 part) const { return std::min(each, channels - part * each); }
};

} // namespace pyconv
