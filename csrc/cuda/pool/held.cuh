// The windows that hold one element of the input, and what a norm hands back to it.
#pragma once

#include "window.cuh"

namespace pyconv {

struct Range {
    Index first;
    Index last; // inclusive
};

// Outputs that may hold input position `at`: a superset, which holds() sifts.
__device__ inline Range candidates(const PoolProblem& p, int axis, Index at) {
    const Index outputs = static_cast<Index>(p.output[axis]);
    Range range;
    if (p.adaptive != 0) {
        const int64 scaled = at * p.output[axis] / p.input[axis];
        range.first = static_cast<Index>(scaled) - 1;
        range.last = static_cast<Index>((at + 1) * p.output[axis] / p.input[axis]) + 1;
    } else {
        const Index stride = static_cast<Index>(p.stride[axis]);
        const Index reach = static_cast<Index>((p.kernel[axis] - 1) * p.dilation[axis]);
        const Index place = at + static_cast<Index>(p.pad_before[axis]);
        range.first = place > reach ? ceil_div(place - reach, stride) : 0;
        range.last = place / stride;
    }
    if (range.first < 0)
        range.first = 0;
    if (range.last >= outputs)
        range.last = outputs - 1;
    return range;
}

__device__ inline bool holds(const PoolAxis& window, Index at) {
    const Index apart = at - window.start;
    const Index tap = apart / window.dilation;
    return apart >= 0 && apart % window.dilation == 0 && tap >= window.first &&
           tap < window.last;
}

template <class T>
__device__ T share(T norm, T x, T y) {
    if (y == T(0))
        return T(0);
    const T sign = x > T(0) ? T(1) : x < T(0) ? T(-1) : x;
    const T size = x < T(0) ? -x : x;
    return norm == T(1)   ? sign
           : norm == T(2) ? x / y
                          : sign * power(size / y, norm - T(1));
}

} // namespace pyconv
