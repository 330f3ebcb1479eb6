// Kinds by type and instruction set; the form by what it costs one sample.
#include "cpu/conv/dot_shape.hpp"

#include "cpu/conv/model.hpp"

namespace pyconv {
namespace {

bool is_byte(int64 dtype) {
    return dtype == INT8 || dtype == UINT8;
}

struct KindOf {
    DotKind kind;
    bool shifts;
};

KindOf kind_of(const ConvProblem& problem, const IsaTable& isa) {
    const auto has = [&](DotKind kind) { return isa.dots[kind].rows > 0; };
    if (problem.dtype == BFLOAT16) {
        return {DOT_BFLOATS, false};
    }
    if (is_byte(problem.dtype)) {
        const bool x_signed = problem.dtype == INT8;
        const bool w_signed = problem.weight_dtype == INT8;
        const auto kind =
            static_cast<DotKind>(DOT_BYTES_UU + 2 * int{x_signed} + int{w_signed});
        if (has(kind)) {
            return {kind, false};
        }
        if (w_signed && has(DOT_BYTES_US)) {
            return {DOT_BYTES_US, x_signed};
        }
    }
    const bool is_short = is_byte(problem.dtype) || problem.dtype == INT16;
    if (is_short && has(DOT_SHORTS)) {
        return {DOT_SHORTS, false};
    }
    return {result_type(problem.dtype) == INT32 ? DOT_WORDS : DOT_LONGS, false};
}

int64 lane_bytes_of(DotKind kind) {
    switch (kind) {
    case DOT_BFLOATS:
    case DOT_SHORTS:
        return 2;
    case DOT_WORDS:
        return 4;
    case DOT_LONGS:
        return 8;
    default:
        return 1;
    }
}

DotShape shape_of(const ConvProblem& problem, const IsaTable& isa, DotForm form) {
    const auto [kind, shifts] = kind_of(problem, isa);
    const DotKernel& kernel = isa.dots[kind];
    const int64 taps = volume(problem.kernel);
    DotShape shape{};
    shape.chunks = 1;
    shape.kind = kind;
    shape.shifts = shifts;
    shape.lane_bytes = lane_bytes_of(kind);
    shape.lanes = kind == DOT_LONGS ? 1 : 4 / shape.lane_bytes;
    shape.channels = problem.c / problem.groups;
    shape.filters = problem.k / problem.groups;
    shape.form = form;
    shape.taps = form == DOT_BAND ? taps : 1;
    shape.row_elements = form == DOT_BAND ? shape.channels : shape.channels * taps;
    shape.row_groups =
        ceil_div(shape.row_elements, shape.lanes * kernel.step) * kernel.step;
    if (shape.taps > 1) {
        // Equal chunks of whole steps, whose pixels stay in L1: those of a tile and of
        // its windows' other rows.
        constexpr int64 MOST_GROUPS = 128;
        const int64 steps = shape.row_groups / kernel.step;
        shape.chunks = ceil_div(shape.row_groups, MOST_GROUPS);
        shape.row_groups = ceil_div(steps, shape.chunks) * shape.chunks * kernel.step;
    }
    shape.width = kernel.width;
    shape.panels = ceil_div(shape.filters, shape.width);
    return shape;
}

} // namespace

std::string dot_refusal(const ConvProblem& problem, const IsaTable& isa) {
    if (problem.dtype != BFLOAT16 && !is_integer(problem.dtype)) {
        return "bfloat16 and integers only";
    }
    if (isa.dots[kind_of(problem, isa).kind].rows == 0) {
        return "this instruction set does not multiply bfloat16";
    }
    return "";
}

double
dot_cycles(const ConvProblem& problem, const IsaTable& isa, const DotShape& shape) {
    // Measured: a byte copied within L2, and what a copy costs to set up.
    constexpr double BYTE = 0.06;
    constexpr double COPY = 8.0;
    constexpr double STORED = 0.35; // an output, from its sum
    const DotKernel& kernel = isa.dots[shape.kind];
    const double pixels = static_cast<double>(volume(problem.output));
    double rows = pixels;
    double copying = 0.0;
    if (shape.form == DOT_BAND) {
        const double planes = static_cast<double>(problem.output[0]);
        rows = planes * static_cast<double>(problem.output[1] * band_width(problem));
        const int64 box = band_height(problem, problem.output[1]) * band_width(problem);
        copying = planes * static_cast<double>(problem.kernel[0] * box) *
                  (static_cast<double>(shape.row_bytes()) * BYTE + COPY);
    } else if (volume(problem.kernel) > 1) {
        copying = pixels * (static_cast<double>(shape.row_bytes()) * BYTE +
                            COPY * static_cast<double>(volume(problem.kernel)));
    }
    const double groups = static_cast<double>(shape.taps * shape.row_groups);
    const double products =
        rows * groups * static_cast<double>(shape.panels) * kernel.row_cycles;
    const double stored = pixels * static_cast<double>(shape.filters) * STORED;
    return products + copying + stored;
}

DotShape dot_shape(const ConvProblem& problem, const IsaTable& isa) {
    const DotShape patches = shape_of(problem, isa, DOT_PATCHES);
    if (volume(problem.kernel) == 1 || problem.stride[1] != 1 ||
        problem.stride[2] != 1) {
        return patches;
    }
    const DotShape band = shape_of(problem, isa, DOT_BAND);
    return dot_cycles(problem, isa, band) < dot_cycles(problem, isa, patches) ? band
                                                                              : patches;
}

} // namespace pyconv
