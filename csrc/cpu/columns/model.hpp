// What moving patches costs: bytes, at the pace of the cache that holds them.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"

namespace pyconv {

// Elements of the matrix of columns, and of the images.
inline double column_elements(const ConvProblem& problem) {
    return outputs_of(problem);
}

inline double image_elements(const ConvProblem& problem) {
    return bytes_of_x(problem) / static_cast<double>(element_bytes(problem.dtype));
}

inline double columns_bytes(const ConvProblem& problem) {
    return bytes_of_x(problem) + bytes_of_y(problem);
}

inline bool columns_parallel(const ConvProblem& problem) {
    return columns_bytes(problem) > 256e3;
}

inline double
columns_us(const ConvProblem& problem, double cycles, const Machine& host) {
    const double alone = cycles / (NOMINAL_GHZ * 1e3);
    return columns_parallel(problem)
               ? alone / static_cast<double>(host.cores) + FORK_JOIN_US
               : alone;
}

// Images stay in L2 while the taps sweep them; every tap reads them into L1 again.
inline Movement
columns_movement(const ConvProblem& problem, double flops, double taps) {
    const double bytes = columns_bytes(problem);
    return {
        .flops = flops,
        .l1_bytes = bytes_of_x(problem) * taps + bytes_of_y(problem),
        .l2_bytes = bytes,
        .dram_bytes = bytes};
}

} // namespace pyconv
