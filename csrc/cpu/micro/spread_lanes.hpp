// Giving each filter of a group its own copy of the group's channels.
//
// The idea: with filters in the lanes, lane k wants channel c of k's group, for every c
// in turn. A vector of x holds the channels of all groups that a vector of filters
// belongs to, so one shuffle with a fixed index makes each copy. It is used at once by
// all taps of a row (group_row), or kept for every tap to read with a plain load
// (spread_lanes).
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/lane_tile.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class V, class I>
inline __attribute__((always_inline)) V pick_lanes(const V& from, const I& index) {
#if defined(__clang__)
    V out{};
    for (unsigned i = 0; i < sizeof(V) / sizeof(from[0]); ++i) {
        out[i] = from[index[i]];
    }
    return out;
#else
    return __builtin_shuffle(from, index);
#endif
}

template <class T>
void spread_lanes(const SpreadLanes<T>& spread) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    using Index = typename Simd<T>::Index;
    const T* x = spread.x;
    T* out = spread.out;
    for (int64 pixel = 0; pixel < spread.pixels; ++pixel) {
        const auto* index = static_cast<const Index*>(spread.index);
        for (int64 v = 0; v < spread.vectors; ++v) {
            const Vector from =
                *reinterpret_cast<const Unaligned*>(x + spread.begin[v]);
            T* to = out + v * Simd<T>::LANES;
            for (int64 c = 0; c < spread.channels; ++c, to += spread.out_pitch) {
                *reinterpret_cast<Unaligned*>(to) = pick_lanes(from, *index++);
            }
        }
        x += spread.x_pitch;
        out += spread.channels * spread.out_pitch;
    }
}

// One column of x, counted from each part's first, for parts BEGIN..END of the tile.
template <class T, int TAPS, int STRIDE, int PIXELS, int COLUMN, int BEGIN, int END>
inline __attribute__((always_inline)) void group_column(
    const LaneTile<T>& tile,
    const T* x,
    const T* weight,
    typename Simd<T>::Vector (&acc)[PIXELS][1]) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    using Index = typename Simd<T>::Index;
    const int64 term_pitch = tile.weight_pitch;
    const int64 tap_pitch = tile.group_channels * term_pitch;
    const auto* index = static_cast<const Index*>(tile.index);
    Vector from[END];
    PYCONV_UNROLL
    for (int part = BEGIN; part < END; ++part) {
        from[part] = *reinterpret_cast<const Unaligned*>(
            x + (COLUMN + part * LANE_ROW_PIXELS * STRIDE) * tile.pixel_pitch);
    }
    for (int64 c = 0; c < tile.group_channels; ++c, weight += term_pitch) {
        Vector right[END];
        PYCONV_UNROLL
        for (int part = BEGIN; part < END; ++part) {
            right[part] = pick_lanes(from[part], index[c]);
        }
        PYCONV_UNROLL
        for (int s = 0; s < TAPS; ++s) {
            const int at = COLUMN - s;
            if (at >= 0 && at % STRIDE == 0 && at / STRIDE < LANE_ROW_PIXELS) {
                const Vector left =
                    *reinterpret_cast<const Unaligned*>(weight + s * tap_pitch);
                PYCONV_UNROLL
                for (int part = BEGIN; part < END; ++part) {
                    acc[at / STRIDE + part * LANE_ROW_PIXELS][0] += left * right[part];
                }
            }
        }
    }
}

template <class T, int TAPS, int STRIDE, int PIXELS, int COLUMN>
inline __attribute__((always_inline)) void group_columns(
    const LaneTile<T>& tile,
    const T* x,
    const T* weight,
    typename Simd<T>::Vector (&acc)[PIXELS][1]) {
    constexpr int APART = LANE_ROW_PIXELS * STRIDE;
    if constexpr (COLUMN < (LANE_ROW_PIXELS - 1) * STRIDE + TAPS) {
        const bool low = COLUMN >= tile.first && COLUMN < tile.last;
        if constexpr (PIXELS == LANE_ROW_PIXELS) {
            if (low) {
                group_column<T, TAPS, STRIDE, PIXELS, COLUMN, 0, 1>(
                    tile, x, weight, acc);
            }
        } else {
            const bool high =
                COLUMN + APART >= tile.first && COLUMN + APART < tile.last;
            if (low && high) {
                group_column<T, TAPS, STRIDE, PIXELS, COLUMN, 0, 2>(
                    tile, x, weight, acc);
            } else if (low) {
                group_column<T, TAPS, STRIDE, PIXELS, COLUMN, 0, 1>(
                    tile, x, weight, acc);
            } else if (high) {
                group_column<T, TAPS, STRIDE, PIXELS, COLUMN, 1, 2>(
                    tile, x, weight, acc);
            }
        }
        group_columns<T, TAPS, STRIDE, PIXELS, COLUMN + 1>(tile, x, weight, acc);
    }
}

// One vector of filters over a row of pixels: each column of x is loaded once, each of
// its copies serves every pixel that has it in its window. Neighbouring pixels wait for
// each other's columns, so a wide tile goes as two parts side by side, which also share
// the weights.
template <class T, int TAPS, int STRIDE, int PIXELS>
void group_row(const LaneTile<T>& tile) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    Vector acc[PIXELS][1];
    PYCONV_UNROLL
    for (int i = 0; i < PIXELS; ++i) {
        acc[i][0] = Vector{};
    }
    for (int64 row = 0; row < tile.taps; ++row) {
        group_columns<T, TAPS, STRIDE, PIXELS, 0>(
            tile,
            tile.x + tile.x_offset[row],
            tile.weight + tile.weight_offset[row],
            acc);
    }
    finish_lanes<T, PIXELS, 1>(tile, 0, acc);
    PYCONV_UNROLL
    for (int i = 0; i < PIXELS; ++i) {
        if (i < tile.pixels) {
            *reinterpret_cast<Unaligned*>(tile.acc + i * tile.acc_pitch) = acc[i][0];
        }
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
