// direct gradient of pooling: what the windows that hold an element give is gathered.
//
// The idea: a mean's gradient is a pooling seen from below. The output rows whose
// windows hold a line of x are added up, each with its weight, and of that the columns;
// both are sums of whole rows, with channels in the lanes (lane_spread.hpp) or pixels
// (row_spread.hpp). The norm 2's is the same with grad / y going in and x multiplied at
// the end; of any other norm but 1 each element asks each of its windows for its share,
// (|x| / y)^(p - 1), whose parts alone could leave the range of numbers. A maximum's
// goes where its indices point (scatter.hpp).
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"
#include "cpu/pool/lane_spread.hpp"
#include "cpu/pool/model.hpp"
#include "cpu/pool/parts.hpp"
#include "cpu/pool/row_spread.hpp"
#include "cpu/pool/scatter.hpp"

namespace pyconv {
namespace {

bool by_indices(const PoolProblem& problem) {
    return problem.kind == POOL_MAX || problem.kind == POOL_UNPOOL;
}

// Every part walks all the pixels: of parts of half as many channels each takes as
// long.
constexpr int64 LEAST_SCATTERED = 128;

// That are scattered together: long stretches of memory, in enough parts to share.
int64 scattered_channels(const PoolProblem& problem, const IsaTable& isa) {
    if (!pool_channels_last(problem)) {
        return 1;
    }
    const int64 lanes = lanes_of(problem, isa);
    const int64 fair = ceil_div(problem.c * problem.n, POOL_PARTS);
    const int64 wanted = std::min(std::max(fair, LEAST_SCATTERED), problem.c);
    return ceil_div(wanted, lanes) * lanes;
}

template <class T>
void run_scatter(const PoolGradPlan& plan, const PoolGradTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const Parts parts{problem.c, plan.channels};
    const auto body = [&](int64 begin, int64 end, int) {
        Scatter<T> scatter(problem, tensors);
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 part = unit % parts.count();
            scatter.channels(unit / parts.count(), part * parts.each, parts.size(part));
        }
    };
    parallel_for(problem.n * parts.count(), plan.parallel, body);
}

template <class T>
void run_rows(const PoolGradPlan& plan, const PoolGradTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const int64 lines = problem.input[0] * problem.input[1];
    const auto body = [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        RowSpread<T> spread(plan, tensors, frame);
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 plane = unit / lines;
            const int64 line = unit % lines;
            spread.line(
                plane / problem.c,
                plane % problem.c,
                line / problem.input[1],
                line % problem.input[1]);
        }
    };
    parallel_for(problem.n * problem.c * lines, plan.parallel, body);
}

template <class T>
void run_lanes(const PoolGradPlan& plan, const PoolGradTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const Parts parts{problem.c, plan.channels};
    const int64 lines = problem.input[0] * problem.input[1];
    const int64 all = problem.n * lines;
    const LanePitches from{problem.y_pitch[2], problem.y_pitch[3], problem.y_pitch[4]};
    const auto* grad = static_cast<const T*>(tensors.grad);
    const auto* x = static_cast<const T*>(tensors.x);
    const auto* y = static_cast<const T*>(tensors.y);
    auto* dx = static_cast<T*>(tensors.dx);
    const auto spread_lines = [&](int64 part, int64 begin, int64 end) {
        ScratchFrame frame;
        LaneSpread<T> spread(plan, parts.size(part), frame);
        for (int64 line = begin; line < end; ++line) {
            const int64 n = line / lines;
            const int64 d = line % lines / problem.input[1];
            const int64 h = line % problem.input[1];
            const int64 source = n * problem.y_pitch[0] + part * parts.each;
            const int64 to = n * problem.x_pitch[0] + part * parts.each +
                             d * problem.x_pitch[2] + h * problem.x_pitch[3];
            spread.line(
                grad + source,
                x == nullptr ? nullptr : x + to,
                y == nullptr ? nullptr : y + source,
                from,
                d,
                h,
                dx + to,
                problem.x_pitch[4]);
        }
    };
    parallel_for(parts.count() * all, plan.parallel, [&](int64 begin, int64 end, int) {
        for (int64 part = begin / all; part * all < end; ++part) {
            spread_lines(
                part,
                std::max(begin, part * all) - part * all,
                std::min(end, (part + 1) * all) - part * all);
        }
    });
}

// One part of one sample's planes: turned, spread, and turned back.
template <class T>
class TurnedSpread {
  public:
    TurnedSpread(
        const PoolGradPlan& plan,
        const PoolGradTensors& tensors,
        int64 channels,
        ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)), tensors_(tensors),
          channels_(channels), spread_(plan, channels, frame),
          grad_(frame.take<T>(volume(problem_.output) * channels)),
          dx_(frame.take<T>(volume(problem_.input) * channels)) {
        if (problem_.kind == POOL_LP) {
            x_ = frame.take<T>(volume(problem_.input) * channels);
            y_ = frame.take<T>(volume(problem_.output) * channels);
        }
    }

    void spread(int64 n, int64 first) {
        const int64 pixels = volume(problem_.input);
        const int64 outputs = volume(problem_.output);
        turn(tensors_.grad, problem_.y_pitch, n, first, outputs, grad_);
        if (x_ != nullptr) {
            turn(tensors_.x, problem_.x_pitch, n, first, pixels, x_);
            turn(tensors_.y, problem_.y_pitch, n, first, outputs, y_);
        }
        const LanePitches from{
            problem_.output[1] * problem_.output[2] * channels_,
            problem_.output[2] * channels_,
            channels_};
        const int64 line = problem_.input[2] * channels_;
        for (int64 d = 0; d < problem_.input[0]; ++d) {
            for (int64 h = 0; h < problem_.input[1]; ++h) {
                const int64 at = (d * problem_.input[1] + h) * line;
                spread_.line(
                    grad_,
                    x_ == nullptr ? nullptr : x_ + at,
                    y_,
                    from,
                    d,
                    h,
                    dx_ + at,
                    channels_);
            }
        }
        kernels_.transpose(
            dx_,
            channels_,
            pixels,
            channels_,
            static_cast<T*>(tensors_.dx) + n * problem_.x_pitch[0] +
                first * problem_.x_pitch[1],
            problem_.x_pitch[1]);
    }

  private:
    void turn(
        const void* from,
        const int64 (&pitch)[5],
        int64 n,
        int64 first,
        int64 pixels,
        T* to) const {
        kernels_.transpose(
            static_cast<const T*>(from) + n * pitch[0] + first * pitch[1],
            pitch[1],
            channels_,
            pixels,
            to,
            channels_);
    }

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    const PoolGradTensors& tensors_;
    int64 channels_;
    LaneSpread<T> spread_;
    T* grad_;
    T* dx_;
    T* x_ = nullptr;
    T* y_ = nullptr;
};

template <class T>
void run_turned(const PoolGradPlan& plan, const PoolGradTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const Parts parts{problem.c, plan.channels};
    const auto body = [&](int64 begin, int64 end, int) {
        for (int64 unit = begin; unit < end;) {
            const int64 size = parts.size(unit % parts.count());
            ScratchFrame frame;
            TurnedSpread<T> spread(plan, tensors, size, frame);
            // Parts of one size share the scratch.
            do {
                spread.spread(unit / parts.count(), unit % parts.count() * parts.each);
                ++unit;
            } while (unit < end && parts.size(unit % parts.count()) == size);
        }
    };
    parallel_for(problem.n * parts.count(), plan.parallel, body);
}

template <class T>
void run_as(const PoolGradPlan& plan, const PoolGradTensors& tensors) {
    if (by_indices(plan.problem)) {
        return run_scatter<T>(plan, tensors);
    }
    switch (plan.form) {
    case PoolForm::LANES:
        return run_lanes<T>(plan, tensors);
    case PoolForm::TURNED:
        return run_turned<T>(plan, tensors);
    default:
        return run_rows<T>(plan, tensors);
    }
}

void run(const PoolGradPlan& plan, const PoolGradTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const PoolProblem& problem) {
    if (by_indices(problem)) {
        return "";
    }
    const bool along = (problem.x_pitch[4] == 1 || problem.input[2] == 1) &&
                       (problem.y_pitch[4] == 1 || problem.output[2] == 1);
    if (pool_channels_last(problem)) {
        return "";
    }
    if (!along) {
        return "neither the channels nor the pixels of a row are neighbours in memory";
    }
    const bool fits = dense_pixels(problem.input, problem.x_pitch) &&
                      dense_pixels(problem.output, problem.y_pitch) && problem.c > 1;
    return problem.adaptive != 0 && !fits ? "windows of several sizes need channels in "
                                            "the lanes"
                                          : "";
}

double steps_of(const PoolProblem& problem) {
    const double inputs = static_cast<double>(problem.n * problem.c) *
                          static_cast<double>(volume(problem.input));
    if (by_indices(problem)) {
        return inputs + pool_outputs(problem);
    }
    double windows = 1.0; // that hold an element
    for (int axis = 0; axis < 3; ++axis) {
        windows *= std::max(
            1.0,
            static_cast<double>(problem.kernel[axis] * problem.output[axis]) /
                static_cast<double>(problem.input[axis]));
    }
    return inputs * (1.0 + windows);
}

double cost_us(const PoolProblem& problem, const IsaTable& isa, const Machine& host) {
    if (by_indices(problem)) {
        return pool_us(problem, 3.0 * pool_outputs(problem) + 200.0, host);
    }
    const double lanes = lanes_of(problem, isa);
    const bool multiplied = exponent_of(norm_of(problem) - 1.0).halves != 0;
    const double step = !takes_powers(problem) ? 2.0 : multiplied ? 20.0 : POWER_CYCLES;
    return pool_us(problem, step * steps_of(problem) / lanes + 500.0, host);
}

Movement movement(const PoolProblem& problem, const IsaTable&, const Machine&) {
    return pool_movement(problem, steps_of(problem));
}

PoolGradPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const PoolGradAlgorithm pool_grad_direct;
const PoolGradAlgorithm pool_grad_direct{
    .name = "direct",
    .summary = "what the windows that hold an element give is gathered, in vectors",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

PoolGradPlan
plan(const PoolProblem& problem, const IsaTable& isa, const Machine& host) {
    const PoolForm form = problem.adaptive != 0 && !pool_channels_last(problem)
                              ? PoolForm::TURNED
                              : pool_form(problem, isa, host, problem.input[2]);
    const bool scatters = by_indices(problem);
    const int64 channels = scatters ? scattered_channels(problem, isa)
                           : form == PoolForm::ROWS
                               ? 1
                               : pool_channels(problem, form, isa, host);
    const int64 norm = problem.kind == POOL_LP ? 2 : 1;
    const int64 scratch = form == PoolForm::TURNED && !scatters
                              ? norm * channel_bytes(problem) * channels
                              : 0;
    return PoolGradPlan{
        .problem = problem,
        .algorithm = &pool_grad_direct,
        .isa = &isa,
        .form = form,
        .channels = channels,
        .parallel = pool_parallel(problem),
        .blocking = {{"channels", channels}},
        .workspace_bytes = scratch,
    };
}

} // namespace
} // namespace pyconv
