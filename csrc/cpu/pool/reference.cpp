// reference pooling: every output looks at every element of its window.
//
// Any pitches and any norm. Indices are the place of the first maximum, or of the first
// NaN, as an offset d * H * W + h * W + w in the plane; -1 for a window of nothing but
// padding, whose maximum is -infinity. An average or a norm of nothing is 0.
#include "core/element.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"
#include "cpu/pool/model.hpp"
#include "cpu/pool/rule.hpp"
#include "cpu/pool/window.hpp"

#include <cmath>
#include <type_traits>

namespace pyconv {
namespace {

// One output of one plane, that is not a maximum. The window is walked down its columns
// in one chain, where the vectorised algorithm adds up columns that it summed apart.
template <class T>
class Reduced {
  public:
    explicit Reduced(const PoolProblem& problem)
        : problem_(problem),
          norm_(problem.kind == POOL_LP ? static_cast<T>(norm_of(problem)) : T(0)) {}

    template <class Stored>
    T of(const Stored* plane, const Window (&window)[3]) const {
        T sum = T(0);
        walk(problem_, window, COLUMNS_FIRST, [&](int64 d, int64 h, int64 w) {
            sum += term(number_of(
                plane
                    [d * problem_.x_pitch[2] + h * problem_.x_pitch[3] +
                     w * problem_.x_pitch[4]]));
        });
        if (problem_.kind == POOL_AVERAGE) {
            return sum / static_cast<T>(divisor_of(
                             problem_,
                             window[0].counted,
                             window[1].counted,
                             window[2].counted));
        }
        return root(sum);
    }

  private:
    T term(T value) const {
        if (problem_.kind == POOL_AVERAGE) {
            return value;
        }
        if (norm_ == T(2)) {
            return value * value;
        }
        const T size = std::abs(value);
        return norm_ == T(1) ? size : std::pow(size, norm_);
    }

    T root(T sum) const {
        if (norm_ == T(2)) {
            return std::sqrt(sum);
        }
        return norm_ == T(1) ? sum : std::pow(sum, T(1) / norm_);
    }

    const PoolProblem& problem_;
    T norm_;
};

template <class T>
void run_as(const PoolPlan& plan, const PoolTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const auto* x = static_cast<const T*>(tensors.x);
    auto* y = static_cast<T*>(tensors.y);
    const int64 pixels = volume(problem.output);
    using Number = decltype(number_of(T{}));
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
                if constexpr (std::is_floating_point_v<Number>) {
                    if (problem.kind != POOL_MAX) {
                        const Reduced<Number> reduced(problem);
                        y[at] = result_of<T>(reduced.of(source, window));
                        continue;
                    }
                }
                const auto best = best_of(problem, source, window);
                y[at] = result_of<T>(best.value);
                if (tensors.indices != nullptr) {
                    tensors.indices[at] = best.index;
                }
            }
        }
    };
    parallel_for(problem.n * problem.c, plan.parallel, planes);
}

void run(const PoolPlan& plan, const PoolTensors& tensors) {
    with_element(plan.problem.dtype, [&]<class T>() {
        if constexpr (!requires(T value) { value.re; }) {
            run_as<T>(plan, tensors);
        }
    });
}

std::string supports(const PoolProblem& problem) {
    if (problem.dtype >= COMPLEX64) {
        return "complex numbers have no order and no norm here";
    }
    return is_integer(problem.dtype) && problem.kind != POOL_MAX
               ? "integers have maxima only"
               : "";
}

double steps_of(const PoolProblem& problem) {
    return pool_outputs(problem) * static_cast<double>(volume(problem.kernel));
}

double cost_us(const PoolProblem& problem, const IsaTable&, const Machine& host) {
    // A comparison or addition waits for the last one; each window is found anew.
    const double powers =
        takes_powers(problem) ? steps_of(problem) + pool_outputs(problem) : 0.0;
    return pool_us(
        problem,
        4.0 * steps_of(problem) + 40.0 * pool_outputs(problem) + POWER_CYCLES * powers,
        host);
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
    .elements = Elements::ALL,
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
