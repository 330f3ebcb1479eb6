// The ways of a tile into shared memory: element by element, row vectors, asynchronous.
#pragma once

#include "../../memory/async_copy.cuh"
#include "../../memory/vector.cuh"
#include "shape.cuh"

namespace pyconv::halo {

// How an element comes to shared memory: through a register, widened on its way,
struct Direct {
    template <class T, class Sum>
    static __device__ void copy(Sum& to, const T* from, bool exists) {
        to = exists ? term_of(*from) : Sum{};
    }
    template <class Sum>
    static __device__ bool is_finite_now(const Sum& value) {
        return is_finite(value);
    }
};

// or past the registers, to be waited for.
struct Asynchronous {
    template <class T>
    static __device__ void copy(T& to, const T* from, bool exists) {
        copy_async(&to, from, exists);
    }
    template <class Sum>
    static __device__ bool is_finite_now(const Sum&) {
        return true; // asked again when it is there
    }
};

// Element by element: neighbouring threads take neighbouring addresses of x.
template <
    class Tile,
    class Filter,
    class Layout,
    class Copy,
    PaddingMode MODE,
    bool CHANNELS_LAST,
    class X,
    class Sum>
__device__ inline void load_x(
    const ConvProblem& p,
    const Block& block,
    Index first_channel,
    const X* __restrict__ x,
    Input<Sum, Tile, Filter, Layout>& shared) {
    using Memory = Input<Sum, Tile, Filter, Layout>;
    constexpr int PLANE = Memory::HALO_H * Memory::HALO_W;
    const Index channels = static_cast<Index>(p.c / p.groups);
    const Index top = block.p * Filter::STRIDE_H - static_cast<Index>(p.pad_before[1]);
    const Index left = block.q * Filter::STRIDE_W - static_cast<Index>(p.pad_before[2]);
    for (int e = static_cast<int>(threadIdx.x); e < Tile::BLOCK_C * PLANE;
         e += Tile::THREADS) {
        const int c = CHANNELS_LAST ? e % Tile::BLOCK_C : e / PLANE;
        const int place = CHANNELS_LAST ? e / Tile::BLOCK_C : e % PLANE;
        const int row = place / Memory::HALO_W;
        const int column = place % Memory::HALO_W;
        const Index h = input_index(top + row, static_cast<Index>(p.input[1]), MODE);
        const Index w =
            input_index(left + column, static_cast<Index>(p.input[2]), MODE);
        const Index channel = first_channel + c;
        Copy::copy(
            shared.x[(c * Memory::HALO_H + row) * Memory::HALO_PITCH + column],
            x + channel * static_cast<Index>(p.x_pitch[1]) +
                h * static_cast<Index>(p.x_pitch[3]) +
                w * static_cast<Index>(p.x_pitch[4]),
            channel < channels && h >= 0 && w >= 0);
    }
}

// Sixteen bytes of a row at a time, aligned in x: a row's first and last vectors may
// reach past the halo, and what is in them of it is kept.
template <class Tile, class Filter, class Layout, class X, class Sum>
__device__ inline void load_rows(
    const ConvProblem& p,
    const Block& block,
    Index first_channel,
    const X* __restrict__ x,
    Input<Sum, Tile, Filter, Layout>& shared) {
    using Memory = Input<Sum, Tile, Filter, Layout>;
    constexpr int SIZE = Vector<X>::SIZE;
    constexpr int VECTORS = (Memory::HALO_W + 2 * SIZE - 2) / SIZE;
    const Index channels = static_cast<Index>(p.c / p.groups);
    const Index top = block.p * Filter::STRIDE_H - static_cast<Index>(p.pad_before[1]);
    const Index left = block.q * Filter::STRIDE_W - static_cast<Index>(p.pad_before[2]);
    // Rounded down, below zero too.
    const Index start =
        (left + (Index(1) << 20) * SIZE) / SIZE * SIZE - (Index(1) << 20) * SIZE;
    const Index height = static_cast<Index>(p.input[1]);
    const Index width = static_cast<Index>(p.input[2]);
    for (int e = static_cast<int>(threadIdx.x);
         e < Tile::BLOCK_C * Memory::HALO_H * VECTORS;
         e += Tile::THREADS) {
        const Index channel = first_channel + e / VECTORS / Memory::HALO_H;
        const int row = e / VECTORS % Memory::HALO_H;
        const Index h = top + row;
        const Index w = start + e % VECTORS * SIZE;
        if (w >= left + Memory::HALO_W)
            continue;
        Sum value[SIZE];
        const bool exists =
            channel < channels && h >= 0 && h < height && w >= 0 && w < width;
        load_terms(
            x + channel * static_cast<Index>(p.x_pitch[1]) +
                h * static_cast<Index>(p.x_pitch[3]) + w,
            exists,
            true,
            value);
        // All of a warp's first elements would meet in a few banks: padded, each part
        // of it begins with another one.
        const int turn =
            Layout::IS_PADDED ? static_cast<int>(threadIdx.x) % 32 * SIZE / 32 : 0;
#pragma unroll
        for (int i = 0; i < SIZE; ++i) {
            const int mine = (i + turn) % SIZE;
            Sum element = value[0];
#pragma unroll
            for (int j = 1; j < SIZE; ++j)
                element = mine == j ? value[j] : element; // stays in registers
            const int column = static_cast<int>(w - left) + mine;
            if (column >= 0 && column < Memory::HALO_W)
                shared.x[e / VECTORS * Memory::HALO_PITCH + column] = element;
        }
    }
}

// Says whether the weights this thread loaded are finite.
template <class Tile, class Filter, class Layout, class Copy, class W, class Sum>
__device__ inline bool load_weight(
    const ConvProblem& p,
    const Block& block,
    Index first_channel,
    const W* __restrict__ weight,
    Shared<Sum, Tile, Filter, Layout>& shared) {
    bool are_finite = true;
    using Memory = Shared<Sum, Tile, Filter, Layout>;
    constexpr int PER_FILTER = Tile::BLOCK_C * Memory::TAPS;
    const Index channels = static_cast<Index>(p.c / p.groups);
    const Index filters = static_cast<Index>(p.k / p.groups);
    for (int e = static_cast<int>(threadIdx.x); e < Tile::BLOCK_K * PER_FILTER;
         e += Tile::THREADS) {
        const int k = e / PER_FILTER;
        const int c = e % PER_FILTER / Memory::TAPS;
        const int tap = e % Memory::TAPS;
        const Index channel = first_channel + c;
        Sum& to = shared.weight[(c * Memory::TAPS + tap) * Memory::WEIGHT_PITCH + k];
        Copy::copy(
            to,
            weight + k * static_cast<Index>(p.w_pitch[0]) +
                channel * static_cast<Index>(p.w_pitch[1]) +
                tap / Filter::S * static_cast<Index>(p.w_pitch[3]) +
                tap % Filter::S * static_cast<Index>(p.w_pitch[4]),
            channel < channels && block.first_filter + k < filters);
        are_finite = are_finite && Copy::is_finite_now(to);
    }
    return are_finite;
}

} // namespace pyconv::halo
