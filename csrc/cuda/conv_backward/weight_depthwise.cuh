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
#include "../memory/add_columns.cuh"
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
    using Layout = ColumnLayout<THREADS, COLUMNS, CHANNELS>;
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

// What COLUMNS x CHANNELS threads sum: a part, the first of their filters, and a chunk
// of those filters' columns; past the last chunk there is nothing.
struct Unit {
    Index part;
    Index filter;
    Index first_column;
};

template <class Filter, class Tile>
__device__ inline Unit
unit_of(const ConvProblem& p, const Extents& extents, int number) {
    // What lies together in memory runs together: channels, or neighbouring strips.
    constexpr bool FILTERS_FIRST = Tile::CHANNELS > 1;
    const Index filters = ceil_div(static_cast<Index>(p.k), Index(Tile::FILTERS));
    const Index inner = FILTERS_FIRST ? filters : extents.parts;
    const Index outer = FILTERS_FIRST ? extents.parts : filters;
    const Index linear = static_cast<Index>(blockIdx.x) * Tile::PARTS + number;
    const Index fast = linear % inner;
    const Index slow = linear / inner % outer;
    return Unit{
        FILTERS_FIRST ? slow : fast,
        (FILTERS_FIRST ? fast : slow) * Tile::FILTERS,
        linear / inner / outer * Filter::S};
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

// A strip as one thread walks along it: outputs [first, end) of column `column`, or the
// lane's of row `line`.
struct Strip {
    Index n;
    Index line;
    Index first;
    Index end;
    Index lane;
    Index column;
};

template <class Tile>
__device__ inline Strip strip_of(const Extents& extents, Index strip, int lane) {
    Strip found;
    found.line = strip % extents.across;
    const Index segment = strip / extents.across;
    found.n = segment / extents.segments;
    found.first = segment % extents.segments * extents.length;
    const Index left = extents.walked - found.first;
    found.end = found.first + (left < extents.length ? left : extents.length);
    found.lane = lane;
    found.column = found.line * Tile::COLUMNS + lane;
    return found;
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

    Sum sum[Filter::TAPS * VECTOR];
    Sum met[DEPTH][VECTOR]; // the gradients of the last outputs, the newest first
    T grad[BATCH][VECTOR];
    T x[BATCH][STEP][S][VECTOR];
    Index column[PLACES][S]; // of x; -1 in the padding
    Index row[BATCH][STEP];
    Index first_column; // of the filter
    bool x_aligned;
    bool grad_aligned;

    __device__ void
    find_columns(const ConvProblem& p, Index q, bool exists, int place) {
#pragma unroll
        for (int s = 0; s < S; ++s) {
            const Index tap = first_column + s;
            const bool is_tap = exists && tap < static_cast<Index>(p.kernel[2]);
            column[place][s] = is_tap ? tap_index<MODE>(p, 2, q, tap) : -1;
        }
    }

    // Gradients of BATCH outputs from `at` on, and the elements of x they need last.
    __device__ void load(
        const ConvProblem& p,
        const T* __restrict__ from_x,
        const T* __restrict__ from_grad,
        const Strip& strip,
        Index at) {
#pragma unroll
        for (int b = 0; b < BATCH; ++b) {
            Index output[2] = {at + b, strip.column};
            bool exists = at + b < strip.end;
            if constexpr (Tile::IS_ALONG_ROW) {
                output[0] = strip.line;
                output[1] = (at + b) * Tile::COLUMNS + strip.lane;
                exists = exists && output[1] < static_cast<Index>(p.output[2]);
                find_columns(p, output[1], exists, b);
            }
            load_elements(
                from_grad + output[0] * static_cast<Index>(p.y_pitch[3]) +
                    output[1] * static_cast<Index>(p.y_pitch[4]),
                exists,
                grad_aligned,
                grad[b]);
            const Index late = at + b - (strip.end - 1); // past the last output
#pragma unroll
            for (int j = 0; j < STEP; ++j) {
                const bool is_met = j + STEP * (late > 0 ? late : 0) < Filter::R;
                row[b][j] = is_met ? tap_index<MODE>(p, 1, output[0], j) : -1;
                const T* from = from_x + row[b][j] * static_cast<Index>(p.x_pitch[3]);
#pragma unroll
                for (int s = 0; s < S; ++s) {
                    const Index w = column[b % PLACES][s];
                    load_elements(
                        from + w * static_cast<Index>(p.x_pitch[4]),
                        row[b][j] >= 0 && w >= 0,
                        x_aligned,
                        x[b][j][s]);
                }
            }
        }
    }

    // One row of x with the outputs that meet it; IS_WHOLE: all DEPTH of them exist.
    template <bool IS_WHOLE>
    __device__ void multiply(int b, int j, Index at, const Strip& strip) {
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
                    !(IS_WHOLE || (at - back >= strip.first && at - back < strip.end)))
                    continue;
#pragma unroll
                for (int e = 0; e < VECTOR; ++e)
                    add_product(
                        sum[(r % Filter::R * S + s) * VECTOR + e],
                        term[e],
                        met[back][e]);
            }
        }
    }

    __device__ void accumulate(Index at, const Strip& strip) {
#pragma unroll
        for (int b = 0; b < BATCH; ++b) {
#pragma unroll
            for (int back = DEPTH - 1; back >= 0; --back)
#pragma unroll
                for (int e = 0; e < VECTOR; ++e)
                    met[back][e] =
                        back > 0 ? met[back - (back > 0)][e] : term_of(grad[b][e]);
            const bool is_whole =
                at + b - (DEPTH - 1) >= strip.first && at + b < strip.end;
#pragma unroll
            for (int j = 0; j < STEP; ++j) {
                if (row[b][j] < 0)
                    continue;
                if (is_whole)
                    multiply<true>(b, j, at + b, strip);
                else
                    multiply<false>(b, j, at + b, strip);
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

    // setup: the thread's filters, column and part
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread / Tile::CHANNELS % Tile::COLUMNS;
    const int part = thread / (Tile::COLUMNS * Tile::CHANNELS);
    const Extents extents = extents_of<T, Tile>(p);
    const Unit unit = unit_of<Filter, Tile>(p, extents, part);
    const Index filter =
        unit.filter + thread % Tile::CHANNELS * static_cast<Index>(Tile::VECTOR);
    x += filter / static_cast<Index>(p.k / p.c) * static_cast<Index>(p.x_pitch[1]);
    grad += filter * static_cast<Index>(p.y_pitch[1]);
    Walk<T, Filter, Tile, MODE> walk{};
    walk.first_column = unit.first_column;
    walk.x_aligned = is_aligned(x);
    walk.grad_aligned = is_aligned(grad);
    const bool exists = filter < static_cast<Index>(p.k) &&
                        unit.first_column < static_cast<Index>(p.kernel[2]);

    // compute: every strip of the part
    const Index strips = exists ? extents.strips : 0;
    for (Index number = unit.part; number < strips; number += extents.parts) {
        const Strip strip = strip_of<Tile>(extents, number, lane);
        if constexpr (!Tile::IS_ALONG_ROW) {
            if (strip.column >= static_cast<Index>(p.output[2]))
                continue;
            walk.find_columns(p, strip.column, true, 0);
        }
        const T* image = x + strip.n * static_cast<Index>(p.x_pitch[0]);
        const T* from = grad + strip.n * static_cast<Index>(p.y_pitch[0]);
#pragma unroll 1
        for (Index at = strip.first; at < strip.end + Filter::DEPTH - 1;
             at += Tile::BATCH) {
            walk.load(p, image, from, strip, at);
            walk.accumulate(at, strip);
        }
    }

    // store: every part's sums, filter by filter
    const Index width = static_cast<Index>(p.kernel[2]);
    const Index taps = static_cast<Index>(p.kernel[1]) * width;
    Sum* partial = static_cast<Sum*>(workspace);
    add_columns<typename Tile::Layout, STAGED_BYTES>(
        walk.sum, [&](int number, int of, int channel, Sum total) {
            const int tap = number / Tile::VECTOR;
            const Unit to = unit_of<Filter, Tile>(p, extents, of);
            const Index k =
                to.filter + channel * Index(Tile::VECTOR) + number % Tile::VECTOR;
            const Index s = to.first_column + tap % Filter::S;
            if (k < static_cast<Index>(p.k) && s < width)
                partial
                    [(to.part * static_cast<Index>(p.k) + k) * taps +
                     tap / Filter::S * width + s] = total;
        });
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
