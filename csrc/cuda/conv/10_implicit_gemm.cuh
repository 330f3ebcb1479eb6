// implicit_gemm: the convolution as one matrix product whose left matrix is never
// built.
//
// Rows are output pixels of all images (M = N O P Q), columns the filters of a group,
// the inner axis channels and taps (C/G T R S). A block computes BLOCK_M x BLOCK_N
// outputs. A step takes one tap of BLOCK_K channels: BLOCK_M pixels of x and BLOCK_N
// filters go to shared memory, each thread keeps THREAD_M x THREAD_N sums in registers.
// While one step is computed the next one's elements are on their way into registers;
// two buffers take turns, so a step costs one barrier.
//
// What changed from shared_halo: any rank, kernel, stride and dilation in one kernel,
// whose extents are arguments and not template constants; a pixel is loaded once for
// each tap (mostly from L1) and not once for each tile. Global loads per output: C/G T
// R S (1 / BLOCK_N + 1 / BLOCK_M) elements, 9 C / 64 for 3 x 3 and 128 x 128, shared
// loads a quarter of an element for each multiply-add. Sums run over blocks of BLOCK_K
// channels, their taps, their channels: the same for every tile, so the tile never
// shows in the result.
//
// Padding of zeros must add nothing, not even to weights that are not finite: a block
// that met one does its outputs again, one by one.
// Limits: few channels or filters in a group leave most of a tile empty.
#pragma once

#include "gemm/product.cuh"

namespace pyconv::conv_implicit_gemm {

// One tap of BLOCK_K channels, and the way to the next.
struct Step {
    Index channel;
    Index tap[3];

    __device__ void advance(const ConvProblem& p, Index block_k) {
        for (int axis = 2; axis >= 0; --axis) {
            if (++tap[axis] < static_cast<Index>(p.kernel[axis]))
                return;
            tap[axis] = 0;
        }
        channel += block_k;
    }
};

// A row's pixel: where its window begins, in x and on each axis. Padding of zeros is
// never loaded, so there the beginning's offset, which may lie before x, is enough;
// elsewhere it is the image's.
struct Pixel {
    Index base;
    Index start[3];
};

// Pixels in shared memory: whole vectors, so that each comes in one load, or two.
template <int COUNT>
struct Pixels {
    static constexpr int SIZE = Vector<Index>::SIZE;
    alignas(16) Index at[4 * COUNT];

    __device__ void put(int row, const Pixel& pixel) {
        const Index all[4] = {
            pixel.base, pixel.start[0], pixel.start[1], pixel.start[2]};
#pragma unroll
        for (int first = 0; first < 4; first += SIZE) {
            Vector<Index> part;
#pragma unroll
            for (int e = 0; e < SIZE; ++e)
                part.at[e] = all[first + e];
            store_vector(at + 4 * row + first, part);
        }
    }
    __device__ Pixel take(int row) const {
        Index all[4];
#pragma unroll
        for (int first = 0; first < 4; first += SIZE) {
            const Vector<Index> part = load_vector(at + 4 * row + first);
#pragma unroll
            for (int e = 0; e < SIZE; ++e)
                all[first + e] = part.at[e];
        }
        return Pixel{all[0], {all[1], all[2], all[3]}};
    }
};

// The depth at which the window of a row past the last one begins: where zeros pad,
// behind the end, elsewhere before every beginning there is.
template <PaddingMode MODE>
__device__ inline Index missing_start(const ConvProblem& p) {
    constexpr Index LEAST =
        static_cast<Index>(UnsignedIndex(1) << (8 * sizeof(Index) - 1));
    return MODE == PAD_ZEROS ? static_cast<Index>(p.input[0]) : LEAST;
}

template <PaddingMode MODE>
__device__ inline Pixel
pixel_at(const ConvProblem& p, const gemm::Block& block, Index row, Index rows) {
    const OutputCoordinates at = gemm::pixel_of(p, row);
    Pixel pixel;
    const Index first = block.group * static_cast<Index>(p.c / p.groups);
    pixel.base = at.n * static_cast<Index>(p.x_pitch[0]) +
                 first * static_cast<Index>(p.x_pitch[1]);
    for (int axis = 0; axis < 3; ++axis) {
        pixel.start[axis] = at.at[axis] * static_cast<Index>(p.stride[axis]) -
                            static_cast<Index>(p.pad_before[axis]);
        if (MODE == PAD_ZEROS)
            pixel.base += pixel.start[axis] * static_cast<Index>(p.x_pitch[axis + 2]);
    }
    if (row >= rows)
        pixel.start[0] = missing_start<MODE>(p);
    return pixel;
}

template <class X, class Tile, PaddingMode MODE, bool CHANNELS_LAST>
struct XLoader {
    using Sum = typename Element<X>::Sum;
    using Place = GemmLoad<Tile::BLOCK_M, Tile::THREADS, Tile::BLOCK_K, CHANNELS_LAST>;
    static constexpr int LOADS = Tile::BLOCK_M * Tile::BLOCK_K / Tile::THREADS;
    static_assert(Tile::BLOCK_M * Tile::BLOCK_K % Tile::THREADS == 0, "loads as many");
    static_assert(
        Tile::THREADS % Tile::BLOCK_M == 0 || Tile::BLOCK_M % Tile::THREADS == 0,
        "a thread keeps its pixels");
    static_assert(Tile::THREADS % Tile::BLOCK_K == 0, "a thread keeps its channel");
    // Loads of one pixel follow each other where rows vary fastest; elsewhere a thread
    // has as many pixels as loads, which wait in shared memory.
    static constexpr int PIXELS =
        CHANNELS_LAST
            ? 1
            : (Tile::BLOCK_M > Tile::THREADS ? Tile::BLOCK_M / Tile::THREADS : 1);
    static constexpr int SHARED_PIXELS = CHANNELS_LAST ? Tile::BLOCK_M : 1;

    Pixel own[PIXELS];
    Sum held[LOADS];

    // When all threads have been here, pixels are whole.
    __device__ XLoader(
        const ConvProblem& p,
        const gemm::Block& block,
        Index rows,
        Pixels<SHARED_PIXELS>& pixels) {
        if constexpr (CHANNELS_LAST) {
            for (int row = static_cast<int>(threadIdx.x); row < Tile::BLOCK_M;
                 row += Tile::THREADS)
                pixels.put(row, pixel_at<MODE>(p, block, block.row + row, rows));
        } else {
#pragma unroll
            for (int i = 0; i < PIXELS; ++i)
                own[i] = pixel_at<MODE>(p, block, block.row + Place(i).row, rows);
        }
    }

    __device__ void load(
        const ConvProblem& p,
        const X* __restrict__ x,
        const Step& step,
        const Pixels<SHARED_PIXELS>& pixels) {
        // What all threads add to their pixels' beginnings: the tap, and the channel.
        const Index left = static_cast<Index>(p.c / p.groups) - step.channel;
        Index tap[3];
        Index from = step.channel * static_cast<Index>(p.x_pitch[1]);
#pragma unroll
        for (int axis = 0; axis < 3; ++axis) {
            tap[axis] = step.tap[axis] * static_cast<Index>(p.dilation[axis]);
            from += tap[axis] * static_cast<Index>(p.x_pitch[axis + 2]);
        }
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const Pixel mine = CHANNELS_LAST ? pixels.take(Place(i).row % SHARED_PIXELS)
                                             : own[i % PIXELS];
            const Index k = Place(i).k;
            Index offset = mine.base + k * static_cast<Index>(p.x_pitch[1]);
            bool inside = k < left;
            if constexpr (MODE == PAD_ZEROS) {
                offset += from;
#pragma unroll
                for (int axis = 0; axis < 3; ++axis)
                    inside &= is_inside( // no branch to wait at
                        mine.start[axis] + tap[axis],
                        static_cast<Index>(p.input[axis]));
            } else {
                const bool is_row = mine.start[0] != missing_start<MODE>(p);
                inside = inside && is_row;
                offset += step.channel * static_cast<Index>(p.x_pitch[1]);
#pragma unroll
                for (int axis = 0; axis < 3; ++axis) {
                    const Index at = input_index(
                        is_row ? mine.start[axis] + tap[axis] : Index(0),
                        static_cast<Index>(p.input[axis]),
                        MODE);
                    inside = inside && at >= 0;
                    offset += at * static_cast<Index>(p.x_pitch[axis + 2]);
                }
            }
            held[i] = inside ? term_of(x[offset]) : Sum{};
        }
    }

    __device__ void store(Sum* to, int pitch) const {
#pragma unroll
        for (int i = 0; i < LOADS; ++i)
            to[Place(i).k * pitch + Place(i).row] = held[i];
    }
};

template <class W, class Sum, class Tile>
struct WeightLoader {
    using Place = GemmLoad<Tile::BLOCK_N, Tile::THREADS, Tile::BLOCK_K, true>;
    static constexpr int LOADS =
        (Tile::BLOCK_N * Tile::BLOCK_K + Tile::THREADS - 1) / Tile::THREADS;

    Index base; // of the first load's filter, this thread's channel
    Index left; // filters from there on
    Sum held[LOADS];
    Finite<Sum> finite;

    __device__ WeightLoader(const ConvProblem& p, const gemm::Block& block) {
        const Index filters = static_cast<Index>(p.k / p.groups);
        const Index filter = block.filter + Place(0).row;
        base = (block.group * filters + filter) * static_cast<Index>(p.w_pitch[0]) +
               Place(0).k * static_cast<Index>(p.w_pitch[1]);
        left = filters - filter;
    }

    __device__ void
    load(const ConvProblem& p, const W* __restrict__ weight, const Step& step) {
        const Index channels = static_cast<Index>(p.c / p.groups);
        Index from = step.channel * static_cast<Index>(p.w_pitch[1]);
#pragma unroll
        for (int axis = 0; axis < 3; ++axis)
            from += step.tap[axis] * static_cast<Index>(p.w_pitch[axis + 2]);
        const bool has_channel = step.channel + Place(0).k < channels;
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            static_assert(Tile::THREADS % Tile::BLOCK_K == 0, "a thread's channel");
            constexpr int ROWS = Tile::THREADS / Tile::BLOCK_K; // between loads
            const bool inside =
                has_channel && Place(i).row < Tile::BLOCK_N && i * ROWS < left;
            const Index offset =
                base + from + i * ROWS * static_cast<Index>(p.w_pitch[0]);
            held[i] = inside ? term_of(weight[offset]) : Sum{};
            finite.see(held[i]);
        }
    }

    __device__ void store(Sum* to, int pitch) const {
#pragma unroll
        for (int i = 0; i < LOADS; ++i)
            if (Place(i).row < Tile::BLOCK_N)
                to[Place(i).k * pitch + Place(i).row] = held[i];
    }
};

template <
    class X,
    class W,
    class Tile,
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
    using Operands = GemmOperands<Sum, Tile>;
    __shared__ gemm::Shared<Sum, Tile, CHANNELS_LAST> shared;

    // setup: the block's rows and columns, and the thread's among them
    const Index rows = gemm::rows_of(p);
    const gemm::Block block = gemm::block_of<Tile>(p, rows);
    const auto mine = gemm_thread<Tile, CHANNELS_LAST>(static_cast<int>(threadIdx.x));
    Sum sum[Tile::THREAD_M][Tile::THREAD_N]{};

    // compute: a step's product while the next one is loaded
    using FromX = XLoader<X, Tile, MODE, CHANNELS_LAST>;
    __shared__ Pixels<FromX::SHARED_PIXELS> pixels;
    FromX from_x(p, block, rows, pixels);
    if (CHANNELS_LAST)
        __syncthreads();
    WeightLoader<W, Sum, Tile> from_weight(p, block);
    const Index channels = static_cast<Index>(p.c / p.groups);
    Step step{0, {0, 0, 0}};
    from_x.load(p, x, step, pixels);
    from_weight.load(p, weight, step);
    for (int buffer = 0; step.channel < channels; buffer ^= 1) {
        from_x.store(shared.operands.m[buffer], Operands::M_PITCH);
        from_weight.store(shared.operands.n[buffer], Operands::N_PITCH);
        __syncthreads(); // whole; and the other buffer has been read by everyone
        step.advance(p, Tile::BLOCK_K);
        if (step.channel < channels) {
            from_x.load(p, x, step, pixels);
            from_weight.load(p, weight, step);
        }
        accumulate<Sum, Tile>(
            shared.operands.m[buffer], shared.operands.n[buffer], mine.m, mine.n, sum);
    }

    // store
    const bool again =
        __syncthreads_or(from_weight.finite.met_another()) && MODE == PAD_ZEROS;
    gemm::store<Tile, ACTIVATION>(
        p, block, rows, mine, shared, sum, x, weight, bias, residual, y, again);
}

} // namespace pyconv::conv_implicit_gemm
