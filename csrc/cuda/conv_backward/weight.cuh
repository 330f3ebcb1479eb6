// weight: the gradient of a convolution's weights, one thread an element.
//
// dw[k, c, t, r, s] = the sum over n, m, p, q of grad[n, k, m, p, q] times the element
// of x that output (m, p, q) meets at tap (t, r, s); padding of zeros adds nothing. One
// chain in this order: the result does not depend on the grid.
//
// Global loads per element: 2 N M P Q through L1. Neighbouring threads are the taps of
// one channel: they read the same gradient, and lines of x that overlap.
#pragma once

#include "../index.cuh"

namespace pyconv::conv_weight_naive {

struct TapAxis {
    Index outputs;
    Index extent;
    Index first; // input coordinate of output 0
    Index stride;
};

__device__ inline TapAxis tap_axis(const ConvProblem& p, int axis, Index tap) {
    return TapAxis{
        static_cast<Index>(p.output[axis]),
        static_cast<Index>(p.input[axis]),
        tap * static_cast<Index>(p.dilation[axis]) -
            static_cast<Index>(p.pad_before[axis]),
        static_cast<Index>(p.stride[axis])};
}

template <class T>
__device__ void
run(const ConvProblem& p,
    const T* __restrict__ x,
    const T* __restrict__ grad,
    T* weight) {
    // setup: which element is mine
    const Index channels = static_cast<Index>(p.c / p.groups);
    Index linear = thread_number();
    Index tap[3];
    Index offset = 0;
    for (int axis = 2; axis >= 0; --axis) {
        const Index extent = static_cast<Index>(p.kernel[axis]);
        tap[axis] = linear % extent;
        linear /= extent;
        offset += tap[axis] * static_cast<Index>(p.w_pitch[axis + 2]);
    }
    const Index c = linear % channels;
    const Index k = linear / channels;
    if (k >= static_cast<Index>(p.k))
        return;
    const Index group = k / static_cast<Index>(p.k / p.groups);
    const PaddingMode mode = static_cast<PaddingMode>(p.padding_mode);
    const TapAxis axis[3] = {
        tap_axis(p, 0, tap[0]), tap_axis(p, 1, tap[1]), tap_axis(p, 2, tap[2])};

    // compute: all pixels of my filter's gradient against mine of x
    typename Element<T>::Sum sum{};
    for (Index n = 0; n < static_cast<Index>(p.n); ++n) {
        const T* plane = x + n * static_cast<Index>(p.x_pitch[0]) +
                         (group * channels + c) * static_cast<Index>(p.x_pitch[1]);
        const T* from = grad + n * static_cast<Index>(p.y_pitch[0]) +
                        k * static_cast<Index>(p.y_pitch[1]);
        for (Index m = 0; m < axis[0].outputs; ++m) {
            const Index d =
                input_index(axis[0].first + m * axis[0].stride, axis[0].extent, mode);
            if (d < 0)
                continue;
            for (Index i = 0; i < axis[1].outputs; ++i) {
                const Index h = input_index(
                    axis[1].first + i * axis[1].stride, axis[1].extent, mode);
                if (h < 0)
                    continue;
                const T* row = plane + d * static_cast<Index>(p.x_pitch[2]) +
                               h * static_cast<Index>(p.x_pitch[3]);
                const T* line = from + m * static_cast<Index>(p.y_pitch[2]) +
                                i * static_cast<Index>(p.y_pitch[3]);
                for (Index q = 0; q < axis[2].outputs; ++q) {
                    const Index w = input_index(
                        axis[2].first + q * axis[2].stride, axis[2].extent, mode);
                    if (w >= 0)
                        add_product(
                            sum,
                            term_of(row[w * static_cast<Index>(p.x_pitch[4])]),
                            term_of(line[q * static_cast<Index>(p.y_pitch[4])]));
                }
            }
        }
    }

    // store
    weight
        [offset + k * static_cast<Index>(p.w_pitch[0]) +
         c * static_cast<Index>(p.w_pitch[1])] = result_of<T>(sum);
}

} // namespace pyconv::conv_weight_naive
