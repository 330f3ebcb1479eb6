// The inner loops of pooling's gradients: weighted sums of rows, and elementwise steps
// that the compiler turns into vectors.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class T, int VECTORS>
inline __attribute__((always_inline)) void
weighted_block(const T* const* rows, const T* weights, int64 count, T* out, int64 i) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr int LANES = Simd<T>::LANES;
    Vector sum[VECTORS]{};
    for (int64 j = 0; j < count; ++j) {
        const T* row = rows[j] + i;
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            sum[v] += *reinterpret_cast<const Unaligned*>(row + v * LANES) * weights[j];
        }
    }
    PYCONV_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
        *reinterpret_cast<Unaligned*>(out + i + v * LANES) = sum[v];
    }
}

template <class T>
void reduce_weighted(
    const T* const* rows, const T* weights, int64 count, T* out, int64 n) {
    using Vector = typename Simd<T>::Vector;
    constexpr int LANES = Simd<T>::LANES;
    int64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        weighted_block<T, 4>(rows, weights, count, out, i);
    }
    for (; i + LANES <= n; i += LANES) {
        weighted_block<T, 1>(rows, weights, count, out, i);
    }
    if (i < n) {
        Vector sum{};
        for (int64 j = 0; j < count; ++j) {
            sum += load_partial(rows[j] + i, n - i) * weights[j];
        }
        store_partial(out + i, sum, n - i);
    }
}

template <class T>
void interleave(const T* const* phases, int64 step, T* row, int64 n) {
    if (step == 2) { // the common stride, written so that the compiler shuffles
        const T* __restrict__ even = phases[0];
        const T* __restrict__ odd = phases[1];
        T* __restrict__ to = row;
        for (int64 i = 0; i < n / 2; ++i) {
            to[2 * i] = even[i];
            to[2 * i + 1] = odd[i];
        }
        if (n % 2 != 0) {
            to[n - 1] = even[n / 2];
        }
        return;
    }
    for (int64 phase = 0; phase < step; ++phase) {
        for (int64 i = 0; i * step + phase < n; ++i) {
            row[i * step + phase] = phases[phase][i];
        }
    }
}

template <class T>
void multiply(T* y, const T* factors, int64 n) {
    for (int64 i = 0; i < n; ++i) {
        y[i] *= factors[i];
    }
}

template <class T>
void take_signs(T* y, const T* signs, int64 n) {
    for (int64 i = 0; i < n; ++i) {
        const T flipped = signs[i] < T(0) ? -y[i] : y[i];
        // A NaN has no sign: it stays one.
        y[i] = signs[i] == T(0) ? T(0) : flipped + (signs[i] - signs[i]);
    }
}

template <class T>
void ratios(const T* above, const T* below, T* out, int64 n) {
    for (int64 i = 0; i < n; ++i) {
        out[i] = below[i] == T(0) ? T(0) : above[i] / below[i];
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
