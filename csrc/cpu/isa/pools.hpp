// What pooling hands to its kernels, as plain data: rows by pointers, windows as runs
// of outputs. isa.hpp's table names the kernels.
#pragma once

#include "core/problem.hpp"

namespace pyconv {

// What pooling does to a list of rows, element by element.
enum Reduction : int { REDUCE_MAX, REDUCE_SUM, REDUCE_ABSOLUTES, REDUCE_SQUARES };

inline constexpr int REDUCTIONS = 4;

// out[plane * n + i] = the reduction over j of rows[j][plane * plane_pitch + i].
template <class T>
struct WindowRows {
    const T* const* rows; // of the first plane
    int64 count;          // at least 1
    int64 planes;
    int64 plane_pitch;
    T* out;
    int64 n;
};

// A run of outputs of a row, with channels in the lanes: channel c of output q is the
// reduction, down the rows and then along the columns, of x[c + row * row_pitch +
// (q * step + column) * pixel_pitch]. No wider than LANE_WINDOW_TAPS.
template <class T>
struct LaneWindows {
    const T* x; // the first output's first element
    int64 row_pitch;
    int64 rows; // at least 1
    int64 pixel_pitch;
    int64 taps; // columns, at least 1
    int64 step;
    int64 outputs;
    int64 channels;
    T divisor; // of sums; of squares comes the root
    T* y;
    int64 y_pitch; // from one output to the next
};

inline constexpr int64 LANE_WINDOW_TAPS = 4;

// A row of outputs in the lanes: y[i] is the reduction along taps i * stride + s *
// dilation of the line, which from `before` on gets that of the rows. On either side of
// `inside` elements it holds what changes nothing, two vectors past the last tap too.
template <class T>
struct RowWindows {
    const T* const* rows;
    int64 count; // at least 1
    T* line;
    int64 before;
    int64 inside;
    int64 stride; // 1 or 2
    int64 taps;
    int64 dilation;
    const T* divisors; // of sums; of squares comes the root
    T* y;
    int64 outputs;
};

// out[i] = the largest of rows[j][i], index[i] = offset[j] + i * step of the first of
// its like, or of the first NaN. Indices below 2^31 where T has four bytes. Where the
// first rows are padding, of -infinity, that is never the place: least[i] + offset[0]
// is that of the first element that counts. Of `least` whole vectors are read.
template <class T>
struct IndexedRows {
    const T* const* rows;
    const int64* offset;
    int64 count;
    int64 step;
    const int64* least; // or null: i * step
    T* out;
    int64* index;
    int64 n;
};

// A run of outputs of a row, whose windows reach no more columns of x than two vectors
// hold: those from `column` on, lanes [begin, end) of which lie inside the row.
struct PickedBlock {
    int64 output;
    int64 outputs; // no more than lanes
    int64 column;
    int64 begin;
    int64 end;
};

// A row of outputs: the rows of x in its window.
template <class T>
struct PickedWindow {
    int64 x;      // the first of them: its column 0, from the plane's first element
    int64 planes; // of rows
    int64 rows;   // in each
    int64 place;  // of its column 0 in the plane, as indices count
    int64 y;
    const T* divisors; // of the row's outputs; or null
};

// Rows of outputs of one plane. For output i of a block tap s lies in lane lanes[s][i]
// of the block's columns. least[block][i] is the first of them inside the row, -1 where
// there is none. Both are vectors of integers of T's size.
template <class T>
struct PickedRows {
    const T* x;
    T* y;
    int64* indices; // y's offsets
    const PickedWindow<T>* windows;
    int64 count;
    int64 together;   // windows that are done block by block; what they read stays near
    int64 plane_step; // from a window's plane of rows to the next, in x and as indices
    int64 row_step;   // count
    int64 plane_place_step;
    int64 row_place_step;
    const PickedBlock* blocks;
    int64 block_count;
    const void* lanes;
    int64 taps;
    const void* least;
    bool roots; // square roots of what comes out
};

// The exponent high + low of a power, high of at most 41 bits.
struct Exponent {
    double high;
    double low;
    int64 halves; // where it is a few times 1/2: how many. 0: any exponent
};

} // namespace pyconv
