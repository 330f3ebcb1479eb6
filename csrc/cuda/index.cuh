// Index arithmetic of the device code: the index type, output coordinates, padding
// maps. Every kernel includes it, and the element types with it.
//
// PYCONV_INDEX_BITS is 32 or 64 and is given by the launcher, which knows the sizes:
// 32-bit indices save registers and integer multiplies, and hold while every offset and
// every thread number stays below 2^31. Pitches keep their sign in both.
#pragma once

#include "../core/number.hpp"

namespace pyconv {

#if PYCONV_INDEX_BITS == 64
using Index = long long;
using UnsignedIndex = unsigned long long;
#elif PYCONV_INDEX_BITS == 32
using Index = int;
using UnsignedIndex = unsigned;
#else
#error "PYCONV_INDEX_BITS must be 32 or 64"
#endif

template <class I>
constexpr __host__ __device__ I ceil_div(I value, I divisor) {
    return (value + divisor - 1) / divisor;
}

// The number of this thread in a one-dimensional grid.
__device__ inline Index thread_number() {
    return static_cast<Index>(blockIdx.x) * static_cast<Index>(blockDim.x) +
           static_cast<Index>(threadIdx.x);
}

struct OutputCoordinates {
    Index n;
    Index k;
    Index at[3]; // depth, height, width
};

// Splits a linear output number so that neighbouring threads write neighbouring
// addresses: width is fastest, or the channel where the output is channels-last.
template <bool CHANNELS_LAST>
__device__ inline OutputCoordinates
output_coordinates(Index linear, Index channels, const int64* output) {
    OutputCoordinates y;
    if constexpr (CHANNELS_LAST) {
        y.k = linear % channels;
        linear /= channels;
    }
    for (int axis = 2; axis >= 0; --axis) {
        const Index extent = static_cast<Index>(output[axis]);
        y.at[axis] = linear % extent;
        linear /= extent;
    }
    if constexpr (!CHANNELS_LAST) {
        y.k = linear % channels;
        linear /= channels;
    }
    y.n = linear;
    return y;
}

__device__ inline Index offset_of(const OutputCoordinates& y, const int64* pitch) {
    return y.n * static_cast<Index>(pitch[0]) + y.k * static_cast<Index>(pitch[1]) +
           y.at[0] * static_cast<Index>(pitch[2]) +
           y.at[1] * static_cast<Index>(pitch[3]) +
           y.at[2] * static_cast<Index>(pitch[4]);
}

// Whether 0 <= position < extent, as one comparison.
__device__ inline bool is_inside(Index position, Index extent) {
    return static_cast<UnsignedIndex>(position) < static_cast<UnsignedIndex>(extent);
}

// Where a position of the padded axis lies in the input; -1 where it is zero padding or
// lies outside the padded axis (a tile's halo may reach there).
// Precondition: reflect has padding < extent, circular padding <= extent: one step is
// enough.
__device__ inline Index input_index(Index position, Index extent, PaddingMode mode) {
    if (mode == PAD_REFLECT) {
        if (position < 0)
            position = -position;
        if (position >= extent)
            position = 2 * (extent - 1) - position;
    } else if (mode == PAD_REPLICATE) {
        if (position < 0)
            position = 0;
        if (position >= extent)
            position = extent - 1;
    } else if (mode == PAD_CIRCULAR) {
        if (position < 0)
            position += extent;
        else if (position >= extent)
            position -= extent;
    }
    return position >= 0 && position < extent ? position : -1;
}

} // namespace pyconv
