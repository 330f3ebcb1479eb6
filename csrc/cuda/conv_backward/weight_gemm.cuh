// implicit_gemm: the gradient of a convolution's weights as a matrix product.
//
// Rows are the filters of a group, columns its channels and taps, the inner axis all
// pixels of all images: many more than there are rows and columns. So the pixels are
// split: a block sums BLOCK_M x BLOCK_N gradients over one part of them into the
// workspace, BLOCK_K pixels at a time, and a second launch adds the parts in their
// order. How many parts there are depends on the shapes alone, so the sums are the same
// on every device and on every run, and no atomics are needed.
//
// Where a step's pixels lie is found once a step by BLOCK_K threads, where a column's
// channel and tap lie once a block; both wait in shared memory.
//
// What changed from naive: global loads per product fall from 2 elements to
// 1 / BLOCK_M + 1 / BLOCK_N; columns count channels first where they are neighbours in
// memory, so that neighbouring threads load neighbouring addresses in both orders.
//
// Padding of zeros must add nothing, not even to gradients that are not finite: a block
// that met one sums again, one by one.
// Limits: few channels or filters in a group leave most of a tile empty.
#pragma once

#include "../index.cuh"
#include "../memory/add_parts.cuh"
#include "../memory/gemm_tile.cuh"

namespace pyconv::conv_weight_gemm {

// Blocks that keep a large device busy, and pixels that are worth a block's setup.
constexpr int ENOUGH_BLOCKS = 528;
constexpr int LEAST_PIXELS = 256;

// Extents of the product, and how many pixels are a part's: parts_of in
// pyconv/cuda/weight_gradient.py repeats the rule to size the workspace.
struct Extents {
    Index channels; // of a group
    Index filters;
    Index columns;
    Index pixels; // of all images
    Index part;   // pixels of one part
    Index parts;
};

template <class Tile>
__device__ inline Extents extents_of(const ConvProblem& p) {
    Extents found;
    found.channels = static_cast<Index>(p.c / p.groups);
    found.filters = static_cast<Index>(p.k / p.groups);
    found.columns =
        found.channels * static_cast<Index>(p.kernel[0] * p.kernel[1] * p.kernel[2]);
    found.pixels = static_cast<Index>(p.n * p.output[0] * p.output[1] * p.output[2]);
    const Index tiles = static_cast<Index>(p.groups) *
                        ceil_div(found.filters, Index(Tile::BLOCK_M)) *
                        ceil_div(found.columns, Index(Tile::BLOCK_N));
    const Index wanted = tiles < ENOUGH_BLOCKS ? ENOUGH_BLOCKS / tiles : 1;
    const Index most = ceil_div(found.pixels, Index(LEAST_PIXELS));
    const Index part = ceil_div(found.pixels, wanted < most ? wanted : most);
    found.part = ceil_div(part, Index(Tile::BLOCK_K)) * Tile::BLOCK_K;
    found.parts = ceil_div(found.pixels, found.part);
    return found;
}

// A column's channel inside the group, and its tap's way from the window's start.
struct Column {
    Index channel;
    Index tap[3];
};

template <bool CHANNELS_LAST>
__device__ inline Column
column_of(const ConvProblem& p, const Extents& extents, Index column) {
    Column found;
    const Index taps = extents.columns / extents.channels;
    Index tap = CHANNELS_LAST ? column / extents.channels : column % taps;
    found.channel = CHANNELS_LAST ? column % extents.channels : column / taps;
    for (int axis = 2; axis >= 0; --axis) {
        found.tap[axis] = tap % static_cast<Index>(p.kernel[axis]);
        tap /= static_cast<Index>(p.kernel[axis]);
    }
    return found;
}

// The same as a load needs it: the tap's way on each axis, and the channel's in x.
// Padding of zeros is never loaded, so there the tap's way in x is in it as well.
struct alignas(4 * sizeof(Index)) Way {
    Index offset;
    Index along[3];
};

template <PaddingMode MODE>
__device__ inline Way way_of(const ConvProblem& p, const Column& column) {
    Way found;
    found.offset = column.channel * static_cast<Index>(p.x_pitch[1]);
    for (int axis = 0; axis < 3; ++axis) {
        found.along[axis] = column.tap[axis] * static_cast<Index>(p.dilation[axis]);
        if (MODE == PAD_ZEROS)
            found.offset += found.along[axis] * static_cast<Index>(p.x_pitch[axis + 2]);
    }
    return found;
}

// Where a pixel's window begins on each axis and in x (its image does, where padding is
// loaded), and its gradients lie.
struct alignas(2 * sizeof(Index)) Pixel {
    Index base;
    Index start[3];
    Index grad;
    Index exists;
};

template <PaddingMode MODE>
__device__ inline Pixel pixel_at(const ConvProblem& p, Index pixel, Index end) {
    const OutputCoordinates at = output_coordinates<false>(pixel, 1, p.output);
    Pixel found;
    found.grad = at.n * static_cast<Index>(p.y_pitch[0]) +
                 at.at[0] * static_cast<Index>(p.y_pitch[2]) +
                 at.at[1] * static_cast<Index>(p.y_pitch[3]) +
                 at.at[2] * static_cast<Index>(p.y_pitch[4]);
    found.base = at.n * static_cast<Index>(p.x_pitch[0]);
    for (int axis = 0; axis < 3; ++axis) {
        found.start[axis] = at.at[axis] * static_cast<Index>(p.stride[axis]) -
                            static_cast<Index>(p.pad_before[axis]);
        if (MODE == PAD_ZEROS)
            found.base += found.start[axis] * static_cast<Index>(p.x_pitch[axis + 2]);
    }
    found.exists = pixel < end;
    return found;
}

// The offset in x of what a pixel meets at a column's tap; false where that is padding.
template <PaddingMode MODE>
__device__ inline bool
find_x(const ConvProblem& p, const Pixel& pixel, const Way& way, Index& offset) {
    bool inside = pixel.exists != 0;
    offset = pixel.base + way.offset;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
        const Index position = pixel.start[axis] + way.along[axis];
        const Index extent = static_cast<Index>(p.input[axis]);
        if constexpr (MODE == PAD_ZEROS) {
            inside &= is_inside(position, extent); // no branch to wait at
        } else {
            const Index at = input_index(position, extent, MODE);
            inside = inside && at >= 0;
            offset += at * static_cast<Index>(p.x_pitch[axis + 2]);
        }
    }
    return inside;
}

// What a block sums: its group, filters and columns, and its part of the pixels.
struct Block {
    Index group;
    Index filter;
    Index column;
    Index part;
};

template <class Tile>
__device__ inline Block block_of(const Extents& extents) {
    // Columns vary fastest: blocks that read the same gradients run together.
    const Index along_n = ceil_div(extents.columns, Index(Tile::BLOCK_N));
    const Index along_m = ceil_div(extents.filters, Index(Tile::BLOCK_M));
    Index linear = static_cast<Index>(blockIdx.x);
    Block block;
    block.column = linear % along_n * Tile::BLOCK_N;
    linear /= along_n;
    block.filter = linear % along_m * Tile::BLOCK_M;
    linear /= along_m;
    block.part = linear % extents.parts;
    block.group = linear / extents.parts;
    return block;
}

template <class Sum, class Tile>
struct Shared {
    union {
        GemmOperands<Sum, Tile> operands; // m: gradients, n: elements of x
        GemmStaging<Sum, Tile, true> staging;
    };
    Way way[Tile::BLOCK_N];
    Pixel pixel[2][Tile::BLOCK_K];
};

template <class T, class Tile, PaddingMode MODE, bool CHANNELS_LAST>
struct Loader {
    using Sum = typename Element<T>::Sum;
    using M = GemmLoad<Tile::BLOCK_M, Tile::THREADS, Tile::BLOCK_K, !CHANNELS_LAST>;
    using N = GemmLoad<Tile::BLOCK_N, Tile::THREADS, Tile::BLOCK_K, !CHANNELS_LAST>;
    static constexpr int M_LOADS = Tile::BLOCK_M * Tile::BLOCK_K / Tile::THREADS;
    static constexpr int N_LOADS = Tile::BLOCK_N * Tile::BLOCK_K / Tile::THREADS;
    static_assert(Tile::BLOCK_M * Tile::BLOCK_K % Tile::THREADS == 0, "loads as many");
    static_assert(Tile::BLOCK_N * Tile::BLOCK_K % Tile::THREADS == 0, "loads as many");

    Sum grad[M_LOADS];
    Sum x[N_LOADS];
    Finite<Sum> finite; // of the gradients

    __device__ void load(
        const ConvProblem& p,
        const Extents& extents,
        const Block& block,
        const Shared<Sum, Tile>& shared,
        int buffer,
        const T* __restrict__ from_x,
        const T* __restrict__ from_grad) {
#pragma unroll
        for (int i = 0; i < M_LOADS; ++i) {
            const Pixel& pixel = shared.pixel[buffer][M(i).k];
            const Index filter = block.filter + M(i).row;
            const Index offset = pixel.grad + (block.group * extents.filters + filter) *
                                                  static_cast<Index>(p.y_pitch[1]);
            const bool inside = (pixel.exists != 0) & (filter < extents.filters);
            grad[i] = inside ? term_of(from_grad[offset]) : Sum{};
            finite.see(grad[i]);
        }
#pragma unroll
        for (int i = 0; i < N_LOADS; ++i) {
            Index offset;
            const bool inside =
                find_x<MODE>(
                    p, shared.pixel[buffer][N(i).k], shared.way[N(i).row], offset) &
                (block.column + N(i).row < extents.columns);
            x[i] = inside ? term_of(from_x[offset]) : Sum{};
        }
    }

    __device__ void store(Shared<Sum, Tile>& shared, int buffer) const {
        using Operands = GemmOperands<Sum, Tile>;
#pragma unroll
        for (int i = 0; i < M_LOADS; ++i)
            shared.operands.m[buffer][M(i).k * Operands::M_PITCH + M(i).row] = grad[i];
#pragma unroll
        for (int i = 0; i < N_LOADS; ++i)
            shared.operands.n[buffer][N(i).k * Operands::N_PITCH + N(i).row] = x[i];
    }
};

// One gradient of a part, pixel by pixel, without the padding.
template <PaddingMode MODE, class T>
__device__ typename Element<T>::Sum
dot(const ConvProblem& p,
    const Way& way,
    Index filter,
    Index first,
    Index end,
    const T* __restrict__ x,
    const T* __restrict__ grad) {
    typename Element<T>::Sum sum{};
    for (Index at = first; at < end; ++at) {
        const Pixel pixel = pixel_at<MODE>(p, at, end);
        Index offset;
        if (find_x<MODE>(p, pixel, way, offset))
            add_product(
                sum,
                term_of(grad[pixel.grad + filter * static_cast<Index>(p.y_pitch[1])]),
                term_of(x[offset]));
    }
    return sum;
}

template <class T, class Tile, PaddingMode MODE, bool CHANNELS_LAST>
__device__ void sum_parts(
    const ConvProblem& p,
    const T* __restrict__ x,
    const T* __restrict__ grad,
    void* workspace) {
    using Sum = typename Element<T>::Sum;
    using Staging = GemmStaging<Sum, Tile, true>;
    __shared__ Shared<Sum, Tile> shared;

    // setup: the block's part, and the thread's rows and columns
    const Extents extents = extents_of<Tile>(p);
    const Block block = block_of<Tile>(extents);
    const int thread = static_cast<int>(threadIdx.x);
    const auto mine = gemm_thread<Tile, true>(thread);
    const Index first = block.part * extents.part;
    const Index left = extents.pixels - first;
    const Index end = first + (left < extents.part ? left : extents.part);
    x += block.group * extents.channels * static_cast<Index>(p.x_pitch[1]);
    Sum sum[Tile::THREAD_M][Tile::THREAD_N]{};
    for (int column = thread; column < Tile::BLOCK_N; column += Tile::THREADS)
        shared.way[column] = way_of<MODE>(
            p, column_of<CHANNELS_LAST>(p, extents, block.column + column));
    const auto find_pixels = [&](Index at, int buffer) {
        if (thread < Tile::BLOCK_K)
            shared.pixel[buffer][thread] = pixel_at<MODE>(p, at + thread, end);
    };
    find_pixels(first, 0);
    __syncthreads(); // columns and the first pixels are whole

    // compute: a step's product while the next one is loaded, the one after it found
    Loader<T, Tile, MODE, CHANNELS_LAST> loader;
    loader.load(p, extents, block, shared, 0, x, grad);
    int buffer = 0;
    for (Index at = first; at < end; at += Tile::BLOCK_K) {
        const Index next = at + Tile::BLOCK_K;
        loader.store(shared, buffer);
        find_pixels(next, 1 - buffer);
        __syncthreads(); // whole; and the other buffer has been read by everyone
        if (next < end)
            loader.load(p, extents, block, shared, 1 - buffer, x, grad);
        accumulate<Sum, Tile, Tile::BLOCK_K>(
            shared.operands.m[buffer], shared.operands.n[buffer], mine.m, mine.n, sum);
        buffer = 1 - buffer;
    }

    // store: the part's sums, columns side by side
    const bool again =
        __syncthreads_or(loader.finite.met_another()) && MODE == PAD_ZEROS;
    Sum* to = static_cast<Sum*>(workspace) +
              (block.part * static_cast<Index>(p.k) + block.group * extents.filters) *
                  extents.columns;
#pragma unroll
    for (int pass = 0; pass < Staging::PASSES; ++pass) {
        stage<Sum, Tile>(shared.staging, mine.m, mine.n, pass, sum);
        __syncthreads(); // the rows are whole before anyone reads them
        for_staged<Staging, Tile::THREADS>(
            thread, pass, [&](int row, int column, int place) {
                const Index filter = block.filter + row;
                if (filter >= extents.filters ||
                    block.column + column >= extents.columns)
                    return;
                Sum total = shared.staging.sum[place];
                if (again)
                    total = dot<MODE>(
                        p,
                        shared.way[column],
                        block.group * extents.filters + filter,
                        first,
                        end,
                        x,
                        grad);
                to[filter * extents.columns + block.column + column] = total;
            });
        __syncthreads(); // everyone has read them before the next ones come
    }
}

// Adds the parts of the gradients, ROWS threads to each.
template <class T, class Tile, bool CHANNELS_LAST, int THREADS, int ROWS>
__device__ void add_parts(const ConvProblem& p, const void* workspace, T* weight) {
    using Sum = typename Element<T>::Sum;
    const Extents extents = extents_of<Tile>(p);
    pyconv::add_parts<THREADS, ROWS>(
        static_cast<const Sum*>(workspace),
        static_cast<Index>(p.k) * extents.columns,
        extents.parts,
        [&](Index linear, Sum sum) {
            const Column column =
                column_of<CHANNELS_LAST>(p, extents, linear % extents.columns);
            weight
                [linear / extents.columns * static_cast<Index>(p.w_pitch[0]) +
                 column.channel * static_cast<Index>(p.w_pitch[1]) +
                 column.tap[0] * static_cast<Index>(p.w_pitch[2]) +
                 column.tap[1] * static_cast<Index>(p.w_pitch[3]) +
                 column.tap[2] * static_cast<Index>(p.w_pitch[4])] = result_of<T>(sum);
        });
}

} // namespace pyconv::conv_weight_gemm
