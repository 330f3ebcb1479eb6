// Filters turned into lines: `width` filters side by side, one line for each channel
// and tap, from weights of any pitches.
#pragma once

#include "cpu/geometry.hpp"
#include "cpu/isa/isa.hpp"

namespace pyconv {

// Channels that are turned together.
inline constexpr int64 TURNED_TOGETHER = 16;

// to[tap * tap_pitch + c * channel_pitch + filter] for a few filters and channels,
// `weight` the first one's element of tap 0.
template <class T>
struct FilterLines {
    const T* weight;
    int64 filters;
    int64 channels;
    int64 following; // channels that are turned next
    T* to;
    int64 tap_pitch;
    int64 channel_pitch;
};

// A filter's elements are neighbours in memory, in (c, t, r, s) order.
bool filters_contiguous(const ConvProblem& problem);

// Where a window's taps are neighbours in memory, in their order or in reverse: the
// step from one to the next, 1 or -1; 0 where they are not.
int64 tap_step(const ConvProblem& problem);

// The taps of a window turned: from the matrix [row][tap], rows row_pitch apart, to
// lines, one a tap, line_pitch apart. `step` is tap_step's.
template <class T>
void turn_window(
    const Kernels<T>& kernels,
    int64 taps,
    int64 step,
    const T* from,
    int64 row_pitch,
    int64 rows,
    T* to,
    int64 line_pitch);

template <class T>
void turn_lines(
    const ConvProblem& problem, const Kernels<T>& kernels, const FilterLines<T>& lines);

} // namespace pyconv
