// How the interleaved input gradient is cut.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/conv/filter_panels.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {

// Turned gradient that exists at a time.
inline constexpr int64 INPUT_PASS_BYTES = int64{4} << 20;
// Pixels of the result that wait to be stored together.
inline constexpr int64 INPUT_PIECE = 256;
// Units of work of a pass, at the least.
inline constexpr int64 INPUT_SHARES = 16;

// The convolution that packs the weights: channels of the result are its filters.
inline ConvProblem weights_turned(const ConvProblem& problem) {
    ConvProblem turned = problem;
    turned.groups = 1;
    turned.k = problem.c / problem.groups;
    turned.c = problem.k / problem.groups;
    std::swap(turned.w_pitch[0], turned.w_pitch[1]);
    return turned;
}

// A convolution that reads every pixel of the gradient once: how it is turned.
inline ConvProblem grad_read(const ConvProblem& problem) {
    ConvProblem read = problem;
    read.c = problem.k;
    for (int axis = 0; axis < 3; ++axis) {
        read.input[axis] = problem.output[axis];
        read.kernel[axis] = 1;
        read.stride[axis] = 1;
        read.dilation[axis] = 1;
        read.pad_before[axis] = 0;
        read.pad_after[axis] = 0;
    }
    std::copy(problem.y_pitch, problem.y_pitch + 5, read.x_pitch);
    return read;
}

struct InputBlocking {
    int vectors;
    FilterPanels shape; // of one group
    bool turned;        // the gradient, pixel by pixel
    int64 samples;      // of a pass
    int64 lines;        // of the result: depth times height
    int64 piece_lines;  // that are stored together
    int64 columns;      // of a line, where that is too long
    int64 across;       // pieces along a line
    int64 pieces;       // of one sample
    int64 blocks;       // of pieces, in one sample
    int64 parts;        // of the panels of a group
    bool last;          // the result's channels are neighbours

    InputBlocking(const ConvProblem& problem, const IsaTable& isa)
        : vectors(problem.c / problem.groups <= lanes_of(problem, isa) ? 1 : 2),
          shape(weights_turned(problem), vectors * lanes_of(problem, isa)),
          turned(problem.y_pitch[1] != 1 && problem.y_pitch[4] == 1),
          samples(std::max<int64>(problem.n, 1)),
          lines(problem.input[0] * problem.input[1]), piece_lines(0),
          columns(std::min(problem.input[2], INPUT_PIECE)),
          across(ceil_div(problem.input[2], columns)), pieces(0), blocks(0), parts(0),
          last(problem.x_pitch[1] == 1) {
        if (turned) {
            const int64 sample = grad_elements(problem) * element_bytes(problem.dtype);
            samples = std::clamp<int64>(INPUT_PASS_BYTES / sample, 1, samples);
        }
        // Blocks of pixels read the weights anew, parts of the panels grad.
        const int64 shares = ceil_div(INPUT_SHARES, samples * problem.groups);
        const bool deep = shape.panels * shape.panel_elements() * problem.groups >
                          grad_elements(problem);
        parts = deep ? std::min(shares, shape.panels) : 1;
        const int64 wanted = ceil_div(shares, parts);
        piece_lines = std::clamp<int64>(
            std::min(INPUT_PIECE / columns, lines / wanted), 1, lines);
        pieces = ceil_div(lines, piece_lines) * across;
        blocks = std::min(wanted, pieces);
        parts = std::min(std::max(parts, ceil_div(shares, blocks)), shape.panels);
    }

    static int64 grad_elements(const ConvProblem& problem) {
        return problem.k * volume(problem.output);
    }
    int64 packed_elements(const ConvProblem& problem) const {
        return problem.groups * shape.panels * shape.panel_elements();
    }
    int64 turned_elements(const ConvProblem& problem) const {
        return turned ? samples * grad_elements(problem) : 0;
    }
};

double
interleaved_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement interleaved_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace pyconv
