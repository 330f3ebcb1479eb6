// Weight gradients whose zeros of padding met what is not finite.
//
// A zero of the padding adds no term; laid out like any other element, it adds 0 times
// grad, which is NaN where grad is Inf or NaN. Then, and only then, the gradient is
// taken once more, tap by tap over those pixels whose tap lies inside x.
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

// To be called when the gradient is stored; does nothing where all is finite or nothing
// is padded.
void mend_padded_weight(const WeightPlan& plan, const WeightTensors& tensors);

} // namespace pyconv
