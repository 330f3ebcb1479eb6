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

// A filter of a 1x1 convolution is a row already.
inline bool filters_are_rows(const ConvProblem& problem) {
    return volume(problem.kernel) == 1 && problem.w_pitch[1] == 1;
}

// Rows of a product's left side.
template <class T>
struct PatchRows {
    const T* first;
    int64 pitch;
};

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

    // Rows of a times one panel, out to rows that are filters from `first` and columns
    // that are pixels of one panel.
    void multiply_filters(
        const PatchRows<T>& a,
        const T* b,
        int64 n,
        int64 group,
        int64 first,
        int64 rows,
        int64 panel,
        T* acc) const {
        const int64 pixel = panel * width;
        const int64 filter = group * filters + first;
        const int64 start =
            n * problem.y_pitch[0] + filter * problem.y_pitch[1] + pixel;
        int64 offset[MAX_TILE_ROWS];
        for (int64 i = 0; i < rows; ++i) {
            offset[i] = i * problem.y_pitch[1];
        }
        multiply(
            a,
            b,
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
            },
            acc);
    }

    // Rows are pixels from `first`, columns are filters of one panel.
    void multiply_pixels(
        const PatchRows<T>& a,
        const T* b,
        int64 n,
        int64 group,
        int64 first,
        int64 rows,
        int64 panel,
        T* acc) const {
        const int64 filter = group * filters + panel * width;
        const int64 start = n * problem.y_pitch[0] + filter * problem.y_pitch[1];
        int64 offset[MAX_TILE_ROWS];
        Pixel pixel(problem.output, first);
        for (int64 i = 0; i < rows; ++i, pixel.advance(problem.output)) {
            offset[i] = pixel.offset(problem.y_pitch);
        }
        multiply(
            a,
            b,
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
            },
            acc);
    }

  private:
    // A whole panel of columns side by side needs no accumulator in memory.
    static bool finishes_in_registers(const StoreTile<T>& out, int64 width) {
        return out.column_pitch == 1 && out.columns == width &&
               out.residual == nullptr && out.activation <= ACT_LEAKY_RELU;
    }

    // Fetches the lines that a tile will be stored to while it is being summed.
    static void prefetch_for_store(const StoreTile<T>& out) {
        constexpr int64 LINE = 64 / sizeof(T);
        for (int64 i = 0; out.column_pitch == 1 && i < out.rows; ++i) {
            const T* row = out.y + out.row_offset[i];
            for (int64 j = 0; j < out.columns; j += LINE) {
                __builtin_prefetch(row + j, 1);
            }
            __builtin_prefetch(row + out.columns - 1, 1);
        }
    }

    void
    multiply(const PatchRows<T>& a, const T* b, const StoreTile<T>& out, T* acc) const {
        const T* rows[MAX_TILE_ROWS];
        for (int64 i = 0; i < out.rows; ++i) {
            rows[i] = a.first + i * a.pitch;
        }
        prefetch_for_store(out);
        const bool finishes = finishes_in_registers(out, width);
        kernels.gemm_tile[vectors - 1][out.rows - 1](GemmTile<T>{
            .taps = 1,
            .a = rows,
            .a_tap_pitch = 0,
            .k = depth,
            .a_step = 1,
            .b = b,
            .b_tap_pitch = 0,
            .acc = acc,
            .accumulate = false,
            .y = finishes ? out.y : nullptr,
            .row_offset = out.row_offset,
            .bias = out.bias,
            .bias_per_row = out.bias_per_row,
            .activation = out.activation,
            .ahead = nullptr,
        });
        if (!finishes) {
            kernels.store_tile(out);
        }
    }
};

} // namespace pyconv
