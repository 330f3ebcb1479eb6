// Sums over pixels with channels in the lanes: the weight gradient of one tap row.
//
// The idea: a tap's gradient is the sum over pixels of grad times the x that the tap
// meets. Channels side by side make it one vector multiply-add a pixel and tap; a pixel
// of grad is loaded once for all taps of a row, and the sums stay in registers over a
// band of pixels. One chain of multiply-adds per sum, pixels in order.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class T, int TAPS, int VECTORS>
void lane_sums(const LaneSums<T>& job) {
    constexpr int LANES = Simd<T>::LANES;
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    Vector acc[TAPS][VECTORS];
    PYCONV_UNROLL
    for (int t = 0; t < TAPS; ++t) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            acc[t][j] = *reinterpret_cast<const Unaligned*>(
                job.sums + t * job.sum_pitch + j * LANES);
        }
    }
    for (int64 line = 0; line < job.lines; ++line) {
        const T* grad = job.grad + line * job.grad_line;
        const T* x[TAPS];
        PYCONV_UNROLL
        for (int t = 0; t < TAPS; ++t) {
            x[t] = job.x + line * job.x_line + t * job.tap_pitch;
        }
        for (int64 i = 0; i < job.pixels; ++i) {
            Vector right[VECTORS];
            PYCONV_UNROLL
            for (int j = 0; j < VECTORS; ++j) {
                right[j] = *reinterpret_cast<const Unaligned*>(
                    grad + i * job.grad_step + j * LANES);
            }
            PYCONV_UNROLL
            for (int t = 0; t < TAPS; ++t) {
                PYCONV_UNROLL
                for (int j = 0; j < VECTORS; ++j) {
                    acc[t][j] += right[j] * *reinterpret_cast<const Unaligned*>(
                                                x[t] + i * job.x_step + j * LANES);
                }
            }
        }
    }
    PYCONV_UNROLL
    for (int t = 0; t < TAPS; ++t) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            *reinterpret_cast<Unaligned*>(job.sums + t * job.sum_pitch + j * LANES) =
                acc[t][j];
        }
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
