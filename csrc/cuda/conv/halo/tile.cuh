// An input tile with its halo, shared by a block of threads that keep sums in
// registers.
//
// A block computes BLOCK_P x BLOCK_Q outputs of BLOCK_K filters. For BLOCK_C channels
// at a time it loads the input tile with its halo and the filters' taps into shared
// memory once; each thread then keeps THREAD_OUTPUTS x THREAD_K sums in registers, so
// one shared load of x feeds THREAD_K multiply-adds and one of a weight feeds
// THREAD_OUTPUTS. How the tile lies in shared memory and how it is loaded are the
// rungs' own ideas (conv/05_register_tile.cuh and what follows it).
//
// Elements are widened on their way into shared memory: halves run at the speed of
// float32 there. Kernel extents, strides and dilation are template arguments: the
// kernel is compiled for the problem, so that tap loops unroll and tile sizes are
// constants. Padding of zeros must add nothing, not even to weights that are not
// finite: a block that met one does its outputs again, one by one.
#pragma once

#include "../../direct_sum.cuh"
#include "../../epilogue.cuh"
#include "../../memory/vector.cuh"
#include "loads.cuh"

namespace pyconv::halo {

// A thread's neighbouring filters of one tap.
template <class Layout, class Sum, int FILTERS>
__device__ inline void load_filters(const Sum* from, Sum (&weight)[FILTERS]) {
    constexpr int SIZE = Vector<Sum>::SIZE;
    if constexpr (Layout::HAS_VECTORS && FILTERS % SIZE == 0) {
#pragma unroll
        for (int k = 0; k < FILTERS; k += SIZE) {
            const Vector<Sum> vector = load_vector(from + k);
#pragma unroll
            for (int e = 0; e < SIZE; ++e)
                weight[k + e] = vector.at[e];
        }
    } else {
#pragma unroll
        for (int k = 0; k < FILTERS; ++k)
            weight[k] = from[k];
    }
}

// One channel block: every tap of every channel into the thread's sums.
template <class Sum, class Tile, class Filter, class Layout>
__device__ inline void accumulate(
    const Shared<Sum, Tile, Filter, Layout>& shared,
    const int (&place)[Tile::THREAD_OUTPUTS],
    int first_filter,
    Sum (&sum)[Tile::THREAD_OUTPUTS][Tile::THREAD_K]) {
    using Memory = Shared<Sum, Tile, Filter, Layout>;
    // Unrolled whole up to 25 taps (5 x 5), above that row by row: more code costs
    // more, and takes longer to compile, than it saves.
    constexpr int UNROLL = Memory::TAPS <= 25 ? Filter::R : 1;
#pragma unroll 1
    for (int c = 0; c < Tile::BLOCK_C; ++c) {
#pragma unroll(UNROLL)
        for (int r = 0; r < Filter::R; ++r) {
#pragma unroll
            for (int s = 0; s < Filter::S; ++s) {
                const int shift =
                    (c * Memory::HALO_H + r * Filter::DILATION_H) * Memory::HALO_PITCH +
                    s * Filter::DILATION_W;
                Sum x[Tile::THREAD_OUTPUTS];
                Sum weight[Tile::THREAD_K];
#pragma unroll
                for (int i = 0; i < Tile::THREAD_OUTPUTS; ++i)
                    x[i] = shared.x[place[i] + shift];
                const int tap = c * Memory::TAPS + r * Filter::S + s;
                load_filters<Layout>(
                    shared.weight + tap * Memory::WEIGHT_PITCH + first_filter, weight);
#pragma unroll
                for (int i = 0; i < Tile::THREAD_OUTPUTS; ++i)
#pragma unroll
                    for (int k = 0; k < Tile::THREAD_K; ++k)
                        add_product(sum[i][k], x[i], weight[k]);
            }
        }
    }
}

// A thread's part of the block: where its outputs' windows begin in shared memory, its
// filters, and its sums on their way to y.
template <class X, class W, class Tile, class Filter, class Layout>
struct Thread {
    using Sum = typename Element<X>::Sum;
    using Result = typename Element<X>::Result;
    using Memory = Shared<Sum, Tile, Filter, Layout>;

    Block block;
    const X* x;      // of the block's image and group
    const W* weight; // of the block's filters
    int position;
    int first_filter;
    int place[Tile::THREAD_OUTPUTS];
    Sum sum[Tile::THREAD_OUTPUTS][Tile::THREAD_K];

    __device__ Thread(const ConvProblem& p, const X* all_x, const W* all_weight)
        : block(block_of<Tile>(p)),
          position(static_cast<int>(threadIdx.x) % Tile::POSITIONS),
          first_filter(
              static_cast<int>(threadIdx.x) / Tile::POSITIONS * Tile::THREAD_K) {
#pragma unroll
        for (int i = 0; i < Tile::THREAD_OUTPUTS; ++i) {
            const int output = position + i * Tile::POSITIONS;
            place[i] = output / Tile::BLOCK_Q * Filter::STRIDE_H * Memory::HALO_PITCH +
                       output % Tile::BLOCK_Q * Filter::STRIDE_W;
#pragma unroll
            for (int k = 0; k < Tile::THREAD_K; ++k)
                sum[i][k] = Sum{};
        }
        const Index channels = static_cast<Index>(p.c / p.groups);
        x = all_x + block.n * static_cast<Index>(p.x_pitch[0]) +
            block.group * channels * static_cast<Index>(p.x_pitch[1]);
        weight = all_weight + filter(p, 0) * static_cast<Index>(p.w_pitch[0]);
    }

    // Of all filters, the block's number k.
    __device__ Index filter(const ConvProblem& p, int k) const {
        return block.group * static_cast<Index>(p.k / p.groups) + block.first_filter +
               k;
    }

    // The coordinates of a sum; false past the edge of y or the group's end.
    __device__ bool
    find(const ConvProblem& p, int i, int k, OutputCoordinates& at) const {
        const int output = position + i * Tile::POSITIONS;
        at.n = block.n;
        at.k = filter(p, first_filter + k);
        at.at[0] = 0;
        at.at[1] = block.p + output / Tile::BLOCK_Q;
        at.at[2] = block.q + output % Tile::BLOCK_Q;
        return block.first_filter + first_filter + k <
                   static_cast<Index>(p.k / p.groups) &&
               at.at[1] < static_cast<Index>(p.output[1]) &&
               at.at[2] < static_cast<Index>(p.output[2]);
    }

    // again: the sums are of no use.
    template <Activation ACTIVATION>
    __device__ void store(
        const ConvProblem& p,
        const X* all_x,
        const W* all_weight,
        const Sum* __restrict__ bias,
        const Result* residual,
        Result* y,
        bool again) const {
        const auto finished = [&](const OutputCoordinates& at, Sum total) {
            const Index offset = offset_of(at, p.y_pitch);
            y[offset] = finish<ACTIVATION>(total, bias, at.k, residual, offset);
        };
        if (again) {
            direct_sums<Tile::THREAD_OUTPUTS * Tile::THREAD_K>(
                p,
                all_x,
                all_weight,
                [&](int e, OutputCoordinates& at) {
                    return find(p, e / Tile::THREAD_K, e % Tile::THREAD_K, at);
                },
                finished);
            return;
        }
#pragma unroll
        for (int i = 0; i < Tile::THREAD_OUTPUTS; ++i)
#pragma unroll
            for (int k = 0; k < Tile::THREAD_K; ++k) {
                OutputCoordinates at;
                if (find(p, i, k, at))
                    finished(at, sum[i][k]);
            }
    }
};

template <
    class X,
    class W,
    class Tile,
    class Filter,
    class Layout,
    PaddingMode MODE,
    Activation ACTIVATION,
    bool CHANNELS_LAST,
    bool ALIGNED_ROWS>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const typename Element<X>::Sum* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y) {
    using Sum = typename Element<X>::Sum;
    __shared__ Shared<Sum, Tile, Filter, Layout> shared;
    Thread<X, W, Tile, Filter, Layout> mine(p, x, weight);
    const Index channels = static_cast<Index>(p.c / p.groups);
    bool is_bad = false; // met a weight that is not finite

    for (Index first = 0; first < channels; first += Tile::BLOCK_C) {
        if (ALIGNED_ROWS && is_aligned(x))
            load_rows<Tile, Filter, Layout>(p, mine.block, first, mine.x, shared);
        else
            load_x<Tile, Filter, Layout, Direct, MODE, CHANNELS_LAST>(
                p, mine.block, first, mine.x, shared);
        is_bad |= !load_weight<Tile, Filter, Layout, Direct>(
            p, mine.block, first, mine.weight, shared);
        __syncthreads(); // the tiles are whole before anyone reads them
        accumulate<Sum, Tile, Filter, Layout>(
            shared, mine.place, mine.first_filter, mine.sum);
        __syncthreads(); // everyone has read the tiles before they are overwritten
    }

    const bool again = __syncthreads_or(is_bad) && MODE == PAD_ZEROS;
    mine.template store<ACTIVATION>(p, x, weight, bias, residual, y, again);
}

} // namespace pyconv::halo
