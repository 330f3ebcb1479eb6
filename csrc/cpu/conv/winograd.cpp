// winograd: fewer multiplications, by Winograd's minimal filtering.
//
// The idea: tiles of the input become `points` values each, by additions; the products
// of a convolution are then a GEMM at each point, with 2.25 to 4 times fewer of them.
// What lies between two stages stays in a cache (winograd_schedules.hpp).
// Source: Lavin and Gray 2016 (arXiv 1509.09308).
#include "cpu/algorithm.hpp"
#include "cpu/conv/winograd_model.hpp"
#include "cpu/conv/winograd_schedules.hpp"
#include "cpu/conv/winograd_weights.hpp"

namespace pyconv {
namespace {

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return winograd_cost_us(problem, isa, host, false);
}

double pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return winograd_pack_us(problem, isa, host, false);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return winograd_movement(problem, isa, host, false);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_winograd;
const ConvAlgorithm conv_winograd{
    .name = "winograd",
    .summary = "Winograd's minimal filtering, in blocks of tiles that stay in cache",
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
    ConvPlan made = winograd_plan(problem, isa, host, false);
    made.algorithm = &conv_winograd;
    return made;
}

} // namespace
} // namespace pyconv
