// winograd_f4: F(4 x 4, 3 x 3), stage by stage, what lies between in memory.
//
// Four kernels: the filters' transform; the input's, one thread a tile and channel; 36
// matrix products of tiles, channels and filters, one at each point; and the outputs'
// transform, one thread a tile and filter, with the epilogue. Operands lie in panels
// (winograd.cuh), filled up with zeros, so that the products load vectors from one
// stretch and know no edges; sums lie in slabs of a block's, one after the other for a
// block's 36 points. A launch takes a part of the problem: images, or rows of one,
// whose stages fit in the workspace.
//
// What changed from winograd_f2: 36 products for 16 outputs and not 16 for 4, 2.25 for
// 4; a point's block is a whole product's, 128 x 128 with 64 sums a thread. For that
// V and M go to memory and back: 2 * 36 / 16 (C/G + C/G / filters of a block) elements
// an output of V, 2 * 36 / 16 of M, which device memory must keep up with: from about
// 128 channels and filters on.
// Shared: 17 KB. Registers: 36 values of a tile and what a transform needs beside them.
// Limits: as winograd_f2; at least a row of tiles must fit the workspace. Channels
// first, x is read and y written in steps of four columns; channels last, x is read in
// half sectors, so that V is written in whole ones.
#pragma once

#include "../index.cuh"
#include "../memory/gemm_tile.cuh"
#include "../winograd.cuh"

namespace pyconv::conv_winograd_f4 {

constexpr int POINTS = 6; // along an axis
constexpr int OUTPUTS = 4;
constexpr int ALL_POINTS = POINTS * POINTS;
constexpr int VECTOR = Vector<float>::SIZE;

// What a launch covers: tiles of all images of its part, filters and channels of
// groups.
template <class Tile>
struct Extents {
    Index tiles;
    Index blocks; // of tiles
    Index filters;
    Index panels; // of filters
    Index steps;

    __device__ explicit Extents(const ConvProblem& p)
        : tiles(
              static_cast<Index>(p.n) *
              ceil_div(static_cast<Index>(p.output[1]), Index(OUTPUTS)) *
              ceil_div(static_cast<Index>(p.output[2]), Index(OUTPUTS))),
          blocks(ceil_div(tiles, Index(Tile::BLOCK_M))),
          filters(static_cast<Index>(p.k / p.groups)),
          panels(ceil_div(filters, Index(Tile::BLOCK_N))),
          steps(ceil_div(static_cast<Index>(p.c / p.groups), Index(WINOGRAD_STEP))) {}

    // A block's sums at its first point; the others follow.
    __device__ Index slab(Index group, Index block, Index panel) const {
        return ((group * blocks + block) * panels + panel) * ALL_POINTS *
               Tile::BLOCK_M * Tile::BLOCK_N;
    }
};

template <class X, class Tile, PaddingMode MODE, bool CHANNELS_LAST>
__device__ void inputs(const ConvProblem& p, const X* __restrict__ x, void* to) {
    // setup: neighbouring threads take neighbouring tiles, or four channels of one
    constexpr Index SIDE_BY_SIDE = CHANNELS_LAST ? 4 : 1;
    const Extents<Tile> extents(p);
    Index linear = thread_number();
    Index channel = linear % SIDE_BY_SIDE;
    linear /= SIDE_BY_SIDE;
    const Index tile = linear % (extents.blocks * Tile::BLOCK_M);
    linear /= extents.blocks * Tile::BLOCK_M;
    const Index depth = extents.steps * WINOGRAD_STEP;
    channel += linear % (depth / SIDE_BY_SIDE) * SIDE_BY_SIDE;
    const Index group = linear / (depth / SIDE_BY_SIDE);
    if (group >= static_cast<Index>(p.groups))
        return;

    // compute
    float d[POINTS][POINTS];
    WinogradWindow<POINTS, MODE>(p, group, tile).load(p, x, channel, d);
    float v[POINTS][POINTS];
    winograd_input(d, v);

    // store
    float* out =
        static_cast<float*>(to) + winograd_place<ALL_POINTS, Tile::BLOCK_M>(
                                      group * extents.blocks + tile / Tile::BLOCK_M,
                                      extents.steps,
                                      channel,
                                      tile % Tile::BLOCK_M);
#pragma unroll
    for (int i = 0; i < ALL_POINTS; ++i)
        out[i * WINOGRAD_STEP * Tile::BLOCK_M] = v[i / POINTS][i % POINTS];
}

// A step's operands on one side: vectors from a stretch of memory to rows in shared.
template <int BLOCK, int THREADS>
struct PanelLoader {
    static constexpr int ROW = BLOCK / VECTOR;
    static constexpr int LOADS = WINOGRAD_STEP * ROW / THREADS;
    static_assert(WINOGRAD_STEP * ROW % THREADS == 0, "loads as many");

    Vector<float> held[LOADS];

    __device__ void load(const float* __restrict__ from) {
#pragma unroll
        for (int i = 0; i < LOADS; ++i)
            held[i] = load_vector(
                from + (static_cast<int>(threadIdx.x) + i * THREADS) * VECTOR);
    }

    __device__ void store(float* to, int pitch) const {
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const int e = static_cast<int>(threadIdx.x) + i * THREADS;
            store_vector(to + e / ROW * pitch + e % ROW * VECTOR, held[i]);
        }
    }
};

// FILTERS_FAST: filters are neighbours in the slabs, else tiles.
template <class Tile, bool FILTERS_FAST>
__device__ void products(
    const ConvProblem& p,
    const void* __restrict__ transformed,
    const void* __restrict__ filters,
    void* sums) {
    using Operands = GemmOperands<float, Tile>;
    static_assert(Tile::BLOCK_K == WINOGRAD_STEP, "a step is a panel's");
    __shared__ Operands shared;

    // setup: filters vary fastest, then points: blocks that read the same panel of
    // inputs run together
    const Extents<Tile> extents(p);
    Index linear = static_cast<Index>(blockIdx.x);
    const Index panel = linear % extents.panels;
    linear /= extents.panels;
    const Index point = linear % ALL_POINTS;
    linear /= ALL_POINTS;
    const Index block = linear % extents.blocks;
    const Index group = linear / extents.blocks;
    const int thread = static_cast<int>(threadIdx.x);
    const auto mine = gemm_thread<Tile, FILTERS_FAST, true>(thread);
    constexpr Index M_STEP = WINOGRAD_STEP * Tile::BLOCK_M;
    constexpr Index N_STEP = WINOGRAD_STEP * Tile::BLOCK_N;
    const float* m = static_cast<const float*>(transformed) + point * M_STEP +
                     winograd_place<ALL_POINTS, Tile::BLOCK_M>(
                         group * extents.blocks + block, extents.steps, 0, 0);
    const float* n = static_cast<const float*>(filters) + point * N_STEP +
                     winograd_place<ALL_POINTS, Tile::BLOCK_N>(
                         group * extents.panels + panel, extents.steps, 0, 0);
    float sum[Tile::THREAD_M][Tile::THREAD_N];
#pragma unroll
    for (int i = 0; i < Tile::THREAD_M; ++i)
#pragma unroll
        for (int j = 0; j < Tile::THREAD_N; ++j)
            sum[i][j] = 0.0F;

    // compute: a step's product while the next one is loaded
    PanelLoader<Tile::BLOCK_M, Tile::THREADS> from_m;
    PanelLoader<Tile::BLOCK_N, Tile::THREADS> from_n;
    from_m.load(m);
    from_n.load(n);
    int buffer = 0;
    for (Index step = 0; step < extents.steps; ++step, buffer ^= 1) {
        from_m.store(shared.m[buffer], Operands::M_PITCH);
        from_n.store(shared.n[buffer], Operands::N_PITCH);
        __syncthreads(); // whole; and the other buffer has been read by everyone
        if (step + 1 < extents.steps) {
            m += ALL_POINTS * M_STEP;
            n += ALL_POINTS * N_STEP;
            from_m.load(m);
            from_n.load(n);
        }
        accumulate<float, Tile>(
            shared.m[buffer], shared.n[buffer], mine.m, mine.n, sum);
    }

    // store: vectors, neighbours by neighbours
    float* to = static_cast<float*>(sums) + extents.slab(group, block, panel) +
                point * Tile::BLOCK_M * Tile::BLOCK_N;
    constexpr int SLOW = FILTERS_FAST ? Tile::THREAD_M : Tile::THREAD_N;
    constexpr int FAST = FILTERS_FAST ? Tile::THREAD_N : Tile::THREAD_M;
#pragma unroll
    for (int slow = 0; slow < SLOW; ++slow)
#pragma unroll
        for (int fast = 0; fast < FAST; fast += VECTOR) {
            Vector<float> vector;
#pragma unroll
            for (int e = 0; e < VECTOR; ++e)
                vector.at[e] = FILTERS_FAST ? sum[slow][fast + e] : sum[fast + e][slow];
            const int row =
                place_of<float, Tile::ALONG_M>(mine.m, FILTERS_FAST ? slow : fast);
            const int column =
                place_of<float, Tile::ALONG_N>(mine.n, FILTERS_FAST ? fast : slow);
            const int place = FILTERS_FAST ? row * Tile::BLOCK_N + column
                                           : column * Tile::BLOCK_M + row;
            store_vector(to + place, vector);
        }
}

template <class X, class W, class Tile, Activation ACTIVATION, bool FILTERS_FAST>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const float* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y,
    const void* __restrict__ sums) {
    // setup: neighbouring threads take neighbouring filters, or tiles
    const Extents<Tile> extents(p);
    const Index all_filters = static_cast<Index>(p.k);
    const Index linear = thread_number();
    const Index number = FILTERS_FAST ? linear / all_filters : linear % extents.tiles;
    const Index k = FILTERS_FAST ? linear % all_filters : linear / extents.tiles;
    if (number >= extents.tiles || k >= all_filters)
        return;

    // compute
    const Index filter = k % extents.filters;
    const Index row = number % Tile::BLOCK_M;
    const Index column = filter % Tile::BLOCK_N;
    const float* from =
        static_cast<const float*>(sums) +
        extents.slab(
            k / extents.filters, number / Tile::BLOCK_M, filter / Tile::BLOCK_N) +
        (FILTERS_FAST ? row * Tile::BLOCK_N + column : column * Tile::BLOCK_M + row);
    float m[POINTS][POINTS];
#pragma unroll
    for (int i = 0; i < ALL_POINTS; ++i)
        m[i / POINTS][i % POINTS] = from[i * Tile::BLOCK_M * Tile::BLOCK_N];

    // store
    const WinogradTile tile = winograd_tile<OUTPUTS>(p, number);
    const unsigned bad = winograd_store<ACTIVATION>(p, tile, k, m, bias, residual, y);
    winograd_again<ACTIVATION, OUTPUTS>(p, tile, k, bad, x, weight, bias, residual, y);
}

} // namespace pyconv::conv_winograd_f4
