// Winograd's choices and predictions: which form, how many tiles, what it costs.
//
// Shared by `winograd` and `winograd_staged`, which differ in how many tiles lie
// between two stages: `staged` asks for all of them.
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

std::string winograd_supports(const ConvProblem& problem);
double
winograd_cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
double
winograd_pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement winograd_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool staged);
// Its algorithm is left for the caller to fill in.
ConvPlan winograd_plan(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool staged);

} // namespace pyconv
