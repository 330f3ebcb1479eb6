// few_channels: first layers, image filters and long filters of a signal.
//
// The idea: one to four channels leave a sum over channels that is too short to
// vectorize or to block, but rows of pixels are long: pixels in the lanes
// (planes.hpp).
#include "cpu/conv/planes.hpp"

namespace pyconv {
namespace {

std::string supports(const ConvProblem& problem) {
    if (problem.groups != 1 || problem.c > 4) {
        return "one group of up to four channels only";
    }
    return planes_support(problem);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_few_channels;
const ConvAlgorithm conv_few_channels{
    .name = "few_channels",
    .summary = "up to four channels: rows of pixels shared by all filters",
    .rounding = "direct",
    .supports = supports,
    .cost_us = planes_us,
    .movement = planes_movement,
    .pack_us = planes_pack_us,
    .plan = plan,
    .pack = planes_pack,
    .run = planes_run,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    ConvPlan made = planes_plan(problem, isa, host);
    made.algorithm = &conv_few_channels;
    return made;
}

} // namespace
} // namespace pyconv
