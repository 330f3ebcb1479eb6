// grouped: two to sixteen channels a group.
//
// The idea: a group's filters are too few to fill a vector. Its pixels are not: pixels
// in the lanes (planes.hpp), the group's filters as the register tile's rows. Where
// channels are neighbours in memory, filters of several groups fill it
// (group_lanes.hpp).
#include "cpu/conv/group_lanes.hpp"
#include "cpu/conv/planes.hpp"

namespace pyconv {
namespace {

std::string supports(const ConvProblem& problem) {
    if (problem.groups == 1 || problem.c == problem.groups ||
        problem.c / problem.groups > 16) {
        return "groups of 2 to 16 channels only";
    }
    return planes_support(problem);
}

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return suits_group_lanes(problem, isa, host) ? group_lanes_us(problem, isa, host)
                                                 : planes_us(problem, isa, host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return suits_group_lanes(problem, isa, host)
               ? group_lanes_movement(problem, isa, host)
               : planes_movement(problem, isa, host);
}

void pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.planes.form >= PlaneForm::LANES) {
        group_lanes_pack(plan, weight, packed);
    } else {
        planes_pack(plan, weight, packed);
    }
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.planes.form >= PlaneForm::LANES) {
        group_lanes_run(plan, tensors);
    } else {
        planes_run(plan, tensors);
    }
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_grouped;
const ConvAlgorithm conv_grouped{
    .name = "grouped",
    .summary = "few channels a group: rows of pixels shared by the group's filters",
    .rounding = "direct",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .pack_us = planes_pack_us,
    .plan = plan,
    .pack = pack,
    .run = run,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    ConvPlan made = suits_group_lanes(problem, isa, host)
                        ? group_lanes_plan(problem, isa, host)
                        : planes_plan(problem, isa, host);
    made.algorithm = &conv_grouped;
    return made;
}

} // namespace
} // namespace pyconv
