// Weights in the order the microkernel reads them: panels of `width` filters.
//
// Panel layout: [group][panel][tap][c][width], the tail panel's missing filters zero.
// Taps run in (t, r, s) order. Weights of any pitches are read, in one pass.
#pragma once

#include "cpu/geometry.hpp"
#include "cpu/isa/isa.hpp"

namespace pyconv {

struct FilterPanels {
    int64 channels; // of one group
    int64 filters;  // of one group
    int64 taps;
    int64 width;
    int64 panels; // per group

    FilterPanels(const ConvProblem& problem, int64 width_)
        : channels(problem.c / problem.groups), filters(problem.k / problem.groups),
          taps(volume(problem.kernel)), width(width_),
          panels(ceil_div(filters, width_)) {}

    int64 depth() const { return taps * channels; }
    int64 panel_elements() const { return depth() * width; }
    int64 elements(int64 groups) const { return groups * panels * panel_elements(); }
};

// Packs one panel, counted over all groups, into shape.panel_elements() elements.
template <class T>
void pack_filter_panel(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const FilterPanels& shape,
    const T* weight,
    int64 panel,
    T* packed);

// Packs `count` panels from the first on, one after the other.
template <class T>
void pack_filter_run(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const FilterPanels& shape,
    const T* weight,
    int64 first,
    int64 count,
    T* packed);

// Packs all panels, over all threads when `parallel`.
template <class T>
void pack_filter_panels(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const FilterPanels& shape,
    const T* weight,
    bool parallel,
    T* packed);

// Packs rows instead: [filter][tap][c], patch_row_pitch() apart, for the form where
// filters are the tile's rows. `first` counts over all groups.
template <class T>
void pack_filter_rows(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* weight,
    int64 first,
    int64 count,
    T* rows);

template <class T>
void pack_all_filter_rows(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* weight,
    bool parallel,
    T* rows);

} // namespace pyconv
