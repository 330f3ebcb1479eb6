// One axis of an adjoint's result, cut into phases.
//
// Pixel first + stride * i of a phase receives from the taps r = start + step * j, and
// of these from output p = i + shift - j * spread of the convolution. Taps are taken
// from the last to the first, so that p grows: tap number `at` of a phase is then
// r = last - step * at, and p = i + low + at * spread.
// Source: Dumoulin and Visin (arXiv 1603.07285), chapter 4.
#pragma once

#include "cpu/geometry.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace pyconv {

struct PhaseAxis {
    int64 first;
    int64 taps;
    int64 last; // tap
    int64 step;
    int64 low;
    int64 spread;

    int64 tap(int64 at) const { return last - step * at; }
    int64 source(int64 i, int64 at) const { return i + low + at * spread; }
};

// The numbers [begin, end).
struct Span {
    int64 begin;
    int64 end;

    int64 count() const { return end - begin; }
};

// Pixels [pixels.begin, pixels.end) of a phase that tap `at` reaches from `outputs`.
inline Span reached(const PhaseAxis& phase, int64 at, Span pixels, int64 outputs) {
    const int64 begin = std::max(pixels.begin, -phase.source(0, at));
    const int64 end = std::min(pixels.end, outputs - phase.source(0, at));
    return {begin, std::max(begin, end)};
}

// Taps that reach pixel i of a phase.
inline Span reaching(const PhaseAxis& phase, int64 i, int64 outputs) {
    Span taps{0, phase.taps};
    while (taps.begin < taps.end && phase.source(i, taps.begin) < 0) {
        ++taps.begin;
    }
    while (taps.begin < taps.end && phase.source(i, taps.end - 1) >= outputs) {
        --taps.end;
    }
    return taps;
}

// Phase f is that of pixels f, f + stride, ...
inline std::vector<PhaseAxis> phases_of(const ConvProblem& problem, int axis) {
    const int64 stride = problem.stride[axis];
    const int64 dilation = problem.dilation[axis];
    const int64 shared = std::gcd(stride, dilation);
    const int64 step = stride / shared;
    const int64 spread = dilation / shared;
    std::vector<PhaseAxis> phases;
    for (int64 first = 0; first < std::min(stride, problem.input[axis]); ++first) {
        const int64 from = first + problem.pad_before[axis];
        int64 start = 0;
        while (start < step && (from - start * dilation) % stride != 0) {
            ++start;
        }
        if (start == step || start >= problem.kernel[axis]) {
            phases.push_back({first, 0, 0, step, 0, spread});
            continue;
        }
        const int64 taps = ceil_div(problem.kernel[axis] - start, step);
        phases.push_back(
            {.first = first,
             .taps = taps,
             .last = start + (taps - 1) * step,
             .step = step,
             .low = (from - start * dilation) / stride - (taps - 1) * spread,
             .spread = spread});
    }
    return phases;
}

} // namespace pyconv
