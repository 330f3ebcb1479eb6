// Filters in the order short dot products read them: panels of [tap][group][filter],
// filled up with zeros, and behind each panel what the shift of its pixels added.
#pragma once

#include "cpu/conv/dot_shape.hpp"

namespace pyconv {

// Packs one panel, counted over all groups of the convolution, into panel_bytes().
void pack_dot_panel(
    const ConvProblem& problem,
    const IsaTable& isa,
    const DotShape& shape,
    const void* weight,
    int64 panel,
    void* packed);

// Packs all panels, over all threads when `parallel`.
void pack_dot_panels(
    const ConvProblem& problem,
    const IsaTable& isa,
    const DotShape& shape,
    const void* weight,
    bool parallel,
    void* packed);

// What 128 too much in every element of x adds to each filter's sums, as words to be
// added: a panel's, behind its weights.
inline const std::uint32_t* dot_corrections(const DotShape& shape, const void* panel) {
    return reinterpret_cast<const std::uint32_t*>(
        static_cast<const char*>(panel) + shape.filter_bytes() * shape.width);
}

} // namespace pyconv
