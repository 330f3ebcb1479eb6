// What a block's input tile with its halo is: extents, pitches, and which tile is
// whose.
#pragma once

#include "../../index.cuh"

namespace pyconv::halo {

// What a rung knows of shared memory's banks and of wide loads.
template <bool PADDED_, bool VECTORS_>
struct Layout {
    static constexpr bool IS_PADDED = PADDED_;    // pitches avoid bank conflicts
    static constexpr bool HAS_VECTORS = VECTORS_; // loads take 16 bytes where they can
};

template <int P, int Q, int K, int C, int OUTPUTS, int FILTERS>
struct Tile {
    static constexpr int BLOCK_P = P;
    static constexpr int BLOCK_Q = Q;
    static constexpr int BLOCK_K = K;
    static constexpr int BLOCK_C = C;
    static constexpr int THREAD_OUTPUTS = OUTPUTS;
    static constexpr int THREAD_K = FILTERS;
    static constexpr int POSITIONS = P * Q / OUTPUTS;
    static constexpr int THREADS = POSITIONS * (K / FILTERS);
    static_assert(P * Q % OUTPUTS == 0, "a thread takes whole outputs");
    static_assert(K % FILTERS == 0, "a thread takes whole filters");
    static_assert(THREADS <= 1024, "a block has at most 1024 threads");
};

template <
    int R_,
    int S_,
    int STRIDE_H_,
    int STRIDE_W_,
    int DILATION_H_,
    int DILATION_W_>
struct Filter {
    static constexpr int R = R_;
    static constexpr int S = S_;
    static constexpr int STRIDE_H = STRIDE_H_;
    static constexpr int STRIDE_W = STRIDE_W_;
    static constexpr int DILATION_H = DILATION_H_;
    static constexpr int DILATION_W = DILATION_W_;
};

// The row pitch of the input tile. A warp spans 32 / BLOCK_Q tile rows when BLOCK_Q <
// 32; an odd multiple of BLOCK_Q puts those rows into different banks (unit strides
// only). halo_elements in pyconv/cuda/halo.py repeats this rule to size the tile.
constexpr __host__ __device__ int
halo_pitch(int width, int block_q, bool is_padded, bool unit_stride) {
    if (!is_padded || !unit_stride || block_q >= 32)
        return width;
    int multiple = (width + block_q - 1) / block_q;
    if (multiple % 2 == 0)
        ++multiple;
    return multiple * block_q;
}

// The input tile in shared memory.
template <class Sum, class Tile, class Filter, class Layout>
struct Input {
    static constexpr int HALO_H = (Tile::BLOCK_P - 1) * Filter::STRIDE_H +
                                  (Filter::R - 1) * Filter::DILATION_H + 1;
    static constexpr int HALO_W = (Tile::BLOCK_Q - 1) * Filter::STRIDE_W +
                                  (Filter::S - 1) * Filter::DILATION_W + 1;
    static constexpr int HALO_PITCH = halo_pitch(
        HALO_W,
        Tile::BLOCK_Q,
        Layout::IS_PADDED,
        Filter::STRIDE_H == 1 && Filter::STRIDE_W == 1);

    alignas(16) Sum x[Tile::BLOCK_C * HALO_H * HALO_PITCH];
};

// The input tile and the filters' taps.
template <class Sum, class Tile, class Filter, class Layout>
struct Shared : Input<Sum, Tile, Filter, Layout> {
    static constexpr int TAPS = Filter::R * Filter::S;
    // + 4: filters are stored across, so a pitch of BLOCK_K would put a warp's stores
    // into one bank; 4 keeps 16-byte alignment for vector loads.
    static constexpr int WEIGHT_PITCH =
        Tile::BLOCK_K < 4 || !Layout::IS_PADDED ? Tile::BLOCK_K : Tile::BLOCK_K + 4;

    alignas(16) Sum weight[Tile::BLOCK_C * TAPS * WEIGHT_PITCH];
};

// Which tile of which image and which filters this block computes.
struct Block {
    Index n;
    Index group;
    Index first_filter; // inside the group
    Index p;
    Index q;
};

template <class Tile>
__device__ inline Block block_of(const ConvProblem& p) {
    // Filters vary fastest: blocks that read one input tile run together and meet in
    // L2.
    const Index per_group = static_cast<Index>(p.k / p.groups);
    const Index blocks_k = ceil_div(per_group, Index(Tile::BLOCK_K));
    const Index blocks_q =
        ceil_div(static_cast<Index>(p.output[2]), Index(Tile::BLOCK_Q));
    const Index blocks_p =
        ceil_div(static_cast<Index>(p.output[1]), Index(Tile::BLOCK_P));
    Index linear = static_cast<Index>(blockIdx.x);
    Block block;
    block.first_filter = linear % blocks_k * Tile::BLOCK_K;
    linear /= blocks_k;
    block.q = linear % blocks_q * Tile::BLOCK_Q;
    linear /= blocks_q;
    block.p = linear % blocks_p * Tile::BLOCK_P;
    linear /= blocks_p;
    block.group = linear % static_cast<Index>(p.groups);
    block.n = linear / static_cast<Index>(p.groups);
    return block;
}

} // namespace pyconv::halo
