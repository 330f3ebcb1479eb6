// Where windows lie inside their input, along one axis.
//
// The idea: of the windows along an axis, those that meet the input at a given tap are
// neighbours, so that a loop over them needs no test for padding.
#pragma once

#include "cpu/geometry.hpp"

#include <algorithm>

namespace pyconv {

// Windows [first, last) meet the input at this tap, the first of them at `index`.
struct Inside {
    int64 first;
    int64 last;
    int64 index;
};

inline Inside inside(const ConvProblem& problem, int axis, int64 tap) {
    const int64 stride = problem.stride[axis];
    const int64 start = tap * problem.dilation[axis] - problem.pad_before[axis];
    const int64 first =
        std::min(start < 0 ? ceil_div(-start, stride) : 0, problem.output[axis]);
    const int64 room = problem.input[axis] - start;
    const int64 last =
        room > 0 ? std::min(ceil_div(room, stride), problem.output[axis]) : 0;
    return {first, std::max(first, last), first * stride + start};
}

} // namespace pyconv
