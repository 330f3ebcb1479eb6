// bias: the gradient of a convolution's bias, one block a filter.
//
// The threads of a block share the pixels of a filter in turns, each adding its own in
// order; then the block's sums are halved onto each other in shared memory. One order
// for every run: it depends on THREADS alone.
//
// Global loads per pixel: one. Channels first, neighbouring threads read neighbouring
// pixels; channels last, a line of memory for each pixel, which other blocks read
// again.
#pragma once

#include "../index.cuh"

namespace pyconv::conv_bias_naive {

template <class T, int THREADS>
__device__ void run(const ConvProblem& p, const T* __restrict__ grad, T* bias) {
    using Sum = typename Element<T>::Sum;
    __shared__ Sum sums[THREADS];
    const Index mine = static_cast<Index>(threadIdx.x);
    const Index filter = static_cast<Index>(blockIdx.x);

    // compute: every THREADS-th pixel of my filter
    const Index height = static_cast<Index>(p.output[1]);
    const Index width = static_cast<Index>(p.output[2]);
    const Index depth = static_cast<Index>(p.output[0]);
    const Index pixels = static_cast<Index>(p.n) * depth * height * width;
    Sum sum{};
    for (Index i = mine; i < pixels; i += THREADS) {
        OutputCoordinates at;
        at.at[2] = i % width;
        at.at[1] = i / width % height;
        at.at[0] = i / width / height % depth;
        at.n = i / width / height / depth;
        at.k = filter;
        add(sum, term_of(grad[offset_of(at, p.y_pitch)]));
    }

    // store: the upper half onto the lower half, until one sum is left
    sums[mine] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (mine < half)
            add(sums[mine], sums[mine + half]);
    }
    if (mine == 0)
        bias[filter * static_cast<Index>(p.w_pitch[0])] = result_of<T>(sums[0]);
}

} // namespace pyconv::conv_bias_naive
