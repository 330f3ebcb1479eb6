// Each tap is a gradient of its own: that of a window of one element without padding.
#include "cpu/conv_backward/weight_padding.hpp"

#include "core/machine.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/geometry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Outputs [first, last) along an axis whose tap lies inside x.
struct Range {
    int64 first;
    int64 last;
};

Range inside(const ConvProblem& problem, int axis, int64 tap) {
    const int64 stride = problem.stride[axis];
    const int64 start = tap * problem.dilation[axis] - problem.pad_before[axis];
    const auto below = [&](int64 limit) { // outputs whose tap lies before `limit`
        return limit <= start
                   ? 0
                   : std::min(problem.output[axis], ceil_div(limit - start, stride));
    };
    const int64 first = below(0);
    return {first, std::max(first, below(problem.input[axis]))};
}

bool is_padded(const ConvProblem& problem) {
    for (int axis = 0; axis < 3; ++axis) {
        for (const int64 tap : {int64{0}, problem.kernel[axis] - 1}) {
            const Range range = inside(problem, axis, tap);
            if (range.first > 0 || range.last < problem.output[axis]) {
                return true;
            }
        }
    }
    return false;
}

// Whether no zero of the padding can have met Inf or NaN: read off the smaller one of
// grad, which they meet, and the result, which would tell.
bool shows_nothing(const ConvProblem& problem, const WeightTensors& tensors) {
    ConvProblem grad = problem; // as if it were a weight
    grad.k = problem.n;
    grad.c = problem.k;
    grad.groups = 1;
    std::copy(problem.output, problem.output + 3, grad.kernel);
    std::copy(problem.y_pitch, problem.y_pitch + 5, grad.w_pitch);
    const auto elements = [](const ConvProblem& of) {
        return of.k * (of.c / of.groups) * volume(of.kernel);
    };
    return elements(grad) < elements(problem)
               ? weights_are_finite(grad, tensors.grad)
               : weights_are_finite(problem, tensors.weight);
}

template <class T>
void fill_zeros(const ConvProblem& problem, T* tap) {
    for (int64 k = 0; k < problem.k; ++k) {
        for (int64 c = 0; c < problem.c / problem.groups; ++c) {
            tap[k * problem.w_pitch[0] + c * problem.w_pitch[1]] = T(0);
        }
    }
}

// The gradient of one tap, from those outputs alone that it serves.
template <class T>
void take_tap(const WeightPlan& plan, const WeightTensors& tensors, const Pixel& tap) {
    const ConvProblem& problem = plan.problem;
    T* weight = static_cast<T*>(tensors.weight) + tap.offset(problem.w_pitch);
    ConvProblem part = problem;
    int64 from = 0;
    int64 to = 0;
    for (int axis = 0; axis < 3; ++axis) {
        const Range range = inside(problem, axis, tap.at[axis]);
        part.kernel[axis] = 1;
        part.dilation[axis] = 1;
        part.pad_before[axis] = 0;
        part.pad_after[axis] = 0;
        part.output[axis] = range.last - range.first;
        part.input[axis] = (part.output[axis] - 1) * problem.stride[axis] + 1;
        const int64 start = range.first * problem.stride[axis] +
                            tap.at[axis] * problem.dilation[axis] -
                            problem.pad_before[axis];
        from += start * problem.x_pitch[axis + 2];
        to += range.first * problem.y_pitch[axis + 2];
    }
    if (volume(part.output) == 0) {
        fill_zeros(problem, weight);
        return;
    }
    const WeightAlgorithm& algorithm = *plan.algorithm;
    algorithm.run(
        algorithm.plan(part, *plan.isa, machine()),
        {.x = static_cast<const T*>(tensors.x) + from,
         .grad = static_cast<const T*>(tensors.grad) + to,
         .weight = weight});
}

} // namespace

void mend_padded_weight(const WeightPlan& plan, const WeightTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    if (!is_padded(problem) || shows_nothing(problem, tensors)) {
        return;
    }
    Pixel tap(problem.kernel, 0);
    for (int64 i = 0; i < volume(problem.kernel); ++i, tap.advance(problem.kernel)) {
        if (problem.dtype == FLOAT32) {
            take_tap<float>(plan, tensors, tap);
        } else {
            take_tap<double>(plan, tensors, tap);
        }
    }
}

} // namespace pyconv
