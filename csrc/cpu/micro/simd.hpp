// Vectors: the compiler's own, as wide as the instruction set this file is compiled
// for.
//
// The idea: arithmetic on GCC's and Clang's vector types becomes vector instructions,
// a * b + c one fused multiply-add where there is one, and arrays of them live in
// registers. Only baseline-safe names: this header is compiled once per instruction
// set.
#pragma once

#include "core/problem.hpp"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define PYCONV_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PYCONV_UNROLL _Pragma("GCC unroll 64")
#endif

namespace pyconv::PYCONV_ISA {
namespace {

template <class T>
struct Simd;

template <>
struct Simd<float> {
    typedef float Vector __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    typedef float Unaligned
        __attribute__((vector_size(PYCONV_VECTOR_BYTES), aligned(4), may_alias));
    typedef int Index __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    typedef unsigned Bits __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    static constexpr int LANES = PYCONV_VECTOR_BYTES / 4;
};

template <>
struct Simd<double> {
    typedef double Vector __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    typedef double Unaligned
        __attribute__((vector_size(PYCONV_VECTOR_BYTES), aligned(8), may_alias));
    typedef int64 Index __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    typedef unsigned long long Bits __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    static constexpr int LANES = PYCONV_VECTOR_BYTES / 8;
};

// Loads and stores of a part of a vector cost no more than those of a whole one.
#if defined(__AVX512F__)
constexpr bool MASKS_ARE_FREE = true;
#else
constexpr bool MASKS_ARE_FREE = false;
#endif

#if defined(__AVX2__) && !defined(__AVX512F__)
// Eight lanes from the (8 - n)th on: a mask of n.
constexpr int FIRST_LANES[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
#endif

// The first `count` < LANES elements, the others zero; what lies past them is not read.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
load_partial(const T* from, int64 count) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        return _mm512_maskz_loadu_ps(
            static_cast<__mmask16>((1U << static_cast<unsigned>(count)) - 1), from);
    } else {
        return _mm512_maskz_loadu_pd(
            static_cast<__mmask8>((1U << static_cast<unsigned>(count)) - 1), from);
    }
#elif defined(__AVX2__)
    const auto* mask = reinterpret_cast<const __m256i*>(
        FIRST_LANES + sizeof(T) / 4 * static_cast<unsigned>(Simd<T>::LANES - count));
    if constexpr (sizeof(T) == 4) {
        return _mm256_maskload_ps(from, _mm256_loadu_si256(mask));
    } else {
        return _mm256_maskload_pd(from, _mm256_loadu_si256(mask));
    }
#else
    typename Simd<T>::Vector value{};
    for (int64 lane = 0; lane < count; ++lane) {
        value[lane] = from[lane];
    }
    return value;
#endif
}

// Writes the first `count` < LANES elements and nothing else.
template <class T>
inline __attribute__((always_inline)) void
store_partial(T* to, typename Simd<T>::Vector value, int64 count) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        _mm512_mask_storeu_ps(
            to,
            static_cast<__mmask16>((1U << static_cast<unsigned>(count)) - 1),
            value);
    } else {
        _mm512_mask_storeu_pd(
            to, static_cast<__mmask8>((1U << static_cast<unsigned>(count)) - 1), value);
    }
#elif defined(__AVX2__)
    // In parts of 4, 2 and 1: masked stores take AMD's processors dozens of cycles.
    if constexpr (sizeof(T) == 4) {
        __m128 part = _mm256_castps256_ps128(value);
        if ((count & 4) != 0) {
            _mm_storeu_ps(to, part);
            part = _mm256_extractf128_ps(value, 1);
            to += 4;
        }
        if ((count & 2) != 0) {
            _mm_storel_pi(reinterpret_cast<__m64*>(to), part);
            part = _mm_movehl_ps(part, part);
            to += 2;
        }
        if ((count & 1) != 0) {
            _mm_store_ss(to, part);
        }
    } else {
        __m128d part = _mm256_castpd256_pd128(value);
        if ((count & 2) != 0) {
            _mm_storeu_pd(to, part);
            part = _mm256_extractf128_pd(value, 1);
            to += 2;
        }
        if ((count & 1) != 0) {
            _mm_store_sd(to, part);
        }
    }
#else
    for (int64 lane = 0; lane < count; ++lane) {
        to[lane] = value[lane];
    }
#endif
}

// The first `count` <= LANES elements.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
load_first(const T* from, int64 count) {
    if (count == Simd<T>::LANES) {
        return *reinterpret_cast<const typename Simd<T>::Unaligned*>(from);
    }
    return load_partial(from, count);
}

template <class T>
inline __attribute__((always_inline)) void
store_first(T* to, typename Simd<T>::Vector value, int64 count) {
    if (count == Simd<T>::LANES) {
        *reinterpret_cast<typename Simd<T>::Unaligned*>(to) = value;
    } else {
        store_partial(to, value, count);
    }
}

// Masks of ones below: GCC 12 takes the unmasked intrinsics' undefined lanes for its
// own mistake and warns.

// The two halves of a vector, in double.
struct Widened {
    Simd<double>::Vector half[2];
};

inline __attribute__((always_inline)) Widened widen(Simd<float>::Vector x) {
#if defined(__AVX512F__)
    return {
        _mm512_maskz_cvtps_pd(0xFF, _mm512_maskz_extractf32x8_ps(0xFF, x, 0)),
        _mm512_maskz_cvtps_pd(0xFF, _mm512_maskz_extractf32x8_ps(0xFF, x, 1))};
#elif defined(__AVX2__)
    return {
        _mm256_cvtps_pd(_mm256_castps256_ps128(x)),
        _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
#else
    Widened wide;
    for (int lane = 0; lane < Simd<float>::LANES; ++lane) {
        wide.half[lane / Simd<double>::LANES][lane % Simd<double>::LANES] = x[lane];
    }
    return wide;
#endif
}

inline __attribute__((always_inline)) Simd<float>::Vector narrow(const Widened& wide) {
#if defined(__AVX512F__)
    return _mm512_insertf32x8(
        _mm512_castps256_ps512(_mm512_maskz_cvtpd_ps(0xFF, wide.half[0])),
        _mm512_maskz_cvtpd_ps(0xFF, wide.half[1]),
        1);
#elif defined(__AVX2__)
    return _mm256_insertf128_ps(
        _mm256_castps128_ps256(_mm256_cvtpd_ps(wide.half[0])),
        _mm256_cvtpd_ps(wide.half[1]),
        1);
#else
    Simd<float>::Vector x;
    for (int lane = 0; lane < Simd<float>::LANES; ++lane) {
        x[lane] = static_cast<float>(
            wide.half[lane / Simd<double>::LANES][lane % Simd<double>::LANES]);
    }
    return x;
#endif
}

template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
square_root(typename Simd<T>::Vector x) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        return _mm512_maskz_sqrt_ps(0xFFFF, x);
    } else {
        return _mm512_maskz_sqrt_pd(0xFF, x);
    }
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4) {
        return _mm256_sqrt_ps(x);
    } else {
        return _mm256_sqrt_pd(x);
    }
#else
    for (int lane = 0; lane < Simd<T>::LANES; ++lane) {
        if constexpr (sizeof(T) == 4) {
            x[lane] = __builtin_sqrtf(x[lane]);
        } else {
            x[lane] = __builtin_sqrt(x[lane]);
        }
    }
    return x;
#endif
}

} // namespace
} // namespace pyconv::PYCONV_ISA
