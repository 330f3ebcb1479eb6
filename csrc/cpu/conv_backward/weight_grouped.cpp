// grouped weight gradient: few channels a group, filters of several in the lanes.
#include "cpu/conv_backward/weight_lanes.hpp"

namespace pyconv {
namespace {

// Of a group: x is copied once for each.
constexpr int64 MOST_CHANNELS = 8;

std::string supports(const ConvProblem& problem) {
    return problem.groups > 1 && problem.c / problem.groups <= MOST_CHANNELS
               ? ""
               : "groups of up to " + std::to_string(MOST_CHANNELS) + " channels only";
}

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const WeightAlgorithm weight_grouped;
const WeightAlgorithm weight_grouped{
    .name = "grouped",
    .summary = "few channels a group: sums over pixels, filters of several groups in "
               "the lanes",
    .supports = supports,
    .cost_us = weight_lanes_us,
    .movement = weight_lanes_movement,
    .plan = plan,
    .run = run_weight_lanes,
};

namespace {

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    return plan_weight_lanes(problem, isa, weight_grouped);
}

} // namespace
} // namespace pyconv
