// depthwise weight gradient: one channel a group, channels in the lanes.
//
// The idea: with one channel a group a tap's gradient is a sum over pixels of products
// of the same channel: no matrix product, whose panels would be nearly empty. A panel
// of channels of x, with its padding, and of grad is laid side by side in scratch, a
// band of lines at a time, from either memory order; the sums of a tap row stay in
// registers over the band (micro/lane_sums.hpp). Threads share the panels: each sum is
// one chain of multiply-adds over samples and pixels in order, as in `direct`.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Scratch of x that is filled at a time, and that tap rows pass over together.
constexpr int64 BAND_BYTES = int64{512} << 10;
constexpr int64 PASS_BYTES = int64{24} << 10;

struct LaneBlocking {
    int vectors;
    int64 width; // channels of a panel
    int64 panels;
    int64 columns; // of a line of x under all outputs, with padding
    int64 lines;   // of output, of a band
    int64 pass;    // of these, that a tap row passes over at a time

    LaneBlocking(const ConvProblem& problem, const IsaTable& isa)
        : vectors(problem.c <= lanes_of(problem, isa) ? 1 : 2),
          width(vectors * lanes_of(problem, isa)), panels(ceil_div(problem.c, width)),
          columns(reach(problem, 2, problem.output[2])), lines(0), pass(0) {
        const int64 line = columns * width * element_bytes(problem.dtype);
        const auto fitting = [&](int64 bytes) {
            const int64 room = bytes / line - reach(problem, 1, 1);
            return std::clamp<int64>(
                room / problem.stride[1] + 1, 1, problem.output[1]);
        };
        lines = fitting(BAND_BYTES / problem.kernel[0]);
        pass = fitting(PASS_BYTES);
    }

    // Elements of x along an axis that so many outputs meet.
    static int64 reach(const ConvProblem& problem, int axis, int64 outputs) {
        return (outputs - 1) * problem.stride[axis] +
               (problem.kernel[axis] - 1) * problem.dilation[axis] + 1;
    }
    int64 band_rows(const ConvProblem& problem) const {
        return reach(problem, 1, lines);
    }
    int64 x_elements(const ConvProblem& problem) const {
        return problem.kernel[0] * band_rows(problem) * columns * width;
    }
    int64 grad_elements(const ConvProblem& problem) const {
        return lines * problem.output[2] * width;
    }
};

template <class T>
class Depthwise {
  public:
    Depthwise(const WeightPlan& plan, const WeightTensors& tensors)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          cut_(problem_, *plan.isa), x_(static_cast<const T*>(tensors.x)),
          grad_(static_cast<const T*>(tensors.grad)),
          weight_(static_cast<T*>(tensors.weight)) {}

    void run(bool parallel) const {
        parallel_for(cut_.panels, parallel, [&](int64 begin, int64 end, int) {
            ScratchFrame frame;
            T* x = frame.take<T>(cut_.x_elements(problem_));
            T* grad = frame.take<T>(cut_.grad_elements(problem_));
            T* sums = frame.take<T>(volume(problem_.kernel) * cut_.width);
            // Lanes behind the last channel are summed up too, and dropped.
            std::fill(x, x + cut_.x_elements(problem_), T(0));
            std::fill(grad, grad + cut_.grad_elements(problem_), T(0));
            for (int64 panel = begin; panel < end; ++panel) {
                add_panel(panel, x, grad, sums);
                store(panel, sums);
            }
        });
    }

  private:
    // Output lines of one plane of one sample.
    struct Band {
        int64 n;
        int64 m;
        int64 first;
        int64 lines;
    };

    void add_panel(int64 panel, T* x, T* grad, T* sums) const {
        std::fill(sums, sums + volume(problem_.kernel) * cut_.width, T(0));
        for (int64 n = 0; n < problem_.n; ++n) {
            for (int64 m = 0; m < problem_.output[0]; ++m) {
                for (int64 p = 0; p < problem_.output[1]; p += cut_.lines) {
                    const Band band{
                        n, m, p, std::min(cut_.lines, problem_.output[1] - p)};
                    fill_x(band, panel, x);
                    const Grad seen = grad_of(band, panel, grad);
                    for (int64 at = 0; at < band.lines; at += cut_.pass) {
                        add_lines(
                            at, std::min(cut_.pass, band.lines - at), x, seen, sums);
                    }
                }
            }
        }
    }

    int64 channels_of(int64 panel) const {
        return std::min(cut_.width, problem_.c - panel * cut_.width);
    }

    // A row of pixels of one panel, channels side by side.
    void
    lay(const T* from,
        int64 channel_pitch,
        int64 pixel_pitch,
        int64 channels,
        int64 pixels,
        T* to) const {
        if (pixel_pitch == 1 && channel_pitch != 1) {
            kernels_.transpose(from, channel_pitch, channels, pixels, to, cut_.width);
            return;
        }
        kernels_.copy_lines(
            {.from = from,
             .from_pitch = pixel_pitch,
             .from_step = channel_pitch,
             .lines = pixels,
             .count = channels,
             .to = to,
             .to_pitch = cut_.width});
    }

    // The rows of x under a band for every tap along the depth: zeros in the padding.
    void fill_x(const Band& band, int64 panel, T* x) const {
        const int64(&pitch)[5] = problem_.x_pitch;
        const T* from = x_ + band.n * pitch[0] + panel * cut_.width * pitch[1];
        const int64 rows = cut_.band_rows(problem_);
        const int64 line = cut_.columns * cut_.width;
        const int64 before = std::min(problem_.pad_before[2], cut_.columns);
        const int64 inside = std::clamp<int64>(
            cut_.columns - problem_.pad_before[2], 0, problem_.input[2]);
        for (int64 t = 0; t < problem_.kernel[0]; ++t) {
            const int64 d = band.m * problem_.stride[0] + t * problem_.dilation[0] -
                            problem_.pad_before[0];
            for (int64 row = 0; row < LaneBlocking::reach(problem_, 1, band.lines);
                 ++row) {
                const int64 h =
                    band.first * problem_.stride[1] + row - problem_.pad_before[1];
                T* to = x + (t * rows + row) * line;
                if (d < 0 || d >= problem_.input[0] || h < 0 ||
                    h >= problem_.input[1] || inside == 0) {
                    std::fill(to, to + line, T(0));
                    continue;
                }
                std::fill(to, to + before * cut_.width, T(0));
                lay(from + d * pitch[2] + h * pitch[3],
                    pitch[1],
                    pitch[4],
                    channels_of(panel),
                    inside,
                    to + before * cut_.width);
                std::fill(to + (before + inside) * cut_.width, to + line, T(0));
            }
        }
    }

    // A band of grad as the sums read it.
    struct Grad {
        const T* first;
        int64 line_pitch;
        int64 pixel_pitch;
    };

    // Lays it out in `room`, or finds it where it lies.
    Grad grad_of(const Band& band, int64 panel, T* room) const {
        const int64(&pitch)[5] = problem_.y_pitch;
        const T* from = grad_ + band.n * pitch[0] + panel * cut_.width * pitch[1] +
                        band.m * pitch[2] + band.first * pitch[3];
        const int64 channels = channels_of(panel);
        if (pitch[1] == 1 && channels == cut_.width) {
            return {from, pitch[3], pitch[4]};
        }
        const int64 line = problem_.output[2] * cut_.width;
        for (int64 row = 0; row < band.lines; ++row) {
            lay(from + row * pitch[3],
                pitch[1],
                pitch[4],
                channels,
                problem_.output[2],
                room + row * line);
        }
        return {room, line, cut_.width};
    }

    // Adds output lines [first, first + lines) of a band to the sums of every tap.
    void
    add_lines(int64 first, int64 lines, const T* x, const Grad& grad, T* sums) const {
        const int64 line = cut_.columns * cut_.width;
        const int64 step = problem_.dilation[2] * cut_.width;
        for (int64 t = 0; t < problem_.kernel[0]; ++t) {
            for (int64 r = 0; r < problem_.kernel[1]; ++r) {
                const T* from =
                    x + (t * cut_.band_rows(problem_) + first * problem_.stride[1] +
                         r * problem_.dilation[1]) *
                            line;
                T* to = sums +
                        (t * problem_.kernel[1] + r) * problem_.kernel[2] * cut_.width;
                for (int64 s = 0; s < problem_.kernel[2]; s += MAX_SUM_TAPS) {
                    const int64 taps =
                        std::min<int64>(MAX_SUM_TAPS, problem_.kernel[2] - s);
                    kernels_.lane_sums[cut_.vectors - 1][taps - 1](
                        {.x = from + s * step,
                         .x_line = problem_.stride[1] * line,
                         .x_step = problem_.stride[2] * cut_.width,
                         .tap_pitch = step,
                         .grad = grad.first + first * grad.line_pitch,
                         .grad_line = grad.line_pitch,
                         .grad_step = grad.pixel_pitch,
                         .lines = lines,
                         .pixels = problem_.output[2],
                         .sums = to + s * cut_.width,
                         .sum_pitch = cut_.width});
                }
            }
        }
    }

    void store(int64 panel, const T* sums) const {
        Pixel tap(problem_.kernel, 0);
        for (int64 i = 0; i < volume(problem_.kernel);
             ++i, tap.advance(problem_.kernel)) {
            T* to = weight_ + panel * cut_.width * problem_.w_pitch[0] +
                    tap.offset(problem_.w_pitch);
            for (int64 c = 0; c < channels_of(panel); ++c) {
                to[c * problem_.w_pitch[0]] = sums[i * cut_.width + c];
            }
        }
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    LaneBlocking cut_;
    const T* x_;
    const T* grad_;
    T* weight_;
};

void run(const WeightPlan& plan, const WeightTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        Depthwise<float>(plan, tensors).run(plan.parallel);
    } else {
        Depthwise<double>(plan, tensors).run(plan.parallel);
    }
}

std::string supports(const ConvProblem& problem) {
    return problem.c == problem.groups && problem.k == problem.groups
               ? ""
               : "groups of one channel and one filter only";
}

// Cycles: a load for every multiply-add of a vector, two a cycle, empty lanes as if
// they were full; both operands are laid out once.
double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const LaneBlocking cut(problem, isa);
    const auto lanes = static_cast<double>(lanes_of(problem, isa));
    const auto channels = static_cast<double>(cut.panels * cut.width);
    const double pixels =
        static_cast<double>(problem.n * volume(problem.output)) * channels / lanes;
    const double x =
        static_cast<double>(problem.n * volume(problem.input)) * channels / lanes;
    const double laid = problem.x_pitch[1] == 1 ? 3.0 : 8.0;
    return shared_us(
        pixels * (0.75 * static_cast<double>(volume(problem.kernel)) + laid) +
            x * laid + 1000.0,
        problem,
        host);
}

Movement movement(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double x = bytes_of_x(problem);
    const double y = bytes_of_y(problem);
    const double all = x + y + bytes_of_weight(problem);
    // Laid out both are written and read once more, x once for every tap row.
    const auto rows = static_cast<double>(problem.kernel[0] * problem.kernel[1]);
    return layered(
        2.0 * products_of(problem), (2.0 + rows) * x + 3.0 * y, all, all, all, host);
}

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const WeightAlgorithm weight_depthwise;
const WeightAlgorithm weight_depthwise{
    .name = "depthwise",
    .summary = "one channel a group: sums over pixels, channels in the lanes",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    const LaneBlocking cut(problem, isa);
    return WeightPlan{
        .problem = problem,
        .algorithm = &weight_depthwise,
        .isa = &isa,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking = {{"nr", cut.width}, {"lines", cut.lines}, {"pass", cut.pass}},
        .workspace_bytes = (cut.x_elements(problem) + cut.grad_elements(problem) +
                            volume(problem.kernel) * cut.width) *
                           element_bytes(problem.dtype),
    };
}

} // namespace
} // namespace pyconv
