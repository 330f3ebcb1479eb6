// depthwise weight gradient: one channel a group, channels in the lanes.
#include "cpu/conv_backward/weight_lanes.hpp"

namespace pyconv {
namespace {

std::string supports(const ConvProblem& problem) {
    return problem.c == problem.groups && problem.k == problem.groups
               ? ""
               : "groups of one channel and one filter only";
}

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const WeightAlgorithm weight_depthwise;
const WeightAlgorithm weight_depthwise{
    .name = "depthwise",
    .summary = "one channel a group: sums over pixels, channels in the lanes",
    .supports = supports,
    .cost_us = weight_lanes_us,
    .movement = weight_lanes_movement,
    .plan = plan,
    .run = run_weight_lanes,
};

namespace {

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    return plan_weight_lanes(problem, isa, weight_depthwise);
}

} // namespace
} // namespace pyconv
