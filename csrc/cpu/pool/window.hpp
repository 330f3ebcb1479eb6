// The window of a pooling output along one axis, and what an average divides by.
#pragma once

#include "core/problem.hpp"

#include <algorithm>

namespace pyconv {

// Kernel positions [first, last) whose input index start + tap * dilation lies inside.
struct Window {
    int64 start;
    int64 first;
    int64 last;
    int64 counted; // positions an average counts: padding too, but not beyond it
};

inline Window window_of(const PoolProblem& problem, int axis, int64 out) {
    const int64 dilation = problem.dilation[axis];
    const int64 taps = problem.kernel[axis];
    const int64 extent = problem.input[axis];
    const int64 start = out * problem.stride[axis] - problem.pad_before[axis];
    // Positions before `limit`: ceil((limit - start) / dilation), at least 0.
    const auto below = [&](int64 limit) {
        const int64 span = limit - start;
        return span <= 0 ? 0 : std::min(taps, (span + dilation - 1) / dilation);
    };
    const int64 first = below(0);
    const int64 last = std::max(first, below(extent));
    const int64 counted = problem.count_include_pad != 0
                              ? below(extent + problem.pad_after[axis])
                              : last - first;
    return {start, first, last, counted};
}

// An empty window sums to 0; dividing it by 1 keeps it 0, as torch does.
inline double
divisor_of(const PoolProblem& problem, int64 depth, int64 height, int64 width) {
    const int64 count = problem.divisor_override != 0 ? problem.divisor_override
                                                      : depth * height * width;
    return static_cast<double>(std::max<int64>(count, 1));
}

} // namespace pyconv
