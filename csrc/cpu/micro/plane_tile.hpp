// Convolution with the pixels of an output row in the vector's lanes.
//
// The idea: where neighbouring pixels are neighbours in memory, a tap is one unaligned
// load at an offset, times one broadcast weight; no patch is ever packed. What makes a
// register tile is whatever shares a load: several filters of one row (filter_tile),
// several rows under one filter (slide_tile: row i serves tap r of output row i - r for
// every r), or nothing but the weight (row_tile, for strides that leave nothing else to
// share). One chain per element, taps in (t, r, column) order, in all three. Loads
// reach up to a whole vector past the last pixel asked for; the caller's rows have room
// for that. Source: Zhang et al. 2020 (arXiv 2001.02504) for rows that slide.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class T, int ROWS, int VECTORS>
inline __attribute__((always_inline)) void
load_sums(const PlaneTile<T>& tile, typename Simd<T>::Vector (&acc)[ROWS][VECTORS]) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        const T* row = tile.acc + i * tile.acc_pitch;
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            acc[i][j] =
                tile.accumulate
                    ? *reinterpret_cast<const Unaligned*>(row + j * Simd<T>::LANES)
                    : Vector{};
        }
    }
}

template <class T, int ROWS, int VECTORS>
inline __attribute__((always_inline)) void save_sums(
    const PlaneTile<T>& tile, const typename Simd<T>::Vector (&acc)[ROWS][VECTORS]) {
    using Unaligned = typename Simd<T>::Unaligned;
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        T* row = tile.acc + i * tile.acc_pitch;
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            *reinterpret_cast<Unaligned*>(row + j * Simd<T>::LANES) = acc[i][j];
        }
    }
}

// FILTERS filters of one output row; weight[term][filter].
template <class T, int FILTERS, int VECTORS>
void filter_tile(const PlaneTile<T>& tile) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    Vector acc[FILTERS][VECTORS];
    load_sums<T, FILTERS, VECTORS>(tile, acc);
    const T* weight = tile.weight;
    for (int64 t = 0; t < tile.planes; ++t) {
        for (int64 r = 0; r < tile.rows; ++r) {
            const T* row = tile.x + t * tile.plane_pitch + r * tile.row_pitch;
            for (int64 column = 0; column < tile.columns; ++column) {
                const T* x = row + tile.offset[column];
                Vector right[VECTORS];
                PYCONV_UNROLL
                for (int j = 0; j < VECTORS; ++j) {
                    right[j] =
                        *reinterpret_cast<const Unaligned*>(x + j * Simd<T>::LANES);
                }
                PYCONV_UNROLL
                for (int i = 0; i < FILTERS; ++i) {
                    const Vector left = weight[i] - Vector{}; // a broadcast
                    PYCONV_UNROLL
                    for (int j = 0; j < VECTORS; ++j) {
                        acc[i][j] += left * right[j];
                    }
                }
                weight += FILTERS;
            }
        }
    }
    save_sums<T, FILTERS, VECTORS>(tile, acc);
}

// ROWS output rows under one filter, out_pitch apart in x.
template <class T, int ROWS, int VECTORS>
void row_tile(const PlaneTile<T>& tile) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    Vector acc[ROWS][VECTORS];
    load_sums<T, ROWS, VECTORS>(tile, acc);
    const T* weight = tile.weight;
    for (int64 t = 0; t < tile.planes; ++t) {
        for (int64 r = 0; r < tile.rows; ++r) {
            const T* row = tile.x + t * tile.plane_pitch + r * tile.row_pitch;
            for (int64 column = 0; column < tile.columns; ++column) {
                const T* x = row + tile.offset[column];
                const Vector left = *weight++ - Vector{};
                PYCONV_UNROLL
                for (int i = 0; i < ROWS; ++i) {
                    PYCONV_UNROLL
                    for (int j = 0; j < VECTORS; ++j) {
                        acc[i][j] +=
                            left * *reinterpret_cast<const Unaligned*>(
                                       x + i * tile.out_pitch + j * Simd<T>::LANES);
                    }
                }
            }
        }
    }
    save_sums<T, ROWS, VECTORS>(tile, acc);
}

// One input row, for the output rows FIRST..LAST it serves; weight is that of output
// row 0, a tap row earlier for each row further down.
template <class T, int ROWS, int VECTORS, int FIRST, int LAST>
inline __attribute__((always_inline)) void slide_row(
    const PlaneTile<T>& tile,
    const T* row,
    const T* weight,
    typename Simd<T>::Vector (&acc)[ROWS][VECTORS]) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    const int64 columns = tile.columns;
    for (int64 column = 0; column < columns; ++column) {
        const T* x = row + tile.offset[column];
        Vector right[VECTORS];
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            right[j] = *reinterpret_cast<const Unaligned*>(x + j * Simd<T>::LANES);
        }
        PYCONV_UNROLL
        for (int i = FIRST; i < LAST; ++i) {
            const Vector left = weight[column - i * columns] - Vector{};
            PYCONV_UNROLL
            for (int j = 0; j < VECTORS; ++j) {
                acc[i][j] += left * right[j];
            }
        }
    }
}

// Rows that do not serve all: above the last output row, below the first.
template <class T, int ROWS, int VECTORS, int AT>
inline __attribute__((always_inline)) void slide_in(
    const PlaneTile<T>& tile,
    const T* row,
    const T* weight,
    typename Simd<T>::Vector (&acc)[ROWS][VECTORS]) {
    if constexpr (AT < ROWS - 1) {
        slide_row<T, ROWS, VECTORS, 0, AT + 1>(
            tile, row + AT * tile.row_pitch, weight + AT * tile.columns, acc);
        slide_in<T, ROWS, VECTORS, AT + 1>(tile, row, weight, acc);
    }
}

template <class T, int ROWS, int VECTORS, int AT>
inline __attribute__((always_inline)) void slide_out(
    const PlaneTile<T>& tile,
    const T* row,
    const T* weight,
    typename Simd<T>::Vector (&acc)[ROWS][VECTORS]) {
    if constexpr (AT < ROWS) {
        slide_row<T, ROWS, VECTORS, AT, ROWS>(
            tile,
            row + (tile.rows - 1 + AT) * tile.row_pitch,
            weight + (tile.rows - 1 + AT) * tile.columns,
            acc);
        slide_out<T, ROWS, VECTORS, AT + 1>(tile, row, weight, acc);
    }
}

// ROWS neighbouring output rows under one filter of at least ROWS tap rows.
template <class T, int ROWS, int VECTORS>
void slide_tile(const PlaneTile<T>& tile) {
    using Vector = typename Simd<T>::Vector;
    Vector acc[ROWS][VECTORS];
    load_sums<T, ROWS, VECTORS>(tile, acc);
    for (int64 t = 0; t < tile.planes; ++t) {
        const T* row = tile.x + t * tile.plane_pitch;
        const T* weight = tile.weight + t * tile.rows * tile.columns;
        slide_in<T, ROWS, VECTORS, 0>(tile, row, weight, acc);
        for (int64 i = ROWS - 1; i < tile.rows; ++i) {
            slide_row<T, ROWS, VECTORS, 0, ROWS>(
                tile, row + i * tile.row_pitch, weight + i * tile.columns, acc);
        }
        slide_out<T, ROWS, VECTORS, 1>(tile, row, weight, acc);
    }
    save_sums<T, ROWS, VECTORS>(tile, acc);
}

} // namespace
} // namespace pyconv::PYCONV_ISA
