// A row of windows with outputs in the lanes: down the rows, then along.
//
// The idea: the rows are reduced into a line that stays in L1. For a stride of two the
// even ones of two vectors of it are the next outputs' taps, a shuffle; their order is
// put right once, at the end.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/lane_window.hpp"
#include "cpu/micro/not_numbers.hpp"
#include "cpu/micro/pool_row.hpp"
#include "cpu/micro/simd.hpp"
#include "cpu/micro/transpose.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// Elements 0, 2, 4, ... of low and high, in an order that in_order() puts right.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
evens(typename Simd<T>::Vector low, typename Simd<T>::Vector high) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        return _mm256_shuffle_ps(low, high, 0x88);
    } else {
        return _mm256_unpacklo_pd(low, high);
    }
#else
    constexpr int LANES = Simd<T>::LANES;
    if constexpr (LANES == 16) {
        return PYCONV_SHUFFLE(
            low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    } else if constexpr (LANES == 8) {
        return PYCONV_SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    } else if constexpr (LANES == 4) {
        return PYCONV_SHUFFLE(low, high, 0, 2, 4, 6);
    } else {
        return PYCONV_SHUFFLE(low, high, 0, 2);
    }
#endif
}

template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
in_order(typename Simd<T>::Vector value) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    return reinterpret_cast<typename Simd<T>::Vector>(
        _mm256_permute4x64_pd(reinterpret_cast<__m256d>(value), 0xD8));
#else
    return value;
#endif
}

// Outputs i, i + 1, ... of a line. True where a LARGER may have lost a NaN.
template <class T, Reduction ALONG, int STRIDE>
inline __attribute__((always_inline)) bool
along_line(const RowWindows<T>& task, int64 i, typename Simd<T>::Vector& result) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    const T* from = task.line + i * STRIDE;
    const auto tap = [&](int64 s) __attribute__((always_inline)) {
        const T* at = from + s * task.dilation;
        const Vector low = *reinterpret_cast<const Unaligned*>(at);
        if constexpr (STRIDE == 1) {
            return low;
        } else {
            const Vector high =
                *reinterpret_cast<const Unaligned*>(at + Simd<T>::LANES);
            return evens<T>(low, high);
        }
    };
    typename Simd<T>::Index lost{};
    Vector value = begun<ALONG>(tap(0));
    for (int64 s = 1; s < task.taps; ++s) {
        const Vector next = tap(s);
        take<ALONG>(value, next);
        if constexpr (ALONG == LARGER) {
            lost |= unordered<T>(next, next);
        }
    }
    result = STRIDE == 1 ? value : in_order<T>(value);
    return ALONG == LARGER && any_lane(lost);
}

template <class T, int STRIDE>
__attribute__((noinline)) typename Simd<T>::Vector
along_line_again(const RowWindows<T>& task, int64 i) {
    typename Simd<T>::Vector result;
    along_line<T, REDUCE_MAX, STRIDE>(task, i, result);
    return result;
}

template <class T, Reduction REDUCTION, int STRIDE>
void along_row(const RowWindows<T>& rows) {
    using Vector = typename Simd<T>::Vector;
    constexpr int LANES = Simd<T>::LANES;
    constexpr Reduction ALONG = REDUCTION == REDUCE_MAX ? LARGER : REDUCE_SUM;
    const RowWindows<T> task = rows; // which results do not overwrite
    for (int64 i = 0; i < task.outputs; i += LANES) {
        int64 left = task.outputs - i;
        if (left < LANES && i > 0) { // once more, some of them
            i = task.outputs - LANES;
            left = LANES;
        }
        left = left < LANES ? left : LANES;
        Vector value;
        if (along_line<T, ALONG, STRIDE>(task, i, value)) {
            value = along_line_again<T, STRIDE>(task, i);
        }
        if constexpr (REDUCTION == REDUCE_SUM) {
            value = value / load_first(task.divisors + i, left);
        } else if constexpr (REDUCTION == REDUCE_SQUARES) {
            value = square_root<T>(value);
        }
        store_first(task.y + i, value, left);
    }
}

template <class T, Reduction REDUCTION>
void row_windows(const RowWindows<T>& task) {
    if (task.inside > 0) {
        reduce_rows<T, REDUCTION>(
            task.rows, task.count, task.line + task.before, task.inside);
    }
    if (task.stride == 1) {
        along_row<T, REDUCTION, 1>(task);
    } else {
        along_row<T, REDUCTION, 2>(task);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
