// Winograd's geometry: which form fits a problem, and where its tiles lie.
//
// A form transforms one or two axes of the kernel; the positions along the others are
// taps, summed in the transformed domain like further channels. Along a transformed
// axis a tile makes m outputs that lie a dilation apart, so that a dilated kernel is as
// many interleaved undilated ones (its phases).
#pragma once

#include "core/memory.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/isa.hpp"

#include <string>

namespace pyconv {

struct WinogradForm {
    int shape;       // of WINOGRAD_SHAPES
    int row_axis;    // the first transformed axis; -1: one dimension
    int column_axis; // the last
    const char* name;
};

inline constexpr WinogradForm WINOGRAD_ALL_FORMS[] = {
    {0, 1, 2, "F(2x2,3x3)"},
    {1, 1, 2, "F(4x4,3x3)"},
    {2, 1, 2, "F(6x6,3x3)"},
    {3, -1, 2, "F(4,3) along W"},
    {3, -1, 1, "F(4,3) along H"},
    {4, -1, 2, "F(4,5) along W"},
    {4, -1, 1, "F(4,5) along H"},
    {5, -1, 2, "F(2,7) along W"},
    {5, -1, 1, "F(2,7) along H"},
};
inline constexpr int WINOGRAD_FORM_COUNT = 9;
inline constexpr int WINOGRAD_LARGEST_POINTS = 64;

// "" or why the form cannot compute the problem.
std::string winograd_refusal(const ConvProblem& problem, const WinogradForm& form);

// Tiles that are transformed, and stored, together.
inline constexpr int64 WINOGRAD_LONGEST_STRIP = 8;

struct WinogradGeometry {
    int shape_index;
    WinogradShape shape;
    bool transformed[3];
    int64 points[3];  // per axis, 1 where nothing is transformed
    int64 outputs[3]; // of one tile
    int64 taps[3];    // summed in the transformed domain
    int64 all_points;
    int64 channels; // of one group
    int64 filters;
    int64 tap_count;
    int64 tiles[3]; // per axis

    WinogradGeometry(const ConvProblem& problem, const WinogradForm& form);

    int64 depth() const { return tap_count * channels; }
    int64 tile_count(const ConvProblem& problem) const {
        return problem.n * tiles[0] * tiles[1] * tiles[2];
    }
};

// Vectors in a row of the register tile: one where all filters fit in it.
int winograd_vectors(const ConvProblem& problem, const IsaTable& isa);

// The first output of every tile, per axis.
struct WinogradBases {
    const int64* base[3];

    WinogradBases(
        const ConvProblem& problem,
        const WinogradGeometry& geometry,
        ScratchFrame& frame);
};

// Where everything lies in scratch. A line is added between points: pitches of whole
// pages would put one tile's values at all points into the same few sets of the cache.
struct WinogradLayout {
    int64 width;   // of a panel of filters
    int64 panels;  // of one group
    int64 row;     // elements of one tile's row of V: all taps and channels
    int64 u_point; // elements between points of U
    int64 v_point; // of V
    int64 m_point; // of M

    WinogradLayout(
        const ConvProblem& problem,
        const IsaTable& isa,
        const WinogradGeometry& geometry,
        int64 tiles);

    // Of the transformed weights of one group.
    int64 packed_elements(const WinogradGeometry& geometry) const {
        return panels * geometry.all_points * u_point;
    }
};

// A run of tiles side by side along the last axis, in one row of one sample.
struct WinogradStrip {
    int64 first; // counted from the first tile of the block
    int64 tiles;
    int64 n;
    int64 base[3];
};

// Walks the tiles [first, first + count) in (n, axis 0, 1, 2) order, in strips of at
// most `longest`.
class WinogradStrips {
  public:
    WinogradStrips(
        const ConvProblem& problem,
        const WinogradGeometry& geometry,
        const WinogradBases& bases,
        int64 first,
        int64 count,
        int64 longest);

    bool next(WinogradStrip& strip);

  private:
    const ConvProblem& problem_;
    const WinogradGeometry& geometry_;
    const WinogradBases& bases_;
    int64 first_;
    int64 count_;
    int64 longest_;
    int64 done_ = 0;
};

} // namespace pyconv
