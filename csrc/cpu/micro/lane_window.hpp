// Windows of a row with channels in the lanes, from x to y in registers.
//
// The idea: down the rows of a column, then along the columns; a column that the next
// window holds too is not reduced again. A block of channels goes along a stretch of
// outputs, so that those columns stay in registers.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/not_numbers.hpp"
#include "cpu/micro/pool_row.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// Of a row of x, that all its channels take together: they stay near, and are read as
// memory has them.
inline constexpr int64 STRETCH_ELEMENTS = 1024;

// VECTORS vectors of channels; of a PART of one `last` elements. `lost` has ones where
// a LARGER may have lost a NaN.
template <class T, Reduction REDUCTION, int VECTORS, bool PART>
struct LaneColumn {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    using Index = typename Simd<T>::Index;
    Vector value[VECTORS];

    static inline __attribute__((always_inline)) Vector
    load(const T* from, int v, int64 last) {
        from += v * Simd<T>::LANES;
        if constexpr (PART) {
            return load_partial(from, last);
        } else {
            return *reinterpret_cast<const Unaligned*>(from);
        }
    }

    inline __attribute__((always_inline)) void
    down(const T* x, int64 rows, int64 pitch, int64 last, Index& lost) {
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            value[v] = load(x, v, last);
        }
        watch(value, lost);
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            value[v] = begun<REDUCTION>(value[v]);
        }
        for (int64 row = 1; row < rows; ++row) {
            x += pitch;
            Vector next[VECTORS];
            PYCONV_UNROLL
            for (int v = 0; v < VECTORS; ++v) {
                next[v] = load(x, v, last);
                take<REDUCTION>(value[v], next[v]);
            }
            watch(next, lost);
        }
    }

    static inline __attribute__((always_inline)) void
    watch(const Vector (&next)[VECTORS], Index& lost) {
        if constexpr (REDUCTION == LARGER) {
            lost |= unordered<T>(next[0], next[VECTORS - 1]);
        }
    }

    template <Reduction ALONG>
    inline __attribute__((always_inline)) void along(const LaneColumn& next) {
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            take<ALONG>(value[v], next.value[v]);
        }
    }
};

template <Reduction REDUCTION>
inline constexpr Reduction ALONG_OF =
    REDUCTION == REDUCE_MAX || REDUCTION == LARGER ? REDUCTION : REDUCE_SUM;

// What a window is worth, after its sum.
template <class T, Reduction REDUCTION>
inline __attribute__((always_inline)) typename Simd<T>::Vector
finished(typename Simd<T>::Vector value, typename Simd<T>::Vector divisor) {
    if constexpr (REDUCTION == REDUCE_SUM) {
        return value / divisor;
    } else if constexpr (REDUCTION == REDUCE_SQUARES) {
        return square_root<T>(value);
    } else {
        return value;
    }
}

// Channels from c on of outputs [q, end). TAPS columns, of which the next window holds
// KEPT, the last ones; ROWS of them, or any number where that is 0. True where a LARGER
// may have lost a NaN.
template <
    class T,
    Reduction REDUCTION,
    int VECTORS,
    bool PART,
    int ROWS,
    int TAPS,
    int KEPT>
inline __attribute__((always_inline)) bool
lane_run(const LaneWindows<T>& task, int64 q, int64 end, int64 c, int64 last) {
    using Column = LaneColumn<T, REDUCTION, VECTORS, PART>;
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr Reduction ALONG = ALONG_OF<REDUCTION>;
    constexpr int LANES = Simd<T>::LANES;
    const int64 rows = ROWS == 0 ? task.rows : ROWS;
    const int64 pixel = task.pixel_pitch;
    const T* x = task.x + c + q * task.step * pixel;
    T* y = task.y + c + q * task.y_pitch;
    const auto divisor = typename Simd<T>::Vector{} + task.divisor;
    typename Simd<T>::Index lost{};
    Column column[TAPS];
    PYCONV_UNROLL
    for (int s = 0; s < KEPT; ++s) {
        column[TAPS - KEPT + s].down(x + s * pixel, rows, task.row_pitch, last, lost);
    }
    for (; q < end; ++q) {
        PYCONV_UNROLL
        for (int s = 0; s < TAPS; ++s) {
            if (s < KEPT) {
                column[s] = column[TAPS - KEPT + s];
            } else {
                column[s].down(x + s * pixel, rows, task.row_pitch, last, lost);
            }
        }
        Column result;
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            result.value[v] = begun<ALONG>(column[0].value[v]);
        }
        PYCONV_UNROLL
        for (int s = 1; s < TAPS; ++s) {
            result.template along<ALONG>(column[s]);
        }
        PYCONV_UNROLL
        for (int v = 0; v < VECTORS; ++v) {
            const auto value = finished<T, REDUCTION>(result.value[v], divisor);
            if constexpr (PART) {
                store_partial(y, value, last);
            } else {
                *reinterpret_cast<Unaligned*>(y + v * LANES) = value;
            }
        }
        x += task.step * pixel;
        y += task.y_pitch;
    }
    return REDUCTION == LARGER && any_lane(lost);
}

// Where one of x's elements is NaN.
template <class T, int VECTORS, bool PART, int TAPS, int KEPT>
__attribute__((noinline)) void
lane_run_again(const LaneWindows<T>& task, int64 q, int64 end, int64 c, int64 last) {
    lane_run<T, REDUCE_MAX, VECTORS, PART, 0, TAPS, KEPT>(task, q, end, c, last);
}

template <
    class T,
    Reduction REDUCTION,
    int VECTORS,
    bool PART,
    int ROWS,
    int TAPS,
    int KEPT>
inline __attribute__((always_inline)) void
lane_run_of_any(const LaneWindows<T>& task, int64 q, int64 end, int64 c, int64 last) {
    if constexpr (REDUCTION != REDUCE_MAX) {
        lane_run<T, REDUCTION, VECTORS, PART, ROWS, TAPS, KEPT>(task, q, end, c, last);
    } else if (
        lane_run<T, LARGER, VECTORS, PART, ROWS, TAPS, KEPT>(task, q, end, c, last)) {
        lane_run_again<T, VECTORS, PART, TAPS, KEPT>(task, q, end, c, last);
    }
}

template <class T, Reduction REDUCTION, int ROWS, int TAPS, int KEPT>
void lane_windows_of(const LaneWindows<T>& run) {
    constexpr int LANES = Simd<T>::LANES;
    const LaneWindows<T> task = run; // which results do not overwrite
    const int64 channels = task.channels;
    const int64 fitting = STRETCH_ELEMENTS / (channels * (TAPS - KEPT));
    const int64 stretch = fitting < 4 ? 4 : fitting;
    for (int64 q = 0; q < task.outputs; q += stretch) {
        const int64 end = q + stretch < task.outputs ? q + stretch : task.outputs;
        int64 c = 0;
        for (; c + 2 * LANES <= channels; c += 2 * LANES) {
            lane_run_of_any<T, REDUCTION, 2, false, ROWS, TAPS, KEPT>(
                task, q, end, c, 0);
        }
        if (c + LANES <= channels) {
            lane_run_of_any<T, REDUCTION, 1, false, ROWS, TAPS, KEPT>(
                task, q, end, c, 0);
            c += LANES;
        }
        if (c < channels) {
            lane_run_of_any<T, REDUCTION, 1, true, 0, TAPS, KEPT>(
                task, q, end, c, channels - c);
        }
    }
}

template <class T, Reduction REDUCTION, int TAPS, int KEPT>
void lane_windows_of(const LaneWindows<T>& task) {
    if (task.rows == TAPS) {
        lane_windows_of<T, REDUCTION, TAPS, TAPS, KEPT>(task);
    } else {
        lane_windows_of<T, REDUCTION, 0, TAPS, KEPT>(task);
    }
}

template <class T, Reduction REDUCTION>
void lane_windows(const LaneWindows<T>& task) {
    const int64 step = task.outputs > 1 ? task.step : task.taps;
    switch (task.taps) {
    case 1:
        return lane_windows_of<T, REDUCTION, 1, 0>(task);
    case 2:
        return step == 1 ? lane_windows_of<T, REDUCTION, 2, 1>(task)
                         : lane_windows_of<T, REDUCTION, 2, 0>(task);
    case 3:
        return step == 1   ? lane_windows_of<T, REDUCTION, 3, 2>(task)
               : step == 2 ? lane_windows_of<T, REDUCTION, 3, 1>(task)
                           : lane_windows_of<T, REDUCTION, 3, 0>(task);
    default:
        return lane_windows_of<T, REDUCTION, 4, 0>(task);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
