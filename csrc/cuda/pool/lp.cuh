// lp: a norm of each window, (sum of |x|^p)^(1/p).
//
// Orders 1 and 2 need no powers. The sum is one chain in tap order; an empty window
// gives 0.
//
// Global loads per output: T * R * S elements through L1; device memory about once.
#pragma once

#include "window.cuh"

namespace pyconv::pool_lp {

__device__ inline float power(float base, float exponent) {
    return powf(base, exponent);
}
__device__ inline double power(double base, double exponent) {
    return pow(base, exponent);
}
__device__ inline float square_root(float value) {
    return sqrtf(value);
}
__device__ inline double square_root(double value) {
    return sqrt(value);
}

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* /* max only */) {
    const PoolWindow window = pool_window<CHANNELS_LAST>(p);
    if (!window.mine)
        return;
    using Sum = typename Element<T>::Sum;
    const Sum norm = static_cast<Sum>(__longlong_as_double(p.norm_bits));
    Sum sum{};
    for_each_tap(p, window, [&](Index from, Index) {
        const Sum value = term_of(x[from]);
        const Sum size = value < Sum(0) ? -value : value;
        sum += norm == Sum(1)   ? size
               : norm == Sum(2) ? value * value
                                : power(size, norm);
    });
    sum = norm == Sum(1)   ? sum
          : norm == Sum(2) ? square_root(sum)
                           : power(sum, Sum(1) / norm);
    y[window.y] = result_of<T>(sum);
}

} // namespace pyconv::pool_lp
