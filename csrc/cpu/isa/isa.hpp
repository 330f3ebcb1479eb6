// What one instruction set offers: a table of kernels, filled by isa/table.cpp.
//
// The idea: table.cpp is compiled once per instruction set; everything else is baseline
// code that calls through this struct. Kernels decide nothing: they get pointers,
// counts and pitches, never read or write past the last element named, and never
// allocate.
#pragma once

#include "core/problem.hpp"
#include "cpu/isa/ceilings.hpp"
#include "cpu/isa/dots.hpp"
#include "cpu/isa/pools.hpp"
#include "cpu/isa/weight_sums.hpp"

namespace pyconv {

// Rows of the largest register tile over all instruction sets.
inline constexpr int MAX_TILE_ROWS = 14;

// acc[row][lane] = (accumulate ? acc : 0) + sum over tap, then k, of
// a[tap * a_tap_pitch + row][k * a_step] * b[tap * b_tap_pitch + k * width + lane].
// One chain of multiply-adds per element, in that order. acc and b are aligned to a
// vector; width = vectors * lanes.
template <class T>
struct GemmTile {
    int64 taps;
    const T* const* a;
    int64 a_tap_pitch;
    int64 k;
    int64 a_step;
    const T* b;
    int64 b_tap_pitch;
    T* acc;
    bool accumulate;
    // Not null: instead of into acc, the finished rows go to y + row_offset[row], side
    // by side, through bias (or null) and an activation that is a comparison or two.
    T* y;
    const int64* row_offset;
    const T* bias;
    bool bias_per_row;
    int64 activation;
    // What the next tile will read: a line of it is fetched for every k. Or null.
    const T* ahead;
};

// Writes a tile of accumulators out through the epilogue: + bias, + residual,
// activation. Element (row, column) goes to y[row_offset[row] + column * column_pitch].
template <class T>
struct StoreTile {
    const T* acc;
    int64 acc_pitch;
    int64 rows;
    int64 columns;
    T* y;
    const T* residual; // null: none; y's offsets
    const int64* row_offset;
    int64 column_pitch;
    bool rows_contiguous; // row_offset[i] == row_offset[0] + i
    const T* bias;        // null: none
    bool bias_per_row;
    int64 activation;
};

// to[line * to_pitch + i] = from[line * from_pitch + i * from_step]
template <class T>
struct CopyLines {
    const T* from;
    int64 from_pitch;
    int64 from_step;
    int64 lines;
    int64 count;
    T* to;
    int64 to_pitch;
};

// The forms of F(m, r): two-dimensional ones apply the transform along both axes.
struct WinogradShape {
    int dimensions;
    int outputs; // m
    int taps;    // r
    int points;  // m + r - 1
};

inline constexpr int WINOGRAD_FORMS = 6;
inline constexpr WinogradShape WINOGRAD_SHAPES[WINOGRAD_FORMS] = {
    {2, 2, 3, 4}, {2, 4, 3, 6}, {2, 6, 3, 8}, {1, 4, 3, 6}, {1, 4, 5, 8}, {1, 2, 7, 8}};

// One tile: at every point p (and every channel c) v[p * v_pitch + c]. Writes up to a
// vector's width past the last channel.
template <class T>
struct WinogradInput {
    const T* const* pixel; // of every point, row by row: its first channel
    int64 channels;
    T* v;
    int64 v_pitch;
};

// One tile of one panel of filters, from the products at every point to pixels:
// o[i * row_pitch + j * column_pitch + lane]. check += 0 * result, a vector.
template <class T>
struct WinogradOutput {
    const T* m;
    int64 m_pitch; // between points
    int64 width;
    T* o;
    int64 row_pitch;
    int64 column_pitch;
    T* check;
};

// One channel of one panel of filters: u[p * u_pitch + lane] from g[i * row_pitch + j *
// column_pitch + lane] of tap (i, j).
template <class T>
struct WinogradFilter {
    const T* g;
    int64 row_pitch;
    int64 column_pitch;
    int64 width;
    T* u;
    int64 u_pitch;
};

template <class T>
struct WinogradKernels {
    void (*input)(const WinogradInput<T>&);
    void (*output)(const WinogradOutput<T>&);
    void (*filter)(const WinogradFilter<T>&);
};

// Pixels in the lanes: output row i, vector j gets acc[i * acc_pitch + j * lanes +
// lane] = (accumulate ? acc : 0) + the sum, over tap planes, tap rows and columns in
// this order, of a weight times x[plane * plane_pitch + row * row_pitch +
// offset[column] + j * lanes + lane]. Reads whole vectors.
template <class T>
struct PlaneTile {
    const T* x;
    int64 planes;
    int64 rows;
    int64 columns; // (tap, channel) pairs of one tap row
    int64 plane_pitch;
    int64 row_pitch;
    int64 out_pitch; // from one output row's x to the next one's
    const int64* offset;
    const T* weight; // [plane][row][column], for filter_tile [..][filter]
    T* acc;
    int64 acc_pitch;
    bool accumulate;
};

// The largest plane tile over all instruction sets.
inline constexpr int MAX_PLANE_ROWS = 8;
inline constexpr int MAX_PLANE_VECTORS = 4;

template <class T>
using PlaneKernels = void (*[MAX_PLANE_ROWS][MAX_PLANE_VECTORS])(const PlaneTile<T>&);

// Channels in the lanes: pixel i, channel c gets acc[i * acc_pitch + c] = the sum over
// taps of weight[weight_offset[tap] + c] * x[x_offset[tap] + i * pixel_pitch + c].
// At least as many channels as lanes. Then, where bias is not null, + bias[c], and
// activation, which is one that is a comparison or two.
template <class T>
struct LaneTile {
    const T* x;
    int64 taps;
    const int64* x_offset;
    const int64* weight_offset;
    int64 pixel_pitch;
    const T* weight;
    int64 channels;
    T* acc;
    int64 acc_pitch;
    const T* bias;
    int64 activation;
    // For lane_row: a tap is a whole tap row, its columns weight_pitch apart in weight
    // and pixel_pitch apart in x; columns of x outside [first, last) are zero and not
    // read; `pixels` of the tile's are wanted.
    int64 weight_pitch;
    int64 first;
    int64 last;
    int64 pixels;
    // For group_row: one vector of filters, each under group_channels channels; filter
    // k's channel c is x[.. + index[c][k]], its weight that of term (column, c).
    int64 group_channels;
    const void* index; // integers of T's size
};

// Tap rows of 3, 5 and 7, strides of 1 and 2, tiles of 7 and 14 pixels.
inline constexpr int LANE_ROW_PIXELS = 7;

// out[(pixel * channels + c) * out_pitch + v * lanes + lane]
// = x[pixel * x_pitch + begin[v] + index[v * channels + c][lane]]: each vector picks
// its lanes from one vector of x. index and out are aligned to a vector; an index is an
// integer of T's size.
template <class T>
struct SpreadLanes {
    const T* x;
    int64 x_pitch;
    int64 pixels;
    int64 vectors;
    const int64* begin;
    int64 channels;
    const void* index;
    T* out;
    int64 out_pitch;
};

inline constexpr int MAX_LANE_PIXELS = 8;

template <class T>
struct Kernels {
    int lanes;
    int rows;                                                // of the largest tile
    void (*gemm_tile[2][MAX_TILE_ROWS])(const GemmTile<T>&); // [vectors - 1][rows - 1]
    void (*outer_tile[2][MAX_TILE_ROWS])(const OuterTile<T>&); // the same
    void (*store_tile)(const StoreTile<T>&);
    int lane_pixels;                                        // of the largest tile
    void (*lane_tile[MAX_LANE_PIXELS])(const LaneTile<T>&); // [pixels - 1]
    // [(taps - 3) / 2][stride - 1][pixels / 7 - 1], null where registers do not suffice
    void (*lane_row[3][2][2])(const LaneTile<T>&);
    void (*group_row[3][2][2])(const LaneTile<T>&);
    void (*lane_sums[2][MAX_SUM_TAPS])(const LaneSums<T>&); // [vectors - 1][taps - 1]
    void (*pixel_sums)(const PixelSums<T>&);
    // [rows - 1][vectors - 1]; null where the sums would not fit the registers.
    PlaneKernels<T> filter_tile; // rows are filters that read the same x
    PlaneKernels<T> row_tile;    // rows are output rows, out_pitch apart in x
    PlaneKernels<T> slide_tile;  // the same where out_pitch is row_pitch
    void (*spread_lanes)(const SpreadLanes<T>&);
    // out[i] = the reduction over j of rows[j][i]; NaN wins a maximum, and a sum of
    // nothing but -0 is 0. count >= 1.
    void (*reduce[REDUCTIONS])(const T* const* rows, int64 count, T* out, int64 n);
    void (*reduce_planes[REDUCTIONS])(const WindowRows<T>&);
    void (*lane_windows[REDUCTIONS])(const LaneWindows<T>&);
    void (*row_windows[REDUCTIONS])(const RowWindows<T>&);
    void (*reduce_indexed)(const IndexedRows<T>&);
    void (*picked_rows[REDUCTIONS])(const PickedRows<T>&);
    void (*picked_rows_indexed)(const PickedRows<T>&);
    // out[i] = the sum over j of rows[j][i] * weights[j]. count >= 1.
    void (*reduce_weighted)(
        const T* const* rows, const T* weights, int64 count, T* out, int64 n);
    // out[i] = the sum over j of |rows[j][i]|^exponent. count >= 1.
    void (*reduce_powers)(
        const T* const* rows, int64 count, const Exponent&, T* out, int64 n);
    void (*powers)(T* y, const Exponent&, int64 n); // y = |y|^exponent
    // dx[i] += grad[i] (|x[i]| / y[i])^exponent sign(x[i]), nothing where y[i] is 0
    void (*add_shares)(
        const T* grad, const T* y, const T* x, const Exponent&, T* dx, int64 n);
    // phases[f][i] = row[i * step + f] for all i * step + f < n
    void (*deinterleave)(const T* row, int64 n, int64 step, T* const* phases);
    // row[i * step + f] = phases[f][i] for all i * step + f < n
    void (*interleave)(const T* const* phases, int64 step, T* row, int64 n);
    void (*multiply)(T* y, const T* factors, int64 n); // y *= factors
    void (*take_signs)(T* y, const T* signs, int64 n); // y *= -1, 0 or 1
    // out[i] = above[i] / below[i], 0 where below[i] is 0
    void (*ratios)(const T* above, const T* below, T* out, int64 n);
    void (*divide)(T* y, const T* divisors, int64 n);
    void (*divide_all)(T* y, T divisor, int64 n);
    void (*square_roots)(T* y, int64 n);
    // to[j * to_pitch + i] = from[i * from_pitch + j] for i < rows, j < columns
    void (*transpose)(
        const T* from,
        int64 from_pitch,
        int64 rows,
        int64 columns,
        T* to,
        int64 to_pitch);
    void (*copy_lines)(const CopyLines<T>&);
    WinogradKernels<T> winograd[WINOGRAD_FORMS];
    CeilingKernels<T> ceilings;
};

// Lines of `count` elements, side by side, as numbers of another type: halves and
// integers up to 16 bits as float32, integers of 32 bits as float64; and back. By
// DataType; null where there is nothing to do.
struct Conversions {
    void (*widen[DATA_TYPES])(const void* from, void* to, int64 count);
    void (*narrow[DATA_TYPES])(const void* from, void* to, int64 count);
};

struct IsaTable {
    const char* name;
    int vector_bytes;
    Kernels<float> f32;
    Kernels<double> f64;
    Conversions convert;
    DotKernel dots[DOT_KINDS];
};

} // namespace pyconv
