// The epilogue: what happens to a finished sum just before it is stored.
//
// y = activation(sum + bias + residual). The cheap activations are vector code in
// cpu/micro/store_tile.hpp; those that need exp, tanh or erf are the C library's, here.
#pragma once

#include "core/problem.hpp"

namespace pyconv {

// values[i] = activation(values[i]), in place, one element after another.
void activate(int64 activation, float* values, int64 count);
void activate(int64 activation, double* values, int64 count);

} // namespace pyconv
