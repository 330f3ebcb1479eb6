// Pooling's inner loops: reduce a list of equally long rows, element by element.
//
// The idea: vertical and horizontal windows, in either memory order, are the same thing
// once the rows are named by pointers: out[i] = max or sum over rows of row[i]. Four
// vectors of sums stay in registers while the rows go by; of the last vector only the
// elements there are get read and written. Rows are taken in list order.
#pragma once

#include "cpu/isa/isa.hpp"
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

// And of each further one. In a maximum a NaN on either side wins.
template <Reduction REDUCTION, class V>
inline __attribute__((always_inline)) void take(V& result, const V& next) {
    if constexpr (REDUCTION == REDUCE_MAX) {
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

// FULL whole vectors from element i on, and `tail` elements more where TAIL: all of
// them side by side, so that one's additions do not wait for another's.
template <class T, Reduction REDUCTION, int FULL, bool TAIL>
inline __attribute__((always_inline)) void
reduce_block(const T* const* rows, int64 count, T* out, int64 i, int64 tail) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr int LANES = Simd<T>::LANES;
    Vector result[FULL + 1];
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
        PYCONV_UNROLL
        for (int v = 0; v < FULL; ++v) {
            const Vector next = *reinterpret_cast<const Unaligned*>(row + v * LANES);
            take<REDUCTION>(result[v], next);
        }
        if constexpr (TAIL) {
            take<REDUCTION>(result[FULL], load_partial(row + FULL * LANES, tail));
        }
    }
    PYCONV_UNROLL
    for (int v = 0; v < FULL; ++v) {
        *reinterpret_cast<Unaligned*>(out + i + v * LANES) = result[v];
    }
    if constexpr (TAIL) {
        store_partial(out + i + FULL * LANES, result[FULL], tail);
    }
}

template <class T, Reduction REDUCTION, int FULL>
inline __attribute__((always_inline)) void
reduce_end(const T* const* rows, int64 count, T* out, int64 i, int64 tail) {
    if (tail > 0) {
        reduce_block<T, REDUCTION, FULL, true>(rows, count, out, i, tail);
    } else if constexpr (FULL > 0) {
        reduce_block<T, REDUCTION, FULL, false>(rows, count, out, i, tail);
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
    int64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        reduce_block<T, REDUCTION, 4, false>(rows, count, out, i, 0);
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

// A maximum and its place; rows in the order in which equal elements win.
template <class T>
void reduce_indexed(const IndexedRows<T>& task) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    using Index = typename Simd<T>::Index;
    constexpr int LANES = Simd<T>::LANES;
    typedef int64 Wide __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
    using Step = decltype(Index{}[0] + Index{}[0]);
    Index lane{};
    for (int i = 0; i < LANES; ++i) {
        lane[i] = static_cast<Step>(i * task.step);
    }
    for (int64 i = 0; i < task.n; i += LANES) {
        const int64 left = task.n - i;
        const auto load = [&](const T* row) __attribute__((always_inline)) {
            return left >= LANES ? static_cast<Vector>(
                                       *reinterpret_cast<const Unaligned*>(row + i))
                                 : load_partial(row + i, left);
        };
        const Index here = lane + static_cast<Step>(i * task.step);
        Vector best = load(task.rows[0]);
        Index place = here + static_cast<Step>(task.offset[0]);
        if (task.least != nullptr) {
            const Wide first = *reinterpret_cast<const Wide*>(task.least + i);
            place = __builtin_convertvector(first, Index) +
                    static_cast<Step>(task.offset[0]);
        }
        for (int64 j = 1; j < task.count; ++j) {
            const Vector next = load(task.rows[j]);
            const Index at = here + static_cast<Step>(task.offset[j]);
            const auto wins = (next > best) | ((next != next) & (best == best));
            best = wins ? next : best;
            place = wins ? at : place;
        }
        int64* to = task.index + i;
        if (left >= LANES) {
            *reinterpret_cast<Unaligned*>(task.out + i) = best;
            *reinterpret_cast<Wide*>(to) = __builtin_convertvector(place, Wide);
        } else {
            store_partial(task.out + i, best, left);
            for (int64 k = 0; k < left; ++k) {
                to[k] = place[k];
            }
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
