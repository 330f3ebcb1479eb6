// Winograd's choices and predictions: which form and schedule, what it costs.
//
// Shared by `winograd`, which takes the better schedule, and `winograd_staged`, whose
// only block is the whole problem.
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

std::string winograd_supports(const ConvProblem& problem);
double winograd_cost_us(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool whole);
double winograd_pack_us(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool whole);
Movement winograd_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool whole);
// Its algorithm is left for the caller to fill in.
ConvPlan winograd_plan(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool whole);

} // namespace pyconv
