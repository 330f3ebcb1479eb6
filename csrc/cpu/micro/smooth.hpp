// The smooth activations, a vector at a time: sigmoid, silu, tanh, gelu.
//
// The idea: exp(-|x|) never overflows, and each function is a quotient of it, written
// so that small results keep their relative accuracy.
//   t / (1 + exp(-x))   as it stands for x >= 0, t exp(x) / (1 + exp(x)) below; what
//                       rounding took from the divisor is given back to the dividend.
//   tanh |x|            x + x^3 q(x^2) below 0.55, 1 - 2 e / (1 + e), e = exp(-2 |x|),
//                       above.
//   gelu(x)             max(x, 0) - h(|x|), h(a) = a Phi(-a) = exp(-a^2 / 2) a m(a): m
//                       is smooth, (a + c) m(a) a polynomial in (a - c) / (a + c)
//                       (Shepherd and Laframboise 1981). a^2 is taken in two pieces, or
//                       its rounding would grow with it. In float64, below 0.5, a power
//                       series of erf(x / sqrt 2). float32 goes through float64.
// Coefficients interpolate these functions at Chebyshev nodes, solved in 50 to 60
// digits and rounded; the struct or function names the largest relative error.
//
// Measured against 80-bit arithmetic over every exponent, a million values and more,
// with subnormal results among them, in ulp: float32 sigmoid 1.8, silu 2.0, tanh 1.5,
// gelu 0.51; float64 sigmoid 1.8, silu 2.2, tanh 1.5, gelu 2.9. Without fused
// multiply-adds silu 2.3 in both, float64 gelu 3.3.
#pragma once

#include "cpu/micro/exponential.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// t / (1 + exp(-x)): the sigmoid for t = 1, silu for t = x.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
logistic(typename Simd<T>::Vector t, typename Simd<T>::Vector x) {
    using Vector = typename Simd<T>::Vector;
    // Below it the result is 0; a product with it is not NaN.
    constexpr T LEAST = sizeof(T) == 4 ? T(-112) : T(-760);
    const Vector below = x < T(0) ? x : -x;
    const Vector y = below < LEAST ? Vector{} + LEAST : below;
    const Power<T> e = power_of_e<typename Format<T>::Exponential>(y, Vector{});
    const Vector value = (e.first + e.first * e.p) * e.second;
    const Vector divisor = T(1) + value;
    const Vector lost = value - (divisor - T(1));
    const Vector least = t < LEAST ? Vector{} + LEAST : t;
    const Vector small = (least + least * (e.p - lost)) * e.first * e.second;
    // + 0 t: silu(-infinity) is a NaN.
    return (x < T(0) ? small + T(0) * t : t) / divisor;
}

template <class T>
struct NearTanh;

template <>
struct NearTanh<float> { // 2^-27.6 of x
    static constexpr float TERMS[] = {
        -0x1.555554p-2F,
        0x1.110feap-3F,
        -0x1.b9a044p-5F,
        0x1.5d220ep-6F,
        -0x1.b13538p-8F,
    };
};

template <>
struct NearTanh<double> { // 2^-57.6 of x
    static constexpr double TERMS[] = {
        -0x1.5555555555555p-2,
        0x1.1111111111032p-3,
        -0x1.ba1ba1b9fec84p-5,
        0x1.664f487713373p-6,
        -0x1.226e32f00cf0cp-7,
        0x1.d6d339333f329p-9,
        -0x1.7d97cfd138c28p-10,
        0x1.34c5a8a996cd4p-11,
        -0x1.ec1091436eb2ap-13,
        0x1.64fd88e9900a5p-14,
        -0x1.59a834187ce22p-16,
    };
};

template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
hyperbolic_tangent(typename Simd<T>::Vector x) {
    using Vector = typename Simd<T>::Vector;
    constexpr T LEAST = T(-64); // tanh is 1 long before
    const Vector below = (x < T(0) ? x : -x) * T(2);
    const Vector y = below < LEAST ? Vector{} + LEAST : below;
    const Power<T> e = power_of_e<typename Format<T>::Exponential>(y, Vector{});
    const Vector scale = e.first * e.second;
    const Vector value = scale + scale * e.p;
    const Vector far = T(1) - T(2) * value / (T(1) + value);
    const Vector square = x * x;
    const Vector near = x * (T(1) + square * polynomial(NearTanh<T>::TERMS, square));
    return y > T(-1.1) ? near : (x < T(0) ? -far : far);
}

struct ShortTail { // 2^-34 up to LAST, past which h is 0 in float
    using Exponential = ShortExponential;
    static constexpr double CENTRE = 4;
    static constexpr double LAST = 15;
    static constexpr double TERMS[] = {
        0x1.82b4bb8c86631p-1,
        -0x1.373e3a8bcb1e1p-1,
        0x1.8c6dbf3837315p-2,
        -0x1.7dff29f2aa6d8p-3,
        0x1.eec4caf2b4a93p-5,
        -0x1.ee2b1959fee44p-8,
        -0x1.c81c927b50722p-9,
        0x1.abd7dea3e13dfp-10,
        0x1.1b59b32ca17f3p-13,
        -0x1.ea4c2ee198c93p-13,
        -0x1.138cbf82d8480p-17,
        0x1.2357d07865a06p-15,
        0x1.0bfcaf52ccedbp-17,
    };
};

struct DoubleTail { // 2^-56.2 from 0.5 on
    using Exponential = DoubleExponential;
    static constexpr double CENTRE = 4.234375; // for the roundings' sake
    static constexpr double LAST = 39;
    static constexpr double TERMS[] = {
        0x1.84c3bfbfc6bc7p-1,   -0x1.3f8c613a8b211p-1,  0x1.aa5d23f3bc218p-2,
        -0x1.bf577a9a1c52ap-3,  0x1.56bac9a340cdfp-4,   -0x1.2fb1dbdb6ad7dp-6,
        -0x1.0118dd81c5c80p-10, 0x1.187e407ec7b53p-9,   -0x1.82d08a5fcb161p-12,
        -0x1.a286faac583ffp-13, 0x1.35a146e4a2075p-14,  0x1.78248729fedfdp-16,
        -0x1.94070cd26cb8fp-17, -0x1.da8864202efbdp-19, 0x1.fce9357cd64adp-20,
        0x1.8be747d947bc6p-21,  -0x1.26708f03ac404p-22, -0x1.69f33516312e2p-23,
        0x1.f860d3553d556p-26,  0x1.257f41b6a055ap-25,  -0x1.210afc1436abap-31,
        -0x1.25df6c937fcb3p-28, -0x1.940c0e1a1b17ap-32,
    };
    // erf(x / sqrt 2) / (2 x) in x^2, for x < 0.55: 2^-53.8
    static constexpr double NEAR[] = {
        0x1.9884533d43651p-2,
        -0x1.1058377e2cee0p-4,
        0x1.46d0429769006p-7,
        -0x1.37403f6b81ff5p-10,
        0x1.e42b0d3109600p-14,
        -0x1.3ce8f0ded132ep-17,
        0x1.6586a73f8c7f0p-21,
        -0x1.616b729502cf9p-25,
        0x1.2411ae5cd6fc5p-29,
    };
};

// a Phi(-a) for 0 <= a <= LAST.
template <class Tail>
inline __attribute__((always_inline)) Simd<double>::Vector
gaussian_tail(Simd<double>::Vector a) {
    using Vector = Simd<double>::Vector;
    // a^2 = top^2 + (a - top) (a + top), the first of them exact.
    const Vector top = from_bits<double>(bits_of<double>(a) >> 27 << 27);
    const Power<double> e = power_of_e<typename Tail::Exponential>(
        -0.5 * top * top, -0.5 * (a - top) * (a + top));
    // Either side of the centre its own form, in which little of the quotient's
    // rounding is left: a / (a + c), or 1 - c / (a + c).
    const auto past = a > Tail::CENTRE;
    const Vector share = (past ? Vector{} + Tail::CENTRE : a) / (a + Tail::CENTRE);
    const Vector twice = share + share;
    const Vector smooth = polynomial(Tail::TERMS, past ? 1.0 - twice : twice - 1.0);
    const Vector product = smooth * share;
    const Vector whole = past ? smooth - product : product;
    return (whole + whole * e.p) * e.first * e.second;
}

template <class Tail>
inline __attribute__((always_inline)) Simd<double>::Vector
gelu(Simd<double>::Vector x) {
    using Vector = Simd<double>::Vector;
    const Vector size = from_bits<double>(bits_of<double>(x) << 1 >> 1);
    const Vector tail =
        gaussian_tail<Tail>(size > Tail::LAST ? Vector{} + Tail::LAST : size);
    // 0 x: gelu(-infinity) is a NaN, as 0 times infinity.
    return (x < 0.0 ? 0.0 * x : x) - tail;
}

inline __attribute__((always_inline)) Simd<double>::Vector
gelu_of(Simd<double>::Vector x) {
    const auto far = gelu<DoubleTail>(x);
    const auto near = x * (0.5 + x * polynomial(DoubleTail::NEAR, x * x));
    return x < 0.5 && x > -0.5 ? near : far;
}

inline __attribute__((always_inline)) Simd<float>::Vector
gelu_of(Simd<float>::Vector x) {
    Widened wide = widen(x);
    wide.half[0] = gelu<ShortTail>(wide.half[0]);
    wide.half[1] = gelu<ShortTail>(wide.half[1]);
    return narrow(wide);
}

// One body, never inlined: the same bits wherever a value is finished.
template <class T>
__attribute__((noinline)) typename Simd<T>::Vector
activate_smooth(int64 activation, typename Simd<T>::Vector value) {
    switch (activation) {
    case ACT_SIGMOID:
        return logistic<T>(typename Simd<T>::Vector{} + T(1), value);
    case ACT_TANH:
        return hyperbolic_tangent<T>(value);
    case ACT_GELU:
        return gelu_of(value);
    default:
        return logistic<T>(value, value);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
