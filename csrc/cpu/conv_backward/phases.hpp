// The adjoint of a convolution as convolutions, one for each phase of its stride, with
// everything about them decided: which pixels, which taps, which plan.
//
// pyconv/adjoint.py cuts the phases and says why they are convolutions; this runs them
// again for arrays of the same shapes and steps.
#pragma once

#include "cpu/algorithm.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace pyconv {

// Where a phase's views begin, in elements from the user's first ones.
struct Phase {
    std::shared_ptr<const ConvPlan> plan;
    int64 x_offset;
    int64 weight_offset;
    int64 y_offset;
    bool is_empty; // no tap: its x and weight are one zero
};

// A weight (K, C/G, kernel) that the phases read as (C, K/G, kernel), without gaps.
struct TurnedGroups {
    int64 groups;
    int64 filters;  // of a group
    int64 channels; // of a group
    int64 kernel[3];
    int64 pitch[5];
};

struct PhasesPlan {
    int64 dtype; // of x; the weight has as many bytes
    std::vector<Phase> phases;
    std::optional<TurnedGroups> turned; // none: the weight is read as it lies
};

// x, weight, bias, residual and y of `tensors` are the user's.
void run_phases(const PhasesPlan& plan, const ConvTensors& tensors);

} // namespace pyconv
