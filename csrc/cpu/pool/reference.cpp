// reference pooling: every output looks at every element of its window.
//
// Any pitches, and the only one that returns indices: the place of the first maximum,
// or of the first NaN, as an offset d * H * W + h * W + w in the plane; -1 for a window
// of nothing but padding, whose maximum is -infinity. An average over nothing is 0.
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"
#include "cpu/pool/model.hpp"
#include "cpu/pool/window.hpp"

#include <limits>

namespace pyconv {
namespace {

template <class T>
struct Best {
    T value = -std::numeric_limits<T>::infinity();
    int64 index = -1;

    void meet(T next, int64 at) {
        // A first element always wins, even -infinity; a NaN wins and stays.
        if (index < 0 || next > value || (next != next && value == value)) {
            value = next;
            index = at;
        }
    }
};

template <class T>
struct Sum {
    T value = T(0);

    void meet(T next, int64) { value += next; }
};

// Feeds the window's elements to `seen`. A maximum meets them in plane order, so that
// the first one wins; a sum goes down each column first, in one chain, where the
// vectorised algorithm adds up columns that it summed apart.
template <class T, class Seen>
void look(
    const PoolProblem& problem,
    const T* plane,
    const Window (&window)[3],
    const int (&order)[3],
    Seen& seen) {
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
                seen.meet(
                    plane
                        [at[0] * problem.x_pitch[2] + at[1] * problem.x_pitch[3] +
                         at[2] * problem.x_pitch[4]],
                    (at[0] * problem.input[1] + at[1]) * problem.input[2] + at[2]);
            }
        }
    }
}

constexpr int ROWS_FIRST[3] = {0, 1, 2};
constexpr int COLUMNS_FIRST[3] = {2, 0, 1};

template <class T>
void run_as(const PoolPlan& plan, const PoolTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const auto* x = static_cast<const T*>(tensors.x);
    auto* y = static_cast<T*>(tensors.y);
    const int64 pixels = volume(problem.output);
    const auto planes = [&](int64 begin, int64 end, int) {
        for (int64 plane = begin; plane < end; ++plane) {
            const int64 n = plane / problem.c;
            const int64 c = plane % problem.c;
            const T* source = x + n * problem.x_pitch[0] + c * problem.x_pitch[1];
            const int64 start = n * problem.y_pitch[0] + c * problem.y_pitch[1];
            Pixel pixel(problem.output, 0);
            for (int64 i = 0; i < pixels; ++i, pixel.advance(problem.output)) {
                const Window window[3] = {
                    window_of(problem, 0, pixel.at[0]),
                    window_of(problem, 1, pixel.at[1]),
                    window_of(problem, 2, pixel.at[2])};
                const int64 at = start + pixel.offset(problem.y_pitch);
                if (problem.kind == POOL_MAX) {
                    Best<T> best;
                    look(problem, source, window, ROWS_FIRST, best);
                    y[at] = best.value;
                    if (tensors.indices != nullptr) {
                        tensors.indices[at] = best.index;
                    }
                } else {
                    Sum<T> sum;
                    look(problem, source, window, COLUMNS_FIRST, sum);
                    y[at] = sum.value / static_cast<T>(divisor_of(
                                            problem,
                                            window[0].counted,
                                            window[1].counted,
                                            window[2].counted));
                }
            }
        }
    };
    parallel_for(problem.n * problem.c, plan.parallel, planes);
}

void run(const PoolPlan& plan, const PoolTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const PoolProblem&) {
    return "";
}

double steps_of(const PoolProblem& problem) {
    return pool_outputs(problem) * static_cast<double>(volume(problem.kernel));
}

double cost_us(const PoolProblem& problem, const IsaTable&, const Machine& host) {
    // A comparison or addition waits for the last one; each window is found anew.
    return pool_us(
        problem, 4.0 * steps_of(problem) + 40.0 * pool_outputs(problem), host);
}

Movement movement(const PoolProblem& problem, const IsaTable&, const Machine&) {
    return pool_movement(problem, steps_of(problem));
}

PoolPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const PoolAlgorithm pool_reference;
const PoolAlgorithm pool_reference{
    .name = "reference",
    .summary = "every output looks at every element of its window",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

PoolPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine&) {
    return pool_plan(problem, pool_reference, isa, 0);
}

} // namespace
} // namespace pyconv
