// strips: a thread pools neighbouring outputs of a row, from elements it loads once.
//
// Where windows overlap, one thread a window loads each element as often as windows
// hold it. Here a thread takes a strip of OUTPUTS along a row: of each row of their
// windows it loads every element once and gives it to all the windows that hold it.
// Channels last, it does so for LANES channels, sixteen bytes in a load or store;
// channels first, the row itself is loaded in pieces of sixteen bytes where it is
// aligned, single elements around them, and the strip's results leave as one vector.
//
// Taps come to each window in the order they come in anywhere: the bits are those of
// one thread a window. An array that begins off sixteen bytes is loaded element by
// element.
//
// Global loads per output, 3 x 3, stride 1, four outputs: 3 x 6 / 4 = 4.5 elements, not
// 9, in 1.1 ... 2.3 requests. Device memory: x and y about once. Limits: dense rows of
// taps, at most 16; no adaptive windows.
#pragma once

#include "../memory/vector.cuh"
#include "rules.cuh"
#include "window.cuh"

namespace pyconv::pool_strips {

// SHIFT: the first tap's distance past sixteen bytes, in elements, channels first; -1:
// rows are not aligned. STRIDE matters where OUTPUTS > 1.
template <int TAPS_, int STRIDE_, int OUTPUTS_, int LANES_, int SHIFT_>
struct Strip {
    static constexpr int TAPS = TAPS_;
    static constexpr int STRIDE = STRIDE_;
    static constexpr int OUTPUTS = OUTPUTS_;
    static constexpr int LANES = LANES_;
    static constexpr int SHIFT = SHIFT_;
    static constexpr int REACH = (OUTPUTS - 1) * STRIDE + TAPS;
};

// The elements of a row that exist: first <= i < last.
struct Reach {
    int first;
    int last;

    __device__ bool holds(int i) const { return i >= first && i < last; }
};

// What a thread loads of a row: all of it, a position for each lane.
template <class Strip, class T>
__device__ inline void load_row(
    const T* from,
    Index step,
    const Reach& reach,
    bool aligned,
    T (&row)[Strip::REACH][Strip::LANES]) {
    constexpr int SIZE = Vector<T>::SIZE;
#pragma unroll
    for (int i = 0; i < Strip::REACH; ++i) {
        if constexpr (Strip::LANES > 1) {
            static_assert(Strip::LANES == SIZE, "a vector of channels");
            if (!reach.holds(i))
                continue;
            if (aligned) {
                const Vector<T> vector = load_vector(from + i * step);
#pragma unroll
                for (int lane = 0; lane < Strip::LANES; ++lane)
                    row[i][lane] = vector.at[lane % SIZE];
            } else {
#pragma unroll
                for (int lane = 0; lane < Strip::LANES; ++lane)
                    row[i][lane] = from[i * step + lane];
            }
        } else {
            // The piece of sixteen bytes that i lies in, if there is a whole one.
            const int in_piece = Strip::SHIFT < 0 ? 0 : (i + Strip::SHIFT) % SIZE;
            const int piece = i - in_piece;
            const bool is_whole =
                Strip::SHIFT >= 0 && piece >= 0 && piece + SIZE <= Strip::REACH;
            const bool is_loaded =
                is_whole && aligned && reach.holds(piece) && piece + SIZE <= reach.last;
            if (is_loaded && in_piece == 0) {
                const Vector<T> vector = load_vector(from + i);
#pragma unroll
                for (int e = 0; e < SIZE; ++e)
                    if (i + e < Strip::REACH)
                        row[i + e][0] = vector.at[e];
            } else if (!is_loaded && reach.holds(i)) {
                row[i][0] = from[i * step];
            }
        }
    }
}

template <class Strip, bool CHANNELS_LAST>
__device__ inline OutputCoordinates first_output(const PoolProblem& p) {
    const int64 strips[3] = {
        p.output[0], p.output[1], ceil_div(p.output[2], int64(Strip::OUTPUTS))};
    OutputCoordinates at = output_coordinates<CHANNELS_LAST>(
        thread_number(), static_cast<Index>(p.c / Strip::LANES), strips);
    at.k *= Strip::LANES;
    at.at[2] *= Strip::OUTPUTS;
    return at;
}

template <class T, int COUNT>
__device__ inline void
store_pairs(T* to, const T (&from)[COUNT], Index step, int count) {
#pragma unroll
    for (int e = 0; e < COUNT; e += 2) {
        const T pair[2] = {from[e], from[(e + 1) % COUNT]};
        const int left = count - e < COUNT - e ? count - e : COUNT - e;
        if (left > 0)
            store_elements(to + e * step, pair, step, left < 2 ? left : 2);
    }
}

template <class Rule, class T, class Strip, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* indices) {
    constexpr int OUTPUTS = Strip::OUTPUTS;
    constexpr int LANES = Strip::LANES;

    // setup: which strip is mine
    const OutputCoordinates at = first_output<Strip, CHANNELS_LAST>(p);
    if (at.n >= static_cast<Index>(p.n))
        return;
    const Index left = static_cast<Index>(p.output[2]) - at.at[2];
    const int count = left < OUTPUTS ? static_cast<int>(left) : OUTPUTS;
    const PoolAxis depth = pool_axis(p, 0, at.at[0]);
    const PoolAxis height = pool_axis(p, 1, at.at[1]);
    const Index width = static_cast<Index>(p.input[2]);
    const Index start = at.at[2] * static_cast<Index>(p.stride[2]) -
                        static_cast<Index>(p.pad_before[2]);
    const int needed = (count - 1) * Strip::STRIDE + Strip::TAPS;
    const Reach reach{
        start < 0 ? static_cast<int>(-start) : 0,
        width - start < needed ? static_cast<int>(width - start) : needed};
    const Index step = static_cast<Index>(p.x_pitch[4]);
    const T* plane = x + at.n * static_cast<Index>(p.x_pitch[0]) +
                     at.k * static_cast<Index>(p.x_pitch[1]) + start * step;
    const bool aligned = is_aligned(x);
    const Rule rule(p);
    typename Rule::State state[OUTPUTS][LANES];
#pragma unroll
    for (int q = 0; q < OUTPUTS; ++q)
#pragma unroll
        for (int lane = 0; lane < LANES; ++lane)
            state[q][lane] = rule.start();

    // compute: each row of the windows, each element to all who hold it
    for (Index t = depth.first; t < depth.last; ++t) {
        const Index d = depth.start + t * depth.dilation;
        for (Index r = height.first; r < height.last; ++r) {
            const Index h = height.start + r * height.dilation;
            T row[Strip::REACH][LANES]{};
            load_row<Strip>(
                plane + d * static_cast<Index>(p.x_pitch[2]) +
                    h * static_cast<Index>(p.x_pitch[3]),
                step,
                reach,
                aligned,
                row);
            const Index place =
                (d * static_cast<Index>(p.input[1]) + h) * width + start;
#pragma unroll
            for (int i = 0; i < Strip::REACH; ++i) {
                if (!reach.holds(i))
                    continue;
#pragma unroll
                for (int q = 0; q < OUTPUTS; ++q) {
                    const int tap = i - q * Strip::STRIDE;
                    if (tap < 0 || tap >= Strip::TAPS)
                        continue;
#pragma unroll
                    for (int lane = 0; lane < LANES; ++lane)
                        rule.take(state[q][lane], row[i][lane], place + i);
                }
            }
        }
    }

    // store
    T result[OUTPUTS][LANES];
    int64 places[OUTPUTS][LANES];
#pragma unroll
    for (int q = 0; q < OUTPUTS; ++q) {
        const TapCount taps = count_taps(depth, height, pool_axis(p, 2, at.at[2] + q));
#pragma unroll
        for (int lane = 0; lane < LANES; ++lane) {
            result[q][lane] = rule.result(state[q][lane], taps);
            places[q][lane] = static_cast<int64>(Rule::place(state[q][lane]));
        }
    }
    const Index to = offset_of(at, p.y_pitch);
    const Index along = static_cast<Index>(p.y_pitch[4]);
    if constexpr (LANES > 1) {
#pragma unroll
        for (int q = 0; q < OUTPUTS; ++q) {
            if (q >= count)
                continue;
            store_elements(y + to + q * along, result[q], Index(1), LANES);
            if (indices != nullptr)
                store_pairs(indices + to + q * along, places[q], Index(1), LANES);
        }
    } else {
        T flat[OUTPUTS];
        int64 flat_places[OUTPUTS];
#pragma unroll
        for (int q = 0; q < OUTPUTS; ++q) {
            flat[q] = result[q][0];
            flat_places[q] = places[q][0];
        }
        store_elements(y + to, flat, along, count);
        if (indices != nullptr)
            store_pairs(indices + to, flat_places, along, count);
    }
}

} // namespace pyconv::pool_strips
