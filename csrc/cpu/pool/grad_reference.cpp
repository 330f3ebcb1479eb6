// reference gradient of pooling: every output hands its gradient to its window.
//
// Any pitches and any norm. Planes are shared among threads, each walked in order.
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/pool/model.hpp"
#include "cpu/pool/rule.hpp"
#include "cpu/pool/scatter.hpp"
#include "cpu/pool/window.hpp"

#include <cmath>

namespace pyconv {
namespace {

// What an element of the window gets of its output's gradient: of a norm
// y^(1 - p) |x|^(p - 1) sign(x), 0 where y is 0.
template <class T>
T share_of_norm(T norm, T x, T y) {
    if (y == T(0)) {
        return T(0);
    }
    const T sign = x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
    if (norm == T(1)) {
        return sign;
    }
    return norm == T(2) ? x / y : sign * std::pow(std::abs(x) / y, norm - T(1));
}

template <class T>
class Spread {
  public:
    Spread(const PoolProblem& problem, const PoolGradTensors& tensors)
        : problem_(problem), grad_(static_cast<const T*>(tensors.grad)),
          x_(static_cast<const T*>(tensors.x)), y_(static_cast<const T*>(tensors.y)),
          dx_(static_cast<T*>(tensors.dx)),
          norm_(problem.kind == POOL_LP ? static_cast<T>(norm_of(problem)) : T(0)) {}

    void plane(int64 n, int64 c) const {
        const int64 to = n * problem_.x_pitch[0] + c * problem_.x_pitch[1];
        Pixel cleared(problem_.input, 0);
        for (int64 i = 0; i < volume(problem_.input); ++i) {
            dx_[to + cleared.offset(problem_.x_pitch)] = T(0);
            cleared.advance(problem_.input);
        }
        Pixel pixel(problem_.output, 0);
        for (int64 i = 0; i < volume(problem_.output); ++i) {
            const int64 at = n * problem_.y_pitch[0] + c * problem_.y_pitch[1] +
                             pixel.offset(problem_.y_pitch);
            const Window window[3] = {
                window_of(problem_, 0, pixel.at[0]),
                window_of(problem_, 1, pixel.at[1]),
                window_of(problem_, 2, pixel.at[2])};
            walk(problem_, window, ROWS_FIRST, [&](int64 d, int64 h, int64 w) {
                const int64 here = to + d * problem_.x_pitch[2] +
                                   h * problem_.x_pitch[3] + w * problem_.x_pitch[4];
                dx_[here] += share(grad_[at], here, at, window);
            });
            pixel.advance(problem_.output);
        }
    }

  private:
    T share(T grad, int64 x_at, int64 y_at, const Window (&window)[3]) const {
        if (problem_.kind == POOL_LP) {
            return grad * share_of_norm(norm_, x_[x_at], y_[y_at]);
        }
        return grad /
               static_cast<T>(divisor_of(
                   problem_, window[0].counted, window[1].counted, window[2].counted));
    }

    const PoolProblem& problem_;
    const T* grad_;
    const T* x_;
    const T* y_;
    T* dx_;
    T norm_;
};

template <class T>
void run_as(const PoolGradPlan& plan, const PoolGradTensors& tensors) {
    const PoolProblem& problem = plan.problem;
    const bool by_indices = tensors.indices != nullptr;
    const auto body = [&](int64 begin, int64 end, int) {
        for (int64 plane = begin; plane < end; ++plane) {
            const int64 n = plane / problem.c;
            const int64 c = plane % problem.c;
            if (by_indices) {
                Scatter<T>(problem, tensors).channels(n, c, 1);
            } else {
                Spread<T>(problem, tensors).plane(n, c);
            }
        }
    };
    parallel_for(problem.n * problem.c, plan.parallel, body);
}

void run(const PoolGradPlan& plan, const PoolGradTensors& tensors) {
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
    const bool by_indices = problem.return_indices != 0;
    return pool_outputs(problem) *
           (by_indices ? 1.0 : static_cast<double>(volume(problem.kernel)));
}

double cost_us(const PoolProblem& problem, const IsaTable&, const Machine& host) {
    const double step = takes_powers(problem) ? 6.0 + POWER_CYCLES : 6.0;
    return pool_us(
        problem, step * steps_of(problem) + 40.0 * pool_outputs(problem), host);
}

Movement movement(const PoolProblem& problem, const IsaTable&, const Machine&) {
    return pool_movement(problem, steps_of(problem));
}

PoolGradPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const PoolGradAlgorithm pool_grad_reference;
const PoolGradAlgorithm pool_grad_reference{
    .name = "reference",
    .summary = "every output hands its gradient to every element of its window",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

PoolGradPlan plan(const PoolProblem& problem, const IsaTable& isa, const Machine&) {
    return PoolGradPlan{
        .problem = problem,
        .algorithm = &pool_grad_reference,
        .isa = &isa,
        .parallel = pool_parallel(problem),
        .blocking = {},
        .workspace_bytes = 0,
    };
}

} // namespace
} // namespace pyconv
