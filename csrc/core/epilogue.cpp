// The activations by their definitions and the C library, one element at a time.
#include "core/epilogue.hpp"

#include <cmath>

namespace pyconv {
namespace {

template <class T>
T activated(int64 activation, T value) {
    switch (activation) {
    case ACT_RELU:
        return value < T(0) ? T(0) : value; // NaN stays NaN
    case ACT_RELU6:
        return value < T(0) ? T(0) : (value > T(6) ? T(6) : value);
    case ACT_LEAKY_RELU:
        return value < T(0) ? T(0.01) * value : value;
    case ACT_SIGMOID:
        return T(1) / (T(1) + std::exp(-value));
    case ACT_TANH:
        return std::tanh(value);
    case ACT_GELU:
        return T(0.5) * value * std::erfc(-value * T(0.70710678118654752440));
    case ACT_SILU:
        return value / (T(1) + std::exp(-value));
    default:
        return value;
    }
}

template <class T>
void activate_all(int64 activation, T* values, int64 count) {
    for (int64 i = 0; i < count; ++i) {
        values[i] = activated(activation, values[i]);
    }
}

} // namespace

void activate(int64 activation, float* values, int64 count) {
    activate_all(activation, values, count);
}

void activate(int64 activation, double* values, int64 count) {
    activate_all(activation, values, count);
}

} // namespace pyconv
