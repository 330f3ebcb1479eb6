// The way out of a register tile: epilogue, then memory, in whichever order y has.
//
// The idea: finish each row while it is in L1 (bias, residual, activation), then write.
// Three shapes of memory: columns side by side (vector stores), rows side by side (the
// tile is turned: for each column one run of rows), anything else one by one.
// Nothing outside the tile's rows and columns is read or written.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/activate.hpp"
#include "cpu/micro/simd.hpp"
#include "cpu/micro/smooth.hpp"
#include "cpu/micro/transpose.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// Activates a line and writes it. Lanes past `count` hold whatever they hold.
template <class T>
inline __attribute__((always_inline)) void
finish(int64 activation, typename Simd<T>::Vector value, T* y, int64 count) {
    value = activation <= ACT_LEAKY_RELU ? activate_cheap<T>(activation, value)
                                         : activate_smooth<T>(activation, value);
    store_first(y, value, count);
}

// Columns side by side: every row is one run.
template <class T>
void store_rows(const StoreTile<T>& tile) {
    constexpr int LANES = Simd<T>::LANES;
    using Vector = typename Simd<T>::Vector;
    for (int64 j = 0; j < tile.columns; j += LANES) {
        const int64 columns = tile.columns - j < LANES ? tile.columns - j : LANES;
        const Vector per_column = tile.bias != nullptr && !tile.bias_per_row
                                      ? load_first(tile.bias + j, columns)
                                      : Vector{};
        for (int64 i = 0; i < tile.rows; ++i) {
            Vector value = load_first(tile.acc + i * tile.acc_pitch + j, columns);
            const int64 at = tile.row_offset[i] + j;
            if (tile.bias != nullptr) {
                value += tile.bias_per_row ? tile.bias[i] - Vector{} : per_column;
            }
            if (tile.residual != nullptr) {
                value += load_first(tile.residual + at, columns);
            }
            finish(tile.activation, value, tile.y + at, columns);
        }
    }
}

// Rows side by side: the tile is turned, a line of pixels at a time, and every column
// is one run of rows.
template <class T>
void store_columns(const StoreTile<T>& tile) {
    constexpr int LANES = Simd<T>::LANES;
    using Vector = typename Simd<T>::Vector;
    for (int64 i = 0; i < tile.rows; i += LANES) {
        const int64 rows = tile.rows - i < LANES ? tile.rows - i : LANES;
        for (int64 j = 0; j < tile.columns; j += LANES) {
            const int64 columns = tile.columns - j < LANES ? tile.columns - j : LANES;
            Vector block[LANES]{};
            for (int64 k = 0; k < rows; ++k) {
                const T* acc = tile.acc + (i + k) * tile.acc_pitch + j;
                block[k] = load_first(acc, columns);
            }
            transpose_block(block);
            for (int64 k = 0; k < columns; ++k) {
                const int64 at = tile.row_offset[0] + i + (j + k) * tile.column_pitch;
                Vector value = block[k];
                if (tile.bias != nullptr) {
                    if (tile.bias_per_row) {
                        value += load_first(tile.bias + i, rows);
                    } else {
                        value += tile.bias[j + k];
                    }
                }
                if (tile.residual != nullptr) {
                    value += load_first(tile.residual + at, rows);
                }
                finish(tile.activation, value, tile.y + at, rows);
            }
        }
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
            finish(tile.activation, value - typename Simd<T>::Vector{}, tile.y + at, 1);
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
