// col2im: one thread sums one element of the image from the columns that hold it.
//
// Taps in their order: no atomics, and the same sum on every run. The problem is that
// of a convolution with c * taps filters, one for each row of the matrix.
//
// Global loads per element: the windows that hold it, about the taps over the strides.
// Neighbouring threads are neighbouring elements: for a stride of one they read
// neighbouring windows.
#pragma once

#include "../index.cuh"

namespace pyconv::columns_col2im {

// The window that meets input index `at` of an axis at this tap, or -1.
__device__ inline Index window_at(const ConvProblem& p, int axis, Index at, Index tap) {
    const Index stride = static_cast<Index>(p.stride[axis]);
    const Index apart = at + static_cast<Index>(p.pad_before[axis]) -
                        tap * static_cast<Index>(p.dilation[axis]);
    const Index window = apart / stride;
    const bool meets = apart >= 0 && apart % stride == 0 &&
                       window < static_cast<Index>(p.output[axis]);
    return meets ? window : -1;
}

template <class T>
__device__ void run(const ConvProblem& p, const T* __restrict__ y, T* x) {
    // setup: which element is mine
    const Index linear = thread_number();
    const OutputCoordinates to =
        output_coordinates<false>(linear, static_cast<Index>(p.c), p.input);
    if (to.n >= static_cast<Index>(p.n))
        return;

    // compute: every tap's window, if there is one
    OutputCoordinates from;
    from.n = to.n;
    from.k = to.k * static_cast<Index>(p.kernel[0] * p.kernel[1] * p.kernel[2]);
    typename Element<T>::Sum sum{};
    for (Index t = 0; t < static_cast<Index>(p.kernel[0]); ++t) {
        from.at[0] = window_at(p, 0, to.at[0], t);
        for (Index r = 0; r < static_cast<Index>(p.kernel[1]); ++r) {
            from.at[1] = window_at(p, 1, to.at[1], r);
            for (Index s = 0; s < static_cast<Index>(p.kernel[2]); ++s, ++from.k) {
                from.at[2] = window_at(p, 2, to.at[2], s);
                if (from.at[0] >= 0 && from.at[1] >= 0 && from.at[2] >= 0)
                    add(sum, term_of(y[offset_of(from, p.y_pitch)]));
            }
        }
    }

    // store
    x[offset_of(to, p.x_pitch)] = result_of<T>(sum);
}

} // namespace pyconv::columns_col2im
