// The numbers every cost and movement model starts from.
//
// Levels follow the layer condition: data that a loop sweeps again and again comes from
// the smallest cache that holds it. Cycles are turned into microseconds at a nominal
// clock; only ratios between algorithms matter for the choice.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"

#include <algorithm>

namespace pyconv {

inline constexpr double NOMINAL_GHZ = 3.5;

// Waking and joining a sleeping pool, measured at a few microseconds.
inline constexpr double FORK_JOIN_US = 5.0;

// Work below this many products is faster alone than shared.
inline constexpr double PARALLEL_PRODUCTS = 1e6;

// Outputs along an axis whose element under a tap lies inside the input.
inline int64 inside_outputs(const ConvProblem& problem, int axis, int64 tap) {
    if (problem.padding_mode != PAD_ZEROS) {
        return problem.output[axis];
    }
    const int64 stride = problem.stride[axis];
    const int64 first = tap * problem.dilation[axis] - problem.pad_before[axis];
    const int64 begin = first < 0 ? ceil_div(-first, stride) : 0;
    const int64 behind =
        first < problem.input[axis] ? ceil_div(problem.input[axis] - first, stride) : 0;
    return std::max<int64>(0, std::min(behind, problem.output[axis]) - begin);
}

// The share of products that zero padding leaves.
inline double inside_share(const ConvProblem& problem) {
    double share = 1.0;
    for (int axis = 0; axis < 3; ++axis) {
        int64 inside = 0;
        for (int64 tap = 0; tap < problem.kernel[axis]; ++tap) {
            inside += inside_outputs(problem, axis, tap);
        }
        share *= static_cast<double>(inside) /
                 static_cast<double>(problem.output[axis] * problem.kernel[axis]);
    }
    return share;
}

inline double outputs_of(const ConvProblem& problem) {
    return static_cast<double>(problem.n) * static_cast<double>(problem.k) *
           static_cast<double>(volume(problem.output));
}

inline double products_of(const ConvProblem& problem) {
    return outputs_of(problem) * static_cast<double>(problem.c / problem.groups) *
           static_cast<double>(volume(problem.kernel));
}

// Operations of a sum that leaves out what lies in zero padding, and of its end: bias
// and residual are added, be they zero.
inline double definition_flops(const ConvProblem& problem) {
    return 2.0 * products_of(problem) * inside_share(problem) +
           2.0 * outputs_of(problem);
}

inline double bytes_of_x(const ConvProblem& problem) {
    return static_cast<double>(problem.n) * static_cast<double>(problem.c) *
           static_cast<double>(volume(problem.input)) *
           static_cast<double>(element_bytes(problem.dtype));
}

inline double bytes_of_weight(const ConvProblem& problem) {
    return static_cast<double>(problem.k) *
           static_cast<double>(problem.c / problem.groups) *
           static_cast<double>(volume(problem.kernel)) *
           static_cast<double>(element_bytes(problem.weight_dtype));
}

// Written, and read as well where a residual is added.
inline double bytes_of_y(const ConvProblem& problem) {
    return outputs_of(problem) *
           static_cast<double>(element_bytes(result_type(problem.dtype))) *
           (problem.has_residual != 0 ? 2.0 : 1.0);
}

// Cycles of one core as microseconds of the machine. The host's core count, not the
// thread count: the choice of algorithm must not change with set_num_threads().
inline double
shared_us(double cycles, const ConvProblem& problem, const Machine& host) {
    const double alone = cycles / (NOMINAL_GHZ * 1e3);
    if (products_of(problem) < PARALLEL_PRODUCTS) {
        return alone;
    }
    return alone / static_cast<double>(host.cores) + FORK_JOIN_US;
}

// Cycles spent rearranging weights, as microseconds of the machine.
inline double
packing_us(double cycles, const ConvProblem& problem, const Machine& host) {
    const double alone = cycles / (NOMINAL_GHZ * 1e3);
    return products_of(problem) < PARALLEL_PRODUCTS
               ? alone
               : alone / static_cast<double>(host.cores);
}

// Rearranging all weights before they are used, in cycles: measured, beyond a cache's
// worth the scattered writes go to memory.
inline double
packing_ahead_cycles(double elements, const ConvProblem& problem, const Machine& host) {
    const bool cached = elements * static_cast<double>(element_bytes(problem.dtype)) <
                        static_cast<double>(host.l2_bytes);
    return (cached ? 1.8 : 4.0) * elements;
}

// What is swept again and again stays in a cache that it fills no more than this.
inline bool stays_in(double bytes, int64 cache_bytes) {
    return bytes <= 0.75 * static_cast<double>(cache_bytes);
}

// Columns of a register tile that is computed whole: as many as fill its width.
inline double in_whole(int64 columns, int64 width) {
    return static_cast<double>(ceil_div(columns, width) * width);
}

inline constexpr double LINE = 64.0;

// Bytes of the lines under a run of neighbours that begins anywhere.
inline double bytes_of_lines(double bytes) {
    return bytes + LINE - static_cast<double>(sizeof(float));
}

// l1 and l2 as counted by the algorithm's own layer conditions; memory gives the
// compulsory bytes where everything fits the last cache, else what L2 asks for.
inline Movement
counted(double flops, double l1, double l2, double compulsory, const Machine& host) {
    const int64 last = host.l3_bytes > 0 ? host.l3_bytes : host.l2_bytes;
    const double from_l3 = std::max(l2, compulsory);
    return Movement{
        .flops = flops,
        .l1_bytes = std::max(l1, from_l3), // what comes into L2, L1 has asked for
        .l2_bytes = from_l3,
        .dram_bytes = stays_in(compulsory, last) ? compulsory : from_l3,
    };
}

// l1: swept from L2. l2: swept from beyond L2 unless `resident` bytes stay there; dram:
// the compulsory bytes when everything fits the last cache, else what L2 asks for.
inline Movement layered(
    double flops,
    double l1,
    double l2,
    double compulsory,
    double resident,
    const Machine& host) {
    const double last =
        static_cast<double>(host.l3_bytes > 0 ? host.l3_bytes : host.l2_bytes);
    const double from_l3 =
        resident <= 0.75 * static_cast<double>(host.l2_bytes) ? compulsory : l2;
    return Movement{
        .flops = flops,
        .l1_bytes = std::max(l1, compulsory),
        .l2_bytes = std::max(from_l3, compulsory),
        .dram_bytes =
            resident <= 0.75 * last ? compulsory : std::max(from_l3, compulsory),
    };
}

} // namespace pyconv
