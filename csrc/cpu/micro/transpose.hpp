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

// LANES x LANES, from memory to memory.
template <class T>
inline __attribute__((always_inline)) void
transpose_whole(const T* from, int64 from_pitch, T* to, int64 to_pitch) {
    constexpr int LANES = Simd<T>::LANES;
    using Unaligned = typename Simd<T>::Unaligned;
    typename Simd<T>::Vector block[LANES];
    PYCONV_UNROLL
    for (int k = 0; k < LANES; ++k) {
        block[k] = *reinterpret_cast<const Unaligned*>(from + k * from_pitch);
    }
    transpose_block(block);
    PYCONV_UNROLL
    for (int k = 0; k < LANES; ++k) {
        *reinterpret_cast<Unaligned*>(to + k * to_pitch) = block[k];
    }
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// AVX2 shuffles within the halves of a vector. Rows i and i + LANES / 2 are loaded into
// the halves of one, half of the columns at a time: half as many shuffles as by
// interleaving whole vectors, and half as many registers.
template <>
inline __attribute__((always_inline)) void
transpose_whole(const float* from, int64 from_pitch, float* to, int64 to_pitch) {
    PYCONV_UNROLL
    for (int half = 0; half < 8; half += 4) {
        __m256 row[4];
        PYCONV_UNROLL
        for (int k = 0; k < 4; ++k) {
            const float* at = from + k * from_pitch + half;
            row[k] = _mm256_insertf128_ps(
                _mm256_castps128_ps256(_mm_loadu_ps(at)),
                _mm_loadu_ps(at + 4 * from_pitch),
                1);
        }
        PYCONV_UNROLL
        for (int k = 0; k < 4; k += 2) {
            const __m256 upper = k == 0 ? _mm256_unpacklo_ps(row[0], row[1])
                                        : _mm256_unpackhi_ps(row[0], row[1]);
            const __m256 lower = k == 0 ? _mm256_unpacklo_ps(row[2], row[3])
                                        : _mm256_unpackhi_ps(row[2], row[3]);
            float* column = to + (half + k) * to_pitch;
            _mm256_storeu_ps(column, _mm256_shuffle_ps(upper, lower, 0x44));
            _mm256_storeu_ps(column + to_pitch, _mm256_shuffle_ps(upper, lower, 0xEE));
        }
    }
}

template <>
inline __attribute__((always_inline)) void
transpose_whole(const double* from, int64 from_pitch, double* to, int64 to_pitch) {
    PYCONV_UNROLL
    for (int half = 0; half < 4; half += 2) {
        __m256d row[2];
        PYCONV_UNROLL
        for (int k = 0; k < 2; ++k) {
            const double* at = from + k * from_pitch + half;
            row[k] = _mm256_insertf128_pd(
                _mm256_castpd128_pd256(_mm_loadu_pd(at)),
                _mm_loadu_pd(at + 2 * from_pitch),
                1);
        }
        double* column = to + half * to_pitch;
        _mm256_storeu_pd(column, _mm256_unpacklo_pd(row[0], row[1]));
        _mm256_storeu_pd(column + to_pitch, _mm256_unpackhi_pd(row[0], row[1]));
    }
}
#endif

// Fewer rows than LANES, at most LANES columns. The first `whole` of these may be
// stored as vectors: what is too much is written again.
template <class T>
void transpose_edge(
    const T* from,
    int64 from_pitch,
    int64 rows,
    int64 columns,
    T* to,
    int64 to_pitch,
    int64 whole) {
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
        if (j < whole) {
            *reinterpret_cast<Unaligned*>(to + j * to_pitch) = block[j];
        } else {
            store_partial(to + j * to_pitch, block[j], rows);
        }
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
                // Side by side, a column is written over what the last one left.
                const bool over = !MASKS_ARE_FREE && to_pitch == rows && i == 0;
                const int64 whole = over ? columns - j - LANES / high - 1 : 0;
                transpose_edge(source, from_pitch, high, wide, target, to_pitch, whole);
                continue;
            }
            transpose_whole(source, from_pitch, target, to_pitch);
        }
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
