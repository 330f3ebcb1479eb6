// What pooling costs: it reads x once, writes y once, and compares or adds in between.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"

#include <algorithm>

namespace pyconv {

inline constexpr double POOL_GHZ = 3.5; // nominal, as in conv/model.hpp

// Of one power that is no product, be it of a vector or the C library's.
inline constexpr double POWER_CYCLES = 50.0;

inline double pool_outputs(const PoolProblem& problem) {
    return static_cast<double>(problem.n) * static_cast<double>(problem.c) *
           static_cast<double>(volume(problem.output));
}

inline double pool_bytes(const PoolProblem& problem) {
    const double x = static_cast<double>(problem.n) * static_cast<double>(problem.c) *
                     static_cast<double>(volume(problem.input));
    const double index = problem.return_indices != 0 ? 8.0 : 0.0;
    const auto element = static_cast<double>(element_bytes(problem.dtype));
    return x * element + pool_outputs(problem) * (element + index);
}

// One pass over compulsory bytes at every level: rows of a window stay in L1.
inline Movement pool_movement(const PoolProblem& problem, double steps) {
    const double bytes = pool_bytes(problem);
    return {.flops = steps, .l1_bytes = bytes, .l2_bytes = bytes, .dram_bytes = bytes};
}

inline bool pool_parallel(const PoolProblem& problem) {
    return pool_bytes(problem) > 256e3;
}

inline double pool_us(const PoolProblem& problem, double cycles, const Machine& host) {
    const double alone = cycles / (POOL_GHZ * 1e3);
    return pool_parallel(problem) ? alone / static_cast<double>(host.cores) + 5.0
                                  : alone;
}

inline PoolPlan pool_plan(
    const PoolProblem& problem,
    const PoolAlgorithm& algorithm,
    const IsaTable& isa,
    int64 workspace_bytes) {
    return PoolPlan{
        .problem = problem,
        .algorithm = &algorithm,
        .isa = &isa,
        .form = PoolForm::ROWS,
        .channels = 1,
        .parallel = pool_parallel(problem),
        .blocking = {},
        .workspace_bytes = workspace_bytes,
    };
}

} // namespace pyconv
