// depthwise: one channel a group, any number of filters over it.
//
// The idea: nothing is summed or shared between channels, so the lanes go along
// whatever is contiguous: channels (channel_lanes.hpp) where they are neighbours and
// each has one filter, else pixels (planes.hpp), several output rows a register tile.
#include "cpu/conv/channel_lanes.hpp"
#include "cpu/conv/planes.hpp"

namespace pyconv {
namespace {

std::string supports(const ConvProblem& problem) {
    if (problem.c != problem.groups) {
        return "groups of one channel only";
    }
    if (problem.groups == 1) {
        return "a single channel is what few_channels does";
    }
    return planes_support(problem);
}

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return suits_channel_lanes(problem, isa) ? channel_lanes_us(problem, isa, host)
                                             : planes_us(problem, isa, host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return suits_channel_lanes(problem, isa) ? channel_lanes_movement(problem, host)
                                             : planes_movement(problem, isa, host);
}

void pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.planes.form >= PlaneForm::LANES) {
        channel_lanes_pack(plan, weight, packed);
    } else {
        planes_pack(plan, weight, packed);
    }
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.planes.form >= PlaneForm::LANES) {
        channel_lanes_run(plan, tensors);
    } else {
        planes_run(plan, tensors);
    }
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_depthwise;
const ConvAlgorithm conv_depthwise{
    .name = "depthwise",
    .summary = "one channel a group: rows of pixels under each filter's window",
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
    ConvPlan made = suits_channel_lanes(problem, isa)
                        ? channel_lanes_plan(problem, isa, host)
                        : planes_plan(problem, isa, host);
    made.algorithm = &conv_depthwise;
    return made;
}

} // namespace
} // namespace pyconv
