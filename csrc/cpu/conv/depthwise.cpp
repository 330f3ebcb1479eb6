// depthwise: one channel a group, any number of filters over it.
//
// The idea: nothing is summed or shared between channels, so the lanes go along
// whatever is contiguous: channels (channel_lanes.hpp) where they are neighbours and
// each has one filter, else pixels (planes.hpp), several output rows a register tile.
// Small images have rows too short for that: their channels are turned side by side
// (turned_lanes.hpp).
#include "cpu/conv/channel_lanes.hpp"
#include "cpu/conv/planes.hpp"
#include "cpu/conv/turned_lanes.hpp"

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

enum Variant : int { PLANES, LANES, TURNED_LANES };

Variant
variant_of(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    if (suits_channel_lanes(problem, isa)) {
        return LANES;
    }
    return suits_turned_lanes(problem, isa) &&
                   turned_lanes_us(problem, isa, host) < planes_us(problem, isa, host)
               ? TURNED_LANES
               : PLANES;
}

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    switch (variant_of(problem, isa, host)) {
    case LANES:
        return channel_lanes_us(problem, isa, host);
    case TURNED_LANES:
        return turned_lanes_us(problem, isa, host);
    default:
        return planes_us(problem, isa, host);
    }
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    switch (variant_of(problem, isa, host)) {
    case LANES:
        return channel_lanes_movement(problem, host);
    case TURNED_LANES:
        return turned_lanes_movement(problem, isa, host);
    default:
        return planes_movement(problem, isa, host);
    }
}

void pack(const ConvPlan& plan, const void* weight, void* packed) {
    switch (plan.form) {
    case LANES:
        channel_lanes_pack(plan, weight, packed);
        break;
    case TURNED_LANES:
        turned_lanes_pack(plan, weight, packed);
        break;
    default:
        planes_pack(plan, weight, packed);
    }
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    switch (plan.form) {
    case LANES:
        channel_lanes_run(plan, tensors);
        break;
    case TURNED_LANES:
        turned_lanes_run(plan, tensors);
        break;
    default:
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
    const Variant variant = variant_of(problem, isa, host);
    ConvPlan made = variant == LANES          ? channel_lanes_plan(problem, isa, host)
                    : variant == TURNED_LANES ? turned_lanes_plan(problem, isa, host)
                                              : planes_plan(problem, isa, host);
    made.form = variant;
    made.algorithm = &conv_depthwise;
    return made;
}

} // namespace
} // namespace pyconv
