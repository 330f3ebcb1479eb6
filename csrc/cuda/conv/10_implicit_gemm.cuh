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
#include "../memory/vector.cuh"

namespace pyconv::conv_implicit_gemm {

template <int M, int N, int THREAD_M_, int THREAD_N_>
struct Tile {
    static constexpr int BLOCK_M = M;
    static constexpr int BLOCK_N = N;
    static constexpr int BLOCK_K = 8; // a sector of channels-last float32
    static constexpr int THREAD_M = THREAD_M_;
    static constexpr int THREAD_N = THREAD_N_;
    static constexpr int ALONG_M = M / THREAD_M;
    static constexpr int ALONG_N = N / THREAD_N;
    static constexpr int THREADS = ALONG_M * ALONG_N;
    static constexpr int X_LOADS = M * BLOCK_K / THREADS;
    static constexpr int W_LOADS = (N * BLOCK_K + THREADS - 1) / THREADS;
    static_assert(M % THREAD_M == 0 && N % THREAD_N == 0, "whole threads");
    static_assert(M * BLOCK_K % THREADS == 0, "each thread loads as much of x");
    static_assert(THREADS % M == 0 || M % THREADS == 0, "a thread keeps its pixels");
    static_assert(THREADS % BLOCK_K == 0, "a thread keeps its channel");
    static_assert(THREADS <= 1024, "a block has at most 1024 threads");
};

// + one vector: stores run across rows where channels are neighbours, and would meet in
// one bank; whole vectors stay aligned.
template <class Sum, class Tile>
struct Shared {
    static constexpr int VECTOR = Vector<Sum>::SIZE;
    static constexpr int X_PITCH = Tile::BLOCK_M + VECTOR;
    static constexpr int W_PITCH = Tile::BLOCK_N + VECTOR;

    alignas(16) Sum x[2][Tile::BLOCK_K * X_PITCH];
    alignas(16) Sum weight[2][Tile::BLOCK_K * W_PITCH];
};

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

// The place in a tile of a thread's load number i: neighbouring threads take
// neighbouring channels where these are neighbours in memory, else neighbouring rows.
template <int ROWS, int THREADS, int BLOCK_K, bool CHANNELS_FIRST>
struct LoadPlace {
    int k;
    int row;

    __device__ explicit LoadPlace(int i) {
        const int linear = static_cast<int>(threadIdx.x) + i * THREADS;
        k = CHANNELS_FIRST ? linear % BLOCK_K : linear / ROWS;
        row = CHANNELS_FIRST ? linear / BLOCK_K : linear % ROWS;
    }
};

template <class X, class Tile, PaddingMode MODE, bool CHANNELS_LAST>
struct XLoader {
    using Sum = typename Element<X>::Sum;
    using Place = LoadPlace<Tile::BLOCK_M, Tile::THREADS, Tile::BLOCK_K, CHANNELS_LAST>;
    // Loads of one pixel follow each other where rows vary fastest.
    static constexpr int PIXELS =
        CHANNELS_LAST
            ? Tile::X_LOADS
            : (Tile::BLOCK_M > Tile::THREADS ? Tile::BLOCK_M / Tile::THREADS : 1);

    Pixel pixel[PIXELS];
    Sum held[Tile::X_LOADS];

    __device__ XLoader(const ConvProblem& p, const Block& block, Index rows) {
#pragma unroll
        for (int i = 0; i < PIXELS; ++i)
            pixel[i] = pixel_at(p, block, block.row + Place(i).row, rows);
    }

    __device__ void
    load(const ConvProblem& p, const X* __restrict__ x, const Step& step) {
        const Index channels = static_cast<Index>(p.c / p.groups);
#pragma unroll
        for (int i = 0; i < Tile::X_LOADS; ++i) {
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
        for (int i = 0; i < Tile::X_LOADS; ++i)
            to[Place(i).k * pitch + Place(i).row] = held[i];
    }
};

template <class W, class Sum, class Tile>
struct WeightLoader {
    using Place = LoadPlace<Tile::BLOCK_N, Tile::THREADS, Tile::BLOCK_K, true>;

    Sum held[Tile::W_LOADS];
    bool is_bad = false; // met a weight that is not finite

    __device__ void load(
        const ConvProblem& p,
        const Block& block,
        const W* __restrict__ weight,
        const Step& step) {
        const Index channels = static_cast<Index>(p.c / p.groups);
        const Index filters = static_cast<Index>(p.k / p.groups);
#pragma unroll
        for (int i = 0; i < Tile::W_LOADS; ++i) {
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
        for (int i = 0; i < Tile::W_LOADS; ++i)
            if (Place(i).row < Tile::BLOCK_N)
                to[Place(i).k * pitch + Place(i).row] = held[i];
    }
};

// The place in a tile of a thread's row or column number i: whole vectors, a stride of
// all threads' vectors apart, so that a warp's vectors are neighbours.
template <class Sum, int ALONG>
__device__ inline int place_of(int thread, int i) {
    constexpr int VECTOR = Vector<Sum>::SIZE;
    return (i / VECTOR * ALONG + thread) * VECTOR + i % VECTOR;
}

template <class Sum, class Tile>
__device__ inline void accumulate(
    const Sum* x,
    const Sum* weight,
    int thread_m,
    int thread_n,
    Sum (&sum)[Tile::THREAD_M][Tile::THREAD_N]) {
    using Memory = Shared<Sum, Tile>;
    constexpr int VECTOR = Memory::VECTOR;
#pragma unroll
    for (int k = 0; k < Tile::BLOCK_K; ++k) {
        Sum a[Tile::THREAD_M];
        Sum b[Tile::THREAD_N];
#pragma unroll
        for (int i = 0; i < Tile::THREAD_M; i += VECTOR) {
            const auto vector = load_vector(
                x + k * Memory::X_PITCH + place_of<Sum, Tile::ALONG_M>(thread_m, i));
#pragma unroll
            for (int e = 0; e < VECTOR; ++e)
                a[i + e] = vector.at[e];
        }
#pragma unroll
        for (int j = 0; j < Tile::THREAD_N; j += VECTOR) {
            const auto vector = load_vector(
                weight + k * Memory::W_PITCH +
                place_of<Sum, Tile::ALONG_N>(thread_n, j));
#pragma unroll
            for (int e = 0; e < VECTOR; ++e)
                b[j + e] = vector.at[e];
        }
#pragma unroll
        for (int i = 0; i < Tile::THREAD_M; ++i)
#pragma unroll
            for (int j = 0; j < Tile::THREAD_N; ++j)
                add_product(sum[i][j], a[i], b[j]);
    }
}

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
    using Memory = Shared<Sum, Tile>;
    __shared__ Memory shared;

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
        from_x.store(shared.x[buffer], Memory::X_PITCH);
        from_weight.store(shared.weight[buffer], Memory::W_PITCH);
        __syncthreads(); // whole; and the other buffer has been read by everyone
        step.advance(p, Tile::BLOCK_K);
        if (step.channel < channels) {
            from_x.load(p, x, step);
            from_weight.load(p, block, weight, step);
        }
        accumulate<Sum, Tile>(
            shared.x[buffer], shared.weight[buffer], thread_m, thread_n, sum);
    }

    // store: rows and filters past the end are dropped
    const Index filters = static_cast<Index>(p.k / p.groups);
    // A row's pixel takes divisions: once for all of its filters.
    const auto find_row = [&](int i, OutputCoordinates& at) {
        const Index row = block.row + place_of<Sum, Tile::ALONG_M>(thread_m, i);
        at = pixel_of(p, row);
        return row < rows;
    };
    const auto find_filter = [&](int j, OutputCoordinates& at) {
        const Index in_group = block.filter + place_of<Sum, Tile::ALONG_N>(thread_n, j);
        at.k = block.group * filters + in_group;
        return in_group < filters;
    };
    const auto store = [&](const OutputCoordinates& at, Sum total) {
        const Index offset = offset_of(at, p.y_pitch);
        y[offset] = finish<ACTIVATION>(total, bias, at.k, residual, offset);
    };
    if (MODE == PAD_ZEROS && __syncthreads_or(from_weight.is_bad)) {
        direct_sums<Tile::THREAD_M * Tile::THREAD_N>(
            p,
            x,
            weight,
            [&](int e, OutputCoordinates& at) {
                return find_row(e / Tile::THREAD_N, at) &&
                       find_filter(e % Tile::THREAD_N, at);
            },
            store);
        return;
    }
#pragma unroll
    for (int i = 0; i < Tile::THREAD_M; ++i) {
        OutputCoordinates at;
        if (!find_row(i, at))
            continue;
#pragma unroll
        for (int j = 0; j < Tile::THREAD_N; ++j)
            if (find_filter(j, at))
                store(at, sum[i][j]);
    }
}

} // namespace pyconv::conv_implicit_gemm
