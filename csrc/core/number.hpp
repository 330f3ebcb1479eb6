// Elements as numbers: halves and complex ones, and what sums are taken in.
//
// Halves are summed in float32 and rounded once; bytes and 16-bit integers in 32 bits,
// wider ones in 64, modulo a power of two; floats and complex numbers in themselves.
// The rounding of halves is to nearest, ties to even; a NaN stays one.
//
// Host and device read this file: NVRTC has no standard library, and takes C++17.
#pragma once

#include "problem.hpp"

#ifdef __CUDACC__
#define PYCONV_ANYWHERE __host__ __device__
#else
#define PYCONV_ANYWHERE
#endif

namespace pyconv {

using uint64 = unsigned long long;

struct Half {
    unsigned short bits;
};

struct BFloat16 {
    unsigned short bits;
};

template <class T>
struct Complex {
    T re;
    T im;
};

template <class A, class B>
inline constexpr bool IS_SAME = false;
template <class A>
inline constexpr bool IS_SAME<A, A> = true;

template <class T>
inline constexpr bool IS_HALF = IS_SAME<T, Half> || IS_SAME<T, BFloat16>;

PYCONV_ANYWHERE inline unsigned bits_of(float value) {
    return __builtin_bit_cast(unsigned, value);
}

PYCONV_ANYWHERE inline float float_of(unsigned bits) {
    return __builtin_bit_cast(float, bits);
}

PYCONV_ANYWHERE inline float widened(BFloat16 value) {
    return float_of(static_cast<unsigned>(value.bits) << 16);
}

PYCONV_ANYWHERE inline float widened(Half value) {
#ifdef __CUDA_ARCH__
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
#else
    const unsigned sign = static_cast<unsigned>(value.bits & 0x8000U) << 16;
    const unsigned rest = value.bits & 0x7fffU;
    if (rest < 0x0400U) { // zero, or subnormal: a multiple of 2^-24
        const float size = static_cast<float>(rest) * 0x1p-24F;
        return float_of(bits_of(size) | sign);
    }
    const unsigned exponent = rest >= 0x7c00U ? 0x38000000U + 0x38000000U : 0x38000000U;
    return float_of(sign | ((rest << 13) + exponent));
#endif
}

PYCONV_ANYWHERE inline BFloat16 to_bfloat16(float value) {
    const unsigned bits = bits_of(value);
    if ((bits & 0x7fffffffU) > 0x7f800000U) {
        return {static_cast<unsigned short>((bits >> 16) | 0x0040U)};
    }
    return {static_cast<unsigned short>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

PYCONV_ANYWHERE inline Half to_half(float value) {
#ifdef __CUDA_ARCH__
    Half narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(value));
    return narrow;
#else
    const unsigned bits = bits_of(value);
    const unsigned sign = (bits >> 16) & 0x8000U;
    const unsigned size = bits & 0x7fffffffU;
    if (size > 0x7f800000U) {
        return {static_cast<unsigned short>(sign | 0x7e00U | ((size >> 13) & 0x3ffU))};
    }
    if (size >= 0x477ff000U) { // rounds to 65520 and more
        return {static_cast<unsigned short>(sign | 0x7c00U)};
    }
    if (size < 0x38800000U) { // below the normal ones: the sum rounds at 2^-24
        const float rounded = float_of(size) + 0.5F;
        return {static_cast<unsigned short>(sign | (bits_of(rounded) - 0x3f000000U))};
    }
    const unsigned odd = (size >> 13) & 1U;
    return {static_cast<unsigned short>(
        sign | ((size - 0x38000000U + 0xfffU + odd) >> 13))};
#endif
}

// What products of an element type are summed in, and what a result is stored as. Sums
// of integers wrap: they are taken without a sign, where that is defined.
template <class T>
struct Element {
    using Sum = T;
    using Result = T;
};

template <>
struct Element<Half> {
    using Sum = float;
    using Result = Half;
};

template <>
struct Element<BFloat16> {
    using Sum = float;
    using Result = BFloat16;
};

struct NarrowInteger {
    using Sum = unsigned;
    using Result = int;
};

struct WideInteger {
    using Sum = uint64;
    using Result = int64;
};

struct WidestInteger {
    using Sum = uint64;
    using Result = uint64;
};

template <>
struct Element<signed char> : NarrowInteger {};
template <>
struct Element<unsigned char> : NarrowInteger {};
template <>
struct Element<short> : NarrowInteger {};
template <>
struct Element<unsigned short> : NarrowInteger {};
template <>
struct Element<int> : WideInteger {};
template <>
struct Element<unsigned> : WideInteger {};
template <>
struct Element<long> : WideInteger {};
template <>
struct Element<int64> : WideInteger {};
template <>
struct Element<unsigned long> : WidestInteger {};
template <>
struct Element<uint64> : WidestInteger {};

// An element as a term of a sum: halves widened, integers with their sign extended.
template <class T>
PYCONV_ANYWHERE typename Element<T>::Sum term_of(T value) {
    if constexpr (IS_HALF<T>) {
        return widened(value);
    } else {
        return static_cast<typename Element<T>::Sum>(value);
    }
}

// An element as a number to compare and to average: halves widened.
template <class T>
PYCONV_ANYWHERE auto number_of(T value) {
    if constexpr (IS_HALF<T>) {
        return widened(value);
    } else {
        return value;
    }
}

template <class Result, class Sum>
PYCONV_ANYWHERE Result result_of(Sum sum) {
    if constexpr (IS_SAME<Result, Half>) {
        return to_half(sum);
    } else if constexpr (IS_SAME<Result, BFloat16>) {
        return to_bfloat16(sum);
    } else {
        return static_cast<Result>(sum);
    }
}

template <class T>
PYCONV_ANYWHERE bool is_finite(T value) {
    return value - value == T(0); // integers all are
}

template <class T>
PYCONV_ANYWHERE bool is_finite(Complex<T> value) {
    return is_finite(value.re) && is_finite(value.im);
}

template <class T>
PYCONV_ANYWHERE void add(T& sum, T term) {
    sum += term;
}

template <class T>
PYCONV_ANYWHERE void add(Complex<T>& sum, Complex<T> term) {
    sum.re += term.re;
    sum.im += term.im;
}

template <class T>
PYCONV_ANYWHERE void add_product(T& sum, T a, T b) {
    sum += a * b;
}

// Written out: a library's product of complex numbers searches for infinities.
template <class T>
PYCONV_ANYWHERE void add_product(Complex<T>& sum, Complex<T> a, Complex<T> b) {
    sum.re += a.re * b.re - a.im * b.im;
    sum.im += a.re * b.im + a.im * b.re;
}

} // namespace pyconv
