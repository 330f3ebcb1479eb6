// The epilogue: what happens to a finished sum just before it is stored.
//
// y = activation(sum + bias + residual). Here is what each activation is, for the
// reference algorithm; the kernels have their own, in cpu/micro/activate.hpp and
// smooth.hpp.
#pragma once

#include "core/problem.hpp"

namespace pyconv {

// values[i] = activation(values[i]), in place, one element after another.
void activate(int64 activation, float* values, int64 count);
void activate(int64 activation, double* values, int64 count);

} // namespace pyconv
