// im2col_gemm: patches are written out as columns, then multiplied as matrices.
//
// What changed from async_pipeline: two launches, each as plain as can be. The first
// writes the element that every output pixel meets at every channel and tap into the
// workspace, C/G T R S columns of N O P Q pixels side by side; the second multiplies
// them by the filters in tiles of BLOCK_M x BLOCK_N with sums in registers, and knows
// nothing of windows: any rank, kernel, stride and dilation.
//
// The price is bytes: x grows T R S / stride fold, is written once and read once for
// every BLOCK_N filters. For 3 x 3, stride 1, that is 9 C elements out and 9 C in per
// output pixel through device memory, where x itself is C.
//
// Padding of zeros must add nothing, not even to weights that are not finite: a block
// that met one does its outputs again, one by one.
// Limits: weights without gaps; images are taken some at a time where their columns
// would pass the bound that the host sets.
#pragma once

#include "gemm/product.cuh"

namespace pyconv::conv_im2col_gemm {

// One thread an element of the columns, numbered along their memory.
template <class X, PaddingMode MODE>
__device__ void unfold(const ConvProblem& p, const X* __restrict__ x, void* workspace) {
    const Index rows = gemm::rows_of(p);
    const Index linear = thread_number();
    Index column = linear / rows; // channel and tap
    const OutputCoordinates at = gemm::pixel_of(p, linear % rows);
    Index offset = at.n * static_cast<Index>(p.x_pitch[0]);
    bool inside = true;
    for (int axis = 2; axis >= 0; --axis) {
        const Index taps = static_cast<Index>(p.kernel[axis]);
        const Index place = input_index(
            at.at[axis] * static_cast<Index>(p.stride[axis]) -
                static_cast<Index>(p.pad_before[axis]) +
                column % taps * static_cast<Index>(p.dilation[axis]),
            static_cast<Index>(p.input[axis]),
            MODE);
        inside = inside && place >= 0;
        offset += place * static_cast<Index>(p.x_pitch[axis + 2]);
        column /= taps;
    }
    offset += column * static_cast<Index>(p.x_pitch[1]);
    if (column < static_cast<Index>(p.c))
        static_cast<X*>(workspace)[linear] = inside ? x[offset] : X{};
}

template <class X, class W, class Tile, bool CHANNELS_LAST>
struct Loader {
    using Sum = typename Element<X>::Sum;
    using M = GemmLoad<Tile::BLOCK_M, Tile::THREADS, Tile::BLOCK_K, false>;
    using N = GemmLoad<Tile::BLOCK_N, Tile::THREADS, Tile::BLOCK_K, true>;
    static constexpr int M_LOADS = Tile::BLOCK_M * Tile::BLOCK_K / Tile::THREADS;
    static constexpr int N_LOADS =
        (Tile::BLOCK_N * Tile::BLOCK_K + Tile::THREADS - 1) / Tile::THREADS;

    Index row; // the block's first
    Index rows;
    Index filter;
    Index filters;
    Index depth;      // channels and taps of a group
    const X* columns; // of the group
    const W* weight;
    Sum held_m[M_LOADS];
    Sum held_n[N_LOADS];
    bool is_bad = false; // met a weight that is not finite

    __device__ void load(Index first) {
#pragma unroll
        for (int i = 0; i < M_LOADS; ++i) {
            const Index k = first + M(i).k;
            const Index mine = row + M(i).row;
            const bool inside = k < depth && mine < rows;
            held_m[i] = inside ? term_of(columns[k * rows + mine]) : Sum{};
        }
#pragma unroll
        for (int i = 0; i < N_LOADS; ++i) {
            const Index k = first + N(i).k;
            const Index mine = filter + N(i).row;
            const bool inside = N(i).row < Tile::BLOCK_N && k < depth && mine < filters;
            held_n[i] = inside ? term_of(weight[mine * depth + k]) : Sum{};
            is_bad = is_bad || !is_finite(held_n[i]);
        }
    }

    __device__ void store(GemmOperands<Sum, Tile>& operands, int buffer) const {
        using Operands = GemmOperands<Sum, Tile>;
#pragma unroll
        for (int i = 0; i < M_LOADS; ++i)
            operands.m[buffer][M(i).k * Operands::M_PITCH + M(i).row] = held_m[i];
#pragma unroll
        for (int i = 0; i < N_LOADS; ++i)
            if (N(i).row < Tile::BLOCK_N)
                operands.n[buffer][N(i).k * Operands::N_PITCH + N(i).row] = held_n[i];
    }
};

template <
    class X,
    class W,
    class Tile,
    PaddingMode MODE,
    Activation ACTIVATION,
    bool CHANNELS_LAST>
__device__ void multiply(
    const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const typename Element<X>::Sum* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y,
    const void* workspace) {
    using Sum = typename Element<X>::Sum;
    __shared__ gemm::Shared<Sum, Tile, CHANNELS_LAST> shared;

    // setup: the block's rows and columns, and the thread's among them
    const Index rows = gemm::rows_of(p);
    const gemm::Block block = gemm::block_of<Tile>(p, rows);
    const auto mine = gemm_thread<Tile, CHANNELS_LAST>(static_cast<int>(threadIdx.x));
    Sum sum[Tile::THREAD_M][Tile::THREAD_N]{};
    Loader<X, W, Tile, CHANNELS_LAST> loader;
    loader.row = block.row;
    loader.rows = rows;
    loader.filter = block.filter;
    loader.filters = static_cast<Index>(p.k / p.groups);
    loader.depth =
        static_cast<Index>(p.c / p.groups * p.kernel[0] * p.kernel[1] * p.kernel[2]);
    loader.columns =
        static_cast<const X*>(workspace) + block.group * loader.depth * rows;
    loader.weight = weight + block.group * loader.filters * loader.depth;

    // compute: a step's product while the next one is loaded
    loader.load(0);
    int buffer = 0;
    for (Index first = 0; first < loader.depth; first += Tile::BLOCK_K) {
        loader.store(shared.operands, buffer);
        __syncthreads(); // whole; and the other buffer has been read by everyone
        if (first + Tile::BLOCK_K < loader.depth)
            loader.load(first + Tile::BLOCK_K);
        accumulate<Sum, Tile>(
            shared.operands.m[buffer], shared.operands.n[buffer], mine.m, mine.n, sum);
        buffer = 1 - buffer;
    }

    // store
    const bool again = __syncthreads_or(loader.is_bad) && MODE == PAD_ZEROS;
    gemm::store<Tile, ACTIVATION>(
        p, block, rows, mine, shared, sum, x, weight, bias, residual, y, again);
}

} // namespace pyconv::conv_im2col_gemm
