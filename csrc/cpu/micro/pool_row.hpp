// Pooling's inner loops: reduce a list of equally long rows, element by element.
//
// The idea: vertical and horizontal windows, in either memory order, are the same thing
// once the rows are named by pointers: out[i] = max or sum over rows of row[i]. Four
// vectors of sums stay in registers while the rows go by; of the last vector only the
// elements there are get read and written. Rows are taken in list order.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/not_numbers.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class V>
inline __attribute__((always_inline)) V absolute(const V& value) {
    return (value < V{} ? -value : value) + V{}; // the sum turns -0 into 0
}

// result + next^2, rounded once where there is a fused multiply-add. Of two squares the
// compiler would choose itself which to round, and not everywhere alike.
template <class V>
inline __attribute__((always_inline)) V plus_square(const V& result, const V& next) {
#if defined(__FMA__)
    if constexpr (sizeof(V) == sizeof(float)) {
        return __builtin_fmaf(next, next, result);
    } else if constexpr (sizeof(V) == sizeof(double)) {
        return __builtin_fma(next, next, result);
#if defined(__AVX512F__)
    } else if constexpr (sizeof(result[0]) == sizeof(float)) {
        return _mm512_fmadd_ps(next, next, result);
    } else {
        return _mm512_fmadd_pd(next, next, result);
#else
    } else if constexpr (sizeof(result[0]) == sizeof(float)) {
        return _mm256_fmadd_ps(next, next, result);
    } else {
        return _mm256_fmadd_pd(next, next, result);
#endif
    }
#else
    return result + next * next;
#endif
}

// What a reduction makes of its first row.
template <Reduction REDUCTION, class V>
inline __attribute__((always_inline)) V begun(const V& value) {
    if constexpr (REDUCTION == REDUCE_ABSOLUTES) {
        return absolute(value);
    } else if constexpr (REDUCTION == REDUCE_SQUARES) {
        return value * value;
    } else if constexpr (REDUCTION == REDUCE_SUM) {
        return value + V{}; // a sum of nothing but -0 is 0, however it is taken
    } else {
        return value;
    }
}

// A maximum that loses a NaN of `next`, for where there is none.
inline constexpr auto LARGER = static_cast<Reduction>(REDUCTIONS);

// And of each further one. In a maximum a NaN on either side wins.
template <Reduction REDUCTION, class V>
inline __attribute__((always_inline)) void take(V& result, const V& next) {
    if constexpr (REDUCTION == LARGER) {
        result = next > result ? next : result;
    } else if constexpr (REDUCTION == REDUCE_MAX) {
        const V larger = next > result ? next : result;
        result = next != next ? next : larger;
    } else if constexpr (REDUCTION == REDUCE_ABSOLUTES) {
        result += absolute(next);
    } else if constexpr (REDUCTION == REDUCE_SQUARES) {
        result = plus_square(result, next);
    } else {
        result += next;
    }
}

// Of long rows so many are taken at a time, what they gave being read again: more than
// that at once are more streams than a processor fetches ahead.
inline constexpr int64 STREAMS = 8;
inline constexpr int64 LONG_ROW = 16; // vectors

// FULL whole vectors from element i on, and `tail` elements more where TAIL: all of
// them side by side, so that one's additions do not wait for another's. True where a
// LARGER may have lost a NaN.
template <class T, Reduction REDUCTION, int FULL, bool TAIL>
inline __attribute__((always_inline)) bool
reduce_block(const T* const* rows, int64 count, T* out, int64 i, int64 tail) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr int LANES = Simd<T>::LANES;
    Vector result[FULL + 1];
    typename Simd<T>::Index lost{};
    PYCONV_UNROLL
    for (int v = 0; v < FULL; ++v) {
        const Vector first =
            *reinterpret_cast<const Unaligned*>(rows[0] + i + v * LANES);
        result[v] = begun<REDUCTION>(first);
    }
    if constexpr (TAIL) {
        result[FULL] = begun<REDUCTION>(load_partial(rows[0] + i + FULL * LANES, tail));
    }
    for (int64 j = 1; j < count; ++j) {
        const T* row = rows[j] + i;
        Vector next[FULL + 1];
        PYCONV_UNROLL
        for (int v = 0; v < FULL; ++v) {
            next[v] = *reinterpret_cast<const Unaligned*>(row + v * LANES);
            take<REDUCTION>(result[v], next[v]);
        }
        if constexpr (TAIL) {
            next[FULL] = load_partial(row + FULL * LANES, tail);
            take<REDUCTION>(result[FULL], next[FULL]);
        }
        if constexpr (REDUCTION == LARGER) {
            constexpr int COUNT = FULL + (TAIL ? 1 : 0);
            PYCONV_UNROLL
            for (int v = 0; v < COUNT; v += 2) {
                lost |= unordered<T>(next[v], next[v + 1 < COUNT ? v + 1 : v]);
            }
        }
    }
    if constexpr (REDUCTION == LARGER) {
        if (any_lane(lost)) {
            return true;
        }
    }
    PYCONV_UNROLL
    for (int v = 0; v < FULL; ++v) {
        *reinterpret_cast<Unaligned*>(out + i + v * LANES) = result[v];
    }
    if constexpr (TAIL) {
        store_partial(out + i + FULL * LANES, result[FULL], tail);
    }
    return false;
}

template <class T, Reduction REDUCTION, int FULL, bool TAIL>
__attribute__((noinline)) void
reduce_block_again(const T* const* rows, int64 count, T* out, int64 i, int64 tail) {
    reduce_block<T, REDUCTION, FULL, TAIL>(rows, count, out, i, tail);
}

// A block of whatever numbers.
template <class T, Reduction REDUCTION, int FULL, bool TAIL>
inline __attribute__((always_inline)) void
reduce_any_block(const T* const* rows, int64 count, T* out, int64 i, int64 tail) {
    if constexpr (REDUCTION != REDUCE_MAX) {
        reduce_block<T, REDUCTION, FULL, TAIL>(rows, count, out, i, tail);
    } else if (reduce_block<T, LARGER, FULL, TAIL>(rows, count, out, i, tail)) {
        reduce_block_again<T, REDUCTION, FULL, TAIL>(rows, count, out, i, tail);
    }
}

template <class T, Reduction REDUCTION, int FULL>
inline __attribute__((always_inline)) void
reduce_end(const T* const* rows, int64 count, T* out, int64 i, int64 tail) {
    if (tail > 0) {
        reduce_any_block<T, REDUCTION, FULL, true>(rows, count, out, i, tail);
    } else if constexpr (FULL > 0) {
        reduce_any_block<T, REDUCTION, FULL, false>(rows, count, out, i, tail);
    }
}

// out[i] reduced by the rows' elements i.
template <class T, Reduction REDUCTION>
void reduce_more(const T* const* rows, int64 count, T* out, int64 n) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr int LANES = Simd<T>::LANES;
    int64 i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        Vector low = *reinterpret_cast<const Unaligned*>(out + i);
        Vector high = *reinterpret_cast<const Unaligned*>(out + i + LANES);
        for (int64 j = 0; j < count; ++j) {
            const T* row = rows[j] + i;
            const Vector first = *reinterpret_cast<const Unaligned*>(row);
            const Vector second = *reinterpret_cast<const Unaligned*>(row + LANES);
            take<REDUCTION>(low, first);
            take<REDUCTION>(high, second);
        }
        *reinterpret_cast<Unaligned*>(out + i) = low;
        *reinterpret_cast<Unaligned*>(out + i + LANES) = high;
    }
    for (; i < n; i += LANES) {
        const int64 left = n - i < LANES ? n - i : LANES;
        Vector result = load_first(out + i, left);
        for (int64 j = 0; j < count; ++j) {
            const Vector next = load_first(rows[j] + i, left);
            take<REDUCTION>(result, next);
        }
        store_first(out + i, result, left);
    }
}

template <class T, Reduction REDUCTION>
void reduce_rows(const T* const* rows, int64 count, T* out, int64 n);

template <class T, Reduction REDUCTION>
__attribute__((noinline)) void
reduce_long_rows(const T* const* rows, int64 count, T* out, int64 n) {
    reduce_rows<T, REDUCTION>(rows, STREAMS, out, n);
    for (int64 j = STREAMS; j < count; j += STREAMS) {
        const int64 left = count - j < STREAMS ? count - j : STREAMS;
        reduce_more<T, REDUCTION>(rows + j, left, out, n);
    }
}

template <class T, Reduction REDUCTION>
void reduce_rows(const T* const* rows, int64 count, T* out, int64 n) {
    constexpr int LANES = Simd<T>::LANES;
    if (n == 1) { // one element is worth no vector
        T result = begun<REDUCTION>(rows[0][0]);
        for (int64 j = 1; j < count; ++j) {
            take<REDUCTION>(result, rows[j][0]);
        }
        out[0] = result;
        return;
    }
    if (count > STREAMS && n >= LONG_ROW * LANES) {
        return reduce_long_rows<T, REDUCTION>(rows, count, out, n);
    }
    int64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        reduce_any_block<T, REDUCTION, 4, false>(rows, count, out, i, 0);
    }
    const int64 tail = (n - i) % LANES;
    switch ((n - i) / LANES) {
    case 3:
        return reduce_end<T, REDUCTION, 3>(rows, count, out, i, tail);
    case 2:
        return reduce_end<T, REDUCTION, 2>(rows, count, out, i, tail);
    case 1:
        return reduce_end<T, REDUCTION, 1>(rows, count, out, i, tail);
    default:
        return reduce_end<T, REDUCTION, 0>(rows, count, out, i, tail);
    }
}

template <class T, Reduction REDUCTION>
void reduce_planes(const WindowRows<T>& task) {
    constexpr int LANES = Simd<T>::LANES;
    for (int64 plane = 0; plane < task.planes; ++plane) {
        const int64 from = plane * task.plane_pitch;
        T* out = task.out + plane * task.n;
        for (int64 i = 0; i < task.n; i += LANES) {
            const int64 left = task.n - i < LANES ? task.n - i : LANES;
            auto result = begun<REDUCTION>(load_first(task.rows[0] + from + i, left));
            for (int64 j = 1; j < task.count; ++j) {
                take<REDUCTION>(result, load_first(task.rows[j] + from + i, left));
            }
            store_first(out + i, result, left);
        }
    }
}

template <class T>
void deinterleave(const T* row, int64 n, int64 step, T* const* phases) {
    if (step == 2) { // the common stride, written so that the compiler shuffles
        T* __restrict__ even = phases[0];
        T* __restrict__ odd = phases[1];
        for (int64 i = 0; i < n / 2; ++i) {
            even[i] = row[2 * i];
            odd[i] = row[2 * i + 1];
        }
        if (n % 2 != 0) {
            even[n / 2] = row[n - 1];
        }
        return;
    }
    if (step == 1) {
        __builtin_memcpy(phases[0], row, static_cast<unsigned long>(n) * sizeof(T));
        return;
    }
    for (int64 phase = 0; phase < step; ++phase) {
        for (int64 i = 0; i * step + phase < n; ++i) {
            phases[phase][i] = row[i * step + phase];
        }
    }
}

template <class T>
void divide(T* y, const T* divisors, int64 n) {
    for (int64 i = 0; i < n; ++i) {
        y[i] /= divisors[i];
    }
}

template <class T>
void divide_all(T* y, T divisor, int64 n) {
    for (int64 i = 0; i < n; ++i) {
        y[i] /= divisor;
    }
}

template <class T>
void square_roots(T* y, int64 n) {
    for (int64 i = 0; i < n; ++i) {
        if constexpr (sizeof(T) == 4) {
            y[i] = __builtin_sqrtf(y[i]);
        } else {
            y[i] = __builtin_sqrt(y[i]);
        }
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
