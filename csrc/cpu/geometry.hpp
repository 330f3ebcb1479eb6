// Where a window reads: the index arithmetic that all convolutions share.
#pragma once

#include "core/element.hpp"
#include "core/problem.hpp"

#include <algorithm>

namespace pyconv {

constexpr int64 ceil_div(int64 a, int64 b) {
    return (a + b - 1) / b;
}

constexpr int64 volume(const int64 (&extents)[3]) {
    return extents[0] * extents[1] * extents[2];
}

// The input index behind position `at` of an axis of `extent` (at < 0 and at >= extent
// lie in the padding), or -1 where the padding is zero. Reflection does not repeat the
// edge; the Python side has checked that one fold is enough.
inline int64 folded_index(int64 at, int64 extent, int64 padding_mode) {
    if (at >= 0 && at < extent) {
        return at;
    }
    int64 folded = -1;
    if (padding_mode == PAD_REFLECT) {
        folded = at < 0 ? -at : 2 * (extent - 1) - at;
    } else if (padding_mode == PAD_REPLICATE) {
        folded = std::clamp<int64>(at, 0, extent - 1);
    } else if (padding_mode == PAD_CIRCULAR) {
        folded = at < 0 ? at + extent : at - extent;
    }
    // A tile may reach past the last output: what it reads there no output uses.
    return folded >= 0 && folded < extent ? folded : -1;
}

// Products that one output sums.
inline int64 depth_of(const ConvProblem& problem) {
    return problem.c / problem.groups * volume(problem.kernel);
}

// The input index that output `out` meets at kernel position `tap` along an axis, or
// -1.
inline int64 input_index(const ConvProblem& problem, int axis, int64 out, int64 tap) {
    const int64 at = out * problem.stride[axis] + tap * problem.dilation[axis] -
                     problem.pad_before[axis];
    return folded_index(at, problem.input[axis], problem.padding_mode);
}

// One output pixel, walked in (m, p, q) order.
struct Pixel {
    int64 at[3];

    Pixel(const int64 (&output)[3], int64 flat)
        : at{flat / (output[1] * output[2]),
             flat / output[2] % output[1],
             flat % output[2]} {}

    void advance(const int64 (&output)[3]) {
        if (++at[2] == output[2]) {
            at[2] = 0;
            if (++at[1] == output[1]) {
                at[1] = 0;
                ++at[0];
            }
        }
    }

    int64 offset(const int64 (&pitch)[5]) const {
        return at[0] * pitch[2] + at[1] * pitch[3] + at[2] * pitch[4];
    }
};

} // namespace pyconv
