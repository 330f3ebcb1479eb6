// The matrix of patches of one sample and group, written out in full.
#pragma once

#include "cpu/geometry.hpp"

namespace pyconv {

// [panel][tap][c][width]: panels of `width` pixels; the tail's missing pixels are zero.
template <class T>
void fill_pixel_panels(
    const ConvProblem& problem, const T* x, int64 width, bool parallel, T* matrix);

// [pixel][tap][c]
template <class T>
void fill_pixel_rows(const ConvProblem& problem, const T* x, bool parallel, T* matrix);

} // namespace pyconv
