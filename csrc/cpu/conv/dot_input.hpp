// Pixels as a product of small elements reads them: rows of one pitch, with each tap a
// fixed distance away.
//
// Bands and patches are filled in scratch from channels-last input; elements are
// converted on the way where they are multiplied as something wider. Where every window
// is one pixel whose channels are whole steps, rows are the input itself.
#pragma once

#include "cpu/conv/dot_shape.hpp"

namespace pyconv {

// Patches of output pixels [first, first + count), counted over all samples, as rows of
// shape.row_bytes(). x is the first sample's first element of the group.
void fill_dot_patches(
    const ConvProblem& problem,
    const DotShape& shape,
    const void* x,
    int64 first,
    int64 count,
    void* rows);

// The band that rows [first, first + count) of outputs in plane `m` meet, pixels of
// shape.row_bytes(). x is a sample's first element of the group.
void fill_dot_band(
    const ConvProblem& problem,
    const DotShape& shape,
    const void* x,
    int64 m,
    int64 first,
    int64 count,
    void* band);

// Whether output pixels, counted over all samples, are rows of the input as they are.
bool is_dot_input(const ConvProblem& problem, const DotShape& shape);

// Lays a pixel's channels side by side, as turned_problem() says, into room for as many
// elements.
void turn_dot_input(
    const ConvProblem& problem,
    const IsaTable& isa,
    const void* x,
    bool parallel,
    void* turned);

} // namespace pyconv
