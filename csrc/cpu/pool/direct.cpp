// direct pooling: first down the rows of a window, then along them, whole rows at a
// time.
//
// The idea: a maximum or a sum over a window splits into one over its rows and one over
// its columns. Down: the window's input rows are reduced element by element into one
// row that stays in L1 (in channels-last memory that row is W * C long). Along: for
// output q the columns q * stride + s * dilation are reduced. In channels-last memory
// they are runs of C; in channels-first memory the row is split into `stride` phases,
// in which consecutive outputs are neighbours, and one reduction makes the whole output
// row. Every step is one kernel, reduce_rows. Both memory orders add in the same order.
// Rows whose elements are not neighbours are gathered first, and scattered at the end.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"
#include "cpu/pool/model.hpp"
#include "cpu/pool/window.hpp"

#include <limits>

namespace pyconv {
namespace {

bool channels_last(const PoolProblem& problem) {
    return problem.x_pitch[1] == 1 && problem.y_pitch[1] == 1 &&
           (problem.input[2] == 1 || problem.x_pitch[4] == problem.c);
}

bool gathers(const PoolProblem& problem) {
    return problem.input[2] > 1 && problem.x_pitch[4] != 1;
}

bool scatters(const PoolProblem& problem) {
    return problem.output[2] > 1 && problem.y_pitch[4] != 1;
}

// Columns of input that a row of outputs reaches, from the first one's first on.
int64 reach(const PoolProblem& problem) {
    return (problem.output[2] - 1) * problem.stride[2] +
           (problem.kernel[2] - 1) * problem.dilation[2] + 1;
}

template <class T>
class RowPool {
  public:
    RowPool(const PoolPlan& plan, const PoolTensors& tensors, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          x_(static_cast<const T*>(tensors.x)), y_(static_cast<T*>(tensors.y)),
          reduce_(
              problem_.kind == POOL_MAX ? kernels_.reduce_max : kernels_.reduce_sum),
          nothing_(
              problem_.kind == POOL_MAX ? -std::numeric_limits<T>::infinity() : T(0)),
          rows_(frame.take<const T*>(problem_.kernel[0] * problem_.kernel[1])),
          columns_(frame.take<const T*>(problem_.kernel[2])),
          divisors_(frame.take<T>(problem_.output[2])) {
        const int64 stride = problem_.stride[2];
        const int64 row = reach(problem_);
        if (channels_last(problem_)) {
            line_ = frame.take<T>(problem_.input[2] * problem_.c);
            return;
        }
        line_ = frame.take<T>(row);
        if (gathers(problem_)) {
            gathered_ = frame.take<T>(
                problem_.kernel[0] * problem_.kernel[1] * problem_.input[2]);
        }
        if (scatters(problem_)) {
            result_ = frame.take<T>(problem_.output[2]);
        }
        if (stride > 1 && problem_.output[2] > 1) {
            phases_ = frame.take<T*>(stride);
            for (int64 phase = 0; phase < stride; ++phase) {
                phases_[phase] = frame.take<T>(ceil_div(row, stride));
            }
        }
    }

    // One output row of one sample, all channels.
    void pool_channels_last(int64 n, int64 m, int64 p) {
        const int64 count = aim(x_ + n * problem_.x_pitch[0], m, p);
        T* y = y_ + n * problem_.y_pitch[0] + m * problem_.y_pitch[2] +
               p * problem_.y_pitch[3];
        if (count > 0) {
            reduce_(rows_, count, line_, problem_.input[2] * problem_.c);
        }
        for (int64 q = 0; q < problem_.output[2]; ++q, y += problem_.y_pitch[4]) {
            const Window window = window_of(problem_, 2, q);
            const int64 taps = count > 0 ? window.last - window.first : 0;
            for (int64 i = 0; i < taps; ++i) {
                const int64 w =
                    window.start + (window.first + i) * problem_.dilation[2];
                columns_[i] = line_ + w * problem_.c;
            }
            if (taps > 0) {
                reduce_(columns_, taps, y, problem_.c);
            } else {
                std::fill(y, y + problem_.c, nothing_);
            }
            if (problem_.kind == POOL_AVERAGE) {
                const T divided_by = divisor(window.counted);
                for (int64 c = 0; c < problem_.c; ++c) {
                    y[c] /= divided_by;
                }
            }
        }
    }

    // One output row of one plane.
    void pool_channels_first(int64 n, int64 c, int64 m, int64 p) {
        const int64 count =
            aim(x_ + n * problem_.x_pitch[0] + c * problem_.x_pitch[1], m, p);
        T* home = y_ + n * problem_.y_pitch[0] + c * problem_.y_pitch[1] +
                  m * problem_.y_pitch[2] + p * problem_.y_pitch[3];
        T* y = result_ != nullptr ? result_ : home;
        const int64 outputs = problem_.output[2];
        if (gathered_ != nullptr) {
            gather(count);
        }
        if (count == 0) {
            std::fill(y, y + outputs, nothing_);
        } else {
            fill_line(count);
            place_columns();
            reduce_(columns_, problem_.kernel[2], y, outputs);
        }
        if (problem_.kind == POOL_AVERAGE) {
            for (int64 q = 0; q < outputs; ++q) {
                divisors_[q] = divisor(window_of(problem_, 2, q).counted);
            }
            kernels_.divide(y, divisors_, outputs);
        }
        if (result_ != nullptr) {
            for (int64 q = 0; q < outputs; ++q) {
                home[q * problem_.y_pitch[4]] = y[q];
            }
        }
    }

  private:
    // Lists the window's rows inside the plane; returns how many there are.
    int64 aim(const T* plane, int64 m, int64 p) {
        const Window depth = window_of(problem_, 0, m);
        const Window height = window_of(problem_, 1, p);
        counted_ = {depth.counted, height.counted};
        int64 count = 0;
        for (int64 t = depth.first; t < depth.last; ++t) {
            const int64 d = depth.start + t * problem_.dilation[0];
            for (int64 r = height.first; r < height.last; ++r) {
                const int64 h = height.start + r * problem_.dilation[1];
                rows_[count++] =
                    plane + d * problem_.x_pitch[2] + h * problem_.x_pitch[3];
            }
        }
        return count;
    }

    // Copies the listed rows side by side, and lists the copies.
    void gather(int64 count) {
        const int64 width = problem_.input[2];
        for (int64 row = 0; row < count; ++row) {
            T* copy = gathered_ + row * width;
            for (int64 w = 0; w < width; ++w) {
                copy[w] = rows_[row][w * problem_.x_pitch[4]];
            }
            rows_[row] = copy;
        }
    }

    // Reduces the rows into the line, with what is neutral on either side of it.
    void fill_line(int64 count) {
        const int64 length = reach(problem_);
        const int64 before = std::min(problem_.pad_before[2], length);
        const int64 inside = std::min(problem_.input[2], length - before);
        std::fill(line_, line_ + before, nothing_);
        if (inside > 0) {
            reduce_(rows_, count, line_ + before, inside);
        }
        std::fill(line_ + before + inside, line_ + length, nothing_);
    }

    // columns_[s][q] = line_[q * stride + s * dilation]
    void place_columns() {
        if (phases_ != nullptr) {
            kernels_.deinterleave(line_, reach(problem_), problem_.stride[2], phases_);
        }
        for (int64 s = 0; s < problem_.kernel[2]; ++s) {
            const int64 at = s * problem_.dilation[2];
            const int64 stride = problem_.stride[2];
            columns_[s] =
                phases_ != nullptr ? phases_[at % stride] + at / stride : line_ + at;
        }
    }

    T divisor(int64 width) const {
        return static_cast<T>(
            divisor_of(problem_, counted_.depth, counted_.height, width));
    }

    struct Counted {
        int64 depth;
        int64 height;
    };

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    const T* x_;
    T* y_;
    void (*reduce_)(const T* const*, int64, T*, int64);
    T nothing_;
    const T** rows_;
    const T** columns_;
    T* divisors_;
    T* line_ = nullptr;
    T** phases_ = nullptr;
    T* gathered_ = nullptr;
    T* result_ = nullptr;
    Counted counted_{};
};

template <class T>
void run_as(const PoolPlan& plan, const PoolTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const bool last = channels_last(problem);
    const int64 rows = problem.output[0] * problem.output[1];
    const int64 planes = problem.n * (last ? 1 : problem.c);
    parallel_for(planes * rows, plan.parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        RowPool<T> pool(plan, tensors, frame);
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 plane = unit / rows;
            const int64 m = unit % rows / problem.output[1];
            const int64 p = unit % problem.output[1];
            if (last) {
                pool.pool_channels_last(plane, m, p);
            } else {
                pool.pool_channels_first(plane / problem.c, plane % problem.c, m, p);
            }
        }
    });
}

void run(const PoolPlan& plan, const PoolTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const PoolProblem& problem) {
    if (problem.return_indices != 0) {
        return "it keeps no indices";
    }
    return "";
}

// Elements met going down the windows' rows, then along them.
double steps_of(const PoolProblem& problem) {
    const double outputs = pool_outputs(problem);
    const double shrink =
        static_cast<double>(problem.input[2]) / static_cast<double>(problem.output[2]);
    const double down =
        outputs * shrink * static_cast<double>(problem.kernel[0] * problem.kernel[1]);
    return down + outputs * static_cast<double>(problem.kernel[2]);
}

double cost_us(const PoolProblem& problem, const IsaTable& isa, const Machine& host) {
    const int lanes = problem.dtype == FLOAT32 ? isa.f32.lanes : isa.f64.lanes;
    // A load and a compare or an add a vector; a row costs its windows' arithmetic.
    const double rows = pool_outputs(problem) / static_cast<double>(problem.output[2]);
    const bool last = channels_last(problem);
    const bool copied = !last && (gathers(problem) || scatters(problem));
    // In channels-last memory a row serves all channels at once.
    const double row_cycles = last ? 500.0 / static_cast<double>(problem.c) : 60.0;
    const double cycles = 1.5 * steps_of(problem) / static_cast<double>(lanes) +
                          rows * row_cycles + (copied ? 2.0 * steps_of(problem) : 0.0) +
                          200.0;
    return pool_us(problem, cycles, host);
}

Movement movement(const PoolProblem& problem, const IsaTable&, const Machine&) {
    return pool_movement(problem, steps_of(problem));
}

PoolPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine&);

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

PoolPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine&) {
    const int64 line =
        channels_last(problem) ? problem.input[2] * problem.c : 2 * reach(problem);
    return pool_plan(problem, pool_direct, isa, line * element_bytes(problem.dtype));
}

} // namespace
} // namespace pyconv
