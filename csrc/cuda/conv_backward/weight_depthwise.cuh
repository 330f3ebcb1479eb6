// depthwise: the weight gradient of one channel a group, at the speed of memory.
//
// A weight of a depthwise filter is one long sum over pixels, and there are few
// weights. So a thread keeps the sums of all taps of its filter (or of a chunk of its
// columns) in registers and walks down one column of outputs: a row of x is loaded once
// for all tap rows, which meet it with the last DEPTH gradients. A part of the pixels
// belongs to COLUMNS threads side by side; they add their sums in shared memory, into
// the workspace, and a second launch adds the parts. Where there is one row of outputs,
// threads walk along it instead, COLUMNS at a time.
//
// Channels first, neighbouring threads take neighbouring columns, then parts; channels
// last, neighbouring vectors of VECTOR channels, then columns. Which pixels are a
// thread's, and in which order all sums are added, depends on the shapes alone: not on
// the memory order, the device or the run.
//
// Global loads per pixel and filter of 3 x 3, stride 1: one gradient and 3 elements of
// x (naive: 18 elements), two of them from L1. Device memory: x and the gradient once.
//
// Padding of zeros adds nothing: products are taken where the tap lies inside.
// Limits: two spatial axes; kernels of 49 taps, 16 in a column. Rows that no two
// outputs share (dilated, or strides as long as the kernel) are loaded for each of
// them.
#pragma once

#include "../index.cuh"
#include "../memory/add_parts.cuh"
#include "../memory/vector.cuh"

namespace pyconv::conv_weight_depthwise {

// Threads that keep a large device busy if they load vectors (channels first they do
// not, and are more); and parts that a second launch can add.
constexpr int ENOUGH_THREADS = 1 << 16;
constexpr int MOST_PARTS = 2048;
// Outputs that a thread walks along at once, and that are worth adding its sums.
constexpr int LONGEST = 64;
constexpr int LEAST = 16;
// Of shared memory for each thread, where sums meet.
constexpr int STAGED_BYTES = 48;

// STEP: rows of x from one output to the next, where they share any; else all R.
template <int R_, int S_, int STEP_>
struct Filter {
    static constexpr int R = R_;
    static constexpr int S = S_; // of a chunk
    static constexpr int STEP = STEP_;
    static constexpr int TAPS = R * S;
    static constexpr int DEPTH = ceil_div(R, STEP); // outputs that meet a row
};

// CHANNELS: threads side by side along the channels. BATCH: outputs whose elements are
// loaded at once.
template <
    int COLUMNS_,
    int CHANNELS_,
    int VECTOR_,
    int THREADS_,
    int BATCH_,
    bool IS_ALONG_ROW_>
struct Tile {
    static constexpr int COLUMNS = COLUMNS_;
    static constexpr int CHANNELS = CHANNELS_;
    static constexpr int VECTOR = VECTOR_;
    static constexpr int THREADS = THREADS_;
    static constexpr int BATCH = BATCH_;
    static constexpr bool IS_ALONG_ROW = IS_ALONG_ROW_;
    static constexpr int PARTS = THREADS / (COLUMNS * CHANNELS);
    static constexpr int FILTERS = CHANNELS * VECTOR; // of a block
    static_assert(THREADS % (COLUMNS * CHANNELS) == 0, "whole parts");
};

// How the pixels are divided: `_Division` in pyconv/cuda/weight_depthwise.py has the
// same rule. A strip is what COLUMNS threads walk along in one go.
struct Extents {
    Index across;   // strips side by side
    Index walked;   // outputs along a walk
    Index segments; // strips of a walk
    Index length;   // of a strip
    Index strips;   // of all images
    Index parts;
};

template <class T, class Tile>
__device__ inline Extents extents_of(const ConvProblem& p) {
    const Index height = static_cast<Index>(p.output[1]);
    const Index blocks =
        ceil_div(static_cast<Index>(p.output[2]), Index(Tile::COLUMNS));
    Extents found;
    found.across = Tile::IS_ALONG_ROW ? height : blocks;
    found.walked = Tile::IS_ALONG_ROW ? blocks : height;
    const Index lines = static_cast<Index>(p.n) * found.across;
    const Index enough = ceil_div(
        Index(ENOUGH_THREADS * Vector<T>::SIZE / Tile::COLUMNS),
        static_cast<Index>(p.k));
    const Index wanted = enough < MOST_PARTS ? enough : MOST_PARTS;
    const Index fewest = ceil_div(found.walked, Index(LONGEST));
    const Index most = ceil_div(found.walked, Index(LEAST));
    const Index segments = wanted / lines;
    found.segments = segments < fewest ? fewest : segments < most ? segments : most;
    found.length = ceil_div(found.walked, found.segments);
    found.strips = lines * found.segments;
    const Index each = found.strips / wanted;
    const Index least = ceil_div(Index(LEAST), found.length);
    found.parts = ceil_div(found.strips, each < least ? least : each);
    return found;
}

// What COLUMNS x CHANNELS threads sum: a part, a chunk of the filters' columns, and the
// first of their filters.
struct Unit {
    Index part;
    Index first_column;
    Index filter;
};

template <class Filter, class Tile>
__device__ inline Unit
unit_of(const ConvProblem& p, const Extents& extents, int number) {
    const Index filters = ceil_div(static_cast<Index>(p.k), Index(Tile::FILTERS));
    const Index chunks = ceil_div(static_cast<Index>(p.kernel[2]), Index(Filter::S));
    Index linear = static_cast<Index>(blockIdx.x) * Tile::PARTS + number;
    Unit unit;
    // What lies together in memory runs together: channels, or neighbouring strips.
    if constexpr (Tile::CHANNELS > 1) {
        unit.filter = linear % filters * Tile::FILTERS;
        linear /= filters;
    }
    unit.part = linear % extents.parts;
    linear /= extents.parts;
    unit.first_column = linear % chunks * Filter::S;
    linear /= chunks;
    if constexpr (Tile::CHANNELS > 1) {
        if (linear > 0) // past the last one
            unit.filter = static_cast<Index>(p.k);
    } else {
        unit.filter = linear * Tile::FILTERS;
    }
    return unit;
}

template <PaddingMode MODE>
__device__ inline Index
tap_index(const ConvProblem& p, int axis, Index output, Index tap) {
    return input_index(
        output * static_cast<Index>(p.stride[axis]) -
            static_cast<Index>(p.pad_before[axis]) +
            tap * static_cast<Index>(p.dilation[axis]),
        static_cast<Index>(p.input[axis]),
        MODE);
}

// A thread's sums, and what it has loaded of a strip.
template <class T, class Filter, class Tile, PaddingMode MODE>
struct Walk {
    using Sum = typename Element<T>::Sum;
    static constexpr int S = Filter::S;
    static constexpr int STEP = Filter::STEP;
    static constexpr int DEPTH = Filter::DEPTH;
    static constexpr int VECTOR = Tile::VECTOR;
    static constexpr int BATCH = Tile::BATCH;
    // Columns change along a row, but not down it.
    static constexpr int PLACES = Tile::IS_ALONG_ROW ? BATCH : 1;
    static_assert(!Tile::IS_ALONG_ROW || DEPTH == 1, "rows have no rows to share");

    Sum sum[Filter::R][S][VECTOR];
    Sum met[DEPTH][VECTOR]; // the gradients of the last outputs, the newest first
    T grad[BATCH][VECTOR];
    T x[BATCH][STEP][S][VECTOR];
    Index column[PLACES][S]; // of x; -1 in the padding
    Index row[BATCH][STEP];

    __device__ void
    find_columns(const ConvProblem& p, Index q, bool exists, Index first, int place) {
#pragma unroll
        for (int s = 0; s < S; ++s)
            column[place][s] = exists && first + s < static_cast<Index>(p.kernel[2])
                                   ? tap_index<MODE>(p, 2, q, first + s)
                                   : -1;
    }

    // Elements of x that BATCH outputs from `at` on are the last to need.
    __device__ void load(
        const ConvProblem& p,
        const T* __restrict__ image,
        bool aligned,
        Index at,
        Index end,
        Index line) {
#pragma unroll
        for (int b = 0; b < BATCH; ++b) {
            const Index late = at + b - (end - 1); // past the last output
#pragma unroll
            for (int j = 0; j < STEP; ++j) {
                const bool is_met = j + STEP * (late > 0 ? late : 0) < Filter::R;
                const Index output = Tile::IS_ALONG_ROW ? line : at + b;
                row[b][j] = is_met ? tap_index<MODE>(p, 1, output, j) : -1;
                const T* from = image + row[b][j] * static_cast<Index>(p.x_pitch[3]);
#pragma unroll
                for (int s = 0; s < S; ++s) {
                    const Index w = column[b % PLACES][s];
                    load_elements(
                        from + w * static_cast<Index>(p.x_pitch[4]),
                        row[b][j] >= 0 && w >= 0,
                        aligned,
                        x[b][j][s]);
                }
            }
        }
    }

    // One row of x with the outputs that meet it; IS_WHOLE: all DEPTH of them exist.
    template <bool IS_WHOLE>
    __device__ void multiply(int b, int j, Index at, Index first, Index end) {
#pragma unroll
        for (int s = 0; s < S; ++s) {
            if (column[b % PLACES][s] < 0)
                continue;
            Sum term[VECTOR];
#pragma unroll
            for (int e = 0; e < VECTOR; ++e)
                term[e] = term_of(x[b][j][s][e]);
#pragma unroll
            for (int back = 0; back < DEPTH; ++back) {
                const int r = j + STEP * back;
                if (r >= Filter::R ||
                    !(IS_WHOLE || (at - back >= first && at - back < end)))
                    continue;
#pragma unroll
                for (int e = 0; e < VECTOR; ++e)
                    add_product(sum[r % Filter::R][s][e], term[e], met[back][e]);
            }
        }
    }

    __device__ void accumulate(Index at, Index first, Index end) {
#pragma unroll
        for (int b = 0; b < BATCH; ++b) {
#pragma unroll
            for (int back = DEPTH - 1; back >= 0; --back)
#pragma unroll
                for (int e = 0; e < VECTOR; ++e)
                    met[back][e] =
                        back > 0 ? met[back - (back > 0)][e] : term_of(grad[b][e]);
            const bool is_whole = at + b - (DEPTH - 1) >= first && at + b < end;
#pragma unroll
            for (int j = 0; j < STEP; ++j) {
                if (row[b][j] < 0)
                    continue;
                if (is_whole)
                    multiply<true>(b, j, at + b, first, end);
                else
                    multiply<false>(b, j, at + b, first, end);
            }
        }
    }
};

template <class T, class Filter, class Tile, PaddingMode MODE>
__device__ void sum_parts(
    const ConvProblem& p,
    const T* __restrict__ x,
    const T* __restrict__ grad,
    void* workspace) {
    using Sum = typename Element<T>::Sum;
    constexpr int COLUMNS = Tile::COLUMNS;
    constexpr int VECTOR = Tile::VECTOR;
    constexpr int BATCH = Tile::BATCH;

    // setup: the thread's filters, column and part
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread / Tile::CHANNELS % COLUMNS;
    const Extents extents = extents_of<T, Tile>(p);
    const Unit unit =
        unit_of<Filter, Tile>(p, extents, thread / (COLUMNS * Tile::CHANNELS));
    const Index filter = unit.filter + thread % Tile::CHANNELS * Index(VECTOR);
    const Index channel = filter / static_cast<Index>(p.k / p.c);
    const Index width = static_cast<Index>(p.output[2]);
    const bool x_aligned = is_aligned(x);
    const bool grad_aligned = is_aligned(grad);
    Walk<T, Filter, Tile, MODE> walk{};

    // compute: every strip of the part
    const Index strips = filter < static_cast<Index>(p.k) ? extents.strips : 0;
    for (Index strip = unit.part; strip < strips; strip += extents.parts) {
        const Index line = strip % extents.across;
        const Index walked = strip / extents.across;
        const Index n = walked / extents.segments;
        const Index first = walked % extents.segments * extents.length;
        const Index left = extents.walked - first;
        const Index end = first + (left < extents.length ? left : extents.length);
        const T* image = x + n * static_cast<Index>(p.x_pitch[0]) +
                         channel * static_cast<Index>(p.x_pitch[1]);
        const T* from = grad + n * static_cast<Index>(p.y_pitch[0]) +
                        filter * static_cast<Index>(p.y_pitch[1]);
        const Index q = line * COLUMNS + lane;
        if constexpr (!Tile::IS_ALONG_ROW) {
            if (q >= width)
                continue;
            walk.find_columns(p, q, true, unit.first_column, 0);
        }
#pragma unroll 1
        for (Index at = first; at < end + Filter::DEPTH - 1; at += BATCH) {
#pragma unroll
            for (int b = 0; b < BATCH; ++b) {
                Index output[2] = {at + b, q};
                bool exists = at + b < end;
                if constexpr (Tile::IS_ALONG_ROW) {
                    output[0] = line;
                    output[1] = (at + b) * COLUMNS + lane;
                    exists = exists && output[1] < width;
                    walk.find_columns(p, output[1], exists, unit.first_column, b);
                }
                load_elements(
                    from + output[0] * static_cast<Index>(p.y_pitch[3]) +
                        output[1] * static_cast<Index>(p.y_pitch[4]),
                    exists,
                    grad_aligned,
                    walk.grad[b]);
            }
            walk.load(p, image, x_aligned, at, end, line);
            walk.accumulate(at, first, end);
        }
    }

    // store: some taps at a time, the sums of a part's columns one after the other
    constexpr int AT_ONCE = STAGED_BYTES / static_cast<int>(VECTOR * sizeof(Sum)) > 0
                                ? STAGED_BYTES / static_cast<int>(VECTOR * sizeof(Sum))
                                : 1;
    constexpr int STAGED = AT_ONCE < Filter::TAPS ? AT_ONCE : Filter::TAPS;
    // A gap after each part, and as much after each tap: what a warp adds up at a time
    // lies in different banks.
    constexpr int PITCH =
        Tile::THREADS + (Tile::CHANNELS > Tile::PARTS ? Tile::CHANNELS : Tile::PARTS);
    constexpr int SUMS = Tile::PARTS * Tile::CHANNELS;
    __shared__ Sum staged[STAGED * VECTOR * PITCH];
    const int part = thread / (COLUMNS * Tile::CHANNELS);
    const Index taps = static_cast<Index>(p.kernel[1] * p.kernel[2]);
#pragma unroll
    for (int tap = 0; tap < Filter::TAPS; tap += STAGED) {
        if (tap > 0)
            __syncthreads(); // everyone has read the sums before these
#pragma unroll
        for (int t = 0; t < STAGED; ++t)
#pragma unroll
            for (int e = 0; e < VECTOR; ++e)
                if (tap + t < Filter::TAPS)
                    staged[(t * VECTOR + e) * PITCH + thread + part] =
                        walk.sum[(tap + t) % Filter::TAPS / Filter::S]
                                [(tap + t) % Filter::S][e];
        __syncthreads(); // the sums are whole
#pragma unroll 1
        for (int i = thread; i < STAGED * VECTOR * SUMS; i += Tile::THREADS) {
            const int number = i % SUMS / Tile::CHANNELS;
            const int place = i / SUMS; // tap and channel of a vector
            const Unit to = unit_of<Filter, Tile>(p, extents, number);
            const Index k =
                to.filter + i % Tile::CHANNELS * Index(VECTOR) + place % VECTOR;
            const int r = (tap + place / VECTOR) / Filter::S;
            const Index s = to.first_column + (tap + place / VECTOR) % Filter::S;
            if (r >= Filter::R || s >= static_cast<Index>(p.kernel[2]) ||
                k >= static_cast<Index>(p.k))
                continue;
            const int begin = place * PITCH + number * (COLUMNS * Tile::CHANNELS + 1) +
                              i % Tile::CHANNELS;
            Sum total{};
#pragma unroll
            for (int l = 0; l < COLUMNS; ++l)
                add(total, staged[begin + l * Tile::CHANNELS]);
            static_cast<Sum*>(workspace)
                [(to.part * static_cast<Index>(p.k) + k) * taps +
                 r * static_cast<Index>(p.kernel[2]) + s] = total;
        }
    }
}

// Adds the parts of the gradients, ROWS threads to each.
template <class T, class Tile, int THREADS, int ROWS>
__device__ void add_parts(const ConvProblem& p, const void* workspace, T* weight) {
    using Sum = typename Element<T>::Sum;
    const Index columns = static_cast<Index>(p.kernel[2]);
    const Index taps = static_cast<Index>(p.kernel[1]) * columns;
    pyconv::add_parts<THREADS, ROWS>(
        static_cast<const Sum*>(workspace),
        static_cast<Index>(p.k) * taps,
        extents_of<T, Tile>(p).parts,
        [&](Index linear, Sum sum) {
            weight
                [linear / taps * static_cast<Index>(p.w_pitch[0]) +
                 linear % taps / columns * static_cast<Index>(p.w_pitch[3]) +
                 linear % columns * static_cast<Index>(p.w_pitch[4])] =
                    result_of<T>(sum);
        });
}

} // namespace pyconv::conv_weight_depthwise
