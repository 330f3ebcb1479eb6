// Weights that are not finite, over zero padding.
//
// Zero padding adds no term: where a weight over it is Inf or NaN the result must not
// become NaN. An algorithm that multiplies padding by a materialised zero is right for
// finite weights only, and hands all others over to `direct`, which rounds alike.
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

// Whether every weight is finite.
bool weights_are_finite(const ConvProblem& problem, const void* weight);

// Whether a zero of the padding may meet a weight that is not finite.
bool padding_would_show(const ConvProblem& problem, const ConvTensors& tensors);

// The same call through `direct`, with weights packed anew.
void run_direct_instead(const ConvPlan& plan, const ConvTensors& tensors);

// Runs the call in its element type; through `direct` where padding would show.
using RunConv = void(const ConvPlan& plan, const ConvTensors& tensors);
void run_where_padding_is_zero(
    const ConvPlan& plan, const ConvTensors& tensors, RunConv* single, RunConv* twice);

} // namespace pyconv
