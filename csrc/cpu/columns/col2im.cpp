// col2im: columns are added back into the image that their windows were cut from.
//
// x[n, c, d, h, w] = the sum, over the windows and taps that meet it there, of y[n, (c,
// t, r, s), (m, p, q)]: torch's fold, the adjoint of im2col.
//
// The idea: a line of the image gathers its sums in scratch. A tap adds every element
// of one line of windows to elements a stride apart; for a stride of one, those of all
// taps of one column s are rows to be added. Always column by column, in each the taps
// in their order; threads share lines, never a sum.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/columns/inside.hpp"
#include "cpu/columns/model.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// The window that meets input index `at` of an axis at this tap, or -1.
int64 window_at(const ConvProblem& problem, int axis, int64 at, int64 tap) {
    const int64 apart = at + problem.pad_before[axis] - tap * problem.dilation[axis];
    if (apart < 0 || apart % problem.stride[axis] != 0) {
        return -1;
    }
    const int64 window = apart / problem.stride[axis];
    return window < problem.output[axis] ? window : -1;
}

template <class T>
class Gather {
  public:
    // `frame` keeps the sums of a line, which windows of one are inside, and where they
    // are.
    Gather(
        const ConvProblem& problem,
        const Kernels<T>& kernels,
        const UnaryTensors& tensors,
        ScratchFrame& frame)
        : problem_(problem), kernels_(kernels), y_(static_cast<const T*>(tensors.from)),
          x_(static_cast<T*>(tensors.to)),
          row_pitch_(problem.y_pitch[1] * volume(problem.kernel)),
          sums_(frame.take<T>(problem.input[2])),
          inside_(frame.take<Inside>(problem.kernel[2])),
          lines_(frame.take<const T*>(problem.kernel[0] * problem.kernel[1])),
          rows_(frame.take<const T*>(problem.kernel[0] * problem.kernel[1] + 1)) {
        for (int64 s = 0; s < problem.kernel[2]; ++s) {
            inside_[s] = inside(problem, 2, s);
        }
    }

    // Line (d, h) of channel c of sample n.
    void line(int64 n, int64 c, int64 d, int64 h) const {
        const int64 width = problem_.input[2];
        std::fill(sums_, sums_ + width, T(0));
        const int64 count = find(y_ + n * problem_.y_pitch[0] + c * row_pitch_, d, h);
        for (int64 s = 0; s < problem_.kernel[2]; ++s) {
            add(s, count);
        }
        T* to = x_ + n * problem_.x_pitch[0] + c * problem_.x_pitch[1] +
                d * problem_.x_pitch[2] + h * problem_.x_pitch[3];
        for (int64 w = 0; w < width; ++w) {
            to[w * problem_.x_pitch[4]] = sums_[w];
        }
    }

  private:
    // The lines of windows that meet this line of the image, at s = 0; how many.
    int64 find(const T* row, int64 d, int64 h) const {
        int64 count = 0;
        for (int64 t = 0; t < problem_.kernel[0]; ++t) {
            const int64 m = window_at(problem_, 0, d, t);
            for (int64 r = 0; r < problem_.kernel[1] && m >= 0; ++r) {
                const int64 p = window_at(problem_, 1, h, r);
                if (p >= 0) {
                    const int64 tap = (t * problem_.kernel[1] + r) * problem_.kernel[2];
                    lines_[count++] = row + tap * problem_.y_pitch[1] +
                                      m * problem_.y_pitch[2] + p * problem_.y_pitch[3];
                }
            }
        }
        return count;
    }

    // What they hold at tap column s.
    void add(int64 s, int64 count) const {
        const int64 step = problem_.y_pitch[4];
        const int64 stride = problem_.stride[2];
        const Inside within = inside_[s];
        const int64 windows = within.last - within.first;
        const int64 offset = s * problem_.y_pitch[1] + within.first * step;
        T* to = sums_ + within.index;
        if (windows == 0) {
            return;
        }
        if (step == 1 && stride == 1) {
            rows_[0] = to;
            for (int64 j = 0; j < count; ++j) {
                rows_[j + 1] = lines_[j] + offset;
            }
            kernels_.reduce[REDUCE_SUM](rows_, count + 1, to, windows);
            return;
        }
        for (int64 j = 0; j < count; ++j) {
            const T* from = lines_[j] + offset;
            for (int64 q = 0; q < windows; ++q) {
                to[q * stride] += from[q * step];
            }
        }
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    const T* y_;
    T* x_;
    int64 row_pitch_; // from a channel's first row to the next one's
    T* sums_;
    Inside* inside_;
    const T** lines_;
    const T** rows_; // of one sum
};

template <class T>
void run_as(
    const UnaryPlan& plan, const Kernels<T>& kernels, const UnaryTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const int64 depth = problem.input[0];
    const int64 height = problem.input[1];
    const auto body = [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        const Gather<T> gather(problem, kernels, tensors, frame);
        for (int64 line = begin; line < end; ++line) {
            const int64 plane = line / height / depth;
            gather.line(
                plane / problem.c,
                plane % problem.c,
                line / height % depth,
                line % height);
        }
    };
    parallel_for(problem.n * problem.c * depth * height, plan.parallel, body);
}

void run(const UnaryPlan& plan, const UnaryTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, plan.isa->f32, tensors);
    } else {
        run_as<double>(plan, plan.isa->f64, tensors);
    }
}

int64 columns(const ConvProblem& problem) {
    return problem.n * problem.k * volume(problem.output);
}

int64 image(const ConvProblem& problem) {
    return problem.n * problem.c * volume(problem.input);
}

std::string supports(const ConvProblem&) {
    return "";
}

double cost_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const bool rows = problem.stride[2] == 1 && problem.y_pitch[4] == 1;
    const double cycles =
        (rows ? 0.6 : 1.5) * column_elements(problem) + 2.0 * image_elements(problem);
    return columns_us(problem, cycles + 200.0, host);
}

Movement movement(const ConvProblem& problem, const IsaTable&, const Machine&) {
    return columns_movement(problem, column_elements(problem), 1.0);
}

UnaryPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const UnaryAlgorithm col2im_direct;
const UnaryAlgorithm col2im_direct{
    .operation = "col2im",
    .name = "direct",
    .summary = "every line of the image gathers from its windows, tap by tap",
    .from_elements = columns,
    .to_elements = image,
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

UnaryPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    return UnaryPlan{
        .problem = problem,
        .algorithm = &col2im_direct,
        .isa = &isa,
        .channels = 1,
        .lines = 1,
        .parallel = columns_parallel(problem),
        .blocking = {},
        .workspace_bytes = problem.input[2] * element_bytes(problem.dtype) +
                           problem.kernel[2] * static_cast<int64>(sizeof(Inside)) +
                           (2 * problem.kernel[0] * problem.kernel[1] + 1) *
                               static_cast<int64>(sizeof(void*)),
    };
}

} // namespace
} // namespace pyconv
