// Patches: what the windows of a run of output pixels hold, laid out for a product.
//
// A patch's elements run in (tap, c) order. Elements over zero padding are zeros.
#pragma once

#include "cpu/geometry.hpp"
#include "cpu/isa/isa.hpp"

namespace pyconv {

// Elements from one row of patches (or of filters) to the next. A line more than the
// depth where that is a large power of two times an odd number: a tile's rows would
// share a few sets of the cache.
inline int64 patch_row_pitch(int64 depth) {
    constexpr int64 LINE = 16;
    return depth % 256 == 0 ? depth + LINE : depth;
}

// Panels of `width` pixels, [panel][tap][c][width], for the pixels [first, first +
// count); the last panel's missing pixels are zero. x is the sample's and group's first
// element.
template <class T>
void fill_pixel_panels(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* x,
    int64 width,
    int64 first,
    int64 count,
    T* panels);

// Rows, [pixel][tap][c], patch_row_pitch() apart.
template <class T>
void fill_pixel_rows(
    const ConvProblem& problem, const T* x, int64 first, int64 count, T* rows);

// Cycles to fill all panels of one sample and group, or all rows.
double panel_filling_cycles(const ConvProblem& problem, int64 width, int64 lanes);
double row_filling_cycles(const ConvProblem& problem);

} // namespace pyconv
