// The window of a pooling output, what an average divides by, and a walk through it.
#pragma once

#include "core/element.hpp"
#include "core/memory.hpp"
#include "core/problem.hpp"
#include "cpu/geometry.hpp"

#include <algorithm>
#include <limits>

namespace pyconv {

// Kernel positions [first, last) whose input index start + tap * dilation lies inside.
struct Window {
    int64 start;
    int64 first;
    int64 last;
    int64 counted; // positions an average counts: padding too, but not beyond it

    int64 taps() const { return last - first; }
};

inline Window window_of(const PoolProblem& problem, int axis, int64 out) {
    if (problem.adaptive != 0) {
        const int64 start = out * problem.input[axis] / problem.output[axis];
        const int64 end =
            ceil_div((out + 1) * problem.input[axis], problem.output[axis]);
        return {start, 0, end - start, end - start};
    }
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

// Of every output along an axis: a window costs divisions.
inline const Window*
windows_of(const PoolProblem& problem, int axis, ScratchFrame& frame) {
    auto* windows = frame.take<Window>(problem.output[axis]);
    for (int64 out = 0; out < problem.output[axis]; ++out) {
        windows[out] = window_of(problem, axis, out);
    }
    return windows;
}

// An empty window sums to 0; dividing it by 1 keeps it 0, as torch does.
inline double
divisor_of(const PoolProblem& problem, int64 depth, int64 height, int64 width) {
    const int64 count = problem.divisor_override != 0 ? problem.divisor_override
                                                      : depth * height * width;
    return static_cast<double>(std::max<int64>(count, 1));
}

// Calls visit(d, h, w) for every element of a window, `order` naming the axes from the
// outermost loop to the innermost.
template <class Visit>
void walk(
    const PoolProblem& problem,
    const Window (&window)[3],
    const int (&order)[3],
    const Visit& visit) {
    int64 at[3];
    const auto place = [&](int axis, int64 tap) {
        at[axis] = window[axis].start + tap * problem.dilation[axis];
    };
    const auto [outer, middle, inner] = order;
    for (int64 i = window[outer].first; i < window[outer].last; ++i) {
        place(outer, i);
        for (int64 j = window[middle].first; j < window[middle].last; ++j) {
            place(middle, j);
            for (int64 k = window[inner].first; k < window[inner].last; ++k) {
                place(inner, k);
                visit(at[0], at[1], at[2]);
            }
        }
    }
}

inline constexpr int ROWS_FIRST[3] = {0, 1, 2};
inline constexpr int COLUMNS_FIRST[3] = {2, 0, 1};

// An element's offset in its plane, as indices count it.
inline int64 plane_index(const PoolProblem& problem, int64 d, int64 h, int64 w) {
    return (d * problem.input[1] + h) * problem.input[2] + w;
}

// Of a window of nothing but padding: what is less than every number, and no index.
template <class T>
struct Best {
    T value = std::numeric_limits<T>::has_infinity
                  ? static_cast<T>(-std::numeric_limits<T>::infinity())
                  : std::numeric_limits<T>::lowest();
    int64 index = -1;
};

// The window's first maximum, or its first NaN.
template <class T>
auto best_of(const PoolProblem& problem, const T* plane, const Window (&window)[3]) {
    Best<decltype(number_of(T{}))> best;
    walk(problem, window, ROWS_FIRST, [&](int64 d, int64 h, int64 w) {
        const auto next = number_of(
            plane
                [d * problem.x_pitch[2] + h * problem.x_pitch[3] +
                 w * problem.x_pitch[4]]);
        // A first element always wins, even -infinity; a NaN wins and stays.
        if (best.index < 0 || next > best.value ||
            (next != next && best.value == best.value)) {
            best = {next, plane_index(problem, d, h, w)};
        }
    });
    return best;
}

} // namespace pyconv
