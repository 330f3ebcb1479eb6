// shared_halo: a block of threads shares its input tile, and each thread several
// filters.
//
// A block computes BLOCK_P x BLOCK_Q outputs of BLOCK_K filters. For BLOCK_C channels
// at a time it loads the input tile with its halo and the filters' taps into shared
// memory once; each thread then keeps THREAD_OUTPUTS x THREAD_K sums in registers, so
// one shared load of x feeds THREAD_K multiply-adds and one of a weight feeds
// THREAD_OUTPUTS. A warp reads one weight address (broadcast) and 32 different x banks
// (see HALO_PITCH).
//
// What changed from naive: global loads per output fall from 2 (C/G) R S to
// (C/G) (HALO / (BLOCK_P BLOCK_Q BLOCK_K) + R S / (BLOCK_P BLOCK_Q)): for 3 x 3 and the
// wide tile 18 (C/G) becomes 0.08 (C/G). Shared: BLOCK_C * (HALO + R S (BLOCK_K + 4))
// elements, at most 48 KB. Registers: 115 ... 128 for 4 x 8 sums of float32, no spills.
// Padding of zeros must add nothing, not even to weights that are not finite: a block
// that met one does its outputs again, one by one.
// Limits: two spatial axes; at stride 2 x reads have two-way bank conflicts. Elements
// are widened on their way into shared memory: halves run at the speed of float32
// there. Kernel extents, strides and dilation are template arguments: the kernel is
// compiled for the problem, so that tap loops unroll and tile sizes are constants.
#pragma once

#include "../direct_sum.cuh"
#include "../epilogue.cuh"
#include "../index.cuh"

namespace pyconv::conv_shared_halo {

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
// only). _halo_bytes in pyconv/cuda/conv.py repeats this rule to size the tile.
constexpr __host__ __device__ int halo_pitch(int width, int block_q, bool unit_stride) {
    if (!unit_stride || block_q >= 32)
        return width;
    int multiple = (width + block_q - 1) / block_q;
    if (multiple % 2 == 0)
        ++multiple;
    return multiple * block_q;
}

template <class Sum, class Tile, class Filter>
struct Shared {
    static constexpr int HALO_H = (Tile::BLOCK_P - 1) * Filter::STRIDE_H +
                                  (Filter::R - 1) * Filter::DILATION_H + 1;
    static constexpr int HALO_W = (Tile::BLOCK_Q - 1) * Filter::STRIDE_W +
                                  (Filter::S - 1) * Filter::DILATION_W + 1;
    static constexpr int HALO_PITCH = halo_pitch(
        HALO_W, Tile::BLOCK_Q, Filter::STRIDE_H == 1 && Filter::STRIDE_W == 1);
    static constexpr int TAPS = Filter::R * Filter::S;
    // + 4: filters are stored across, so a pitch of BLOCK_K would put a warp's stores
    // into one bank; 4 keeps 16-byte alignment for vector loads.
    static constexpr int WEIGHT_PITCH =
        Tile::BLOCK_K < 4 ? Tile::BLOCK_K : Tile::BLOCK_K + 4;

    alignas(16) Sum x[Tile::BLOCK_C * HALO_H * HALO_PITCH];
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

template <
    class Tile,
    class Filter,
    PaddingMode MODE,
    bool CHANNELS_LAST,
    class X,
    class Sum>
__device__ inline void load_x(
    const ConvProblem& p,
    const Block& block,
    Index first_channel,
    const X* __restrict__ x,
    Shared<Sum, Tile, Filter>& shared) {
    using Memory = Shared<Sum, Tile, Filter>;
    constexpr int PLANE = Memory::HALO_H * Memory::HALO_W;
    const Index channels = static_cast<Index>(p.c / p.groups);
    const Index top = block.p * Filter::STRIDE_H - static_cast<Index>(p.pad_before[1]);
    const Index left = block.q * Filter::STRIDE_W - static_cast<Index>(p.pad_before[2]);
    for (int e = static_cast<int>(threadIdx.x); e < Tile::BLOCK_C * PLANE;
         e += Tile::THREADS) {
        // Neighbouring threads take neighbouring addresses of x: columns, or channels.
        const int c = CHANNELS_LAST ? e % Tile::BLOCK_C : e / PLANE;
        const int place = CHANNELS_LAST ? e / Tile::BLOCK_C : e % PLANE;
        const int row = place / Memory::HALO_W;
        const int column = place % Memory::HALO_W;
        const Index h = input_index(top + row, static_cast<Index>(p.input[1]), MODE);
        const Index w =
            input_index(left + column, static_cast<Index>(p.input[2]), MODE);
        const Index channel = first_channel + c;
        Sum value{};
        if (channel < channels && h >= 0 && w >= 0)
            value = term_of(
                x[channel * static_cast<Index>(p.x_pitch[1]) +
                  h * static_cast<Index>(p.x_pitch[3]) +
                  w * static_cast<Index>(p.x_pitch[4])]);
        shared.x[(c * Memory::HALO_H + row) * Memory::HALO_PITCH + column] = value;
    }
}

// Says whether the weights this thread loaded are finite.
template <class Tile, class Filter, class W, class Sum>
__device__ inline bool load_weight(
    const ConvProblem& p,
    const Block& block,
    Index first_channel,
    const W* __restrict__ weight,
    Shared<Sum, Tile, Filter>& shared) {
    bool are_finite = true;
    using Memory = Shared<Sum, Tile, Filter>;
    constexpr int PER_FILTER = Tile::BLOCK_C * Memory::TAPS;
    const Index channels = static_cast<Index>(p.c / p.groups);
    const Index filters = static_cast<Index>(p.k / p.groups);
    for (int e = static_cast<int>(threadIdx.x); e < Tile::BLOCK_K * PER_FILTER;
         e += Tile::THREADS) {
        const int k = e / PER_FILTER;
        const int c = e % PER_FILTER / Memory::TAPS;
        const int tap = e % Memory::TAPS;
        const Index channel = first_channel + c;
        Sum value{};
        if (channel < channels && block.first_filter + k < filters)
            value = term_of(
                weight
                    [k * static_cast<Index>(p.w_pitch[0]) +
                     channel * static_cast<Index>(p.w_pitch[1]) +
                     tap / Filter::S * static_cast<Index>(p.w_pitch[3]) +
                     tap % Filter::S * static_cast<Index>(p.w_pitch[4])]);
        shared.weight[(c * Memory::TAPS + tap) * Memory::WEIGHT_PITCH + k] = value;
        are_finite = are_finite && is_finite(value);
    }
    return are_finite;
}

// One channel block: every tap of every channel into the thread's sums.
template <class Sum, class Tile, class Filter>
__device__ inline void accumulate(
    const Shared<Sum, Tile, Filter>& shared,
    const int (&place)[Tile::THREAD_OUTPUTS],
    int first_filter,
    Sum (&sum)[Tile::THREAD_OUTPUTS][Tile::THREAD_K]) {
    using Memory = Shared<Sum, Tile, Filter>;
    // Unrolled whole up to 49 taps (7 x 7); above that code size costs more than it
    // saves.
    constexpr int UNROLL = Memory::TAPS <= 49 ? Memory::TAPS : 1;
#pragma unroll 1
    for (int c = 0; c < Tile::BLOCK_C; ++c) {
#pragma unroll(UNROLL)
        for (int tap = 0; tap < Memory::TAPS; ++tap) {
            const int shift =
                c * Memory::HALO_H * Memory::HALO_PITCH +
                tap / Filter::S * Filter::DILATION_H * Memory::HALO_PITCH +
                tap % Filter::S * Filter::DILATION_W;
            Sum x[Tile::THREAD_OUTPUTS];
            Sum weight[Tile::THREAD_K];
#pragma unroll
            for (int i = 0; i < Tile::THREAD_OUTPUTS; ++i)
                x[i] = shared.x[place[i] + shift];
#pragma unroll
            for (int k = 0; k < Tile::THREAD_K; ++k)
                weight[k] = shared.weight
                                [(c * Memory::TAPS + tap) * Memory::WEIGHT_PITCH +
                                 first_filter + k];
#pragma unroll
            for (int i = 0; i < Tile::THREAD_OUTPUTS; ++i)
#pragma unroll
                for (int k = 0; k < Tile::THREAD_K; ++k)
                    add_product(sum[i][k], x[i], weight[k]);
        }
    }
}

template <
    class X,
    class W,
    class Tile,
    class Filter,
    PaddingMode MODE,
    Activation ACTIVATION,
    bool CHANNELS_LAST>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const typename Element<X>::Sum* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y) {
    using Sum = typename Element<X>::Sum;
    using Memory = Shared<Sum, Tile, Filter>;
    __shared__ Memory shared;

    // setup: the block's tile, the thread's outputs in it and its filters
    const Block block = block_of<Tile>(p);
    const int position = static_cast<int>(threadIdx.x) % Tile::POSITIONS;
    const int thread_filter =
        static_cast<int>(threadIdx.x) / Tile::POSITIONS * Tile::THREAD_K;
    int place[Tile::THREAD_OUTPUTS];
    Sum sum[Tile::THREAD_OUTPUTS][Tile::THREAD_K];
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
    const Index group_filter = block.group * static_cast<Index>(p.k / p.groups);
    const X* tile_x = x + block.n * static_cast<Index>(p.x_pitch[0]) +
                      block.group * channels * static_cast<Index>(p.x_pitch[1]);
    const W* tile_weight =
        weight + (group_filter + block.first_filter) * static_cast<Index>(p.w_pitch[0]);
    bool is_bad = false; // met a weight that is not finite

    for (Index first = 0; first < channels; first += Tile::BLOCK_C) {
        load_x<Tile, Filter, MODE, CHANNELS_LAST>(p, block, first, tile_x, shared);
        is_bad |= !load_weight<Tile, Filter>(p, block, first, tile_weight, shared);
        __syncthreads(); // the tiles are whole before anyone reads them
        accumulate<Sum, Tile, Filter>(shared, place, thread_filter, sum);
        __syncthreads(); // everyone has read the tiles before they are overwritten
    }

    // store: outputs of the tile's edge and filters past the group's end are dropped
    const Index filters = static_cast<Index>(p.k / p.groups);
    const auto find = [&](int i, int k, OutputCoordinates& at) {
        const int output = position + i * Tile::POSITIONS;
        const Index in_group = block.first_filter + thread_filter + k;
        at.n = block.n;
        at.k = group_filter + in_group;
        at.at[0] = 0;
        at.at[1] = block.p + output / Tile::BLOCK_Q;
        at.at[2] = block.q + output % Tile::BLOCK_Q;
        return in_group < filters && at.at[1] < static_cast<Index>(p.output[1]) &&
               at.at[2] < static_cast<Index>(p.output[2]);
    };
    const auto store = [&](const OutputCoordinates& at, Sum total) {
        const Index offset = offset_of(at, p.y_pitch);
        y[offset] = finish<ACTIVATION>(total, bias, at.k, residual, offset);
    };
    if (MODE == PAD_ZEROS && __syncthreads_or(is_bad)) {
        direct_sums<Tile::THREAD_OUTPUTS * Tile::THREAD_K>(
            p,
            x,
            weight,
            [&](int e, OutputCoordinates& at) {
                return find(e / Tile::THREAD_K, e % Tile::THREAD_K, at);
            },
            store);
        return;
    }
#pragma unroll
    for (int i = 0; i < Tile::THREAD_OUTPUTS; ++i)
#pragma unroll
        for (int k = 0; k < Tile::THREAD_K; ++k) {
            OutputCoordinates at;
            if (find(i, k, at))
                store(at, sum[i][k]);
        }
}

} // namespace pyconv::conv_shared_halo
