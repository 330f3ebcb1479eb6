// Powers, as what remains to be multiplied: two powers of two and 1 + p.
//
// The idea: y = k ln 2 + r with |r| <= ln 2 / 2 and integer k, the multiple of ln 2
// taken off in two pieces, the first of so few bits that k times it is exact (Cody and
// Waite 1980). exp(y) = 2^k (1 + p), p = exp(r) - 1 = r + r^2 q(r): kept apart, p also
// gives exp(y) - 1 without cancellation. 2^k is the product of two factors, so that
// results below the normal range are rounded once, by the last product.
//
// q interpolates (exp(r) - 1 - r) / r^2 at Chebyshev nodes, solved in 50 digits and
// rounded to the element type. Each struct names its largest error relative to p.
#pragma once

#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

struct SingleExponential { // 2^-29.4
    using Element = float;
    static constexpr float TERMS[] = {
        0x1.000000p-1F,
        0x1.555556p-3F,
        0x1.5554eap-5F,
        0x1.1110e0p-7F,
        0x1.6d4324p-10F,
        0x1.a124f2p-13F,
    };
};

struct ShortExponential { // 2^-36.6: in double, for results in float
    using Element = double;
    static constexpr double TERMS[] = {
        0x1.0000000000000p-1,
        0x1.55555567532adp-3,
        0x1.5555555c87148p-5,
        0x1.1110c632a3088p-7,
        0x1.6c16858b7acb9p-10,
        0x1.a15179d80ae96p-13,
        0x1.a1132015ba37ep-16,
    };
};

struct DoubleExponential { // 2^-60
    using Element = double;
    static constexpr double TERMS[] = {
        0x1.0000000000000p-1,
        0x1.5555555555557p-3,
        0x1.5555555555556p-5,
        0x1.11111111100dcp-7,
        0x1.6c16c16c162d4p-10,
        0x1.a01a01abe7fe1p-13,
        0x1.a01a01a6d889cp-16,
        0x1.71de0231960ebp-19,
        0x1.27e4db646b17ep-22,
        0x1.af4de97ca4194p-26,
        0x1.1f730349868cep-29,
    };
};

template <class T>
struct Format;

template <>
struct Format<float> {
    using Exponential = SingleExponential;
    static constexpr int MANTISSA = 23;
    static constexpr int BIAS = 127;
    // Of numbers near it the unit in the last place is 1.
    static constexpr float INTEGERS = 0x1.8p23F;
    static constexpr float LN2_HIGH = 0x1.62e000p-1F; // 15 bits
    static constexpr float LN2_LOW = 0x1.0bfbe8p-15F;
};

template <>
struct Format<double> {
    using Exponential = DoubleExponential;
    static constexpr int MANTISSA = 52;
    static constexpr int BIAS = 1023;
    static constexpr double INTEGERS = 0x1.8p52;
    static constexpr double LN2_HIGH = 0x1.62e42fee00000p-1; // 32 bits
    static constexpr double LN2_LOW = 0x1.a39ef35793c76p-33;
};

// terms[0] + x (terms[1] + x (...))
template <class V, class T, int COUNT>
inline __attribute__((always_inline)) V polynomial(const T (&terms)[COUNT], V x) {
    V sum = V{} + terms[COUNT - 1];
    PYCONV_UNROLL
    for (int i = COUNT - 2; i >= 0; --i) {
        sum = sum * x + terms[i];
    }
    return sum;
}

template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Bits
bits_of(typename Simd<T>::Vector value) {
    return reinterpret_cast<typename Simd<T>::Bits>(value);
}

template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
from_bits(typename Simd<T>::Bits bits) {
    return reinterpret_cast<typename Simd<T>::Vector>(bits);
}

// (1 + p) * first * second
template <class T>
struct Power {
    typename Simd<T>::Vector p;
    typename Simd<T>::Vector first;
    typename Simd<T>::Vector second;
};

// Added to a number, it leaves the nearest integer k as k + 2 (BIAS + 1), which is
// positive, in the last bits.
template <class T>
inline constexpr T SHIFT = Format<T>::INTEGERS + 2 * (Format<T>::BIAS + 1);

// 2^k exp(r), `shifted` being SHIFT + k, |k| < 1.6 (BIAS + 1), |r| < ln 2 / 2. A NaN in
// r gives p = NaN.
template <class Fit>
inline __attribute__((always_inline)) Power<typename Fit::Element> power_of_two(
    typename Simd<typename Fit::Element>::Vector shifted,
    typename Simd<typename Fit::Element>::Vector r) {
    using T = typename Fit::Element;
    using Vector = typename Simd<T>::Vector;
    using Bits = typename Simd<T>::Bits;
    const Bits biased =
        bits_of<T>(shifted) - bits_of<T>(Vector{} + Format<T>::INTEGERS);
    const Bits half = biased >> 1;
    return {
        r + r * r * polynomial(Fit::TERMS, r),
        from_bits<T>((half - 1) << Format<T>::MANTISSA),
        from_bits<T>((biased - half - 1) << Format<T>::MANTISSA)};
}

// exp(high + low), |low| tiny beside 1; high between 0 and -1.6 times the logarithm of
// the largest number.
template <class Fit>
inline __attribute__((always_inline)) Power<typename Fit::Element> power_of_e(
    typename Simd<typename Fit::Element>::Vector high,
    typename Simd<typename Fit::Element>::Vector low) {
    using T = typename Fit::Element;
    using Vector = typename Simd<T>::Vector;
    const Vector shifted = high * T(1.4426950408889634) + SHIFT<T>;
    const Vector k = shifted - SHIFT<T>;
    return power_of_two<Fit>(
        shifted, (high - k * Format<T>::LN2_HIGH) - k * Format<T>::LN2_LOW + low);
}

} // namespace
} // namespace pyconv::PYCONV_ISA
