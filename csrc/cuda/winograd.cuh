// Winograd's minimal filtering of 3 x 3: its transforms, its tiles, its filters.
//
// F(m x m, 3 x 3) makes m x m outputs from (m + 2)^2 products, one at each pair of
// points: 0, +-p for some p, and infinity. What is multiplied are sums of a tile of the
// input and sums of a filter; every transform is taken along columns, then along rows.
// The points are the CPU's (csrc/cpu/micro/winograd.hpp): {0, +-3/4, +-3/2} cost what
// {0, +-1, +-2} cost and round better.
// Source: Lavin and Gray 2016 (arXiv 1509.09308); Barabasz et al. 2020 (arXiv
// 1803.10986) for points other than integers.
//
// An Inf or NaN would spread over its whole tile, and the zeros of padding would meet
// infinite weights: outputs that come out not finite are summed again as they are
// defined.
#pragma once

#include "direct_sum.cuh"
#include "epilogue.cuh"
#include "index.cuh"

namespace pyconv {

// The pairs of F(4 x 4): points, their squares.
inline constexpr float WINOGRAD_P = 0.75F;
inline constexpr float WINOGRAD_Q = 1.5F;
inline constexpr float WINOGRAD_P2 = WINOGRAD_P * WINOGRAD_P;
inline constexpr float WINOGRAD_Q2 = WINOGRAD_Q * WINOGRAD_Q;

// ---- one line ----------------------------------------------------------------------

__device__ inline void winograd_input_line(const float (&d)[4], float (&v)[4]) {
    v[0] = d[2] - d[0];
    v[1] = d[2] + d[1];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
}

__device__ inline void winograd_input_line(const float (&d)[6], float (&v)[6]) {
    constexpr float PRODUCT = WINOGRAD_P2 * WINOGRAD_Q2;
    constexpr float SUM = WINOGRAD_P2 + WINOGRAD_Q2;
    const float even_p = d[4] - WINOGRAD_Q2 * d[2];
    const float odd_p = WINOGRAD_P * (d[3] - WINOGRAD_Q2 * d[1]);
    const float even_q = d[4] - WINOGRAD_P2 * d[2];
    const float odd_q = WINOGRAD_Q * (d[3] - WINOGRAD_P2 * d[1]);
    v[0] = d[4] + PRODUCT * d[0] - SUM * d[2];
    v[1] = even_p + odd_p;
    v[2] = even_p - odd_p;
    v[3] = even_q + odd_q;
    v[4] = even_q - odd_q;
    v[5] = d[5] + PRODUCT * d[1] - SUM * d[3];
}

__device__ inline void winograd_filter_line(const float (&g)[3], float (&u)[4]) {
    const float even = 0.5F * (g[0] + g[2]);
    const float odd = 0.5F * g[1];
    u[0] = -g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
}

// Divided by the interpolation's norms.
__device__ inline void winograd_filter_line(const float (&g)[3], float (&u)[6]) {
    constexpr float NORM_0 = 1.0F / (WINOGRAD_P2 * WINOGRAD_Q2);
    constexpr float NORM_P = 0.5F / (WINOGRAD_P2 * (WINOGRAD_P2 - WINOGRAD_Q2));
    constexpr float NORM_Q = 0.5F / (WINOGRAD_Q2 * (WINOGRAD_Q2 - WINOGRAD_P2));
    const float even_p = NORM_P * (g[0] + WINOGRAD_P2 * g[2]);
    const float odd_p = NORM_P * WINOGRAD_P * g[1];
    const float even_q = NORM_Q * (g[0] + WINOGRAD_Q2 * g[2]);
    const float odd_q = NORM_Q * WINOGRAD_Q * g[1];
    u[0] = NORM_0 * g[0];
    u[1] = even_p + odd_p;
    u[2] = even_p - odd_p;
    u[3] = even_q + odd_q;
    u[4] = even_q - odd_q;
    u[5] = g[2];
}

__device__ inline void winograd_output_line(const float (&m)[4], float (&y)[2]) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] + m[3];
}

__device__ inline void winograd_output_line(const float (&m)[6], float (&y)[4]) {
    constexpr float P3 = WINOGRAD_P2 * WINOGRAD_P;
    constexpr float Q3 = WINOGRAD_Q2 * WINOGRAD_Q;
    const float sum_p = m[1] + m[2];
    const float sum_q = m[3] + m[4];
    const float difference_p = m[1] - m[2];
    const float difference_q = m[3] - m[4];
    y[0] = m[0] + sum_p + sum_q;
    y[1] = WINOGRAD_P * difference_p + WINOGRAD_Q * difference_q;
    y[2] = WINOGRAD_P2 * sum_p + WINOGRAD_Q2 * sum_q;
    y[3] = P3 * difference_p + Q3 * difference_q + m[5];
}

// ---- a tile: columns, then rows
// ------------------------------------------------------

// Named types: NVRTC 13.0 takes a generic lambda here for a function of the host.
struct WinogradInputLine {
    template <int POINTS>
    __device__ void operator()(const float (&d)[POINTS], float (&v)[POINTS]) const {
        winograd_input_line(d, v);
    }
};

struct WinogradFilterLine {
    template <int POINTS>
    __device__ void operator()(const float (&g)[3], float (&u)[POINTS]) const {
        winograd_filter_line(g, u);
    }
};

struct WinogradOutputLine {
    template <int POINTS, int OUTPUTS>
    __device__ void operator()(const float (&m)[POINTS], float (&y)[OUTPUTS]) const {
        winograd_output_line(m, y);
    }
};

template <int FROM, int TO, class Line>
__device__ inline void
winograd_transform(const float (&from)[FROM][FROM], float (&to)[TO][TO], Line line) {
    float half[TO][FROM];
#pragma unroll
    for (int j = 0; j < FROM; ++j) {
        float column[FROM];
        float out[TO];
#pragma unroll
        for (int i = 0; i < FROM; ++i)
            column[i] = from[i][j];
        line(column, out);
#pragma unroll
        for (int i = 0; i < TO; ++i)
            half[i][j] = out[i];
    }
#pragma unroll
    for (int i = 0; i < TO; ++i)
        line(half[i], to[i]);
}

template <int POINTS>
__device__ inline void
winograd_input(const float (&d)[POINTS][POINTS], float (&v)[POINTS][POINTS]) {
    winograd_transform(d, v, WinogradInputLine{});
}

template <int POINTS>
__device__ inline void
winograd_filter(const float (&g)[3][3], float (&u)[POINTS][POINTS]) {
    winograd_transform(g, u, WinogradFilterLine{});
}

template <int POINTS, int OUTPUTS>
__device__ inline void
winograd_output(const float (&m)[POINTS][POINTS], float (&y)[OUTPUTS][OUTPUTS]) {
    winograd_transform(m, y, WinogradOutputLine{});
}

// ---- where things lie
// ----------------------------------------------------------------

// Channels that are multiplied at a time.
inline constexpr int WINOGRAD_STEP = 8;

// Operands lie in panels of BLOCK tiles or filters: what a step's products read is one
// stretch, [point][channel of the step][tile or filter], and steps follow each other.
// Tiles, filters and channels past the end are zeros there. Of point 0; a point is
// WINOGRAD_STEP * BLOCK further.
template <int ALL_POINTS, int BLOCK>
__device__ inline Index
winograd_place(Index panel, Index steps, Index channel, Index lane) {
    const Index step = panel * steps + channel / WINOGRAD_STEP;
    return (step * ALL_POINTS * WINOGRAD_STEP + channel % WINOGRAD_STEP) * BLOCK + lane;
}

// A tile's first output.
struct WinogradTile {
    Index n;
    Index p;
    Index q;
};

// Tiles of all images are numbered together, along the width first.
template <int OUTPUTS>
__device__ inline WinogradTile winograd_tile(const ConvProblem& p, Index number) {
    const Index columns = ceil_div(static_cast<Index>(p.output[2]), Index(OUTPUTS));
    const Index rows = ceil_div(static_cast<Index>(p.output[1]), Index(OUTPUTS));
    return WinogradTile{
        number / columns / rows,
        number / columns % rows * OUTPUTS,
        number % columns * OUTPUTS};
}

// Where a tile's inputs lie in x, and which of them are there at all.
template <int POINTS, PaddingMode MODE>
struct WinogradWindow {
    Index image; // and the group's first channel
    Index row[POINTS];
    Index column[POINTS];
    unsigned rows_inside = 0; // a bit for each
    unsigned columns_inside = 0;

    __device__ WinogradWindow(const ConvProblem& p, Index group, Index number) {
        const WinogradTile tile = winograd_tile<POINTS - 2>(p, number);
        const Index first = group * static_cast<Index>(p.c / p.groups);
        image = tile.n * static_cast<Index>(p.x_pitch[0]) +
                first * static_cast<Index>(p.x_pitch[1]);
#pragma unroll
        for (int i = 0; i < POINTS; ++i) {
            const Index h = input_index(
                tile.p + i - static_cast<Index>(p.pad_before[1]),
                static_cast<Index>(p.input[1]),
                MODE);
            const Index w = input_index(
                tile.q + i - static_cast<Index>(p.pad_before[2]),
                static_cast<Index>(p.input[2]),
                MODE);
            row[i] = h * static_cast<Index>(p.x_pitch[3]);
            column[i] = w * static_cast<Index>(p.x_pitch[4]);
            rows_inside |= static_cast<unsigned>(h >= 0) << i;
            columns_inside |= static_cast<unsigned>(w >= 0) << i;
        }
        if (tile.n >= static_cast<Index>(p.n))
            rows_inside = 0;
    }

    // One channel of the group; zeros if there is no such channel.
    template <class X>
    __device__ void load(
        const ConvProblem& p,
        const X* __restrict__ x,
        Index channel,
        float (&d)[POINTS][POINTS]) const {
        load(p, x, channel, row, column, 1, d);
    }

    // The same, with the offsets of rows and columns elsewhere, `pitch` apart.
    template <class X>
    __device__ void load(
        const ConvProblem& p,
        const X* __restrict__ x,
        Index channel,
        const Index* rows,
        const Index* columns,
        int pitch,
        float (&d)[POINTS][POINTS]) const {
        const bool exists = channel < static_cast<Index>(p.c / p.groups);
        const Index from = image + channel * static_cast<Index>(p.x_pitch[1]);
#pragma unroll
        for (int i = 0; i < POINTS; ++i)
#pragma unroll
            for (int j = 0; j < POINTS; ++j) {
                const bool inside =
                    exists && (rows_inside >> i & columns_inside >> j & 1U) != 0;
                const Index offset = from + rows[i * pitch] + columns[j * pitch];
                d[i][j] = inside ? term_of(x[offset]) : 0.0F;
            }
    }
};

// ---- the stages that every form has
// --------------------------------------------------

// Transforms all filters, one thread a filter and channel; neighbours store neighbours.
template <class W, int POINTS, int BLOCK>
__device__ void
winograd_filters(const ConvProblem& p, const W* __restrict__ weight, void* to) {
    const Index filters = static_cast<Index>(p.k / p.groups);
    const Index channels = static_cast<Index>(p.c / p.groups);
    const Index panels = ceil_div(filters, Index(BLOCK));
    const Index steps = ceil_div(channels, Index(WINOGRAD_STEP));
    Index linear = thread_number();
    const Index filter = linear % (panels * BLOCK);
    linear /= panels * BLOCK;
    const Index channel = linear % (steps * WINOGRAD_STEP);
    const Index group = linear / (steps * WINOGRAD_STEP);
    if (group >= static_cast<Index>(p.groups))
        return;

    float g[3][3];
    const bool exists = filter < filters && channel < channels;
    const Index from = (group * filters + filter) * static_cast<Index>(p.w_pitch[0]) +
                       channel * static_cast<Index>(p.w_pitch[1]);
#pragma unroll
    for (int r = 0; r < 3; ++r)
#pragma unroll
        for (int s = 0; s < 3; ++s)
            g[r][s] = exists ? term_of(
                                   weight
                                       [from + r * static_cast<Index>(p.w_pitch[3]) +
                                        s * static_cast<Index>(p.w_pitch[4])])
                             : 0.0F;
    float u[POINTS][POINTS];
    winograd_filter(g, u);
    float* out = static_cast<float*>(to) +
                 winograd_place<POINTS * POINTS, BLOCK>(
                     group * panels + filter / BLOCK, steps, channel, filter % BLOCK);
#pragma unroll
    for (int i = 0; i < POINTS; ++i)
#pragma unroll
        for (int j = 0; j < POINTS; ++j)
            out[(i * POINTS + j) * WINOGRAD_STEP * BLOCK] = u[i][j];
}

// Output number e of a tile, in rows.
template <int OUTPUTS>
__device__ inline OutputCoordinates
winograd_at(const WinogradTile& tile, Index k, int e) {
    return OutputCoordinates{
        tile.n, k, {0, tile.p + e / OUTPUTS, tile.q + e % OUTPUTS}};
}

// Transforms one tile's sums of one filter, finishes and stores the outputs. Gives a
// bit for each that is not finite, which is not stored.
template <Activation ACTIVATION, int POINTS, class Result>
__device__ inline unsigned winograd_store(
    const ConvProblem& p,
    const WinogradTile& tile,
    Index k,
    const float (&m)[POINTS][POINTS],
    const float* __restrict__ bias,
    const Result* residual,
    Result* y) {
    constexpr int OUTPUTS = POINTS - 2;
    float out[OUTPUTS][OUTPUTS];
    winograd_output(m, out);
    unsigned bad = 0;
#pragma unroll
    for (int e = 0; e < OUTPUTS * OUTPUTS; ++e) {
        const OutputCoordinates at = winograd_at<OUTPUTS>(tile, k, e);
        if (at.at[1] >= static_cast<Index>(p.output[1]) ||
            at.at[2] >= static_cast<Index>(p.output[2]))
            continue;
        const float sum = out[e / OUTPUTS][e % OUTPUTS];
        if (!is_finite(sum)) {
            bad |= 1U << e;
            continue;
        }
        const Index offset = offset_of(at, p.y_pitch);
        y[offset] = finish<ACTIVATION>(sum, bias, k, residual, offset);
    }
    return bad;
}

// Sums the outputs of some bits as they are defined.
template <Activation ACTIVATION, int OUTPUTS, class X, class W>
__device__ inline void winograd_again(
    const ConvProblem& p,
    const WinogradTile& tile,
    Index k,
    unsigned bad,
    const X* __restrict__ x,
    const W* __restrict__ weight,
    const float* __restrict__ bias,
    const typename Element<X>::Result* residual,
    typename Element<X>::Result* y) {
#pragma unroll 1
    for (int e = 0; bad >> e != 0; ++e) {
        if ((bad >> e & 1U) == 0)
            continue;
        const OutputCoordinates at = winograd_at<OUTPUTS>(tile, k, e);
        const Index offset = offset_of(at, p.y_pitch);
        const float sum = direct_sum(p, at, x, weight);
        y[offset] = finish<ACTIVATION>(sum, bias, k, residual, offset);
    }
}

} // namespace pyconv
