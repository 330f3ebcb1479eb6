// Tiles of one phase are neighbours in the list of bases: a strip never leaves a phase.
#include "cpu/conv/winograd_tiles.hpp"

#include <algorithm>

namespace pyconv {

std::string winograd_refusal(const ConvProblem& problem, const WinogradForm& form) {
    const int taps = WINOGRAD_SHAPES[form.shape].taps;
    for (const int axis : {form.row_axis, form.column_axis}) {
        if (axis < 0) {
            continue;
        }
        if (problem.kernel[axis] != taps) {
            return "needs a kernel of extent " + std::to_string(taps) + ", got " +
                   std::to_string(problem.kernel[axis]);
        }
        if (problem.stride[axis] != 1) {
            return "needs a stride of 1, got " + std::to_string(problem.stride[axis]);
        }
    }
    return "";
}

WinogradGeometry::WinogradGeometry(const ConvProblem& problem, const WinogradForm& form)
    : shape_index(form.shape), shape(WINOGRAD_SHAPES[form.shape]), all_points(1),
      channels(problem.c / problem.groups), filters(problem.k / problem.groups),
      tap_count(1) {
    for (int axis = 0; axis < 3; ++axis) {
        transformed[axis] = axis == form.row_axis || axis == form.column_axis;
        points[axis] = transformed[axis] ? shape.points : 1;
        outputs[axis] = transformed[axis] ? shape.outputs : 1;
        taps[axis] = transformed[axis] ? 1 : problem.kernel[axis];
        all_points *= points[axis];
        tap_count *= taps[axis];
        tiles[axis] = problem.output[axis];
        if (transformed[axis]) {
            const int64 phases = std::min(problem.dilation[axis], problem.output[axis]);
            tiles[axis] = 0;
            for (int64 phase = 0; phase < phases; ++phase) {
                const int64 in_phase =
                    ceil_div(problem.output[axis] - phase, problem.dilation[axis]);
                tiles[axis] += ceil_div(in_phase, outputs[axis]);
            }
        }
    }
}

WinogradBases::WinogradBases(
    const ConvProblem& problem, const WinogradGeometry& geometry, ScratchFrame& frame) {
    for (int axis = 0; axis < 3; ++axis) {
        auto* list = frame.take<int64>(geometry.tiles[axis]);
        base[axis] = list;
        const bool phased = geometry.transformed[axis];
        const int64 apart = phased ? problem.dilation[axis] : 1;
        const int64 phases = std::min(apart, problem.output[axis]);
        for (int64 phase = 0; phase < phases; ++phase) {
            for (int64 at = phase; at < problem.output[axis];
                 at += apart * geometry.outputs[axis]) {
                *list++ = at;
            }
        }
    }
}

int winograd_vectors(const ConvProblem& problem, const IsaTable& isa) {
    const int lanes = problem.dtype == FLOAT32 ? isa.f32.lanes : isa.f64.lanes;
    return problem.k / problem.groups <= lanes ? 1 : 2;
}

WinogradLayout::WinogradLayout(
    const ConvProblem& problem,
    const IsaTable& isa,
    const WinogradGeometry& geometry,
    int64 tiles) {
    const int64 lanes = problem.dtype == FLOAT32 ? isa.f32.lanes : isa.f64.lanes;
    width = winograd_vectors(problem, isa) * lanes;
    panels = ceil_div(geometry.filters, width);
    row = ceil_div(geometry.depth(), lanes) * lanes + lanes;
    u_point = geometry.depth() * width + lanes;
    v_point = tiles * row + lanes;
    m_point = tiles * width + lanes;
}

WinogradStrips::WinogradStrips(
    const ConvProblem& problem,
    const WinogradGeometry& geometry,
    const WinogradBases& bases,
    int64 first,
    int64 count,
    int64 longest)
    : problem_(problem), geometry_(geometry), bases_(bases), first_(first),
      count_(count), longest_(longest) {}

bool WinogradStrips::next(WinogradStrip& strip) {
    if (done_ == count_) {
        return false;
    }
    const int64(&tiles)[3] = geometry_.tiles;
    const int64 flat = first_ + done_;
    const int64 column = flat % tiles[2];
    const int64 row = flat / tiles[2];
    strip.first = done_;
    strip.n = row / (tiles[0] * tiles[1]);
    strip.base[0] = bases_.base[0][row / tiles[1] % tiles[0]];
    strip.base[1] = bases_.base[1][row % tiles[1]];
    const int64* base = bases_.base[2] + column;
    strip.base[2] = *base;
    const int64 step =
        geometry_.outputs[2] * (geometry_.transformed[2] ? problem_.dilation[2] : 1);
    const int64 most = std::min({longest_, count_ - done_, tiles[2] - column});
    strip.tiles = 1;
    while (strip.tiles < most && base[strip.tiles] == base[strip.tiles - 1] + step) {
        ++strip.tiles;
    }
    done_ += strip.tiles;
    return true;
}

} // namespace pyconv
