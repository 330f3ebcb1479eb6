// Bias gradients of small planes: many filters at a time, so that a row of elements is
// a pixel of them all.
#pragma once

#include "core/memory.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {

inline constexpr int64 PARTIALS = PARTIAL_SUMS;
// Of planes that are turned: an L1 holds them.
inline constexpr int64 TURNED_PIXELS = 128;
inline constexpr int64 TURNED_FILTERS = 32;

// All elements side by side, channels fastest.
inline bool flat_channels_last(const ConvProblem& problem) {
    const int64(&extent)[3] = problem.output;
    const int64(&pitch)[5] = problem.y_pitch;
    return pitch[1] == 1 && problem.k > 1 &&
           (extent[2] == 1 || pitch[4] == problem.k) &&
           (extent[1] == 1 || pitch[3] == problem.k * extent[2]) &&
           (extent[0] == 1 || pitch[2] == problem.k * extent[1] * extent[2]) &&
           (problem.n == 1 || pitch[0] == problem.k * volume(extent));
}

// The pixels of a plane side by side.
inline bool dense(const ConvProblem& problem) {
    const int64(&extent)[3] = problem.output;
    return (extent[2] == 1 || problem.y_pitch[4] == 1) &&
           (extent[1] == 1 || problem.y_pitch[3] == extent[2]) &&
           (extent[0] == 1 || problem.y_pitch[2] == extent[1] * extent[2]);
}

// Of planes of few pixels, several filters at a time.
inline bool small(const ConvProblem& problem) {
    return dense(problem) && problem.k > 1 && volume(problem.output) <= TURNED_PIXELS;
}

// Pixels of a batch, few enough for a filter's to stay in cache while they are added in
// the order of the partial sums, which then need no memory: those turned, or those that
// lie as far apart as there are filters.
inline constexpr int64 FEW_TURNED = 1024;
inline constexpr int64 FEW_APART = PARTIALS;
inline constexpr int64 FEW_FILTERS = 16; // that share a cache line

inline bool few(const ConvProblem& problem) {
    const int64 pixels = problem.n * volume(problem.output);
    return flat_channels_last(problem) ? pixels <= FEW_APART
                                       : small(problem) && pixels <= FEW_TURNED;
}

// Adds the upper half of the partial sums to the lower one until one is left.
template <class T>
void halve(T* sums, int64 width) {
    for (int64 half = PARTIALS / 2; half > 0; half /= 2) {
        for (int64 i = 0; i < half * width; ++i) {
            sums[i] += sums[half * width + i];
        }
    }
}

// Filters whose planes are so small that a filter costs more than its pixels: some of
// them turned, a sample at a time, so that a row is a pixel of them all.
template <class T>
void sum_turned(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* grad,
    int64 first,
    int64 count,
    T* bias) {
    const int64 pixels = volume(problem.output);
    ScratchFrame frame;
    T* sums = frame.take<T>(PARTIALS * TURNED_FILTERS);
    T* turned = frame.take<T>(TURNED_PIXELS * TURNED_FILTERS);
    std::fill(sums, sums + PARTIALS * count, T(0));
    int64 partial = 0;
    for (int64 n = 0; n < problem.n; ++n) {
        kernels.transpose(
            grad + n * problem.y_pitch[0] + first * problem.y_pitch[1],
            problem.y_pitch[1],
            count,
            pixels,
            turned,
            count);
        for (int64 done = 0; done < pixels;) {
            const int64 run = std::min(PARTIALS - partial, pixels - done);
            T* to = sums + partial * count;
            const T* rows[2] = {to, turned + done * count};
            kernels.reduce[REDUCE_SUM](rows, 2, to, run * count);
            done += run;
            partial = (partial + run) % PARTIALS;
        }
    }
    halve(sums, count);
    for (int64 k = 0; k < count; ++k) {
        bias[(first + k) * problem.w_pitch[0]] = sums[k];
    }
}

// Filters [first, first + count) of few pixels, turned where they come first.
template <class T>
void sum_few(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* grad,
    int64 first,
    int64 count,
    T* bias) {
    const int64 pixels = volume(problem.output);
    ScratchFrame frame;
    T* sums = frame.take<T>(count);
    PixelSums<T> task{
        .from = grad + first,
        .pitch = problem.k,
        .pixels = problem.n * pixels,
        .filters = count,
        .out = sums};
    if (!flat_channels_last(problem)) {
        T* turned = frame.take<T>(task.pixels * count);
        for (int64 n = 0; n < problem.n; ++n) {
            kernels.transpose(
                grad + n * problem.y_pitch[0] + first * problem.y_pitch[1],
                problem.y_pitch[1],
                count,
                pixels,
                turned + n * pixels * count,
                count);
        }
        task.from = turned;
        task.pitch = count;
    }
    kernels.pixel_sums(task);
    for (int64 k = 0; k < count; ++k) {
        bias[(first + k) * problem.w_pitch[0]] = sums[k];
    }
}

} // namespace pyconv
