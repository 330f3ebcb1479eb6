// |x|^e, a vector at a time, and what pooling makes of such powers.
//
// The idea: small multiples of 1/2 are products and a square root. Any other power is
// 2^(e log2 |x|): |x| = 2^k m with m between sqrt(1/2) and sqrt 2, and e k + e log2 m
// is rounded so that its absolute error stays small, which is the power's relative one.
//   float32   log2(1 + t) = t q(t) and the product with e in float64, what is left
//             beside whole numbers in float32.
//   float64   log2 m is odd in (m - 1) / (m + 1). e is cut in two, the first part short
//             enough for its product with k to be exact: only e log2 m is rounded, and
//             the error grows with e, not with x.
// Coefficients interpolate at Chebyshev nodes, solved in 50 to 60 digits and rounded;
// each struct names its largest error relative to log2 m.
//
// Measured against 80-bit arithmetic over every exponent of x, subnormal results among
// them: float32 within 1.0 ulp for any e, float64 within 1.5 + |e| for |e| up to 100. A
// product rounds ceil(e) times. 0, infinity and NaN as C's pow gives them.
// pow.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/exponential.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// log2(1 + t) / t, the terms of even and those of odd powers of t: 2^-35.6. In two
// chains, because one would be waited for.
inline constexpr double SHORT_LOGARITHM_EVEN[] = {
    0x1.71547652a44dbp+0,
    0x1.ec709ea6a0c5ep-2,
    0x1.277658c21e745p-2,
    0x1.a63df11f4d312p-3,
    0x1.453051c8c9c33p-3,
    0x1.28dbd2cf0a272p-3,
    0x1.35673bb33fc05p-4,
};
inline constexpr double SHORT_LOGARITHM_ODD[] = {
    -0x1.715476572cc31p-1,
    -0x1.71546f4871651p-2,
    -0x1.ec7352cb89bf3p-3,
    -0x1.7131ef80d3e2cp-3,
    -0x1.25de4aa3aaf85p-3,
    -0x1.21af6d5ddd93cp-3,
};

// log2((1 + f) / (1 - f)) / f in f^2, 2^-55.9: of the coefficients' own rounding
inline constexpr double LOGARITHM[] = {
    0x1.71547652b82fep+1,
    0x1.ec709dc3a03fcp-1,
    0x1.2776c50ef9fcdp-1,
    0x1.a61762a70841ap-2,
    0x1.484b1448824b4p-2,
    0x1.0c9a598d2f12dp-2,
    0x1.c6a2992614773p-3,
    0x1.8773e146e7d5ap-3,
    0x1.87da22b26eef2p-3,
};

template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
size_of(typename Simd<T>::Vector x) {
    return from_bits<T>(bits_of<T>(x) << 1 >> 1);
}

// 0, infinity and NaN, whose logarithms are none.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
or_limit(typename Simd<T>::Vector power, typename Simd<T>::Vector size, double e) {
    const auto limit = e < 0.0 ? T(1) / size : size;
    const auto none = (size == T(0)) | !(size < T(__builtin_inf()));
    return none ? limit : power;
}

inline __attribute__((always_inline)) Simd<float>::Vector
general_power(Simd<float>::Vector x, const Exponent& exponent) {
    using Vector = Simd<float>::Vector;
    using Index = Simd<float>::Index;
    using Wide = Simd<double>::Vector;
    constexpr unsigned ROOT_HALF = 0x3F3504F3;
    constexpr double LAST = 200; // whose power is infinity; 0 that of -LAST
    constexpr double INTEGERS = Format<double>::INTEGERS;
    const Vector size = size_of<float>(x);
    const auto tiny = size < 0x1p-126F;
    const Vector scaled = tiny ? size * 0x1p32F : size;
    const Index number = reinterpret_cast<Index>(bits_of<float>(scaled) - ROOT_HALF) >>
                         Format<float>::MANTISSA;
    const Vector m = from_bits<float>(
        bits_of<float>(scaled) -
        (reinterpret_cast<Simd<float>::Bits>(number) << Format<float>::MANTISSA));
    const Vector k = __builtin_convertvector(number, Vector);
    const Vector of_two = tiny ? k - 32.0F : k;
    const Vector t = m - 1.0F;
    const double e = exponent.high + exponent.low;
    const Widened powers = widen(of_two);
    const Widened parts = widen(t);
    Widened wholes;
    Widened rests;
    PYCONV_UNROLL
    for (int half = 0; half < 2; ++half) {
        const Wide part = parts.half[half];
        const Wide square = part * part;
        const Wide fit = polynomial(SHORT_LOGARITHM_EVEN, square) +
                         part * polynomial(SHORT_LOGARITHM_ODD, square);
        const Wide product = e * (powers.half[half] + part * fit);
        const Wide least = product < -LAST ? Wide{} - LAST : product;
        const Wide y = least > LAST ? Wide{} + LAST : least;
        const Wide whole = (y + INTEGERS) - INTEGERS;
        wholes.half[half] = whole;
        rests.half[half] = (y - whole) * 0x1.62e42fefa39efp-1;
    }
    const Power<float> two =
        power_of_two<SingleExponential>(narrow(wholes) + SHIFT<float>, narrow(rests));
    const Vector result = (two.first + two.first * two.p) * two.second;
    return or_limit<float>(result, size, e);
}

inline __attribute__((always_inline)) Simd<double>::Vector
general_power(Simd<double>::Vector x, const Exponent& exponent) {
    using Vector = Simd<double>::Vector;
    using Bits = Simd<double>::Bits;
    constexpr unsigned long long OFFSET = 2048; // keeps k + OFFSET positive
    constexpr unsigned long long ROOT_HALF = 0x3FE6A09E667F3BCD;
    constexpr double LAST = 1100; // whose power is infinity; 0 that of -LAST
    const Vector size = size_of<double>(x);
    const auto tiny = size < 0x1p-1022;
    const Vector scaled = tiny ? size * 0x1p54 : size;
    const Bits biased = (bits_of<double>(scaled) + ((OFFSET << 52) - ROOT_HALF)) >> 52;
    const Vector number =
        from_bits<double>(biased + bits_of<double>(Vector{} + 0x1.8p52)) -
        (0x1.8p52 + static_cast<double>(OFFSET));
    const Vector k = tiny ? number - 54.0 : number;
    const Vector m =
        from_bits<double>(bits_of<double>(scaled) - ((biased - OFFSET) << 52));
    const Vector f = (m - 1.0) / (m + 1.0);
    const Vector logarithm = f * polynomial(LOGARITHM, f * f);
    const Vector exact = k * exponent.high;
    const Vector rest = logarithm * (exponent.high + exponent.low) + k * exponent.low;
    const Vector sum = exact + rest;
    const auto above = sum > LAST;
    const auto below = sum < -LAST;
    const Vector limit = above ? Vector{} + LAST : Vector{} - LAST;
    const Vector whole = (above | below) ? limit : exact;
    const Vector part = (above | below) ? Vector{} : rest;
    const Vector shifted = (whole + part) + SHIFT<double>;
    const Vector r = (whole - (shifted - SHIFT<double>)) + part;
    const Power<double> two =
        power_of_two<DoubleExponential>(shifted, r * 0x1.62e42fefa39efp-1);
    const Vector result = (two.first + two.first * two.p) * two.second;
    return or_limit<double>(result, size, exponent.high);
}

// One body, never inlined: the same bits wherever a power is taken.
template <class T>
__attribute__((noinline)) typename Simd<T>::Vector
power_of(typename Simd<T>::Vector x, const Exponent& exponent) {
    return general_power(x, exponent);
}

// |value[v]|^exponent
template <class T, int VECTORS>
inline __attribute__((always_inline)) void
raise(typename Simd<T>::Vector (&value)[VECTORS], const Exponent& exponent) {
    using Vector = typename Simd<T>::Vector;
    if (exponent.halves == 0) {
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            value[v] = power_of<T>(value[v], exponent);
        }
        return;
    }
    // By the digits of the exponent, the lowest first.
    Vector square[VECTORS];
    PYCONV_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
        square[v] = size_of<T>(value[v]);
        value[v] =
            exponent.halves % 2 != 0 ? square_root<T>(square[v]) : Vector{} + T(1);
    }
    for (int64 left = exponent.halves / 2; left > 0;) {
        if (left % 2 != 0) {
            PYCONV_UNROLL
            for (int v = 0; v < VECTORS; ++v) {
                value[v] *= square[v];
            }
        }
        left /= 2;
        if (left > 0) {
            PYCONV_UNROLL
            for (int v = 0; v < VECTORS; ++v) {
                square[v] *= square[v];
            }
        }
    }
}

// VECTORS vectors from element i on, of the last of them `last` elements.
template <class T, int VECTORS>
inline __attribute__((always_inline)) void powers_block(
    const T* const* rows,
    int64 count,
    const Exponent& exponent,
    T* out,
    int64 i,
    int64 last) {
    using Vector = typename Simd<T>::Vector;
    constexpr int LANES = Simd<T>::LANES;
    Vector sum[VECTORS]{};
    for (int64 j = 0; j < count; ++j) {
        Vector value[VECTORS];
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            value[v] =
                load_first(rows[j] + i + v * LANES, v == VECTORS - 1 ? last : LANES);
        }
        raise<T>(value, exponent);
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            sum[v] += value[v];
        }
    }
    PYCONV_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
        store_first(out + i + v * LANES, sum[v], v == VECTORS - 1 ? last : LANES);
    }
}

template <class T>
void reduce_powers(
    const T* const* rows, int64 count, const Exponent& exponent, T* out, int64 n) {
    constexpr int LANES = Simd<T>::LANES;
    int64 i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        powers_block<T, 4>(rows, count, exponent, out, i, LANES);
    }
    for (; i < n; i += LANES) {
        powers_block<T, 1>(
            rows, count, exponent, out, i, n - i < LANES ? n - i : LANES);
    }
}

template <class T>
void powers(T* y, const Exponent& exponent, int64 n) {
    const T* const row[1] = {y};
    reduce_powers(row, 1, exponent, y, n);
}

template <class T>
void add_shares(
    const T* grad, const T* y, const T* x, const Exponent& exponent, T* dx, int64 n) {
    using Vector = typename Simd<T>::Vector;
    constexpr int LANES = Simd<T>::LANES;
    for (int64 i = 0; i < n; i += LANES) {
        const int64 left = n - i < LANES ? n - i : LANES;
        const Vector norm = load_first(y + i, left);
        const Vector value = load_first(x + i, left);
        Vector share[1] = {value / norm};
        raise<T>(share, exponent);
        const Vector one = Vector{} + T(1);
        // Of 0 and of a NaN itself.
        const Vector sign = value > T(0) ? one : (value < T(0) ? -one : value);
        const Vector given = load_first(grad + i, left) * (sign * share[0]);
        const Vector sum = load_first(dx + i, left);
        store_first(dx + i, norm == T(0) ? sum : sum + given, left);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
