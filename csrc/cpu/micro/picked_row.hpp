// Rows of pooled outputs from two vectors of a row of x: one pass, all in registers.
//
// The idea: a run of outputs reads so few columns that two vectors hold them. The rows
// of the window are reduced, vector by vector; of what that gives, the lanes of tap s
// of every output are picked by one shuffle, whatever stride and dilation, and reduced.
// Lanes outside the row are loaded as what changes nothing. With indices, taps are
// picked from every row, and an index is the number of its lane and where the row
// began. Made for AVX-512's masked loads and two-source shuffles; elsewhere only right.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/indexed_row.hpp"
#include "cpu/micro/pool_row.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// out[i] = index[i] < LANES ? low[index[i]] : high[index[i] - LANES]
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector pick(
    typename Simd<T>::Vector low,
    typename Simd<T>::Vector high,
    typename Simd<T>::Index index) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        return _mm512_permutex2var_ps(low, reinterpret_cast<__m512i>(index), high);
    } else {
        return _mm512_permutex2var_pd(low, reinterpret_cast<__m512i>(index), high);
    }
#else
    constexpr int LANES = Simd<T>::LANES;
    typename Simd<T>::Vector out{};
    for (int lane = 0; lane < LANES; ++lane) {
        const auto from = index[lane];
        out[lane] = from < LANES ? low[from] : high[from - LANES];
    }
    return out;
#endif
}

// Lanes [begin, end) of what lies at `from`, the others `other`; nothing else is read.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector
load_between(const T* from, int64 begin, int64 end, typename Simd<T>::Vector other) {
#if defined(__AVX512F__)
    const auto mask = ((1U << static_cast<unsigned>(end)) - 1) &
                      ~((1U << static_cast<unsigned>(begin)) - 1);
    if constexpr (sizeof(T) == 4) {
        return _mm512_mask_loadu_ps(other, static_cast<__mmask16>(mask), from);
    } else {
        return _mm512_mask_loadu_pd(other, static_cast<__mmask8>(mask), from);
    }
#else
    for (int64 lane = begin; lane < end; ++lane) {
        other[lane] = from[lane];
    }
    return other;
#endif
}

enum class Span { PART_OF_ONE, PART_OF_TWO, WHOLE };

// The columns of a block in one row of x.
template <class T>
struct Columns {
    typename Simd<T>::Vector low;
    typename Simd<T>::Vector high;
};

template <class T, Span SPAN>
inline __attribute__((always_inline)) Columns<T>
load_columns(const T* row, const PickedBlock& block, T neutral) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr int LANES = Simd<T>::LANES;
    const Vector nothing = Vector{} + neutral;
    const T* from = row + block.column;
    if constexpr (SPAN == Span::WHOLE) {
        return {
            *reinterpret_cast<const Unaligned*>(from),
            *reinterpret_cast<const Unaligned*>(from + LANES)};
    } else if constexpr (SPAN == Span::PART_OF_ONE) {
        return {load_between(from, block.begin, block.end, nothing), nothing};
    } else {
        const int64 middle = block.begin < LANES ? block.begin : LANES;
        const int64 after = block.begin > LANES ? block.begin - LANES : 0;
        return {
            load_between(from, middle, LANES, nothing),
            load_between(from + LANES, after, block.end - LANES, nothing)};
    }
}

template <class T, Reduction REDUCTION>
inline constexpr T NEUTRAL = REDUCTION == REDUCE_MAX ? -T(__builtin_inf()) : T(0);

// Taps of a row: TAPS, or task.taps where that is 0.
template <int TAPS, class T>
inline __attribute__((always_inline)) int64 taps_of(const PickedRows<T>& task) {
    return TAPS == 0 ? task.taps : TAPS;
}

// Calls visit(row, place) for the rows of a window, place being that of column 0.
template <class T, class Visit>
inline __attribute__((always_inline)) void
each_row(const PickedRows<T>& task, const PickedWindow<T>& window, const Visit& visit) {
    const T* plane = task.x + window.x;
    int64 place = window.place;
    for (int64 t = 0; t < window.planes; ++t) {
        const T* row = plane;
        int64 at = place;
        for (int64 r = 0; r < window.rows; ++r) {
            visit(row, at);
            row += task.row_step;
            at += task.row_place_step;
        }
        plane += task.plane_step;
        place += task.plane_place_step;
    }
}

template <class T, Reduction REDUCTION, Span SPAN, int TAPS>
inline __attribute__((always_inline)) void picked_block(
    const PickedRows<T>& task,
    const PickedWindow<T>& window,
    const PickedBlock& block) {
    using Vector = typename Simd<T>::Vector;
    using Index = typename Simd<T>::Index;
    constexpr Reduction ALONG = REDUCTION == REDUCE_MAX ? REDUCE_MAX : REDUCE_SUM;
    const Vector nothing = Vector{} + NEUTRAL<T, REDUCTION>;
    Columns<T> down{nothing, nothing};
    bool is_first = true;
    each_row(task, window, [&](const T* row, int64) __attribute__((always_inline)) {
        const auto next = load_columns<T, SPAN>(row, block, NEUTRAL<T, REDUCTION>);
        if (is_first) {
            down = {begun<REDUCTION>(next.low), begun<REDUCTION>(next.high)};
            is_first = false;
            return;
        }
        take<REDUCTION>(down.low, next.low);
        if constexpr (SPAN != Span::PART_OF_ONE) {
            take<REDUCTION>(down.high, next.high);
        }
    });
    const auto* lanes = static_cast<const Index*>(task.lanes);
    Vector value = begun<ALONG>(pick<T>(down.low, down.high, lanes[0]));
    for (int64 s = 1; s < taps_of<TAPS>(task); ++s) {
        take<ALONG>(value, pick<T>(down.low, down.high, lanes[s]));
    }
    if (window.divisors != nullptr) {
        value = value / load_first(window.divisors + block.output, block.outputs);
    }
    if (task.roots) {
        value = square_root<T>(value);
    }
    store_first(task.y + window.y + block.output, value, block.outputs);
}

template <class T, Span SPAN, int TAPS>
inline __attribute__((always_inline)) void picked_block_indexed(
    const PickedRows<T>& task,
    const PickedWindow<T>& window,
    const PickedBlock& block,
    typename Simd<T>::Index least) {
    using Vector = typename Simd<T>::Vector;
    using Index = typename Simd<T>::Index;
    using Step = decltype(Index{}[0] + Index{}[0]);
    constexpr T NOTHING = NEUTRAL<T, REDUCE_MAX>;
    const auto* lanes = static_cast<const Index*>(task.lanes);
    // The first element of a window always wins, even -infinity; padding never does.
    Vector best = Vector{} + NOTHING;
    Index place = least + static_cast<Step>(window.place + block.column);
    each_row(task, window, [&](const T* row, int64 at) __attribute__((always_inline)) {
        const auto columns = load_columns<T, SPAN>(row, block, NOTHING);
        for (int64 s = 0; s < taps_of<TAPS>(task); ++s) {
            const Vector next = pick<T>(columns.low, columns.high, lanes[s]);
            const auto wins = (next > best) | ((next != next) & (best == best));
            best = wins ? next : best;
            place = wins ? lanes[s] + static_cast<Step>(at + block.column) : place;
        }
    });
    if (window.planes == 0 || window.rows == 0) {
        place = Index{} - 1;
    }
    place = least < Index{} ? Index{} - 1 : place;
    store_first(task.y + window.y + block.output, best, block.outputs);
    store_places<T>(task.indices + window.y + block.output, place, block.outputs);
}

template <class T, Reduction REDUCTION>
struct Reducing {
    Reducing(const PickedRows<T>&, int64) {}

    template <Span SPAN, int TAPS>
    inline __attribute__((always_inline)) void block(
        const PickedRows<T>& task,
        const PickedWindow<T>& window,
        const PickedBlock& block) const {
        picked_block<T, REDUCTION, SPAN, TAPS>(task, window, block);
    }
};

template <class T>
struct Indexing {
    Indexing(const PickedRows<T>& task, int64 b)
        : least(static_cast<const typename Simd<T>::Index*>(task.least)[b]) {}

    template <Span SPAN, int TAPS>
    inline __attribute__((always_inline)) void block(
        const PickedRows<T>& task,
        const PickedWindow<T>& window,
        const PickedBlock& block) const {
        picked_block_indexed<T, SPAN, TAPS>(task, window, block, least);
    }

    typename Simd<T>::Index least;
};

// Windows [begin, end) of block b. Copies: of what results may overwrite, for all that
// the compiler knows, everything would be read again for each window.
template <class Work, int TAPS, class T>
void picked_windows(const PickedRows<T>& rows, int64 begin, int64 end, int64 b) {
    const PickedRows<T> task = rows;
    const PickedBlock block = task.blocks[b];
    constexpr int64 LANES = Simd<T>::LANES;
    const Work work(task, b);
    if (block.end <= LANES) {
        for (int64 w = begin; w < end; ++w) {
            const PickedWindow<T> window = task.windows[w];
            work.template block<Span::PART_OF_ONE, TAPS>(task, window, block);
        }
    } else if (block.begin > 0 || block.end < 2 * LANES) {
        for (int64 w = begin; w < end; ++w) {
            const PickedWindow<T> window = task.windows[w];
            work.template block<Span::PART_OF_TWO, TAPS>(task, window, block);
        }
    } else {
        for (int64 w = begin; w < end; ++w) {
            const PickedWindow<T> window = task.windows[w];
            work.template block<Span::WHOLE, TAPS>(task, window, block);
        }
    }
}

template <class Work, class T>
inline __attribute__((always_inline)) void picked_blocks(const PickedRows<T>& task) {
    for (int64 w = 0; w < task.count; w += task.together) {
        const int64 left = task.count - w;
        const int64 end = w + (left < task.together ? left : task.together);
        for (int64 b = 0; b < task.block_count; ++b) {
            switch (task.taps) {
            case 2:
                picked_windows<Work, 2>(task, w, end, b);
                break;
            case 3:
                picked_windows<Work, 3>(task, w, end, b);
                break;
            default:
                picked_windows<Work, 0>(task, w, end, b);
            }
        }
    }
}

template <class T, Reduction REDUCTION>
void picked_rows(const PickedRows<T>& task) {
    picked_blocks<Reducing<T, REDUCTION>>(task);
}

template <class T>
void picked_rows_indexed(const PickedRows<T>& task) {
    picked_blocks<Indexing<T>>(task);
}

} // namespace
} // namespace pyconv::PYCONV_ISA
