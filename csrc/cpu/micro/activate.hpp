// The activations cheap enough to be applied to sums that are still in registers.
#pragma once

#include "core/problem.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// The activations that are a comparison or two, a vector at a time.
template <class T, class V>
inline __attribute__((always_inline)) V activate_cheap(int64 activation, V value) {
    if (activation == ACT_NONE) {
        return value;
    }
    if (activation == ACT_RELU) {
        return value < T(0) ? V{} : value; // NaN stays NaN
    }
    if (activation == ACT_RELU6) {
        const V six = V{} + T(6);
        value = value < T(0) ? V{} : value;
        return value > T(6) ? six : value;
    }
    if (activation == ACT_LEAKY_RELU) {
        return value < T(0) ? value * T(0.01) : value;
    }
    return value;
}

} // namespace
} // namespace pyconv::PYCONV_ISA
