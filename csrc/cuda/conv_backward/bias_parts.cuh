// bias in parts: the gradient of a bias, read as it lies in memory.
//
// One block a filter reads channels-last pixels a filter apart, and leaves a device
// idle where filters are few. Here the pixels are cut into parts, which sum_parts sums
// on their own and add_parts adds in order. A block takes one part of a group of
// filters: channels last, neighbouring threads take neighbouring vectors of WIDTH
// filters and rows of threads take turns at the part's pixels; channels first, a whole
// block takes turns at one filter's pixels.
//
// The parts depend on the number of pixels alone; a part's threads halve their sums
// onto each other, the upper half onto the lower, as the naive kernel does. One order
// for every run and grid.
//
// Global loads per pixel and filter: one element, in pieces of sixteen bytes channels
// last; per part and filter one sum stored and one loaded.
#pragma once

#include "../index.cuh"
#include "../memory/add_parts.cuh"
#include "../memory/vector.cuh"

namespace pyconv::conv_bias_parts {

// ROWS: threads that take turns at the pixels; the others lie along the filters.
template <int THREADS_, int ROWS_, int WIDTH_, int PART_>
struct Tile {
    static constexpr int THREADS = THREADS_;
    static constexpr int ROWS = ROWS_;
    static constexpr int WIDTH = WIDTH_;
    static constexpr int PART = PART_; // pixels
    static constexpr int COLUMNS = THREADS / ROWS;
    static constexpr int FILTERS = COLUMNS * WIDTH; // of a block
};

// How far apart the pixels are.
enum Density : int {
    DENSE_NOWHERE = 0,
    DENSE_IN_IMAGES = 1, // evenly, in each image
    DENSE_THROUGHOUT = 2 // and from one image to the next
};

template <int DENSITY>
__device__ inline Index pixel_offset(const ConvProblem& p, Index pixel) {
    const Index along = static_cast<Index>(p.y_pitch[4]);
    if constexpr (DENSITY == DENSE_THROUGHOUT)
        return pixel * along;
    const Index width = static_cast<Index>(p.output[2]);
    const Index height = static_cast<Index>(p.output[1]);
    const Index depth = static_cast<Index>(p.output[0]);
    const Index image = width * height * depth;
    const Index to_image = pixel / image * static_cast<Index>(p.y_pitch[0]);
    if constexpr (DENSITY == DENSE_IN_IMAGES)
        return to_image + pixel % image * along;
    return to_image + pixel % width * along +
           pixel / width % height * static_cast<Index>(p.y_pitch[3]) +
           pixel / width / height % depth * static_cast<Index>(p.y_pitch[2]);
}

__device__ inline Index pixels_of(const ConvProblem& p) {
    return static_cast<Index>(p.n) *
           static_cast<Index>(p.output[0] * p.output[1] * p.output[2]);
}

template <class Tile, int DENSITY, class T>
__device__ void
sum_parts(const ConvProblem& p, const T* __restrict__ grad, void* partial) {
    using Sum = typename Element<T>::Sum;
    constexpr int WIDTH = Tile::WIDTH;
    __shared__ Sum sums[WIDTH][Tile::THREADS];

    // setup: which filters, and which of the part's pixels, are mine
    const int thread = static_cast<int>(threadIdx.x);
    const int row = thread / Tile::COLUMNS;
    const Index filters = static_cast<Index>(p.k);
    const Index groups = ceil_div(filters, Index(Tile::FILTERS));
    const Index block = static_cast<Index>(blockIdx.x);
    const Index filter =
        block % groups * Tile::FILTERS + thread % Tile::COLUMNS * Index(WIDTH);
    const Index part = block / groups;
    const Index left = pixels_of(p) - part * Tile::PART;
    const int count = left < Tile::PART ? static_cast<int>(left) : Tile::PART;
    const bool aligned = is_aligned(grad);
    const T* from = grad + filter * static_cast<Index>(p.y_pitch[1]);
    Sum sum[WIDTH]{};

    // compute: every ROWS-th pixel of the part
    if (filter < filters) {
#pragma unroll 4
        for (int i = row; i < count; i += Tile::ROWS) {
            Sum term[WIDTH];
            load_terms(
                from + pixel_offset<DENSITY>(p, part * Tile::PART + i),
                true,
                aligned,
                term);
#pragma unroll
            for (int e = 0; e < WIDTH; ++e)
                add(sum[e], term[e]);
        }
    }

    // store: the upper half onto the lower half, until one row is left
#pragma unroll
    for (int e = 0; e < WIDTH; ++e)
        sums[e][thread] = sum[e];
    for (int half = Tile::ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (row < half) {
#pragma unroll
            for (int e = 0; e < WIDTH; ++e)
                add(sums[e][thread], sums[e][thread + half * Tile::COLUMNS]);
        }
    }
    if (row != 0 || filter >= filters)
        return;
    Sum* to = static_cast<Sum*>(partial) + part * filters + filter;
#pragma unroll
    for (int e = 0; e < WIDTH; ++e)
        to[e] = sums[e][thread];
}

template <int THREADS, int ROWS, int PART, class T>
__device__ void add_parts(const ConvProblem& p, void* partial, T* bias) {
    using Sum = typename Element<T>::Sum;
    pyconv::add_parts<THREADS, ROWS>(
        static_cast<const Sum*>(partial),
        static_cast<Index>(p.k),
        ceil_div(pixels_of(p), Index(PART)),
        [&](Index filter, Sum sum) {
            bias[filter * static_cast<Index>(p.w_pitch[0])] = result_of<T>(sum);
        });
}

} // namespace pyconv::conv_bias_parts
