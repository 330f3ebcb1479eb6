// im2col: every window of an image becomes a column of a matrix.
//
// y[n, (c, t, r, s), (m, p, q)] = the element of x that window (m, p, q) meets at tap
// (t, r, s) of channel c, or zero in the padding: torch's unfold. In the problem y is
// the result of a convolution with c * taps filters, one for each row.
//
// The idea: along a line of windows the elements at one tap lie a stride apart, and
// along the channels of channels-last memory they are neighbours. The first are copied
// line by line, the second turned in registers; padding is the two ends of a line. A
// block of lines is finished for all taps while its part of the image is in cache.
//
// Elements are moved, never computed with: only their size matters.
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/columns/inside.hpp"
#include "cpu/columns/model.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Blocks that make two threads equally busy.
constexpr int64 PARTS = 8;
// Lines shorter than this are not worth an index computation for each channel.
constexpr int64 SHORT_LINE = 64;
constexpr int64 CACHE_LINE_BYTES = 64;

// Fewer channels than this are not worth turning.
constexpr int64 FEW_CHANNELS = 4;

bool turns(const ConvProblem& problem) {
    return problem.x_pitch[1] == 1 && problem.c >= FEW_CHANNELS;
}

// T stands for any type of its size.
template <class T>
class Copy {
  public:
    Copy(const UnaryPlan& plan, const Kernels<T>& kernels, const UnaryTensors& tensors)
        : problem_(plan.problem), kernels_(kernels),
          x_(static_cast<const T*>(tensors.from)), y_(static_cast<T*>(tensors.to)),
          row_pitch_(problem_.y_pitch[1] * volume(problem_.kernel)) {}

    // Channels [c, c + channels) of the windows in lines [first, last) of sample n.
    void block(int64 n, int64 c, int64 channels, int64 first, int64 last) const {
        const T* x = x_ + n * problem_.x_pitch[0] + c * problem_.x_pitch[1];
        T* row = y_ + n * problem_.y_pitch[0] + c * row_pitch_;
        int64 tap[3];
        for (tap[0] = 0; tap[0] < problem_.kernel[0]; ++tap[0]) {
            for (tap[1] = 0; tap[1] < problem_.kernel[1]; ++tap[1]) {
                for (tap[2] = 0; tap[2] < problem_.kernel[2]; ++tap[2]) {
                    lines(x, tap, channels, first, last, row);
                    row += problem_.y_pitch[1];
                }
            }
        }
    }

  private:
    void lines(
        const T* x,
        const int64 (&tap)[3],
        int64 channels,
        int64 first,
        int64 last,
        T* row) const {
        const Inside within = inside(problem_, 2, tap[2]);
        for (int64 line = first; line < last; ++line) {
            const int64 m = line / problem_.output[1];
            const int64 p = line % problem_.output[1];
            const int64 d = input_index(problem_, 0, m, tap[0]);
            const int64 h = input_index(problem_, 1, p, tap[1]);
            T* to = row + m * problem_.y_pitch[2] + p * problem_.y_pitch[3];
            if (d < 0 || h < 0) {
                clear(to, channels, 0, problem_.output[2]);
                continue;
            }
            clear(to, channels, 0, within.first);
            copy(
                x + d * problem_.x_pitch[2] + h * problem_.x_pitch[3] +
                    within.index * problem_.x_pitch[4],
                channels,
                within.last - within.first,
                to + within.first * problem_.y_pitch[4]);
            clear(to, channels, within.last, problem_.output[2]);
        }
    }

    void clear(T* to, int64 channels, int64 first, int64 last) const {
        const int64 step = problem_.y_pitch[4];
        for (int64 c = 0; first < last && c < channels; ++c, to += row_pitch_) {
            if (step == 1) {
                std::fill(to + first, to + last, T(0));
                continue;
            }
            for (int64 q = first; q < last; ++q) {
                to[q * step] = T(0);
            }
        }
    }

    void copy(const T* x, int64 channels, int64 count, T* to) const {
        const int64 from_step = problem_.stride[2] * problem_.x_pitch[4];
        const int64 to_step = problem_.y_pitch[4];
        if (count == 0) {
            return;
        }
        if (to_step != 1) {
            for (int64 c = 0; c < channels; ++c) {
                for (int64 q = 0; q < count; ++q) {
                    to[c * row_pitch_ + q * to_step] =
                        x[c * problem_.x_pitch[1] + q * from_step];
                }
            }
        } else if (turns(problem_)) {
            kernels_.transpose(x, from_step, count, channels, to, row_pitch_);
        } else {
            kernels_.copy_lines(
                CopyLines<T>{
                    .from = x,
                    .from_pitch = problem_.x_pitch[1],
                    .from_step = from_step,
                    .lines = channels,
                    .count = count,
                    .to = to,
                    .to_pitch = row_pitch_,
                });
        }
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    const T* x_;
    T* y_;
    int64 row_pitch_; // from a channel's first row to the next one's
};

// How channels and lines of windows are cut.
struct Blocks {
    int64 channels;
    int64 lines;
};

Blocks blocks_of(const ConvProblem& problem, const Machine& host) {
    const int64 bytes = element_bytes(problem.dtype);
    const bool together = turns(problem) || problem.output[2] < SHORT_LINE;
    const int64 channels = together ? std::min(problem.c, CACHE_LINE_BYTES / bytes) : 1;
    const int64 all = problem.output[0] * problem.output[1];
    const int64 line_bytes = channels * problem.input[2] * problem.stride[1] * bytes;
    const int64 cached = std::max<int64>(host.l2_bytes / 4 / line_bytes, 1);
    const int64 others = problem.n * ceil_div(problem.c, channels);
    const int64 fair = others < PARTS ? ceil_div(all * others, PARTS) : all;
    return {channels, std::min(cached, fair)};
}

template <class T>
void run_as(
    const UnaryPlan& plan, const Kernels<T>& kernels, const UnaryTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const Copy<T> copy(plan, kernels, tensors);
    const int64 all = problem.output[0] * problem.output[1];
    const int64 parts = ceil_div(problem.c, plan.channels);
    const int64 pieces = ceil_div(all, plan.lines);
    const auto body = [&](int64 begin, int64 end, int) {
        for (int64 item = begin; item < end; ++item) {
            const int64 first = item % pieces * plan.lines;
            const int64 c = item / pieces % parts * plan.channels;
            copy.block(
                item / pieces / parts,
                c,
                std::min(plan.channels, problem.c - c),
                first,
                std::min(first + plan.lines, all));
        }
    };
    parallel_for(problem.n * parts * pieces, plan.parallel, body);
}

void run(const UnaryPlan& plan, const UnaryTensors& tensors) {
    if (element_bytes(plan.problem.dtype) == 4) {
        run_as<float>(plan, plan.isa->f32, tensors);
    } else {
        run_as<double>(plan, plan.isa->f64, tensors);
    }
}

int64 image(const ConvProblem& problem) {
    return problem.n * problem.c * volume(problem.input);
}

int64 columns(const ConvProblem& problem) {
    return problem.n * problem.k * volume(problem.output);
}

std::string supports(const ConvProblem&) {
    return "";
}

double cost_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    // Measured, cycles an element: neighbours are copied by the vector and pay for the
    // writing past L1, others are copied one by one.
    const bool neighbours =
        turns(problem) || problem.stride[2] * problem.x_pitch[4] == 1;
    const double element = problem.y_pitch[4] == 1 && neighbours ? 0.6 : 1.5;
    return columns_us(problem, element * column_elements(problem) + 200.0, host);
}

Movement movement(const ConvProblem& problem, const IsaTable&, const Machine&) {
    return columns_movement(problem, 0.0, static_cast<double>(volume(problem.kernel)));
}

UnaryPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const UnaryAlgorithm im2col_direct;
const UnaryAlgorithm im2col_direct{
    .operation = "im2col",
    .name = "direct",
    .summary = "lines of windows copied whole, or turned where channels come last",
    .from_elements = image,
    .to_elements = columns,
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

UnaryPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const Blocks blocks = blocks_of(problem, host);
    return UnaryPlan{
        .problem = problem,
        .algorithm = &im2col_direct,
        .isa = &isa,
        .channels = blocks.channels,
        .lines = blocks.lines,
        .parallel = columns_parallel(problem),
        .blocking = {{"channels", blocks.channels}, {"lines", blocks.lines}},
        .workspace_bytes = 0,
    };
}

} // namespace
} // namespace pyconv
