// winograd_staged: the same arithmetic as `winograd`, each stage over all tiles.
//
// The idea: none. V and M of the whole problem are written to memory and read back, as
// most implementations do; next to `winograd` it shows what blocks are worth.
// Source: Lavin and Gray 2016 (arXiv 1509.09308).
#include "cpu/algorithm.hpp"
#include "cpu/conv/winograd_model.hpp"
#include "cpu/conv/winograd_schedules.hpp"
#include "cpu/conv/winograd_weights.hpp"

namespace pyconv {
namespace {

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return winograd_cost_us(problem, isa, host, true);
}

double pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return winograd_pack_us(problem, isa, host, true);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return winograd_movement(problem, isa, host, true);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_winograd_staged;
const ConvAlgorithm conv_winograd_staged{
    .name = "winograd_staged",
    .summary = "the same arithmetic, every stage over all tiles, through memory",
    .rounding = "winograd",
    .supports = winograd_supports,
    .cost_us = cost_us,
    .movement = movement,
    .pack_us = pack_us,
    .plan = plan,
    .pack = pack_winograd,
    .run = run_winograd,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    ConvPlan made = winograd_plan(problem, isa, host, true);
    made.algorithm = &conv_winograd_staged;
    return made;
}

} // namespace
} // namespace pyconv
