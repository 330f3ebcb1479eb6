// Turning a matrix: blocks of LANES x LANES in registers, the last rows one by one.
//
// The idea: interleaving row i with row i + LANES / 2, log2(LANES) times over, is the
// transpose (a perfect shuffle of the index bits at each step). Every step is LANES
// two-source shuffles of whole vectors; nothing is read or written past the matrix.
#pragma once

#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

#if defined(__clang__)
#define PYCONV_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PYCONV_SHUFFLE(a, b, ...)                                                      \
    __builtin_shuffle(a, b, decltype((a) < (a)){__VA_ARGS__})
#endif

// The low halves of a and b, element by element in turn, and the high halves.
template <class V>
inline __attribute__((always_inline)) void interleave(V& a, V& b) {
    constexpr int LANES = sizeof(V) / sizeof(a[0]);
    const V low = a;
    const V high = b;
    if constexpr (LANES == 16) {
        a = PYCONV_SHUFFLE(
            low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        b = PYCONV_SHUFFLE(
            low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    } else if constexpr (LANES == 8) {
        a = PYCONV_SHUFFLE(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
        b = PYCONV_SHUFFLE(low, high, 4, 12, 5, 13, 6, 14, 7, 15);
    } else if constexpr (LANES == 4) {
        a = PYCONV_SHUFFLE(low, high, 0, 4, 1, 5);
        b = PYCONV_SHUFFLE(low, high, 2, 6, 3, 7);
    } else {
        a = PYCONV_SHUFFLE(low, high, 0, 2);
        b = PYCONV_SHUFFLE(low, high, 1, 3);
    }
}

template <class V, int LANES>
inline __attribute__((always_inline)) void transpose_block(V (&block)[LANES]) {
    PYCONV_UNROLL
    for (int step = 1; step < LANES; step *= 2) {
        V next[LANES];
        PYCONV_UNROLL
        for (int i = 0; i < LANES / 2; ++i) {
            next[2 * i] = block[i];
            next[2 * i + 1] = block[i + LANES / 2];
            interleave(next[2 * i], next[2 * i + 1]);
        }
        PYCONV_UNROLL
        for (int i = 0; i < LANES; ++i) {
            block[i] = next[i];
        }
    }
}

// Fewer rows than LANES, at most LANES columns.
template <class T>
void transpose_edge(
    const T* from, int64 from_pitch, int64 rows, int64 columns, T* to, int64 to_pitch) {
    constexpr int LANES = Simd<T>::LANES;
    using Unaligned = typename Simd<T>::Unaligned;
    typename Simd<T>::Vector block[LANES]{};
    for (int64 i = 0; i < rows; ++i) {
        const T* row = from + i * from_pitch;
        block[i] = columns == LANES ? *reinterpret_cast<const Unaligned*>(row)
                                    : load_partial(row, columns);
    }
    transpose_block(block);
    for (int64 j = 0; j < columns; ++j) {
        store_partial(to + j * to_pitch, block[j], rows);
    }
}

// LANES rows of fewer columns, a window's taps: in registers all the way.
template <class T>
void transpose_narrow(
    const T* from, int64 from_pitch, int64 columns, T* to, int64 to_pitch) {
    constexpr int LANES = Simd<T>::LANES;
    typename Simd<T>::Vector block[LANES];
    PYCONV_UNROLL
    for (int k = 0; k < LANES; ++k) {
        block[k] = load_partial(from + k * from_pitch, columns);
    }
    transpose_block(block);
    PYCONV_UNROLL
    for (int k = 0; k < LANES; ++k) {
        if (k == columns) {
            return;
        }
        *reinterpret_cast<typename Simd<T>::Unaligned*>(to + k * to_pitch) = block[k];
    }
}

template <class T>
void transpose(
    const T* from, int64 from_pitch, int64 rows, int64 columns, T* to, int64 to_pitch) {
    constexpr int LANES = Simd<T>::LANES;
    using Unaligned = typename Simd<T>::Unaligned;
    for (int64 i = 0; i < rows; i += LANES) {
        for (int64 j = 0; j < columns; j += LANES) {
            const T* source = from + i * from_pitch + j;
            T* target = to + j * to_pitch + i;
            const int64 high = rows - i < LANES ? rows - i : LANES;
            const int64 wide = columns - j < LANES ? columns - j : LANES;
            if (high == LANES && wide < LANES) {
                transpose_narrow(source, from_pitch, wide, target, to_pitch);
                continue;
            }
            if (high < LANES) {
                transpose_edge(source, from_pitch, high, wide, target, to_pitch);
                continue;
            }
            typename Simd<T>::Vector block[LANES];
            PYCONV_UNROLL
            for (int k = 0; k < LANES; ++k) {
                block[k] = *reinterpret_cast<const Unaligned*>(source + k * from_pitch);
            }
            transpose_block(block);
            PYCONV_UNROLL
            for (int k = 0; k < LANES; ++k) {
                *reinterpret_cast<Unaligned*>(target + k * to_pitch) = block[k];
            }
        }
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
