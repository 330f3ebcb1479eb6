// A maximum and its place: rows element by element, the first of equal elements.
//
// The idea: what is larger wins, a comparison and two choices. A NaN would have to win
// as well, and then stay: instead of asking that of every element, two vectors at a
// time are asked whether they hold one, and a block that does is done again.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/not_numbers.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// i * step, of lane i.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Index lane_steps(int64 step) {
    typename Simd<T>::Index lane{};
    for (int i = 0; i < Simd<T>::LANES; ++i) {
        lane[i] = static_cast<decltype(lane[0] + lane[0])>(i * step);
    }
    return lane;
}

// Moved, not computed with: as doubles they are eight bytes each.
inline __attribute__((always_inline)) void
store_indices(int64* to, Simd<double>::Index value, int64 count) {
    store_first(
        reinterpret_cast<double*>(to),
        reinterpret_cast<Simd<double>::Vector>(value),
        count);
}

template <class T>
inline __attribute__((always_inline)) void
store_places(int64* to, typename Simd<T>::Index place, int64 count) {
    if constexpr (sizeof(T) == 8) {
        store_indices(to, place, count);
    } else {
        constexpr int HALF = Simd<double>::LANES;
        using Wide = Simd<double>::Index;
#if defined(__AVX512F__)
        const auto lanes = reinterpret_cast<__m512i>(place);
        const auto low = reinterpret_cast<Wide>(_mm512_maskz_cvtepi32_epi64(
            0xFF, _mm512_maskz_extracti32x8_epi32(0xFF, lanes, 0)));
        const auto high = reinterpret_cast<Wide>(_mm512_maskz_cvtepi32_epi64(
            0xFF, _mm512_maskz_extracti32x8_epi32(0xFF, lanes, 1)));
#else
        typedef int Half __attribute__((vector_size(PYCONV_VECTOR_BYTES / 2)));
        Half halves[2];
        __builtin_memcpy(halves, &place, sizeof(place));
        const auto low = __builtin_convertvector(halves[0], Wide);
        const auto high = __builtin_convertvector(halves[1], Wide);
#endif
        store_indices(to, low, count < HALF ? count : HALF);
        if (count > HALF) {
            store_indices(to + HALF, high, count - HALF);
        }
    }
}

// Of the vector from element i on: that of the first row, or of the first element that
// counts.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Index
first_places(const IndexedRows<T>& task, int64 i, typename Simd<T>::Index here) {
    using Index = typename Simd<T>::Index;
    using Step = decltype(Index{}[0] + Index{}[0]);
    typedef int64 Wide
        __attribute__((vector_size(8 * Simd<T>::LANES), aligned(8), may_alias));
    const auto offset = static_cast<Step>(task.offset[0]);
    if (task.least == nullptr) {
        return here + offset;
    }
    const Wide first = *reinterpret_cast<const Wide*>(task.least + i);
    return __builtin_convertvector(first, Index) + offset;
}

// Vectors [i, end) of a maximum and its place, whatever x holds.
template <class T>
__attribute__((noinline)) void
reduce_indexed_any(const IndexedRows<T>& task, int64 i, int64 end) {
    using Vector = typename Simd<T>::Vector;
    using Index = typename Simd<T>::Index;
    constexpr int LANES = Simd<T>::LANES;
    using Step = decltype(Index{}[0] + Index{}[0]);
    const Index lane = lane_steps<T>(task.step);
    for (; i < end; i += LANES) {
        const int64 left = end - i < LANES ? end - i : LANES;
        const Index here = lane + static_cast<Step>(i * task.step);
        Vector best = load_first(task.rows[0] + i, left);
        Index place = first_places(task, i, here);
        for (int64 j = 1; j < task.count; ++j) {
            const Vector next = load_first(task.rows[j] + i, left);
            const Index at = here + static_cast<Step>(task.offset[j]);
            const auto wins = (next > best) | ((next != next) & (best == best));
            best = wins ? next : best;
            place = wins ? at : place;
        }
        store_first(task.out + i, best, left);
        store_places<T>(task.index + i, place, left);
    }
}

// VECTORS whole vectors from element i on. A NaN in the first row stays by itself, as
// nothing is larger; where another row has one, they are done again.
template <class T, int VECTORS>
inline __attribute__((always_inline)) void
reduce_indexed_block(const IndexedRows<T>& task, int64 i) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    using Index = typename Simd<T>::Index;
    constexpr int LANES = Simd<T>::LANES;
    using Step = decltype(Index{}[0] + Index{}[0]);
    const Index lane = lane_steps<T>(task.step);
    Vector best[VECTORS];
    Index here[VECTORS];
    Index place[VECTORS]; // without `here`
    PYCONV_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
        const int64 at = i + v * LANES;
        best[v] = *reinterpret_cast<const Unaligned*>(task.rows[0] + at);
        here[v] = lane + static_cast<Step>(at * task.step);
        place[v] = first_places(task, at, here[v]) - here[v];
    }
    Index not_a_number{};
    for (int64 j = 1; j < task.count; ++j) {
        const T* row = task.rows[j] + i;
        const Index at = Index{} + static_cast<Step>(task.offset[j]);
        Vector next[VECTORS];
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            next[v] = *reinterpret_cast<const Unaligned*>(row + v * LANES);
            const auto wins = next[v] > best[v];
            best[v] = wins ? next[v] : best[v];
            place[v] = wins ? at : place[v];
        }
        not_a_number |= unordered<T>(next[0], next[VECTORS - 1]);
    }
    if (any_lane(not_a_number)) {
        reduce_indexed_any(task, i, i + VECTORS * LANES);
        return;
    }
    PYCONV_UNROLL
    for (int v = 0; v < VECTORS; ++v) {
        *reinterpret_cast<Unaligned*>(task.out + i + v * LANES) = best[v];
        store_places<T>(task.index + i + v * LANES, place[v] + here[v], LANES);
    }
}

// A maximum and its place; rows in the order in which equal elements win.
template <class T>
void reduce_indexed(const IndexedRows<T>& rows) {
    constexpr int LANES = Simd<T>::LANES;
    const IndexedRows<T> task = rows; // which results do not overwrite
    if (task.n < LANES) {
        reduce_indexed_any(task, 0, task.n);
        return;
    }
    int64 i = 0;
    for (; i + 2 * LANES <= task.n; i += 2 * LANES) {
        reduce_indexed_block<T, 2>(task, i);
    }
    if (i + LANES <= task.n) {
        reduce_indexed_block<T, 1>(task, i);
        i += LANES;
    }
    if (i < task.n) { // once more, some of them
        reduce_indexed_block<T, 1>(task, task.n - LANES);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
