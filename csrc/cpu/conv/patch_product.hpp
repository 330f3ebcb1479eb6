// A product of patches and filters, tile by tile, out through the epilogue.
//
// Shared by `im2col` and `implicit_gemm`, which differ in how much of the matrix of
// patches exists at a time. Two forms: filters x pixels, where output pixels are
// neighbours (NCHW), with panels of pixels on the right; pixels x filters otherwise,
// with panels of filters on the right.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/conv/filter_panels.hpp"
#include "cpu/conv/patches.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {

// Output pixels in (m, p, q) order are neighbours in memory.
inline bool pixels_contiguous(const ConvProblem& problem) {
    int64 expected = 1;
    for (int axis = 2; axis >= 0; --axis) {
        if (problem.output[axis] > 1 && problem.y_pitch[2 + axis] != expected) {
            return false;
        }
        expected *= problem.output[axis];
    }
    return true;
}

template <class T>
struct PatchProduct {
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    int vectors;
    int64 width;
    int64 depth;
    int64 pixels;
    int64 filters; // of one group
    const T* bias;
    const T* residual;
    T* y;

    PatchProduct(const ConvPlan& plan, const ConvTensors& tensors)
        : problem(plan.problem), kernels(kernels_of<T>(*plan.isa)),
          vectors(plan.vectors), width(plan.vectors * kernels.lanes),
          depth(problem.c / problem.groups * volume(problem.kernel)),
          pixels(volume(problem.output)), filters(problem.k / problem.groups),
          bias(static_cast<const T*>(tensors.bias)),
          residual(static_cast<const T*>(tensors.residual)),
          y(static_cast<T*>(tensors.y)) {}

    // acc = `count` rows of a, patch_row_pitch() apart, times one panel.
    void sum(const T* a, int64 count, const T* panel, T* acc) const {
        const int64 pitch = patch_row_pitch(depth);
        const T* rows[MAX_TILE_ROWS];
        for (int64 i = 0; i < count; ++i) {
            rows[i] = a + i * pitch;
        }
        kernels.gemm_tile[vectors - 1][count - 1](GemmTile<T>{
            .taps = 1,
            .a = rows,
            .a_tap_pitch = 0,
            .k = depth,
            .a_step = 1,
            .b = panel,
            .b_tap_pitch = 0,
            .acc = acc,
            .accumulate = false,
            .y = nullptr,
            .row_offset = nullptr,
            .bias = nullptr,
            .activation = ACT_NONE,
            .ahead = nullptr,
        });
    }

    // Rows are filters from `first`, columns are pixels of one panel.
    void store_filters(
        const T* acc, int64 n, int64 group, int64 first, int64 rows, int64 panel)
        const {
        const int64 pixel = panel * width;
        const int64 filter = group * filters + first;
        const int64 start =
            n * problem.y_pitch[0] + filter * problem.y_pitch[1] + pixel;
        int64 offset[MAX_TILE_ROWS];
        for (int64 i = 0; i < rows; ++i) {
            offset[i] = i * problem.y_pitch[1];
        }
        kernels.store_tile(
            StoreTile<T>{
                .acc = acc,
                .acc_pitch = width,
                .rows = rows,
                .columns = std::min(width, pixels - pixel),
                .y = y + start,
                .residual = residual != nullptr ? residual + start : nullptr,
                .row_offset = offset,
                .column_pitch = 1,
                .rows_contiguous = false,
                .bias = bias != nullptr ? bias + filter : nullptr,
                .bias_per_row = true,
                .activation = problem.activation,
            });
    }

    // Rows are pixels from `first`, columns are filters of one panel.
    void store_pixels(
        const T* acc, int64 n, int64 group, int64 first, int64 rows, int64 panel)
        const {
        const int64 filter = group * filters + panel * width;
        const int64 start = n * problem.y_pitch[0] + filter * problem.y_pitch[1];
        int64 offset[MAX_TILE_ROWS];
        Pixel pixel(problem.output, first);
        for (int64 i = 0; i < rows; ++i, pixel.advance(problem.output)) {
            offset[i] = pixel.offset(problem.y_pitch);
        }
        kernels.store_tile(
            StoreTile<T>{
                .acc = acc,
                .acc_pitch = width,
                .rows = rows,
                .columns = std::min(width, filters - panel * width),
                .y = y + start,
                .residual = residual != nullptr ? residual + start : nullptr,
                .row_offset = offset,
                .column_pitch = problem.y_pitch[1],
                .rows_contiguous = false,
                .bias = bias != nullptr ? bias + filter : nullptr,
                .bias_per_row = false,
                .activation = problem.activation,
            });
    }
};

} // namespace pyconv
