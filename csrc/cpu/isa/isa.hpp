// What one instruction set offers: a table of kernels, filled by isa/table.cpp.
//
// The idea: table.cpp is compiled once per instruction set; everything else is baseline
// code that calls through this struct. Kernels decide nothing: they get pointers,
// counts and pitches, never read or write past the last element named, and never
// allocate.
#pragma once

#include "core/problem.hpp"

namespace pyconv {

// Rows of the largest register tile over all instruction sets.
inline constexpr int MAX_TILE_ROWS = 14;

// acc[row][lane] = (accumulate ? acc : 0) + sum over tap, then k, of
// a[tap * a_tap_pitch + row][k * a_step] * b[tap * b_tap_pitch + k * width + lane].
// One chain of multiply-adds per element, in that order. acc and b are aligned to a
// vector; width = vectors * lanes.
template <class T>
struct GemmTile {
    int64 taps;
    const T* const* a;
    int64 a_tap_pitch;
    int64 k;
    int64 a_step;
    const T* b;
    int64 b_tap_pitch;
    T* acc;
    bool accumulate;
};

// Writes a tile of accumulators out through the epilogue: + bias, + residual,
// activation. Element (row, column) goes to y[row_offset[row] + column * column_pitch].
template <class T>
struct StoreTile {
    const T* acc;
    int64 acc_pitch;
    int64 rows;
    int64 columns;
    T* y;
    const T* residual; // null: none; y's offsets
    const int64* row_offset;
    int64 column_pitch;
    bool rows_contiguous; // row_offset[i] == row_offset[0] + i
    const T* bias;        // null: none
    bool bias_per_row;
    int64 activation;
};

template <class T>
struct Kernels {
    int lanes;
    int rows;                                                // of the largest tile
    void (*gemm_tile[2][MAX_TILE_ROWS])(const GemmTile<T>&); // [vectors - 1][rows - 1]
    void (*store_tile)(const StoreTile<T>&);
    // out[i] = max or sum over j of rows[j][i]; NaN wins a maximum. count >= 1.
    void (*reduce_max)(const T* const* rows, int64 count, T* out, int64 n);
    void (*reduce_sum)(const T* const* rows, int64 count, T* out, int64 n);
    // phases[f][i] = row[i * step + f] for all i * step + f < n
    void (*deinterleave)(const T* row, int64 n, int64 step, T* const* phases);
    void (*divide)(T* y, const T* divisors, int64 n);
};

struct IsaTable {
    const char* name;
    int vector_bytes;
    Kernels<float> f32;
    Kernels<double> f64;
};

} // namespace pyconv
