// The way out of a register tile: epilogue, then memory, in whichever order y has.
//
// The idea: finish each row while it is in L1 (bias, residual, activation), then write.
// Three shapes of memory: columns side by side (vector stores), rows side by side (the
// tile is turned: for each column one run of rows), anything else one by one.
// Nothing outside the tile's rows and columns is read or written.
#pragma once

#include "core/epilogue.hpp"
#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class T>
inline T activate_cheap(int64 activation, T value) {
    if (activation == ACT_RELU) {
        return value < T(0) ? T(0) : value; // NaN stays NaN
    }
    if (activation == ACT_RELU6) {
        return value < T(0) ? T(0) : (value > T(6) ? T(6) : value);
    }
    return value < T(0) ? T(0.01) * value : value;
}

template <class T>
void activate_row(int64 activation, T* row, int64 count) {
    if (activation == ACT_NONE) {
        return;
    }
    if (activation > ACT_LEAKY_RELU) {
        activate(activation, row, count);
        return;
    }
    for (int64 j = 0; j < count; ++j) {
        row[j] = activate_cheap(activation, row[j]);
    }
}

// Columns side by side: the row goes straight to y, and is activated there.
template <class T>
void store_rows(const StoreTile<T>& tile) {
    for (int64 i = 0; i < tile.rows; ++i) {
        const T* __restrict__ acc = tile.acc + i * tile.acc_pitch;
        T* __restrict__ y = tile.y + tile.row_offset[i];
        if (tile.bias == nullptr) {
            for (int64 j = 0; j < tile.columns; ++j) {
                y[j] = acc[j];
            }
        } else if (tile.bias_per_row) {
            const T bias = tile.bias[i];
            for (int64 j = 0; j < tile.columns; ++j) {
                y[j] = acc[j] + bias;
            }
        } else {
            const T* __restrict__ bias = tile.bias;
            for (int64 j = 0; j < tile.columns; ++j) {
                y[j] = acc[j] + bias[j];
            }
        }
        if (tile.residual != nullptr) {
            const T* __restrict__ residual = tile.residual + tile.row_offset[i];
            for (int64 j = 0; j < tile.columns; ++j) {
                y[j] += residual[j];
            }
        }
        activate_row(tile.activation, y, tile.columns);
    }
}

// Rows side by side: one run of rows per column, through a line in L1.
template <class T>
void store_columns(const StoreTile<T>& tile) {
    for (int64 j = 0; j < tile.columns; ++j) {
        const int64 start = tile.row_offset[0] + j * tile.column_pitch;
        T* __restrict__ y = tile.y + start;
        const T* acc = tile.acc + j;
        for (int64 i = 0; i < tile.rows; ++i) {
            y[i] = acc[i * tile.acc_pitch];
        }
        if (tile.bias != nullptr) {
            for (int64 i = 0; i < tile.rows; ++i) {
                y[i] += tile.bias[tile.bias_per_row ? i : j];
            }
        }
        if (tile.residual != nullptr) {
            const T* __restrict__ residual = tile.residual + start;
            for (int64 i = 0; i < tile.rows; ++i) {
                y[i] += residual[i];
            }
        }
        activate_row(tile.activation, y, tile.rows);
    }
}

template <class T>
void store_scattered(const StoreTile<T>& tile) {
    for (int64 i = 0; i < tile.rows; ++i) {
        for (int64 j = 0; j < tile.columns; ++j) {
            const int64 at = tile.row_offset[i] + j * tile.column_pitch;
            T value = tile.acc[i * tile.acc_pitch + j];
            if (tile.bias != nullptr) {
                value += tile.bias[tile.bias_per_row ? i : j];
            }
            if (tile.residual != nullptr) {
                value += tile.residual[at];
            }
            activate_row(tile.activation, &value, 1);
            tile.y[at] = value;
        }
    }
}

template <class T>
void store_tile(const StoreTile<T>& tile) {
    if (tile.column_pitch == 1) {
        store_rows(tile);
    } else if (tile.rows_contiguous) {
        store_columns(tile);
    } else {
        store_scattered(tile);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
