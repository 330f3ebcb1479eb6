// direct pooling: first down the rows of a window, then along them, in vectors.
//
// The idea: a maximum or a sum over a window splits into one over its rows and one over
// its columns. Down: the window's input rows are reduced element by element into one
// line that stays in L1. Along: for output q the columns q * stride + s * dilation of
// the line are reduced. Channels-last memory has channels in the lanes (lane_pool.hpp),
// channels-first memory outputs of a row: where windows are narrow, both steps in
// registers (picked_pool.hpp), else through the line (row_pool.hpp); where there is one
// to a row, the lines of several planes together (global_pool.hpp). Small planes of few
// columns of outputs, and adaptive ones, are turned channels-last in scratch, and the
// results back. All forms add in the same order.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"
#include "cpu/pool/global_pool.hpp"
#include "cpu/pool/lane_pool.hpp"
#include "cpu/pool/model.hpp"
#include "cpu/pool/parts.hpp"
#include "cpu/pool/picked_pool.hpp"
#include "cpu/pool/row_pool.hpp"

namespace pyconv {
namespace {

// The rows of a plane of outputs, in turn: without a division for each.
struct Rows {
    const PoolProblem& problem;
    int64 number;
    int64 m;
    int64 p;

    Rows(const PoolProblem& of, int64 at)
        : problem(of), number(at), m(at / of.output[1]), p(at % of.output[1]) {}

    void advance() {
        ++number;
        if (++p == problem.output[1]) {
            p = 0;
            ++m;
        }
    }
};

template <class T>
void run_rows(const PoolPlan& plan, const PoolTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const int64 rows = problem.output[0] * problem.output[1];
    const int64 planes = problem.n * problem.c;
    parallel_for(planes * rows, plan.parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        RowPool<T> pool(plan, tensors, frame);
        for (int64 plane = begin / rows; plane * rows < end; ++plane) {
            const int64 n = plane / problem.c;
            const int64 c = plane % problem.c;
            const int64 last = std::min(end - plane * rows, rows);
            Rows row(problem, std::max(begin - plane * rows, int64{0}));
            for (; row.number < last; row.advance()) {
                pool.pool(n, c, row.m, row.p);
            }
        }
    });
}

template <class T>
void run_picked(const PoolPlan& plan, const PoolTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const int64 rows = problem.output[0] * problem.output[1];
    const int64 planes = problem.n * problem.c;
    parallel_for(planes * rows, plan.parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        const PickedPool<T> pool(plan, tensors, frame);
        for (int64 plane = begin / rows; plane * rows < end; ++plane) {
            pool.pool(
                plane / problem.c,
                plane % problem.c,
                std::max(begin - plane * rows, int64{0}),
                std::min(end - plane * rows, rows));
        }
    });
}

template <class T>
void run_lanes(const PoolPlan& plan, const PoolTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const Parts parts{problem.c, plan.channels};
    const int64 rows = problem.output[0] * problem.output[1];
    const LanePitches pitch{problem.x_pitch[2], problem.x_pitch[3], problem.x_pitch[4]};
    const auto* x = static_cast<const T*>(tensors.x);
    auto* y = static_cast<T*>(tensors.y);
    // Rows [row, end) of one part of one sample's channels.
    const auto pool_rows =
        [&](LanePool<T>& pool, int64 n, int64 part, int64 row, int64 end) {
            for (Rows at_row(problem, row); at_row.number < end; at_row.advance()) {
                const int64 m = at_row.m;
                const int64 p = at_row.p;
                const int64 at = n * problem.y_pitch[0] + part * parts.each +
                                 m * problem.y_pitch[2] + p * problem.y_pitch[3];
                pool.pool(
                    x + n * problem.x_pitch[0] + part * parts.each,
                    pitch,
                    m,
                    p,
                    y + at,
                    tensors.indices == nullptr ? nullptr : tensors.indices + at,
                    problem.y_pitch[4]);
            }
        };
    // Samples, in each the parts of the channels, in each rows: what a thread reads
    // lies together, and stays in its cache from one call to the next.
    const auto body = [&](int64 begin, int64 end, int) {
        for (int64 unit = begin / rows; unit * rows < end;) {
            const int64 size = parts.size(unit % parts.count());
            ScratchFrame frame;
            LanePool<T> pool(plan, size, frame);
            // Parts of one size share the scratch.
            do {
                pool_rows(
                    pool,
                    unit / parts.count(),
                    unit % parts.count(),
                    std::max<int64>(begin - unit * rows, 0),
                    std::min(end - unit * rows, rows));
                ++unit;
            } while (unit * rows < end && parts.size(unit % parts.count()) == size);
        }
    };
    parallel_for(problem.n * parts.count() * rows, plan.parallel, body);
}

template <class T>
void run_lines(const PoolPlan& plan, const PoolTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const Parts parts{problem.c, plan.channels};
    const auto body = [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        GlobalPool<T> pool(plan, tensors, frame);
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 part = unit % parts.count();
            pool.pool(unit / parts.count(), part * parts.each, parts.size(part));
        }
    };
    parallel_for(problem.n * parts.count(), plan.parallel, body);
}

// One part of one sample's planes: turned into `turned`, pooled, and turned back.
template <class T>
class TurnedPool {
  public:
    TurnedPool(
        const PoolPlan& plan,
        const PoolTensors& tensors,
        int64 channels,
        ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          wide_(&plan.isa->f64), tensors_(tensors), channels_(channels),
          pool_(plan, channels, frame),
          turned_(frame.take<T>(volume(problem_.input) * channels)),
          result_(frame.take<T>(volume(problem_.output) * channels)),
          indices_(
              tensors.indices == nullptr
                  ? nullptr
                  : frame.take<int64>(volume(problem_.output) * channels)) {}

    void pool(int64 n, int64 first) {
        const auto* x = static_cast<const T*>(tensors_.x);
        const int64 pixels = volume(problem_.input);
        kernels_.transpose(
            x + n * problem_.x_pitch[0] + first * problem_.x_pitch[1],
            problem_.x_pitch[1],
            channels_,
            pixels,
            turned_,
            channels_);
        const LanePitches pitch{
            problem_.input[1] * problem_.input[2] * channels_,
            problem_.input[2] * channels_,
            channels_};
        const int64 row = problem_.output[2] * channels_;
        pool_.forget();
        for (int64 m = 0; m < problem_.output[0]; ++m) {
            for (int64 p = 0; p < problem_.output[1]; ++p) {
                const int64 at = (m * problem_.output[1] + p) * row;
                pool_.pool(
                    turned_,
                    pitch,
                    m,
                    p,
                    result_ + at,
                    indices_ == nullptr ? nullptr : indices_ + at,
                    channels_);
            }
        }
        turn_back(n * problem_.y_pitch[0] + first * problem_.y_pitch[1]);
    }

  private:
    void turn_back(int64 at) {
        const int64 pixels = volume(problem_.output);
        kernels_.transpose(
            result_,
            channels_,
            pixels,
            channels_,
            static_cast<T*>(tensors_.y) + at,
            problem_.y_pitch[1]);
        if (tensors_.indices == nullptr) {
            return;
        }
        // Moved, not computed with: as doubles they are eight bytes each.
        wide_->transpose(
            reinterpret_cast<const double*>(indices_),
            channels_,
            pixels,
            channels_,
            reinterpret_cast<double*>(tensors_.indices + at),
            problem_.y_pitch[1]);
    }

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    const Kernels<double>* wide_;
    const PoolTensors& tensors_;
    int64 channels_;
    LanePool<T> pool_;
    T* turned_;
    T* result_;
    int64* indices_;
};

template <class T>
void run_turned(const PoolPlan& plan, const PoolTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const Parts parts{problem.c, plan.channels};
    const auto body = [&](int64 begin, int64 end, int) {
        for (int64 part = begin; part < end;) {
            const int64 within = part % parts.count();
            const int64 size = parts.size(within);
            ScratchFrame frame;
            TurnedPool<T> pool(plan, tensors, size, frame);
            // Parts of one size share the scratch.
            do {
                pool.pool(part / parts.count(), part % parts.count() * parts.each);
                ++part;
            } while (part < end && parts.size(part % parts.count()) == size);
        }
    };
    parallel_for(problem.n * parts.count(), plan.parallel, body);
}

template <class T>
void run_as(const PoolPlan& plan, const PoolTensors& tensors) {
    switch (plan.form) {
    case PoolForm::LANES:
        return run_lanes<T>(plan, tensors);
    case PoolForm::TURNED:
        return run_turned<T>(plan, tensors);
    case PoolForm::PICKED:
        return run_picked<T>(plan, tensors);
    case PoolForm::LINES:
        return run_lines<T>(plan, tensors);
    default:
        return run_rows<T>(plan, tensors);
    }
}

void run(const PoolPlan& plan, const PoolTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const PoolProblem& problem) {
    // The lanes of an index are as wide as the values.
    if (problem.return_indices != 0 && problem.dtype == FLOAT32 &&
        volume(problem.input) > std::numeric_limits<int>::max()) {
        return "a plane has more elements than a 32-bit index counts";
    }
    return "";
}

PoolForm form_of(const PoolProblem& problem, const IsaTable& isa, const Machine& host) {
    if (!pool_channels_last(problem) && picks(problem, isa)) {
        return PoolForm::PICKED;
    }
    if (!pool_channels_last(problem) && pools_lines(problem, isa)) {
        return PoolForm::LINES;
    }
    return pool_form(problem, isa, host, problem.output[2]);
}

// Elements met going down the windows' rows, then along them.
double steps_of(const PoolProblem& problem) {
    const double outputs = pool_outputs(problem);
    const auto rows = static_cast<double>(problem.kernel[0] * problem.kernel[1]);
    const auto columns = static_cast<double>(problem.kernel[2]);
    if (problem.return_indices != 0) {
        return outputs * rows * columns;
    }
    const double shrink =
        static_cast<double>(problem.input[2]) / static_cast<double>(problem.output[2]);
    return outputs * (shrink * rows + columns);
}

// Of a vector's powers going down, and roots; the norms 1 and 2 have neither.
double power_cycles(const PoolProblem& problem) {
    if (!takes_powers(problem)) {
        return 0.0;
    }
    const double outputs = pool_outputs(problem);
    const double terms =
        steps_of(problem) - outputs * static_cast<double>(problem.kernel[2]);
    const bool multiplied = exponent_of(norm_of(problem)).halves != 0;
    return (multiplied ? 4.0 : POWER_CYCLES) * terms + POWER_CYCLES * outputs;
}

double cost_us(const PoolProblem& problem, const IsaTable& isa, const Machine& host) {
    const double lanes = lanes_of(problem, isa);
    // A load and a compare or an add a vector; a row costs its windows' arithmetic.
    const double rows = pool_outputs(problem) / static_cast<double>(problem.output[2]);
    const PoolForm form = form_of(problem, isa, host);
    const bool copied =
        form == PoolForm::ROWS && (gathers(problem) || scatters(problem));
    // In the lanes a row serves many channels at once.
    const double row_cycles = form == PoolForm::ROWS ? 60.0
                              : form == PoolForm::PICKED
                                  ? 20.0
                                  : 500.0 / static_cast<double>(problem.c);
    const double step_cycles = problem.return_indices != 0 ? 4.0 : 1.5;
    const double cycles = step_cycles * steps_of(problem) / lanes +
                          power_cycles(problem) / lanes + rows * row_cycles +
                          (copied ? 2.0 * steps_of(problem) : 0.0) + 200.0;
    return pool_us(problem, cycles, host);
}

Movement movement(const PoolProblem& problem, const IsaTable&, const Machine&) {
    return pool_movement(problem, steps_of(problem));
}

PoolPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const PoolAlgorithm pool_direct;
const PoolAlgorithm pool_direct{
    .name = "direct",
    .summary = "down the window's rows, then along them, in vectors",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

PoolPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine& host) {
    const PoolForm form = form_of(problem, isa, host);
    const bool by_row = form == PoolForm::ROWS || form == PoolForm::PICKED;
    int64 channels = 1;
    if (form == PoolForm::LINES) {
        channels = channels_of_lines(problem, lanes_of(problem, isa));
    } else if (!by_row) {
        channels = pool_channels(problem, form, isa, host);
    }
    const int64 line = problem.input[2] + problem.kernel[2] + problem.output[2];
    const int64 scratch =
        form == PoolForm::TURNED ? channel_bytes(problem) * channels
        : form == PoolForm::LINES
            ? 2 * channels * problem.input[2] * element_bytes(problem.dtype)
        : form == PoolForm::LANES ? LINE_ELEMENTS * element_bytes(problem.dtype)
                                  : 2 * line * element_bytes(problem.dtype);
    PoolPlan made = pool_plan(problem, pool_direct, isa, scratch);
    made.form = form;
    made.channels = channels;
    made.blocking = {{"channels", channels}};
    return made;
}

} // namespace
} // namespace pyconv
