// A convolution's matrix product: whose rows and columns are whose, and the way to y.
//
// Rows are output pixels of all images, columns the filters of a group. What stands in
// the product's left matrix, and how it comes to shared memory, is the kernel's own.
#pragma once

#include "../../direct_sum.cuh"
#include "../../epilogue.cuh"
#include "../../index.cuh"
#include "../../memory/gemm_tile.cuh"

namespace pyconv::gemm {

template <class Sum, class Tile, bool CHANNELS_LAST>
struct Shared {
    using Staging = GemmStaging<Sum, Tile, CHANNELS_LAST>;
    union {
        GemmOperands<Sum, Tile> operands;
        Staging staging; // when the operands have been read
    };
    Index row_offset[Tile::BLOCK_M];
};

__device__ inline Index rows_of(const ConvProblem& p) {
    return static_cast<Index>(p.n) * static_cast<Index>(p.output[0]) *
           static_cast<Index>(p.output[1]) * static_cast<Index>(p.output[2]);
}

// Which rows and columns of the product are my block's.
struct Block {
    Index group;
    Index row;
    Index filter; // inside the group
};

template <class Tile>
__device__ inline Block block_of(const ConvProblem& p, Index rows) {
    // Filters vary fastest: blocks that read the same pixels run together, meet in L2.
    const Index filters = static_cast<Index>(p.k / p.groups);
    const Index blocks_n = ceil_div(filters, Index(Tile::BLOCK_N));
    const Index blocks_m = ceil_div(rows, Index(Tile::BLOCK_M));
    const Index linear = static_cast<Index>(blockIdx.x);
    return Block{
        linear / blocks_n / blocks_m,
        linear / blocks_n % blocks_m * Tile::BLOCK_M,
        linear % blocks_n * Tile::BLOCK_N};
}

// Rows count pixels along the output's axes, width fastest, in either memory order.
__device__ inline OutputCoordinates pixel_of(const ConvProblem& p, Index row) {
    return output_coordinates<false>(row, 1, p.output);
}

// Finishes the block's sums by way of shared memory, where neighbouring threads take
// neighbouring outputs, and one piece of code finishes all of them. again: the sums are
// of no use, every output is summed once more.
template <
    class Tile,
    Activation ACTIVATION,
    bool CHANNELS_LAST,
    class X,
    class W,
    class Sum,
    class Result>
__device__ inline void store(
    const ConvProblem& p,
    const Block& block,
    Index rows,
    const GemmThread& mine,
    Shared<Sum, Tile, CHANNELS_LAST>& shared,
    const Sum (&sum)[Tile::THREAD_M][Tile::THREAD_N],
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const Sum* __restrict__ bias,
    const Result* residual,
    Result* y,
    bool again) {
    using Staging = GemmStaging<Sum, Tile, CHANNELS_LAST>;
    const int thread = static_cast<int>(threadIdx.x);
    const Index filters = static_cast<Index>(p.k / p.groups);
    const auto is_output = [&](int row, int column) {
        return block.row + row < rows && block.filter + column < filters;
    };
    const auto filter_of = [&](int column) {
        return block.group * filters + block.filter + column;
    };
    if (again) {
#pragma unroll 1
        for (int pass = 0; pass < Staging::PASSES; ++pass)
            for_staged<Staging, Tile::THREADS>(
                thread, pass, [&](int row, int column, int) {
                    if (!is_output(row, column))
                        return;
                    OutputCoordinates at = pixel_of(p, block.row + row);
                    at.k = filter_of(column);
                    const Index offset = offset_of(at, p.y_pitch);
                    const Sum total = direct_sum(p, at, x, weight);
                    y[offset] = finish<ACTIVATION>(total, bias, at.k, residual, offset);
                });
        return;
    }
    // A row's pixel takes divisions: once for all of its filters.
    for (int row = thread; row < Tile::BLOCK_M; row += Tile::THREADS)
        shared.row_offset[row] = offset_of(pixel_of(p, block.row + row), p.y_pitch);
#pragma unroll
    for (int pass = 0; pass < Staging::PASSES; ++pass) {
        stage<Sum, Tile>(shared.staging, mine.m, mine.n, pass, sum);
        __syncthreads(); // the rows are whole before anyone reads them
        for_staged<Staging, Tile::THREADS>(
            thread, pass, [&](int row, int column, int place) {
                if (!is_output(row, column))
                    return;
                const Index k = filter_of(column);
                const Index offset =
                    shared.row_offset[row] + k * static_cast<Index>(p.y_pitch[1]);
                const Sum total = shared.staging.sum[place];
                y[offset] = finish<ACTIVATION>(total, bias, k, residual, offset);
            });
        __syncthreads(); // everyone has read them before the next ones come
    }
}

} // namespace pyconv::gemm
