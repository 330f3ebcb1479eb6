// depthwise: each channel against its own filter, at the speed of memory.
//
// There is no reduction over channels to feed the arithmetic: what counts is that every
// element crosses the device memory's bus once, and that loads and stores are wide. A
// thread computes a strip of P x Q outputs. Channels last, neighbouring threads take
// neighbouring vectors of VECTOR channels (16 bytes), and the block's filters wait in
// shared memory, turned so that a vector of channels lies side by side. Channels first,
// neighbouring threads take neighbouring columns, the strip goes down P rows, and a
// thread's filter stays in its registers.
//
// Global loads per output of 3 x 3, stride 1: 2 x 4 strips of channels last load
// 4 x 6 / 8 = 3 elements, 8 x 1 strips of channels first 10 x 3 / 8 = 3.75, most of
// them from L1; naive takes 9 and as many weights. Device memory: x and y about once.
//
// A dilated axis has strips of one output, whose taps share nothing. Padding of zeros
// must add nothing, not even to weights that are not finite: a block, or channels first
// a thread, that met one does its outputs again, one by one.
// Limits: one channel a group; two spatial axes; kernels up to 7 x 7, or 16 in a row.
#pragma once

#include "../direct_sum.cuh"
#include "../epilogue.cuh"
#include "../index.cuh"
#include "../memory/vector.cuh"

namespace pyconv::conv_depthwise {

// Registers for what is loaded ahead, and the taps of a filter that leaves none: along
// the channels, where loads are vectors and the filter waits in shared memory, and
// along the columns, where the filter has registers.
template <bool IS_ALONG_CHANNELS>
struct Ahead {
    static constexpr int WORDS = IS_ALONG_CHANNELS ? 32 : 16;
    static constexpr int MOST_TAPS = IS_ALONG_CHANNELS ? 9 : 25;
};

// Strides that the strip's outputs share elements by: 1 where it has one output.
template <int R_, int S_, int STRIDE_H_, int STRIDE_W_>
struct Filter {
    static constexpr int R = R_;
    static constexpr int S = S_;
    static constexpr int TAPS = R * S;
    static constexpr int STRIDE_H = STRIDE_H_;
    static constexpr int STRIDE_W = STRIDE_W_;
};

// CHANNELS: threads of a block side by side along the channels; 0: along columns.
template <int P_, int Q_, int VECTOR_, int CHANNELS_, int THREADS_>
struct Strip {
    static constexpr int P = P_;
    static constexpr int Q = Q_;
    static constexpr int VECTOR = VECTOR_;
    static constexpr int CHANNELS = CHANNELS_;
    static constexpr int THREADS = THREADS_;
    static constexpr bool IS_ALONG_CHANNELS = CHANNELS != 0;
    static_assert(CHANNELS == 0 ? VECTOR == 1 : THREADS % CHANNELS == 0, "whole rows");
};

// A thread's strip: its first output, and how much of it lies inside y.
struct Place {
    OutputCoordinates at;
    int rows;
    int columns;
    bool exists;
};

template <class Strip>
__device__ inline Place place_of(const ConvProblem& p) {
    const Index filters = static_cast<Index>(p.k);
    const Index height = static_cast<Index>(p.output[1]);
    const Index width = static_cast<Index>(p.output[2]);
    const Index strips_p = ceil_div(height, Index(Strip::P));
    const Index strips_q = ceil_div(width, Index(Strip::Q));
    Place place;
    Index linear = thread_number();
    if constexpr (Strip::IS_ALONG_CHANNELS) {
        constexpr int CHANNELS = Strip::CHANNELS * Strip::VECTOR;
        const Index blocks = ceil_div(filters, Index(CHANNELS));
        const Index block = static_cast<Index>(blockIdx.x);
        const int thread = static_cast<int>(threadIdx.x);
        place.at.k =
            block % blocks * CHANNELS + thread % Strip::CHANNELS * Strip::VECTOR;
        linear = block / blocks * (Strip::THREADS / Strip::CHANNELS) +
                 thread / Strip::CHANNELS;
    }
    place.at.at[0] = 0;
    place.at.at[2] = linear % strips_q * Strip::Q;
    linear /= strips_q;
    place.at.at[1] = linear % strips_p * Strip::P;
    linear /= strips_p;
    if constexpr (!Strip::IS_ALONG_CHANNELS) {
        place.at.k = linear % filters;
        linear /= filters;
    }
    place.at.n = linear;
    place.exists = linear < static_cast<Index>(p.n) && place.at.k < filters;
    const Index rows = height - place.at.at[1];
    const Index columns = width - place.at.at[2];
    place.rows = rows < Strip::P ? static_cast<int>(rows) : Strip::P;
    place.columns = columns < Strip::Q ? static_cast<int>(columns) : Strip::Q;
    return place;
}

// Filters of a block's channels. What a warp reads at once lies in one piece: vectors
// of neighbouring threads side by side, the parts of a longer vector apart.
template <class Sum, class Filter, class Strip>
struct Shared {
    static constexpr int PART =
        Strip::VECTOR < Vector<Sum>::SIZE ? Strip::VECTOR : Vector<Sum>::SIZE;
    // + one vector: taps are stored across.
    static constexpr int PITCH = (Strip::CHANNELS + 1) * Strip::VECTOR;
    alignas(16) Sum weight[Filter::TAPS * PITCH];

    static __device__ int place(int tap, int lane, int e) {
        return tap * PITCH + (e / PART * Strip::CHANNELS + lane) * PART + e % PART;
    }
    __device__ Sum at(int tap, int lane, int e) const {
        return weight[place(tap, lane, e)];
    }
};

// A thread's own filter.
template <class Sum, class Filter>
struct Registers {
    Sum weight[Filter::TAPS];

    __device__ Sum at(int tap, int, int) const { return weight[tap]; }
};

// Loads the block's filters; says whether this thread's part is finite.
template <class Filter, class Strip, class W, class Sum>
__device__ inline bool load_weight(
    const ConvProblem& p,
    const W* __restrict__ weight,
    Shared<Sum, Filter, Strip>& shared) {
    using Memory = Shared<Sum, Filter, Strip>;
    constexpr int CHANNELS = Strip::CHANNELS * Strip::VECTOR;
    const Index filters = static_cast<Index>(p.k);
    const Index blocks = ceil_div(filters, Index(CHANNELS));
    const Index first = static_cast<Index>(blockIdx.x) % blocks * CHANNELS;
    bool are_finite = true;
    // Neighbouring threads take neighbouring taps: a filter lies in one piece.
    for (int e = static_cast<int>(threadIdx.x); e < CHANNELS * Filter::TAPS;
         e += Strip::THREADS) {
        const int channel = e / Filter::TAPS;
        const int tap = e % Filter::TAPS;
        Sum value{};
        if (first + channel < filters)
            value = term_of(
                weight
                    [(first + channel) * static_cast<Index>(p.w_pitch[0]) +
                     tap / Filter::S * static_cast<Index>(p.w_pitch[3]) +
                     tap % Filter::S * static_cast<Index>(p.w_pitch[4])]);
        shared.weight[Memory::place(
            tap, channel / Strip::VECTOR, channel % Strip::VECTOR)] = value;
        are_finite = are_finite && is_finite(value);
    }
    return are_finite;
}

template <class Filter, class W, class Sum>
__device__ inline bool load_weight(
    const ConvProblem& p,
    const W* __restrict__ weight,
    Index filter,
    Registers<Sum, Filter>& registers) {
    bool are_finite = true;
#pragma unroll
    for (int tap = 0; tap < Filter::TAPS; ++tap) {
        registers.weight[tap] = term_of(
            weight
                [filter * static_cast<Index>(p.w_pitch[0]) +
                 tap / Filter::S * static_cast<Index>(p.w_pitch[3]) +
                 tap % Filter::S * static_cast<Index>(p.w_pitch[4])]);
        are_finite = are_finite && is_finite(registers.weight[tap]);
    }
    return are_finite;
}

// The elements of a strip's window, a row of them at a time.
template <class Filter, class Strip, PaddingMode MODE, class X>
struct Window {
    using Sum = typename Element<X>::Sum;
    static constexpr int ROWS = (Strip::P - 1) * Filter::STRIDE_H + Filter::R;
    static constexpr int COLUMNS = (Strip::Q - 1) * Filter::STRIDE_W + Filter::S;

    const X* plane;
    bool aligned;
    int rows; // that the strip's outputs need
    Index top;
    Index offset[COLUMNS]; // in a row of x, where `exists`
    bool exists[COLUMNS];

    __device__ Window(const ConvProblem& p, const Place& place, const X* from)
        : plane(from), aligned(is_aligned(from) && Strip::VECTOR * sizeof(X) == 16),
          rows((place.rows - 1) * Filter::STRIDE_H + Filter::R),
          top(place.at.at[1] * static_cast<Index>(p.stride[1]) -
              static_cast<Index>(p.pad_before[1])) {
        const int columns = (place.columns - 1) * Filter::STRIDE_W + Filter::S;
        const Index left = place.at.at[2] * static_cast<Index>(p.stride[2]) -
                           static_cast<Index>(p.pad_before[2]);
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            const Index position = left + j * static_cast<Index>(p.dilation[2]);
            const Index width = static_cast<Index>(p.input[2]);
            const Index column =
                MODE == PAD_ZEROS ? position : input_index(position, width, MODE);
            exists[j] = j < columns && is_inside(column, width);
            offset[j] = column * static_cast<Index>(p.x_pitch[4]);
        }
    }

    // Where a row lies in x; -1 if it has nothing for the strip.
    __device__ Index row_of(const ConvProblem& p, int i) const {
        if (i >= rows)
            return -1;
        return input_index(
            top + i * static_cast<Index>(p.dilation[1]),
            static_cast<Index>(p.input[1]),
            MODE);
    }

    // Zeros where nothing is. No branch between loads: all are on their way at once.
    __device__ void
    load(const ConvProblem& p, Index row, Sum (&value)[COLUMNS][Strip::VECTOR]) const {
        const bool has_row = row >= 0;
        const X* line = plane + row * static_cast<Index>(p.x_pitch[3]);
        if (aligned) {
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j)
                load_terms<X>(line + offset[j], has_row && exists[j], true, value[j]);
        } else {
#pragma unroll
            for (int j = 0; j < COLUMNS; ++j)
                load_terms<X>(line + offset[j], has_row && exists[j], false, value[j]);
        }
    }
};

// All products of a strip: row after row of its window, column after column. AHEAD rows
// are loaded before the first is used, for what is on its way at once decides how fast
// memory gives; beside a large filter one row is, and none that is not there.
template <
    class Filter,
    class Strip,
    PaddingMode MODE,
    class X,
    class Sum,
    class Weights>
__device__ inline void accumulate(
    const ConvProblem& p,
    const Place& place,
    const X* __restrict__ plane,
    const Weights& weights,
    Sum (&sum)[Strip::P][Strip::Q][Strip::VECTOR]) {
    using Elements = Window<Filter, Strip, MODE, X>;
    constexpr int ROWS = Elements::ROWS;
    constexpr int COLUMNS = Elements::COLUMNS;
    constexpr int WORDS = COLUMNS * Strip::VECTOR * sizeof(Sum) / 4;
    using Most = Ahead<Strip::IS_ALONG_CHANNELS>;
    constexpr int FIT = WORDS > Most::WORDS ? 1 : Most::WORDS / WORDS;
    constexpr bool IS_LARGE = Filter::TAPS > Most::MOST_TAPS;
    constexpr int AHEAD = IS_LARGE ? 1 : (FIT < ROWS ? FIT : ROWS);
    // A large filter in shared memory, all at once, would fill the registers.
    constexpr int UNROLL = IS_LARGE && Strip::IS_ALONG_CHANNELS ? 1 : ROWS;
    const int lane =
        static_cast<int>(threadIdx.x) % (Strip::CHANNELS + !Strip::CHANNELS);
    const Elements window(p, place, plane);
    Sum value[AHEAD][COLUMNS][Strip::VECTOR];
    if constexpr (!IS_LARGE) {
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            window.load(p, window.row_of(p, i), value[i]);
    }
#pragma unroll(UNROLL)
    for (int i = 0; i < ROWS; ++i) {
        if constexpr (IS_LARGE) {
            const Index here = window.row_of(p, i);
            if (here < 0)
                continue;
            window.load(p, here, value[0]);
        }
        const auto& row = value[i % AHEAD];
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
#pragma unroll
            for (int r0 = 0; r0 < Strip::P; ++r0) {
                const int r = i - r0 * Filter::STRIDE_H;
                if (r < 0 || r >= Filter::R)
                    continue;
#pragma unroll
                for (int s0 = 0; s0 < Strip::Q; ++s0) {
                    const int s = j - s0 * Filter::STRIDE_W;
                    if (s < 0 || s >= Filter::S)
                        continue;
#pragma unroll
                    for (int e = 0; e < Strip::VECTOR; ++e)
                        add_product(
                            sum[r0][s0][e],
                            row[j][e],
                            weights.at(r * Filter::S + s, lane, e));
                }
            }
        }
        if (!IS_LARGE && i + AHEAD < ROWS)
            window.load(p, window.row_of(p, i + AHEAD), value[i % AHEAD]);
    }
}

template <
    class X,
    class W,
    class Filter,
    class Strip,
    PaddingMode MODE,
    Activation ACTIVATION>
__device__ void
run(const ConvProblem& p,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const typename Element<X>::Sum* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y) {
    using Sum = typename Element<X>::Sum;
    using Result = typename Element<X>::Result;

    // setup: the thread's strip and its plane of x
    const Place place = place_of<Strip>(p);
    const Index channel = place.at.k / static_cast<Index>(p.k / p.groups);
    const X* plane = x + place.at.n * static_cast<Index>(p.x_pitch[0]) +
                     channel * static_cast<Index>(p.x_pitch[1]);
    Sum sum[Strip::P][Strip::Q][Strip::VECTOR]{};

    // compute
    bool is_bad = false; // met a weight that is not finite
    if constexpr (Strip::IS_ALONG_CHANNELS) {
        __shared__ Shared<Sum, Filter, Strip> shared;
        const bool are_finite = load_weight<Filter, Strip>(p, weight, shared);
        is_bad = __syncthreads_or(!are_finite); // and the filters are whole
        if (!place.exists)
            return;
        accumulate<Filter, Strip, MODE>(p, place, plane, shared, sum);
    } else {
        if (!place.exists)
            return;
        Registers<Sum, Filter> registers;
        is_bad = !load_weight(p, weight, place.at.k, registers);
        accumulate<Filter, Strip, MODE>(p, place, plane, registers, sum);
    }

    // store
    if (MODE == PAD_ZEROS && is_bad) {
        direct_sums<Strip::P * Strip::Q * Strip::VECTOR>(
            p,
            x,
            weight,
            [&](int e, OutputCoordinates& at) {
                const int row = e / (Strip::Q * Strip::VECTOR);
                const int column = e / Strip::VECTOR % Strip::Q;
                at = place.at;
                at.k += e % Strip::VECTOR;
                at.at[1] += row;
                at.at[2] += column;
                return row < place.rows && column < place.columns;
            },
            [&](const OutputCoordinates& at, Sum total) {
                const Index offset = offset_of(at, p.y_pitch);
                y[offset] = finish<ACTIVATION>(total, bias, at.k, residual, offset);
            });
        return;
    }
    // What a thread stores in one piece: channels, or columns.
    constexpr int PIECE = Strip::IS_ALONG_CHANNELS ? Strip::VECTOR : Strip::Q;
    constexpr int PIECES = Strip::IS_ALONG_CHANNELS ? Strip::Q : 1;
    const Index step = static_cast<Index>(p.y_pitch[Strip::IS_ALONG_CHANNELS ? 1 : 4]);
#pragma unroll
    for (int row = 0; row < Strip::P; ++row)
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece) {
            if (row >= place.rows || piece >= place.columns)
                continue;
            const Index first = offset_of(place.at, p.y_pitch) +
                                row * static_cast<Index>(p.y_pitch[3]) +
                                piece * static_cast<Index>(p.y_pitch[4]);
            const int count = Strip::IS_ALONG_CHANNELS ? PIECE : place.columns;
            Result result[PIECE];
#pragma unroll
            for (int e = 0; e < PIECE; ++e)
                if (e < count)
                    result[e] = finish<ACTIVATION>(
                        Strip::IS_ALONG_CHANNELS ? sum[row][piece][e] : sum[row][e][0],
                        bias,
                        place.at.k + (Strip::IS_ALONG_CHANNELS ? e : 0),
                        residual,
                        first + e * step);
            store_elements(y + first, result, step, count);
        }
}

} // namespace pyconv::conv_depthwise
