// The loops behind the ceilings: one kind of instruction, enough of them in flight.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// What the compiler may not see through, in a register.
#if defined(__x86_64__)
#define PYCONV_OPAQUE(value) __asm__ volatile("" : "+x"(value))
#elif defined(__aarch64__)
#define PYCONV_OPAQUE(value) __asm__ volatile("" : "+w"(value))
#else
#define PYCONV_OPAQUE(value) __asm__ volatile("" : "+m"(value))
#endif

constexpr int SWEEP_VECTORS = 8;

template <class T>
T multiply_adds(int64 rounds) {
    using Vector = typename Simd<T>::Vector;
    // Towards 1, so that no number on the way is slow.
    Vector factor = Vector{} + T(0.5);
    Vector term = Vector{} + T(0.5);
    Vector sum[FUSED_CHAINS]{};
    PYCONV_UNROLL
    for (int chain = 0; chain < FUSED_CHAINS; ++chain) {
        PYCONV_OPAQUE(sum[chain]); // or all chains are known to be the same
    }
    for (int64 round = 0; round < rounds; ++round) {
        PYCONV_UNROLL
        for (int chain = 0; chain < FUSED_CHAINS; ++chain) {
            sum[chain] = sum[chain] * factor + term;
        }
        PYCONV_OPAQUE(factor); // or the result is worked out at compile time
        PYCONV_OPAQUE(term);
    }
    Vector total{};
    for (int chain = 0; chain < FUSED_CHAINS; ++chain) {
        total += sum[chain];
    }
    return total[0];
}

template <class T>
T load_sweep(const T* from, int64 count) {
    using Vector = typename Simd<T>::Vector;
    constexpr int LANES = Simd<T>::LANES;
    Vector sum[SWEEP_VECTORS]{};
    for (int64 i = 0; i < count; i += SWEEP_VECTORS * LANES) {
        PYCONV_UNROLL
        for (int v = 0; v < SWEEP_VECTORS; ++v) {
            sum[v] += *reinterpret_cast<const typename Simd<T>::Unaligned*>(
                from + i + v * LANES);
        }
    }
    Vector total{};
    for (int v = 0; v < SWEEP_VECTORS; ++v) {
        total += sum[v];
    }
    return total[0];
}

template <class T>
void store_sweep(T* to, int64 count) {
    using Vector = typename Simd<T>::Vector;
    constexpr int LANES = Simd<T>::LANES;
    Vector value = Vector{} + T(1);
    PYCONV_OPAQUE(value); // or this becomes a call of memset
    for (int64 i = 0; i < count; i += SWEEP_VECTORS * LANES) {
        PYCONV_UNROLL
        for (int v = 0; v < SWEEP_VECTORS; ++v) {
            *reinterpret_cast<typename Simd<T>::Unaligned*>(to + i + v * LANES) = value;
        }
    }
}

template <class T>
void copy_sweep(const T* from, T* to, int64 count) {
    using Vector = typename Simd<T>::Vector;
    constexpr int LANES = Simd<T>::LANES;
    for (int64 i = 0; i < count; i += SWEEP_VECTORS * LANES) {
        PYCONV_UNROLL
        for (int v = 0; v < SWEEP_VECTORS; ++v) {
            Vector value = *reinterpret_cast<const typename Simd<T>::Unaligned*>(
                from + i + v * LANES);
            PYCONV_OPAQUE(value); // or of memcpy
            *reinterpret_cast<typename Simd<T>::Unaligned*>(to + i + v * LANES) = value;
        }
    }
}

template <class T>
void fill_ceilings(CeilingKernels<T>& kernels) {
    static_assert(SWEEP_STEP % (SWEEP_VECTORS * Simd<T>::LANES) == 0);
    kernels.multiply_adds = multiply_adds<T>;
    kernels.load = load_sweep<T>;
    kernels.store = store_sweep<T>;
    kernels.copy = copy_sweep<T>;
}

} // namespace
} // namespace pyconv::PYCONV_ISA
