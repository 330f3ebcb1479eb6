// The microkernel: a register tile of ROWS x (VECTORS * lanes) sums of products.
//
// The idea: broadcast one element of each of ROWS rows, multiply it with VECTORS
// vectors of b, add into accumulators that stay in registers over all taps and all k.
// Rows are reached through pointers, so that convolution needs no matrix in memory: a
// tap is a new set of row pointers. One chain per element in (tap, k) order: results
// depend on nothing else. Tile shapes: 14 x 2 zmm is 28 accumulators of 32 registers, 6
// x 2 ymm is 12 of 16; each leaves room for b and the broadcast. Source: Georganas et
// al. 2018 (arXiv 1808.05567); Dukhan 2019 (arXiv 1907.02129).
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/activate.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// Steps of k that b is fetched ahead: panels stream from L2, transformed weights from
// L3, and the hardware's prefetcher stops at every page.
constexpr int64 AHEAD = 16;

// With 16 registers a step is so few multiply-adds that the loop's own instructions
// count, above all where two threads share a core.
#if PYCONV_VECTOR_BYTES != 32
#define PYCONV_UNROLL_STEPS
#elif defined(__clang__)
#define PYCONV_UNROLL_STEPS _Pragma("clang loop unroll_count(2)")
#else
#define PYCONV_UNROLL_STEPS _Pragma("GCC unroll 2")
#endif

// UNIT_STEP: consecutive k are neighbours in memory; the offset is then the counter.
template <class T, int ROWS, int VECTORS, bool UNIT_STEP, bool HAS_AHEAD>
inline __attribute__((always_inline)) void multiply_tap(
    typename Simd<T>::Vector (&acc)[ROWS][VECTORS],
    const T* const* row,
    int64 k_count,
    int64 step,
    const T* b,
    const T* ahead) {
    using Vector = typename Simd<T>::Vector;
    const T* a[ROWS];
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        a[i] = row[i];
    }
    PYCONV_UNROLL_STEPS
    for (int64 k = 0; k < k_count; ++k) {
        const int64 offset = UNIT_STEP ? k : k * step;
        const auto* lanes = reinterpret_cast<const Vector*>(b) + k * VECTORS;
        Vector right[VECTORS];
        if constexpr (HAS_AHEAD) {
            __builtin_prefetch(ahead + k * (64 / sizeof(T)));
        }
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            right[j] = lanes[j];
            if (j * sizeof(Vector) % 64 == 0) { // a line
                __builtin_prefetch(lanes + AHEAD * VECTORS + j);
            }
        }
        PYCONV_UNROLL
        for (int i = 0; i < ROWS; ++i) {
            const Vector left = a[i][offset] - Vector{}; // a broadcast
            PYCONV_UNROLL
            for (int j = 0; j < VECTORS; ++j) {
                acc[i][j] += left * right[j];
            }
        }
    }
}

// Bias, activation and the way out for sums that are still in registers.
template <class T, int ROWS, int VECTORS>
inline __attribute__((always_inline)) void
finish_rows(const GemmTile<T>& tile, typename Simd<T>::Vector (&acc)[ROWS][VECTORS]) {
    constexpr int LANES = Simd<T>::LANES;
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    if (tile.bias != nullptr && tile.bias_per_row) {
        PYCONV_UNROLL
        for (int i = 0; i < ROWS; ++i) {
            const Vector bias = tile.bias[i] - Vector{};
            PYCONV_UNROLL
            for (int j = 0; j < VECTORS; ++j) {
                acc[i][j] += bias;
            }
        }
    } else if (tile.bias != nullptr) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            const Vector bias =
                *reinterpret_cast<const Unaligned*>(tile.bias + j * LANES);
            PYCONV_UNROLL
            for (int i = 0; i < ROWS; ++i) {
                acc[i][j] += bias;
            }
        }
    }
    if (tile.activation != ACT_NONE) {
        PYCONV_UNROLL
        for (int i = 0; i < ROWS; ++i) {
            PYCONV_UNROLL
            for (int j = 0; j < VECTORS; ++j) {
                acc[i][j] = activate_cheap<T>(tile.activation, acc[i][j]);
            }
        }
    }
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            *reinterpret_cast<Unaligned*>(tile.y + tile.row_offset[i] + j * LANES) =
                acc[i][j];
        }
    }
}

template <class T, int ROWS, int VECTORS>
void gemm_tile(const GemmTile<T>& tile) {
    using Vector = typename Simd<T>::Vector;
    Vector acc[ROWS][VECTORS];
    auto* memory = reinterpret_cast<Vector*>(tile.acc);
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            acc[i][j] = tile.accumulate ? memory[i * VECTORS + j] : Vector{};
        }
    }
    for (int64 tap = 0; tap < tile.taps; ++tap) {
        const T* const* row = tile.a + tap * tile.a_tap_pitch;
        const T* b = tile.b + tap * tile.b_tap_pitch;
        if (tile.a_step != 1) {
            multiply_tap<T, ROWS, VECTORS, false, false>(
                acc, row, tile.k, tile.a_step, b, nullptr);
        } else if (tile.ahead == nullptr) {
            multiply_tap<T, ROWS, VECTORS, true, false>(
                acc, row, tile.k, 1, b, nullptr);
        } else {
            multiply_tap<T, ROWS, VECTORS, true, true>(
                acc, row, tile.k, 1, b, tile.ahead);
        }
    }
    if (tile.y != nullptr) {
        finish_rows<T>(tile, acc);
        return;
    }
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            memory[i * VECTORS + j] = acc[i][j];
        }
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
