// Pooling's inner loops: reduce a list of equally long rows, element by element.
//
// The idea: vertical and horizontal windows, in either memory order, are the same thing
// once the rows are named by pointers: out[i] = max or sum over rows of row[i]. Four
// vectors of sums stay in registers while the rows go by; tails are done one by one, so
// no row is read past its end. Rows are taken in list order.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// The larger of two; a NaN on either side wins.
template <class V>
inline __attribute__((always_inline)) void take_max(V& best, const V& next) {
    best = ((next > best) | (next != next)) ? next : best;
}

template <class T, bool MAXIMUM>
void reduce_rows(const T* const* rows, int64 count, T* out, int64 n) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr int LANES = Simd<T>::LANES;
    constexpr int BLOCK = 4;
    int64 i = 0;
    for (; i + BLOCK * LANES <= n; i += BLOCK * LANES) {
        Vector best[BLOCK];
        PYCONV_UNROLL
        for (int v = 0; v < BLOCK; ++v) {
            best[v] = *reinterpret_cast<const Unaligned*>(rows[0] + i + v * LANES);
        }
        for (int64 j = 1; j < count; ++j) {
            const T* row = rows[j] + i;
            PYCONV_UNROLL
            for (int v = 0; v < BLOCK; ++v) {
                const Vector next =
                    *reinterpret_cast<const Unaligned*>(row + v * LANES);
                if constexpr (MAXIMUM) {
                    take_max(best[v], next);
                } else {
                    best[v] += next;
                }
            }
        }
        PYCONV_UNROLL
        for (int v = 0; v < BLOCK; ++v) {
            *reinterpret_cast<Unaligned*>(out + i + v * LANES) = best[v];
        }
    }
    for (; i + LANES <= n; i += LANES) {
        Vector best = *reinterpret_cast<const Unaligned*>(rows[0] + i);
        for (int64 j = 1; j < count; ++j) {
            const Vector next = *reinterpret_cast<const Unaligned*>(rows[j] + i);
            if constexpr (MAXIMUM) {
                take_max(best, next);
            } else {
                best += next;
            }
        }
        *reinterpret_cast<Unaligned*>(out + i) = best;
    }
    for (; i < n; ++i) {
        T best = rows[0][i];
        for (int64 j = 1; j < count; ++j) {
            const T next = rows[j][i];
            if constexpr (MAXIMUM) {
                best = (next > best || next != next) ? next : best;
            } else {
                best += next;
            }
        }
        out[i] = best;
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

} // namespace
} // namespace pyconv::PYCONV_ISA
