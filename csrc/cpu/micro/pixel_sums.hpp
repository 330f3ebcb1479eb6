// Sums of few pixels with filters in the lanes: sixty-four partial sums, halved.
//
// The idea: partial sum j has pixels j, j + 64, ... in order, and the halves are added
// onto each other: 32 to 63 to 0 to 31, and so on. Followed depth first, that tree
// needs a register a level and no partial sum ever goes to memory.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class T, int VECTORS>
struct PixelSum {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    Vector value[VECTORS];

    // Partial sum j of the pixels, of which `last` < LANES filters where that is not 0.
    static inline __attribute__((always_inline)) PixelSum
    partial(const PixelSums<T>& task, const T* from, int64 j, int64 last) {
        PixelSum sum{};
        for (int64 i = j; i < task.pixels; i += PARTIAL_SUMS) {
            const T* pixel = from + i * task.pitch;
            PYCONV_UNROLL
            for (int v = 0; v < VECTORS; ++v) {
                const T* at = pixel + v * Simd<T>::LANES;
                if (last != 0) {
                    sum.value[v] += load_partial(at, last);
                } else {
                    sum.value[v] += *reinterpret_cast<const Unaligned*>(at);
                }
            }
        }
        return sum;
    }

    // Of partial sums j, j + APART, j + 2 APART, ...
    template <int APART>
    static inline __attribute__((always_inline)) PixelSum
    halved(const PixelSums<T>& task, const T* from, int64 j, int64 last) {
        if constexpr (APART == PARTIAL_SUMS) {
            return partial(task, from, j, last);
        } else {
            PixelSum sum = halved<2 * APART>(task, from, j, last);
            const PixelSum other = halved<2 * APART>(task, from, j + APART, last);
            PYCONV_UNROLL
            for (int v = 0; v < VECTORS; ++v) {
                sum.value[v] += other.value[v];
            }
            return sum;
        }
    }

    // The whole tree: eight of its branches in turn, so that it is no long program.
    static __attribute__((noinline)) PixelSum
    branch(const PixelSums<T>& task, const T* from, int64 j, int64 last) {
        return halved<BRANCHES>(task, from, j, last);
    }

    static inline __attribute__((always_inline)) PixelSum
    total(const PixelSums<T>& task, const T* from, int64 last) {
        PixelSum sum[BRANCHES];
        for (int j = 0; j < BRANCHES; ++j) {
            sum[j] = branch(task, from, j, last);
        }
        for (int half = BRANCHES / 2; half > 0; half /= 2) {
            for (int j = 0; j < half; ++j) {
                PYCONV_UNROLL
                for (int v = 0; v < VECTORS; ++v) {
                    sum[j].value[v] += sum[half + j].value[v];
                }
            }
        }
        return sum[0];
    }

    static constexpr int BRANCHES = 8;
};

template <class T>
void pixel_sums(const PixelSums<T>& task) {
    constexpr int LANES = Simd<T>::LANES;
    using Unaligned = typename Simd<T>::Unaligned;
    int64 k = 0;
    for (; k + 2 * LANES <= task.filters; k += 2 * LANES) {
        const auto sum = PixelSum<T, 2>::total(task, task.from + k, 0);
        *reinterpret_cast<Unaligned*>(task.out + k) = sum.value[0];
        *reinterpret_cast<Unaligned*>(task.out + k + LANES) = sum.value[1];
    }
    for (; k < task.filters; k += LANES) {
        const int64 left = task.filters - k;
        const int64 last = left < LANES ? left : 0;
        const auto sum = PixelSum<T, 1>::total(task, task.from + k, last);
        store_first(task.out + k, sum.value[0], last != 0 ? last : LANES);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
