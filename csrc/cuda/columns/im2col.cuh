// im2col: one thread moves one element of the matrix of columns.
//
// y[n, (c, t, r, s), (m, p, q)] = the element of x that window (m, p, q) meets at tap
// (t, r, s) of channel c, zero in the padding. The problem is that of a convolution
// with c * taps filters, one for each row of the matrix.
//
// Global loads per element: one. Neighbouring threads are neighbouring windows: their
// stores are whole lines, their loads a stride apart.
#pragma once

#include "../index.cuh"

namespace pyconv::columns_im2col {

template <class T>
__device__ void run(const ConvProblem& p, const T* __restrict__ x, T* y) {
    // setup: which element is mine
    const Index rows = static_cast<Index>(p.k);
    const Index linear = thread_number();
    const OutputCoordinates to = output_coordinates<false>(linear, rows, p.output);
    if (to.n >= static_cast<Index>(p.n))
        return;

    // compute: where my window meets the image at my row's tap
    OutputCoordinates from;
    from.n = to.n;
    from.k = to.k;
    bool within = true;
    for (int axis = 2; axis >= 0; --axis) {
        const Index taps = static_cast<Index>(p.kernel[axis]);
        const Index position = to.at[axis] * static_cast<Index>(p.stride[axis]) +
                               from.k % taps * static_cast<Index>(p.dilation[axis]) -
                               static_cast<Index>(p.pad_before[axis]);
        from.k /= taps;
        from.at[axis] =
            input_index(position, static_cast<Index>(p.input[axis]), PAD_ZEROS);
        within = within && from.at[axis] >= 0;
    }

    // store
    y[offset_of(to, p.y_pitch)] = within ? x[offset_of(from, p.x_pitch)] : T{};
}

} // namespace pyconv::columns_im2col
