// winograd_f2: F(2 x 2, 3 x 3), input transform, products and output transform in one
// kernel.
//
// A first launch leaves the transformed filters in memory (winograd.cuh). Here a block
// computes 32 tiles of 2 x 2 outputs by 32 filters: for 8 channels at a time each
// thread transforms one tile of one channel into shared memory, and a half-warp
// multiplies at one of the 16 points, 8 x 8 sums a thread. While a step is multiplied
// the next one's inputs are on their way into registers. The sums leave by way of
// shared memory, 16 tiles at a time, since a tile's points lie with 16 threads; there
// each thread transforms whole tiles.
//
// What changed from implicit_gemm: 16 products for 4 outputs and not 36. Global loads
// per output: C/G (16 / (4 * 32) of x, mostly from L1, + 16 / (4 * 32) of the filters),
// C / 4 for 9 C / 64. Shared loads: a quarter of an element for each product.
// Shared: 36 KB of operands, 40 KB of sums in their place. 64 sums a thread, two blocks
// of 256 threads on a multiprocessor.
// Limits: 3 x 3, stride 1, no dilation, two spatial axes; sums in float32. Groups of
// fewer than 32 filters or 8 channels leave tiles partly empty. Channels first, x is
// read and y written in steps of two columns, and some sums meet in a bank as they
// leave.
#pragma once

#include "../index.cuh"
#include "../memory/gemm_tile.cuh"
#include "../winograd.cuh"

namespace pyconv::conv_winograd_f2 {

constexpr int POINTS = 4; // along an axis
constexpr int ALL_POINTS = POINTS * POINTS;
using Tile = GemmTile<32, 32, 8, 8>; // of the products at one point
constexpr int THREADS = ALL_POINTS * Tile::THREADS;
constexpr int VECTOR = Vector<float>::SIZE;
using Operands = GemmOperands<float, Tile>;
static_assert(Tile::BLOCK_K == WINOGRAD_STEP, "a step is a panel's");
static_assert(THREADS == Tile::BLOCK_M * WINOGRAD_STEP, "a thread transforms one");

struct Shared {
    alignas(16) float v[ALL_POINTS][WINOGRAD_STEP * Operands::M_PITCH];
    alignas(16) float u[ALL_POINTS][WINOGRAD_STEP * Operands::N_PITCH];
};

// A step's filters, from one stretch of memory.
__device__ inline void load_filters(const float* __restrict__ from, Shared& shared) {
    constexpr int ROW = Tile::BLOCK_N / VECTOR;
    constexpr int LOADS = ALL_POINTS * WINOGRAD_STEP * ROW / THREADS;
#pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        const int e = static_cast<int>(threadIdx.x) + i * THREADS;
        const int row = e / ROW % WINOGRAD_STEP;
        store_vector(
            &shared.u[e / ROW / WINOGRAD_STEP]
                     [row * Operands::N_PITCH + e % ROW * VECTOR],
            load_vector(from + e * VECTOR));
    }
}

template <class X, class W, PaddingMode MODE, Activation ACTIVATION, bool CHANNELS_LAST>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const float* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y,
    const void* __restrict__ transformed) {
    using Staging = GemmStaging<float, Tile, CHANNELS_LAST>;
    // Offsets of each tile's rows and columns: there are no registers left for them.
    __shared__ Index row_offset[POINTS][Tile::BLOCK_M];
    __shared__ Index column_offset[POINTS][Tile::BLOCK_M];
    __shared__ union {
        Shared operands;
        Staging staging[ALL_POINTS]; // when the operands have been read
    } shared;

    // setup: filters vary fastest: blocks that read the same tiles run together. A
    // thread transforms a tile of one channel, neighbours of x by neighbours; and it
    // multiplies at one point.
    const int in_group = static_cast<int>(p.k / p.groups);
    const int panels = ceil_div(in_group, Tile::BLOCK_N);
    const int steps = ceil_div(static_cast<int>(p.c / p.groups), WINOGRAD_STEP);
    const Index tiles = static_cast<Index>(p.n) *
                        ceil_div(static_cast<Index>(p.output[1]), Index(2)) *
                        ceil_div(static_cast<Index>(p.output[2]), Index(2));
    const Index blocks_m = ceil_div(tiles, Index(Tile::BLOCK_M));
    const int linear = static_cast<int>(blockIdx.x);
    const int panel = linear % panels;
    const Index first_tile = linear / panels % blocks_m * Tile::BLOCK_M;
    const int group = static_cast<int>(linear / panels / blocks_m);
    const int thread = static_cast<int>(threadIdx.x);
    const int my_tile = CHANNELS_LAST ? thread / WINOGRAD_STEP : thread % Tile::BLOCK_M;
    const int my_channel =
        CHANNELS_LAST ? thread % WINOGRAD_STEP : thread / Tile::BLOCK_M;
    const int point = thread / Tile::THREADS;
    const int lane = thread % Tile::THREADS;
    const auto mine = gemm_thread<Tile, CHANNELS_LAST, true>(lane);
    const WinogradWindow<POINTS, MODE> window(p, group, first_tile + my_tile);
    const float* from =
        static_cast<const float*>(transformed) +
        winograd_place<ALL_POINTS, Tile::BLOCK_N>(group * panels + panel, steps, 0, 0);
    if (my_channel == 0)
#pragma unroll
        for (int i = 0; i < POINTS; ++i) {
            row_offset[i][my_tile] = window.row[i];
            column_offset[i][my_tile] = window.column[i];
        }
    __syncthreads(); // the offsets are there
    const auto load = [&](int channel, float (&d)[POINTS][POINTS]) {
        window.load(
            p,
            x,
            channel,
            &row_offset[0][my_tile],
            &column_offset[0][my_tile],
            Tile::BLOCK_M,
            d);
    };
    float sum[Tile::THREAD_M][Tile::THREAD_N];
#pragma unroll
    for (int i = 0; i < Tile::THREAD_M; ++i)
#pragma unroll
        for (int j = 0; j < Tile::THREAD_N; ++j)
            sum[i][j] = 0.0F;

    // compute: a step's products while the next one's inputs are loaded
    float d[POINTS][POINTS];
    load(my_channel, d);
    for (int step = 0; step < steps; ++step) {
        float v[POINTS][POINTS];
        winograd_input(d, v);
#pragma unroll
        for (int i = 0; i < ALL_POINTS; ++i)
            shared.operands.v[i][my_channel * Operands::M_PITCH + my_tile] =
                v[i / POINTS][i % POINTS];
        load_filters(from, shared.operands);
        from += ALL_POINTS * WINOGRAD_STEP * Tile::BLOCK_N;
        __syncthreads(); // the operands are whole
        load((step + 1) * WINOGRAD_STEP + my_channel, d);
        accumulate<float, Tile, 1>(
            shared.operands.v[point], shared.operands.u[point], mine.m, mine.n, sum);
        __syncthreads(); // everyone has read them
    }

    // store: the points of a tile meet in shared memory
    const int first_filter = panel * Tile::BLOCK_N;
    const auto exists = [&](int row, int column) {
        return first_tile + row < tiles && first_filter + column < in_group;
    };
    const auto tile_of = [&](int row) { return winograd_tile<2>(p, first_tile + row); };
    const auto filter_of = [&](int column) {
        return static_cast<Index>(group * in_group + first_filter + column);
    };
    unsigned bad = 0; // four bits for each tile of a filter, the last one's lowest
    static_assert(THREADS * 8 == Tile::BLOCK_M * Tile::BLOCK_N * 2, "four of them");
#pragma unroll
    for (int pass = 0; pass < Staging::PASSES; ++pass) {
        stage<float, Tile>(shared.staging[point], mine.m, mine.n, pass, sum);
        __syncthreads(); // all points are there
        for_staged<Staging, THREADS>(thread, pass, [&](int row, int column, int place) {
            bad <<= 4;
            if (!exists(row, column))
                return;
            float m[POINTS][POINTS];
#pragma unroll
            for (int i = 0; i < ALL_POINTS; ++i)
                m[i / POINTS][i % POINTS] = shared.staging[i].sum[place];
            bad |= winograd_store<ACTIVATION>(
                p, tile_of(row), filter_of(column), m, bias, residual, y);
        });
        __syncthreads(); // everyone has read them before the next ones come
    }

    // What is not finite, once more, when the sums' registers are free.
    if (bad == 0)
        return;
#pragma unroll 1
    for (int pass = 0; pass < Staging::PASSES; ++pass)
        for_staged<Staging, THREADS>(thread, pass, [&](int row, int column, int) {
            winograd_again<ACTIVATION, 2>(
                p,
                tile_of(row),
                filter_of(column),
                bad >> 12,
                x,
                weight,
                bias,
                residual,
                y);
            bad = (bad & 0xfffU) << 4;
        });
}

} // namespace pyconv::conv_winograd_f2
