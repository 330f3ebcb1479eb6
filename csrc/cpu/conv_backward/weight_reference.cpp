// reference weight gradient: the definition, one product at a time.
//
// dw[k, c, t, r, s] = the sum over n, m, p, q of grad[n, k, m, p, q] times the element
// of x that output pixel (m, p, q) meets at tap (t, r, s); padding of zeros adds
// nothing.
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/geometry.hpp"

namespace pyconv {
namespace {

template <class T>
T gradient_of(
    const ConvProblem& problem, const T* x, const T* grad, const int64 (&tap)[3]) {
    T sum = T(0);
    const int64 pixels = volume(problem.output);
    for (int64 n = 0; n < problem.n; ++n) {
        Pixel pixel(problem.output, 0);
        for (int64 i = 0; i < pixels; ++i, pixel.advance(problem.output)) {
            int64 at = n * problem.x_pitch[0];
            bool inside = true;
            for (int axis = 0; axis < 3; ++axis) {
                const int64 index =
                    input_index(problem, axis, pixel.at[axis], tap[axis]);
                inside = inside && index >= 0;
                at += index * problem.x_pitch[axis + 2];
            }
            if (inside) {
                sum += grad[n * problem.y_pitch[0] + pixel.offset(problem.y_pitch)] *
                       x[at];
            }
        }
    }
    return sum;
}

template <class T>
void run_as(const WeightPlan& plan, const WeightTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const auto* x = static_cast<const T*>(tensors.x);
    const auto* grad = static_cast<const T*>(tensors.grad);
    auto* weight = static_cast<T*>(tensors.weight);
    const int64 channels = problem.c / problem.groups;
    const int64 filters = problem.k / problem.groups;
    const int64 taps = volume(problem.kernel);
    const auto body = [&](int64 begin, int64 end, int) {
        for (int64 item = begin; item < end; ++item) {
            const int64 k = item / channels;
            const int64 c = item % channels;
            const T* plane = x + (k / filters * channels + c) * problem.x_pitch[1];
            Pixel tap(problem.kernel, 0);
            for (int64 i = 0; i < taps; ++i, tap.advance(problem.kernel)) {
                weight
                    [k * problem.w_pitch[0] + c * problem.w_pitch[1] +
                     tap.offset(problem.w_pitch)] =
                        gradient_of(
                            problem, plane, grad + k * problem.y_pitch[1], tap.at);
            }
        }
    };
    parallel_for(problem.k * channels, plan.parallel, body);
}

void run(const WeightPlan& plan, const WeightTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const ConvProblem&) {
    return "";
}

double cost_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    return shared_us(12.0 * products_of(problem), problem, host);
}

Movement movement(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double x = bytes_of_x(problem);
    const double y = bytes_of_y(problem);
    const double all = x + y + bytes_of_weight(problem);
    const double planes =
        products_of(problem) * static_cast<double>(element_bytes(problem.dtype));
    return layered(2.0 * products_of(problem), 2.0 * planes, planes, all, x + y, host);
}

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const WeightAlgorithm weight_reference;
const WeightAlgorithm weight_reference{
    .name = "reference",
    .summary = "the definition: one product at a time",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    return WeightPlan{
        .problem = problem,
        .algorithm = &weight_reference,
        .isa = &isa,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking = {},
        .workspace_bytes = 0,
    };
}

} // namespace
} // namespace pyconv
