// The epilogue: what happens to an accumulated sum just before it is stored.
//
// Order: sum + bias, + residual, activation, and one rounding where the result is a
// half. The activation is a template argument,
// fixed by the entry point: chosen at run time, its eight bodies, inlined at each of a
// thread's 32 sums, made a cubin of 650 kB out of one of 150 kB and its compilation
// three times as long (NVRTC 13.5, sm_90). NaN passes through every activation.
#pragma once

#include "../core/number.hpp"

namespace pyconv {

__device__ inline float exponential(float v) {
    return expf(v);
}
__device__ inline double exponential(double v) {
    return exp(v);
}
__device__ inline float hyperbolic_tangent(float v) {
    return tanhf(v);
}
__device__ inline double hyperbolic_tangent(double v) {
    return tanh(v);
}
__device__ inline float error_function(float v) {
    return erff(v);
}
__device__ inline double error_function(double v) {
    return erf(v);
}

template <Activation ACTIVATION, class T>
__device__ inline T activate(T v) {
    if constexpr (ACTIVATION == ACT_RELU) {
        return v < T(0) ? T(0) : v;
    } else if constexpr (ACTIVATION == ACT_RELU6) {
        return v < T(0) ? T(0) : (v > T(6) ? T(6) : v);
    } else if constexpr (ACTIVATION == ACT_LEAKY_RELU) {
        return v < T(0) ? v * T(0.01) : v;
    } else if constexpr (ACTIVATION == ACT_SIGMOID) {
        return T(1) / (T(1) + exponential(-v));
    } else if constexpr (ACTIVATION == ACT_TANH) {
        return hyperbolic_tangent(v);
    } else if constexpr (ACTIVATION == ACT_GELU) {
        return T(0.5) * v * (T(1) + error_function(v * T(0.70710678118654752440)));
    } else if constexpr (ACTIVATION == ACT_SILU) {
        return v / (T(1) + exponential(-v));
    } else {
        static_assert(ACTIVATION == ACT_NONE, "an activation without a body");
        return v;
    }
}

// Integers have the two activations that need no fractions, complex numbers none: the
// host lets no other through. Sums carry no sign; their results do.
template <Activation ACTIVATION, class Result, class Sum>
__device__ inline Sum activate_sum(Sum sum) {
    if constexpr (ACTIVATION == ACT_NONE) {
        return sum;
    } else if constexpr (IS_SAME<Sum, float> || IS_SAME<Sum, double>) {
        return activate<ACTIVATION>(sum);
    } else {
        const Result size = static_cast<Result>(sum);
        return size < 1 ? 0 : ACTIVATION == ACT_RELU6 && size > 6 ? 6 : sum;
    }
}

// bias and residual may be null; both are read at the given output's own place.
template <Activation ACTIVATION, class Result, class Sum, class Offset>
__device__ inline Result
finish(Sum sum, const Sum* bias, Offset filter, const Result* residual, Offset offset) {
    if (bias != nullptr)
        add(sum, bias[filter]);
    if (residual != nullptr)
        add(sum, static_cast<Sum>(term_of(residual[offset])));
    return result_of<Result>(activate_sum<ACTIVATION, Result>(sum));
}

} // namespace pyconv
