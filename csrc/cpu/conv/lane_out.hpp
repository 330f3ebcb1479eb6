// Running a tile with channels in the lanes, and its way out.
//
// The idea: bias and the cheap activations are done while the sums are in registers,
// and the tile is written straight to y; only a residual or an activation that takes
// more than a comparison sends it through a buffer and store_tile.
#pragma once

#include "cpu/isa/isa.hpp"

namespace pyconv {

// The tile as it would be finished in registers, with room for it at tile.acc; y and
// residual (or null) point at its first element, channels side by side.
template <class T>
void finish_lane_tile(
    const Kernels<T>& kernels,
    const ConvProblem& problem,
    void (*kernel)(const LaneTile<T>&),
    LaneTile<T> tile,
    const T* residual,
    T* y) {
    if (residual == nullptr && problem.activation <= ACT_LEAKY_RELU) {
        tile.acc = y;
        tile.acc_pitch = problem.y_pitch[4];
        kernel(tile);
        return;
    }
    const T* bias = tile.bias;
    tile.bias = nullptr;
    tile.activation = ACT_NONE;
    kernel(tile);
    int64 row_offset[2 * LANE_ROW_PIXELS];
    for (int64 i = 0; i < tile.pixels; ++i) {
        row_offset[i] = i * problem.y_pitch[4];
    }
    kernels.store_tile(
        StoreTile<T>{
            .acc = tile.acc,
            .acc_pitch = tile.acc_pitch,
            .rows = tile.pixels,
            .columns = tile.channels,
            .y = y,
            .residual = residual,
            .row_offset = row_offset,
            .column_pitch = 1,
            .rows_contiguous = false,
            .bias = bias,
            .bias_per_row = false,
            .activation = problem.activation,
        });
}

} // namespace pyconv
