// gradient strips: what means and norms hand back, to neighbouring elements at once.
//
// One thread an element asks of every window whether it holds the element, and divides
// its gradient once for each. Here a thread takes ELEMENTS neighbours of a row, and
// channels last LANES channels: each window that holds any of them is found, loaded and
// divided once, then added to those it holds. No atomics: the sums have the order, and
// the bits, of one thread an element.
//
// Global loads per element, 3 x 3, stride 2: the 2.25 windows that hold it on average
// are 1.5 x 2.5 / 4 = 0.94 for four neighbours; sixteen bytes a load channels last.
// Device memory: grad (and x, y of a norm) and dx about once. Limits: dense rows of
// taps; no adaptive windows; norms without powers.
#pragma once

#include "../memory/vector.cuh"
#include "held.cuh"

namespace pyconv::pool_gradient_strips {

// Neighbouring elements as terms: channels, or a row's where they lie side by side.
template <class T, class Sum, int COUNT>
__device__ inline void
load_along(const T* from, Index step, int count, Sum (&to)[COUNT]) {
    if (step == 1 && count == COUNT) {
        load_terms(from, true, is_aligned(from), to);
        return;
    }
#pragma unroll
    for (int e = 0; e < COUNT; ++e)
        if (e < count)
            to[e] = term_of(from[e * step]);
}

// ORDER of the norm, 0 of a mean.
template <class T, int ORDER, int ELEMENTS, int LANES, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p,
    const T* __restrict__ grad,
    const int64* /* of maxima */,
    const T* __restrict__ x,
    const T* __restrict__ y,
    T* dx) {
    using Sum = typename Element<T>::Sum;
    // What lies side by side: ACROSS rows of it, each loaded and stored as one.
    constexpr bool IS_ALONG_CHANNELS = LANES > 1;
    constexpr int SIDE = IS_ALONG_CHANNELS ? LANES : ELEMENTS;
    constexpr int ACROSS = IS_ALONG_CHANNELS ? ELEMENTS : 1;

    // setup: which elements are mine
    const int64 strips[3] = {
        p.input[0], p.input[1], ceil_div(p.input[2], int64(ELEMENTS))};
    OutputCoordinates at = output_coordinates<CHANNELS_LAST>(
        thread_number(), static_cast<Index>(p.c / LANES), strips);
    if (at.n >= static_cast<Index>(p.n))
        return;
    at.k *= LANES;
    at.at[2] *= ELEMENTS;
    const Index left = static_cast<Index>(p.input[2]) - at.at[2];
    const int count = left < ELEMENTS ? static_cast<int>(left) : ELEMENTS;
    const int side = IS_ALONG_CHANNELS ? LANES : count;
    const int across = IS_ALONG_CHANNELS ? count : 1;
    const Index place = offset_of(at, p.x_pitch);
    const Index along = static_cast<Index>(p.x_pitch[4]);
    const Index step = IS_ALONG_CHANNELS ? static_cast<Index>(p.x_pitch[1]) : along;
    Sum value[ACROSS][SIDE]{};
    Sum sum[ACROSS][SIDE]{};
    if constexpr (ORDER != 0) {
#pragma unroll
        for (int a = 0; a < ACROSS; ++a)
            if (a < across)
                load_along(x + place + a * along, step, side, value[a]);
    }

    // compute: the windows that hold any of my elements
    const Range depth = candidates(p, 0, at.at[0]);
    const Range height = candidates(p, 1, at.at[1]);
    const Index first = candidates(p, 2, at.at[2]).first;
    const Index last = candidates(p, 2, at.at[2] + count - 1).last;
    const Index taps = static_cast<Index>(p.kernel[2]);
    for (Index m = depth.first; m <= depth.last; ++m) {
        const PoolAxis in_depth = pool_axis(p, 0, m);
        if (!holds(in_depth, at.at[0]))
            continue;
        for (Index i = height.first; i <= height.last; ++i) {
            const PoolAxis in_height = pool_axis(p, 1, i);
            if (!holds(in_height, at.at[1]))
                continue;
            for (Index q = first; q <= last; ++q) {
                const PoolAxis in_width = pool_axis(p, 2, q);
                const Index source =
                    offset_of(OutputCoordinates{at.n, at.k, {m, i, q}}, p.y_pitch);
                Sum given[LANES];
                load_terms(grad + source, true, is_aligned(grad + source), given);
                Sum norm[LANES];
                if constexpr (ORDER != 0) {
                    load_terms(y + source, true, is_aligned(y + source), norm);
                } else {
                    const Sum divisor = static_cast<Sum>(
                        divisor_of(p, count_taps(in_depth, in_height, in_width)));
#pragma unroll
                    for (int lane = 0; lane < LANES; ++lane)
                        given[lane] /= divisor;
                }
                const Index first_tap = at.at[2] - in_width.start;
#pragma unroll
                for (int e = 0; e < ELEMENTS; ++e) {
                    if (first_tap + e < 0 || first_tap + e >= taps)
                        continue;
#pragma unroll
                    for (int lane = 0; lane < LANES; ++lane) {
                        const int a = IS_ALONG_CHANNELS ? e : 0;
                        const int s = IS_ALONG_CHANNELS ? lane : e;
                        if constexpr (ORDER == 0)
                            sum[a][s] += given[lane];
                        else
                            add_product(
                                sum[a][s],
                                given[lane],
                                share(Sum(ORDER), value[a][s], norm[lane]));
                    }
                }
            }
        }
    }

    // store
#pragma unroll
    for (int a = 0; a < ACROSS; ++a) {
        if (a >= across)
            continue;
        T result[SIDE];
#pragma unroll
        for (int s = 0; s < SIDE; ++s)
            result[s] = result_of<T>(sum[a][s]);
        store_elements(dx + place + a * along, result, step, side);
    }
}

} // namespace pyconv::pool_gradient_strips
