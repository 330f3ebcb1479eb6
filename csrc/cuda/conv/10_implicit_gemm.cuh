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

#include "../direct_sum.cuh"
#include "../epilogue.cuh"
#include "../index.cuh"
#include "../memory/gemm_tile.cuh"

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

// A row's pixel: where its image's group of channels lies in x, and its window begins.
struct Pixel {
    Index image;
    Index start[3];
    bool exists; // false: past the last row
};

// Rows count pixels along the output's axes, width fastest, in either memory order.
__device__ inline OutputCoordinates pixel_of(const ConvProblem& p, Index row) {
    return output_coordinates<false>(row, 1, p.output);
}

__device__ inline Pixel
pixel_at(const ConvProblem& p, const Block& block, Index row, Index rows) {
    const OutputCoordinates at = pixel_of(p, row);
    Pixel pixel;
    const Index first = block.group * static_cast<Index>(p.c / p.groups);
    pixel.image = at.n * static_cast<Index>(p.x_pitch[0]) +
                  first * static_cast<Index>(p.x_pitch[1]);
    for (int axis = 0; axis < 3; ++axis)
        pixel.start[axis] = at.at[axis] * static_cast<Index>(p.stride[axis]) -
                            static_cast<Index>(p.pad_before[axis]);
    pixel.exists = row < rows;
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
    // Loads of one pixel follow each other where rows vary fastest.
    static constexpr int PIXELS =
        CHANNELS_LAST
            ? LOADS
            : (Tile::BLOCK_M > Tile::THREADS ? Tile::BLOCK_M / Tile::THREADS : 1);

    Pixel pixel[PIXELS];
    Sum held[LOADS];

    __device__ XLoader(const ConvProblem& p, const Block& block, Index rows) {
#pragma unroll
        for (int i = 0; i < PIXELS; ++i)
            pixel[i] = pixel_at(p, block, block.row + Place(i).row, rows);
    }

    __device__ void
    load(const ConvProblem& p, const X* __restrict__ x, const Step& step) {
        const Index channels = static_cast<Index>(p.c / p.groups);
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const Pixel& mine = pixel[i % PIXELS];
            Index offset = mine.image;
            bool inside = mine.exists && step.channel + Place(i).k < channels;
#pragma unroll
            for (int axis = 0; axis < 3; ++axis) {
                const Index at = input_index(
                    mine.start[axis] +
                        step.tap[axis] * static_cast<Index>(p.dilation[axis]),
                    static_cast<Index>(p.input[axis]),
                    MODE);
                inside = inside && at >= 0;
                offset += at * static_cast<Index>(p.x_pitch[axis + 2]);
            }
            offset += (step.channel + Place(i).k) * static_cast<Index>(p.x_pitch[1]);
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

    Sum held[LOADS];
    bool is_bad = false; // met a weight that is not finite

    __device__ void load(
        const ConvProblem& p,
        const Block& block,
        const W* __restrict__ weight,
        const Step& step) {
        const Index channels = static_cast<Index>(p.c / p.groups);
        const Index filters = static_cast<Index>(p.k / p.groups);
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            const Index c = step.channel + Place(i).k;
            const Index filter = block.filter + Place(i).row;
            const bool inside =
                Place(i).row < Tile::BLOCK_N && c < channels && filter < filters;
            const Index offset =
                (block.group * filters + filter) * static_cast<Index>(p.w_pitch[0]) +
                c * static_cast<Index>(p.w_pitch[1]) +
                step.tap[0] * static_cast<Index>(p.w_pitch[2]) +
                step.tap[1] * static_cast<Index>(p.w_pitch[3]) +
                step.tap[2] * static_cast<Index>(p.w_pitch[4]);
            held[i] = inside ? term_of(weight[offset]) : Sum{};
            is_bad = is_bad || !is_finite(held[i]);
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
    using Staging = GemmStaging<Sum, Tile, CHANNELS_LAST>;
    __shared__ union {
        Operands operands;
        Staging staging; // when the operands have been read
    } shared;
    __shared__ Index row_offset[Tile::BLOCK_M];

    // setup: the block's rows and columns, and the thread's among them: neighbouring
    // threads store neighbouring addresses of y
    const Index rows = static_cast<Index>(p.n) * static_cast<Index>(p.output[0]) *
                       static_cast<Index>(p.output[1]) *
                       static_cast<Index>(p.output[2]);
    const Block block = block_of<Tile>(p, rows);
    const int thread = static_cast<int>(threadIdx.x);
    const int thread_m =
        CHANNELS_LAST ? thread / Tile::ALONG_N : thread % Tile::ALONG_M;
    const int thread_n =
        CHANNELS_LAST ? thread % Tile::ALONG_N : thread / Tile::ALONG_M;
    Sum sum[Tile::THREAD_M][Tile::THREAD_N];
#pragma unroll
    for (int i = 0; i < Tile::THREAD_M; ++i)
#pragma unroll
        for (int j = 0; j < Tile::THREAD_N; ++j)
            sum[i][j] = Sum{};

    // compute: a step's product while the next one is loaded
    XLoader<X, Tile, MODE, CHANNELS_LAST> from_x(p, block, rows);
    WeightLoader<W, Sum, Tile> from_weight;
    const Index channels = static_cast<Index>(p.c / p.groups);
    Step step{0, {0, 0, 0}};
    from_x.load(p, x, step);
    from_weight.load(p, block, weight, step);
    for (int buffer = 0; step.channel < channels; buffer ^= 1) {
        from_x.store(shared.operands.m[buffer], Operands::M_PITCH);
        from_weight.store(shared.operands.n[buffer], Operands::N_PITCH);
        __syncthreads(); // whole; and the other buffer has been read by everyone
        step.advance(p, Tile::BLOCK_K);
        if (step.channel < channels) {
            from_x.load(p, x, step);
            from_weight.load(p, block, weight, step);
        }
        accumulate<Sum, Tile>(
            shared.operands.m[buffer],
            shared.operands.n[buffer],
            thread_m,
            thread_n,
            sum);
    }

    // store: by way of shared memory, where neighbouring threads take neighbouring
    // outputs, and one piece of code finishes all of them
    const Index filters = static_cast<Index>(p.k / p.groups);
    const auto is_output = [&](int row, int column) {
        return block.row + row < rows && block.filter + column < filters;
    };
    const auto filter_of = [&](int column) {
        return block.group * filters + block.filter + column;
    };
    if (__syncthreads_or(from_weight.is_bad) && MODE == PAD_ZEROS) {
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
        row_offset[row] = offset_of(pixel_of(p, block.row + row), p.y_pitch);
#pragma unroll
    for (int pass = 0; pass < Staging::PASSES; ++pass) {
        stage<Sum, Tile>(shared.staging, thread_m, thread_n, pass, sum);
        __syncthreads(); // the rows are whole before anyone reads them
        for_staged<Staging, Tile::THREADS>(
            thread, pass, [&](int row, int column, int place) {
                if (!is_output(row, column))
                    return;
                const Index k = filter_of(column);
                const Index offset =
                    row_offset[row] + k * static_cast<Index>(p.y_pitch[1]);
                const Sum total = shared.staging.sum[place];
                y[offset] = finish<ACTIVATION>(total, bias, k, residual, offset);
            });
        __syncthreads(); // everyone has read them before the next ones come
    }
}

} // namespace pyconv::conv_implicit_gemm
