// What a product of small elements looks like: kind, order of a pixel's elements, and
// the numbers that follow.
//
// A pixel's row, and a filter, hold groups of `lanes` neighbouring elements. Where
// windows are read from a band of the input (DOT_BAND) every tap has the channels of
// one pixel, filled up to whole steps of groups, and is read a chunk of them at a time,
// so that all taps find its pixels in L1; where each window is copied (DOT_PATCHES) all
// taps follow each other and are filled up once. None of this may depend on the batch
// or the order in memory: groups are rounded together.
#pragma once

#include "core/machine.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/isa.hpp"

#include <string>

namespace pyconv {

enum DotForm : int { DOT_PATCHES = 0, DOT_BAND = 1 };

struct DotShape {
    DotKind kind;
    bool shifts;      // signed bytes of x become unsigned ones by adding 128
    int64 lanes;      // elements of a group
    int64 lane_bytes; // of one, as it is multiplied
    int64 channels;   // of one group of the convolution, likewise filters
    int64 filters;
    int64 taps;         // of a window that are read at distances from its first row
    int64 row_elements; // of a row before filling: a pixel's, or a whole window's
    int64 row_groups;   // and after
    int64 chunks;       // of these; all taps are read of one before the next
    int64 width;        // filters of a panel
    int64 panels;
    DotForm form;

    int64 group_bytes() const { return lanes * lane_bytes; }
    int64 chunk_groups() const { return row_groups / chunks; }
    int64 row_bytes() const { return row_groups * group_bytes(); }
    int64 filter_bytes() const { return taps * row_bytes(); }
    // Of a panel of filters; behind them their sums' corrections.
    int64 panel_bytes() const { return (filter_bytes() + group_bytes()) * width; }
};

// The kind of kernel for the types of a problem; "" or why there is none.
std::string dot_refusal(const ConvProblem& problem, const IsaTable& isa);

// For problems that are not refused.
DotShape dot_shape(const ConvProblem& problem, const IsaTable& isa);

// Width of the input's rows as a band has them: what the outputs of a row meet.
inline int64 band_width(const ConvProblem& problem) {
    return problem.output[2] + (problem.kernel[2] - 1) * problem.dilation[2];
}

// Rows of a band that `rows` rows of outputs meet.
inline int64 band_height(const ConvProblem& problem, int64 rows) {
    return rows + (problem.kernel[1] - 1) * problem.dilation[1];
}

// Cycles of one core for a form: products, and copying, of one sample and group.
double
dot_cycles(const ConvProblem& problem, const IsaTable& isa, const DotShape& shape);

} // namespace pyconv
