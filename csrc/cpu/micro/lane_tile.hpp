// Convolution with channels in the lanes: a vector of channels under its own weights.
//
// The idea: where each channel meets only its own filter and channels are neighbours in
// memory, a tap is a vector of weights times a vector of x, for several pixels that
// share the weights. Taps are a list of offsets, so that those in zero padding are left
// out. The last vector of channels overlaps the one before it: nothing past the last
// channel is read, and what is computed twice comes out the same. One chain per
// element, in list order. Source: Zhang et al. 2020 (arXiv 2001.02504).
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class T>
inline __attribute__((always_inline)) void
activate_lanes(int64 activation, typename Simd<T>::Vector& value) {
    using Vector = typename Simd<T>::Vector;
    const Vector zero{};
    if (activation == ACT_RELU) {
        value = value < zero ? zero : value; // NaN stays NaN
    } else if (activation == ACT_RELU6) {
        const Vector six = T(6) - zero;
        value = value < zero ? zero : (value > six ? six : value);
    } else {
        value = value < zero ? value * (T(0.01) - zero) : value;
    }
}

template <class T, int PIXELS, int VECTORS>
inline __attribute__((always_inline)) void finish_lanes(
    const LaneTile<T>& tile,
    int64 channel,
    typename Simd<T>::Vector (&acc)[PIXELS][VECTORS]) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    if (tile.bias != nullptr) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            const Vector bias = *reinterpret_cast<const Unaligned*>(
                tile.bias + channel + j * Simd<T>::LANES);
            PYCONV_UNROLL
            for (int i = 0; i < PIXELS; ++i) {
                acc[i][j] += bias;
            }
        }
    }
    if (tile.activation != ACT_NONE) {
        PYCONV_UNROLL
        for (int i = 0; i < PIXELS; ++i) {
            PYCONV_UNROLL
            for (int j = 0; j < VECTORS; ++j) {
                activate_lanes<T>(tile.activation, acc[i][j]);
            }
        }
    }
}

template <class T, int PIXELS, int VECTORS>
inline __attribute__((always_inline)) void
lane_step(const LaneTile<T>& tile, int64 channel) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    Vector acc[PIXELS][VECTORS];
    PYCONV_UNROLL
    for (int i = 0; i < PIXELS; ++i) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            acc[i][j] = Vector{};
        }
    }
    const T* first = tile.x + channel;
    const T* weights = tile.weight + channel;
    const int64 pitch = tile.pixel_pitch;
    for (int64 tap = 0; tap < tile.taps; ++tap) {
        const T* x = first + tile.x_offset[tap];
        const T* weight = weights + tile.weight_offset[tap];
        Vector left[VECTORS];
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            left[j] = *reinterpret_cast<const Unaligned*>(weight + j * Simd<T>::LANES);
        }
        PYCONV_UNROLL
        for (int i = 0; i < PIXELS; ++i) {
            PYCONV_UNROLL
            for (int j = 0; j < VECTORS; ++j) {
                acc[i][j] += left[j] * *reinterpret_cast<const Unaligned*>(
                                           x + i * pitch + j * Simd<T>::LANES);
            }
        }
    }
    finish_lanes<T, PIXELS, VECTORS>(tile, channel, acc);
    PYCONV_UNROLL
    for (int i = 0; i < PIXELS; ++i) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            *reinterpret_cast<Unaligned*>(
                tile.acc + i * tile.acc_pitch + channel + j * Simd<T>::LANES) =
                acc[i][j];
        }
    }
}

template <class T, int PIXELS>
void lane_tile(const LaneTile<T>& tile) {
    constexpr int LANES = Simd<T>::LANES;
    int64 channel = 0;
    for (; channel + 2 * LANES <= tile.channels; channel += 2 * LANES) {
        lane_step<T, PIXELS, 2>(tile, channel);
    }
    for (; channel + LANES <= tile.channels; channel += LANES) {
        lane_step<T, PIXELS, 1>(tile, channel);
    }
    if (channel < tile.channels) {
        lane_step<T, PIXELS, 1>(tile, tile.channels - LANES);
    }
}

// One vector of channels of a row of pixels: each column of x is loaded once and serves
// every pixel that has it in its window.
template <class T, int TAPS, int STRIDE, int PIXELS>
inline __attribute__((always_inline)) void
lane_row_step(const LaneTile<T>& tile, int64 channel) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    Vector acc[PIXELS][1];
    PYCONV_UNROLL
    for (int i = 0; i < PIXELS; ++i) {
        acc[i][0] = Vector{};
    }
    const int64 first = tile.first;
    const int64 last = tile.last;
    const int64 pitch = tile.pixel_pitch;
    for (int64 row = 0; row < tile.taps; ++row) {
        const T* weight = tile.weight + tile.weight_offset[row] + channel;
        Vector left[TAPS];
        PYCONV_UNROLL
        for (int s = 0; s < TAPS; ++s) {
            left[s] =
                *reinterpret_cast<const Unaligned*>(weight + s * tile.weight_pitch);
        }
        const T* x = tile.x + tile.x_offset[row] + channel;
        PYCONV_UNROLL
        for (int column = 0; column < (PIXELS - 1) * STRIDE + TAPS; ++column) {
            if (column >= first && column < last) {
                const Vector right =
                    *reinterpret_cast<const Unaligned*>(x + column * pitch);
                // Rows of pixels lie too far apart for the processor to foresee.
                __builtin_prefetch(x + (column + PIXELS * STRIDE) * pitch);
                PYCONV_UNROLL
                for (int s = 0; s < TAPS; ++s) {
                    const int at = column - s;
                    if (at >= 0 && at % STRIDE == 0 && at / STRIDE < PIXELS) {
                        acc[at / STRIDE][0] += left[s] * right;
                    }
                }
            }
        }
    }
    finish_lanes<T, PIXELS, 1>(tile, channel, acc);
    T* out = tile.acc + channel;
    PYCONV_UNROLL
    for (int i = 0; i < PIXELS; ++i) {
        if (i < tile.pixels) {
            __builtin_prefetch(out + (i + PIXELS) * tile.acc_pitch, 1);
            *reinterpret_cast<Unaligned*>(out + i * tile.acc_pitch) = acc[i][0];
        }
    }
}

template <class T, int TAPS, int STRIDE, int PIXELS>
void lane_row(const LaneTile<T>& tile) {
    constexpr int LANES = Simd<T>::LANES;
    int64 channel = 0;
    for (; channel + LANES <= tile.channels; channel += LANES) {
        lane_row_step<T, TAPS, STRIDE, PIXELS>(tile, channel);
    }
    if (channel < tile.channels) {
        lane_row_step<T, TAPS, STRIDE, PIXELS>(tile, tile.channels - LANES);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
