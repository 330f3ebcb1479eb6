// The quickest convolution, by the rule of pyconv/selection.py: among those that round
// as the quickest for one sample, channels last, does.
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

// Null where no algorithm but the reference can do it. Weights that are kept are packed
// already.
const ConvAlgorithm* quickest(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    bool keeps_weights);

} // namespace pyconv
