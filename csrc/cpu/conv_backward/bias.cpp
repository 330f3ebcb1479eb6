// The gradient of a bias: the sum of each filter's pixels over a batch.
//
// The idea: pixel j of the batch, counted sample by sample and row by row, belongs to
// partial sum j mod 64, whose terms are added in order; at the end the sums are
// halved onto each other. Sixty-four neighbouring pixels are a row of elements, those
// of one filter where channels come first, those of all filters where they come last:
// either way rows are added, whole vectors at a time, and every sum has one order,
// whatever the memory's or the number of threads.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv_backward/bias_small.hpp"
#include "cpu/geometry.hpp"

#include <algorithm>
#include <cstring>

namespace pyconv {
namespace {

constexpr int64 ROWS = 64; // that are added at a time
// Pixels gathered where they are no neighbours: a part of an L1.
constexpr int64 GATHERED = PARTIALS * 16;
// Columns of a row that are shared among threads together, and summed together.
constexpr int64 SHARED_COLUMNS = 64;
constexpr int64 MOST_COLUMNS = 1024;
template <class T>
using Reduce = void (*)(const T* const* rows, int64 count, T* out, int64 n);

// sums[i] += the rows' elements i, `pitch` apart from row to row.
template <class T>
void add_rows(
    Reduce<T> reduce, const T* from, int64 pitch, int64 count, T* sums, int64 width) {
    const T* rows[ROWS + 1];
    rows[0] = sums;
    for (int64 done = 0; done < count; done += ROWS) {
        const int64 together = std::min(ROWS, count - done);
        for (int64 j = 0; j < together; ++j) {
            rows[j + 1] = from + (done + j) * pitch;
        }
        reduce(rows, together + 1, sums, width);
    }
}

// The partial sums of one filter, fed stretch by stretch.
template <class T>
class FilterSum {
  public:
    FilterSum(Reduce<T> reduce, ScratchFrame& frame)
        : reduce_(reduce), sums_(frame.take<T>(PARTIALS)),
          gathered_(frame.take<T>(GATHERED)) {
        std::fill(sums_, sums_ + PARTIALS, T(0));
    }

    // `count` pixels, `step` apart.
    void add(const T* pixels, int64 step, int64 count) {
        if (step == 1 && waiting_ == 0) {
            const int64 rows = count / PARTIALS;
            add_rows(reduce_, pixels, PARTIALS, rows, sums_, PARTIALS);
            pixels += rows * PARTIALS;
            count -= rows * PARTIALS;
        }
        while (count > 0) {
            const int64 fitting = std::min(count, GATHERED - waiting_);
            T* to = gathered_ + waiting_;
            if (step == 1) {
                std::memcpy(to, pixels, static_cast<std::size_t>(fitting) * sizeof(T));
            } else {
                for (int64 i = 0; i < fitting; ++i) {
                    to[i] = pixels[i * step];
                }
            }
            pixels += fitting * step;
            count -= fitting;
            waiting_ += fitting;
            if (waiting_ == GATHERED) {
                add_gathered();
            }
        }
    }

    T total() {
        add_gathered();
        halve(sums_, 1);
        return sums_[0];
    }

  private:
    void add_gathered() {
        const int64 rows = waiting_ / PARTIALS;
        add_rows(reduce_, gathered_, PARTIALS, rows, sums_, PARTIALS);
        const int64 rest = waiting_ % PARTIALS;
        if (rest > 0) {
            add_rows(reduce_, gathered_ + rows * PARTIALS, PARTIALS, 1, sums_, rest);
        }
        waiting_ = 0;
    }

    Reduce<T> reduce_;
    T* sums_;
    T* gathered_;
    int64 waiting_ = 0;
};

template <class T>
T filter_sum(const ConvProblem& problem, Reduce<T> reduce, const T* grad) {
    ScratchFrame frame;
    FilterSum<T> sum(reduce, frame);
    const bool whole = dense(problem);
    const int64 lines = problem.output[0] * problem.output[1];
    for (int64 n = 0; n < problem.n; ++n) {
        const T* plane = grad + n * problem.y_pitch[0];
        if (whole) {
            sum.add(plane, 1, volume(problem.output));
            continue;
        }
        for (int64 line = 0; line < lines; ++line) {
            sum.add(
                plane + line / problem.output[1] * problem.y_pitch[2] +
                    line % problem.output[1] * problem.y_pitch[3],
                problem.y_pitch[4],
                problem.output[2]);
        }
    }
    return sum.total();
}

// All filters, sixty-four pixels of them in a row. Threads share the row's columns.
template <class T>
void sum_rows(const UnaryPlan& plan, Reduce<T> reduce, const T* grad, T* bias) {
    const ConvProblem& problem = plan.problem;
    const int64 width = PARTIALS * problem.k;
    const int64 pixels = problem.n * volume(problem.output);
    const int64 rows = pixels / PARTIALS;
    const int64 rest = pixels % PARTIALS * problem.k;
    ScratchFrame frame;
    T* sums = frame.take<T>(width);
    const auto body = [&](int64 begin, int64 end, int) {
        const int64 last = std::min(end * SHARED_COLUMNS, width);
        for (int64 at = begin * SHARED_COLUMNS; at < last; at += MOST_COLUMNS) {
            const int64 columns = std::min(MOST_COLUMNS, last - at);
            std::fill(sums + at, sums + at + columns, T(0));
            add_rows(reduce, grad + at, width, rows, sums + at, columns);
            if (at < rest) {
                const T* from = grad + rows * width + at;
                add_rows(
                    reduce, from, width, 1, sums + at, std::min(columns, rest - at));
            }
        }
    };
    parallel_for(ceil_div(width, SHARED_COLUMNS), plan.parallel, body);
    halve(sums, problem.k);
    for (int64 k = 0; k < problem.k; ++k) {
        bias[k * problem.w_pitch[0]] = sums[k];
    }
}

template <class T>
void run_as(
    const UnaryPlan& plan, const Kernels<T>& kernels, const UnaryTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const Reduce<T> reduce = kernels.reduce[REDUCE_SUM];
    const auto* grad = static_cast<const T*>(tensors.from);
    auto* bias = static_cast<T*>(tensors.to);
    if (few(problem)) {
        const auto body = [&](int64 begin, int64 end, int) {
            for (int64 block = begin; block < end; ++block) {
                const int64 first = block * FEW_FILTERS;
                const int64 count = std::min(FEW_FILTERS, problem.k - first);
                sum_few(problem, kernels, grad, first, count, bias);
            }
        };
        parallel_for(ceil_div(problem.k, FEW_FILTERS), plan.parallel, body);
        return;
    }
    if (flat_channels_last(problem)) {
        sum_rows(plan, reduce, grad, bias);
        return;
    }
    if (small(problem)) {
        const auto body = [&](int64 begin, int64 end, int) {
            for (int64 block = begin; block < end; ++block) {
                const int64 first = block * TURNED_FILTERS;
                const int64 count = std::min(TURNED_FILTERS, problem.k - first);
                sum_turned(problem, kernels, grad, first, count, bias);
            }
        };
        parallel_for(ceil_div(problem.k, TURNED_FILTERS), plan.parallel, body);
        return;
    }
    const auto body = [&](int64 begin, int64 end, int) {
        for (int64 k = begin; k < end; ++k) {
            bias[k * problem.w_pitch[0]] =
                filter_sum(problem, reduce, grad + k * problem.y_pitch[1]);
        }
    };
    parallel_for(problem.k, plan.parallel, body);
}

void run(const UnaryPlan& plan, const UnaryTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, plan.isa->f32, tensors);
    } else {
        run_as<double>(plan, plan.isa->f64, tensors);
    }
}

int64 pixels(const ConvProblem& problem) {
    return problem.n * problem.k * volume(problem.output);
}

int64 filters(const ConvProblem& problem) {
    return problem.k;
}

std::string supports(const ConvProblem&) {
    return "";
}

bool parallel(const ConvProblem& problem) {
    return bytes_of_y(problem) > 256e3;
}

double cost_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const bool rows = flat_channels_last(problem) || dense(problem);
    const bool turned = !flat_channels_last(problem) && small(problem);
    const double cycles = (turned ? 0.6
                           : rows ? 0.2
                                  : 1.0) *
                              outputs_of(problem) +
                          200.0;
    const double alone = cycles / (NOMINAL_GHZ * 1e3);
    return parallel(problem) ? alone / static_cast<double>(host.cores) + FORK_JOIN_US
                             : alone;
}

Movement movement(const ConvProblem& problem, const IsaTable&, const Machine&) {
    const double bytes = bytes_of_y(problem) + bytes_of_weight(problem);
    return {
        .flops = outputs_of(problem),
        .l1_bytes = bytes,
        .l2_bytes = bytes,
        .dram_bytes = bytes};
}

UnaryPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const UnaryAlgorithm bias_direct;
const UnaryAlgorithm bias_direct{
    .operation = "conv_bias",
    .name = "direct",
    .summary =
        "sixty-four partial sums a filter, to which rows of so many pixels are added",
    .from_elements = pixels,
    .to_elements = filters,
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

UnaryPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    int64 filters = 1;
    int64 scratch = PARTIALS + GATHERED;
    if (few(problem)) {
        const bool turned = !flat_channels_last(problem);
        filters = FEW_FILTERS;
        scratch = FEW_FILTERS *
                  (1 + (turned ? problem.n * volume(problem.output) : int64{0}));
    } else if (flat_channels_last(problem)) {
        filters = problem.k;
        scratch = PARTIALS * problem.k;
    } else if (small(problem)) {
        filters = TURNED_FILTERS;
        scratch = (PARTIALS + TURNED_PIXELS) * TURNED_FILTERS;
    }
    return UnaryPlan{
        .problem = problem,
        .algorithm = &bias_direct,
        .isa = &isa,
        .channels = 1,
        .lines = 1,
        .parallel = parallel(problem),
        .blocking = {{"partial_sums", PARTIALS}, {"filters", filters}},
        .workspace_bytes = element_bytes(problem.dtype) * scratch,
    };
}

} // namespace
} // namespace pyconv
