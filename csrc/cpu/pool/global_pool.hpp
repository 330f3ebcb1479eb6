// Windows as wide as the row, channels first: lines of several planes side by side.
//
// Of one plane the sum along the line is a chain of single elements. So the windows'
// rows of a vector's worth of planes are reduced first, each into its line; the lines,
// not the planes, are turned, and summed with channels in the lanes.
#pragma once

#include "core/memory.hpp"
#include "cpu/pool/parts.hpp"
#include "cpu/pool/rule.hpp"
#include "cpu/pool/window.hpp"

namespace pyconv {

inline bool pools_lines(const PoolProblem& problem, const IsaTable& isa) {
    return loads_masked(isa) && problem.output[2] == 1 && problem.c > 1 &&
           problem.return_indices == 0 &&
           (problem.x_pitch[4] == 1 || problem.input[2] == 1);
}

// Whose lines are turned together.
inline int64 channels_of_lines(const PoolProblem& problem, int64 lanes) {
    const int64 most = LINE_ELEMENTS / problem.input[2];
    const int64 fair = ceil_div(problem.c * problem.n, POOL_PARTS);
    const int64 wanted = std::min({problem.c, most, fair});
    return std::clamp<int64>(wanted / lanes, 1, POOL_PARTS) * lanes;
}

template <class T>
class GlobalPool {
  public:
    GlobalPool(const PoolPlan& plan, const PoolTensors& tensors, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          rule_(problem_, *plan.isa), x_(static_cast<const T*>(tensors.x)),
          y_(static_cast<T*>(tensors.y)), width_(window_of(problem_, 2, 0)),
          first_(width_.start + width_.first * problem_.dilation[2]),
          span_(std::max<int64>((width_.taps() - 1) * problem_.dilation[2] + 1, 0)),
          rows_(frame.take<const T*>(problem_.kernel[0] * problem_.kernel[1])),
          lines_(frame.take<T>(plan.channels * span_)),
          turned_(frame.take<T>(plan.channels * span_)),
          columns_(frame.take<const T*>(std::max<int64>(width_.taps(), 1))),
          result_(frame.take<T>(plan.channels)) {}

    // Channels [first, first + count) of sample n, no more than the plan's.
    void pool(int64 n, int64 first, int64 count) {
        for (int64 i = 0; i < width_.taps(); ++i) {
            columns_[i] = turned_ + i * problem_.dilation[2] * count;
        }
        for (int64 m = 0; m < problem_.output[0]; ++m) {
            for (int64 p = 0; p < problem_.output[1]; ++p) {
                pool_windows(n, first, count, m, p);
            }
        }
    }

  private:
    void pool_windows(int64 n, int64 first, int64 count, int64 m, int64 p) {
        const Window depth = window_of(problem_, 0, m);
        const Window height = window_of(problem_, 1, p);
        const int64 rows = depth.taps() * height.taps();
        if (rows > 0 && width_.taps() > 0) {
            const int64 plane = n * problem_.x_pitch[0] + first * problem_.x_pitch[1];
            list_rows(x_ + plane + first_, depth, height);
            reduce_planes(rows, count);
            kernels_.transpose(lines_, span_, count, span_, turned_, count);
            rule_.along(columns_, width_.taps(), result_, count);
        } else {
            std::fill(result_, result_ + count, rule_.nothing());
        }
        if (rule_.divides()) {
            const double divisor =
                divisor_of(problem_, depth.counted, height.counted, width_.counted);
            rule_.divide_all(result_, static_cast<T>(divisor), count);
        } else if (rule_.roots()) {
            rule_.root(result_, count);
        }
        T* y = y_ + n * problem_.y_pitch[0] + first * problem_.y_pitch[1] +
               m * problem_.y_pitch[2] + p * problem_.y_pitch[3];
        for (int64 c = 0; c < count; ++c) {
            y[c * problem_.y_pitch[1]] = result_[c];
        }
    }

    void reduce_planes(int64 rows, int64 count) {
        const int64 pitch = problem_.x_pitch[1];
        // A wide line's vectors are better done side by side.
        if (!takes_powers(problem_) && span_ <= 2 * kernels_.lanes) {
            kernels_.reduce_planes[rule_.reduction()](
                {.rows = rows_,
                 .count = rows,
                 .planes = count,
                 .plane_pitch = pitch,
                 .out = lines_,
                 .n = span_});
            return;
        }
        for (int64 c = 0; c < count; ++c) {
            rule_.down(rows_, rows, lines_ + c * span_, span_);
            for (int64 row = 0; row < rows; ++row) {
                rows_[row] += pitch;
            }
        }
    }

    void list_rows(const T* plane, const Window& depth, const Window& height) {
        int64 count = 0;
        for (int64 t = depth.first; t < depth.last; ++t) {
            const T* slice =
                plane + (depth.start + t * problem_.dilation[0]) * problem_.x_pitch[2];
            for (int64 r = height.first; r < height.last; ++r) {
                const int64 h = height.start + r * problem_.dilation[1];
                rows_[count++] = slice + h * problem_.x_pitch[3];
            }
        }
    }

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    PoolRule<T> rule_;
    const T* x_;
    T* y_;
    Window width_;
    int64 first_; // column of the window
    int64 span_;  // columns from there on
    const T** rows_;
    T* lines_;
    T* turned_;
    const T** columns_;
    T* result_;
};

} // namespace pyconv
