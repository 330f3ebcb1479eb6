// A register tile of sums over pixels: each pixel adds the outer product of a few
// channels of x and a vector or two of grad.
//
// The idea: the rows of the tile lie side by side, so that all of them are reached from
// one pointer and a line of pixels, however short, starts for free. One chain of
// multiply-adds per sum, pixels in order. Source: the register blocking of Goto and van
// de Geijn 2008 (10.1145/1356052.1356053).
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// Pixels that grad is fetched ahead.
constexpr int64 PIXELS_AHEAD = 16;

template <class T, int ROWS, int VECTORS>
void outer_tile(const OuterTile<T>& tile) {
    constexpr int LANES = Simd<T>::LANES;
    using Vector = typename Simd<T>::Vector;
    Vector acc[ROWS][VECTORS];
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        const auto* row =
            reinterpret_cast<const Vector*>(tile.acc + i * tile.acc_pitch);
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            acc[i][j] = tile.accumulate ? row[j] : Vector{};
        }
    }
    const int64 a_step = tile.a_step;
    for (int64 block = 0; block < tile.blocks; ++block) {
        for (int64 line = 0; line < tile.lines; ++line) {
            const T* a = tile.a + block * tile.a_block + line * tile.a_line;
            const T* b = tile.b + block * tile.b_block + line * tile.b_line;
            const T* const end = b + tile.pixels * VECTORS * LANES;
            for (; b != end; b += VECTORS * LANES, a += a_step) {
                Vector right[VECTORS];
                PYCONV_UNROLL
                for (int j = 0; j < VECTORS; ++j) {
                    const auto* lanes = reinterpret_cast<const Vector*>(b) + j;
                    right[j] = *lanes;
                    if (j * sizeof(Vector) % 64 == 0) { // a line
                        __builtin_prefetch(lanes + PIXELS_AHEAD * VECTORS);
                    }
                }
                PYCONV_UNROLL
                for (int i = 0; i < ROWS; ++i) {
                    const Vector left = a[i] - Vector{}; // a broadcast
                    PYCONV_UNROLL
                    for (int j = 0; j < VECTORS; ++j) {
                        acc[i][j] += left * right[j];
                    }
                }
            }
        }
    }
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        auto* row = reinterpret_cast<Vector*>(tile.acc + i * tile.acc_pitch);
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            row[j] = acc[i][j];
        }
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
