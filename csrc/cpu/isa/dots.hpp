// Sums of short dot products: what an instruction set offers for elements smaller than
// what they are summed in.
//
// The idea: instructions that multiply two or four neighbouring small elements and add
// all products to one wide sum. Neighbours are of one pixel (and of one filter), so a
// group of them is what a float is elsewhere: broadcast from the pixel, a lane of the
// filters.
#pragma once

#include "core/problem.hpp"

namespace pyconv {

// By the pixel's element, then the filter's: of two bytes each may have a sign. WORDS
// and LONGS are groups of one.
enum DotKind : int {
    DOT_BFLOATS,
    DOT_BYTES_UU,
    DOT_BYTES_US,
    DOT_BYTES_SU,
    DOT_BYTES_SS,
    DOT_SHORTS,
    DOT_WORDS,
    DOT_LONGS
};

inline constexpr int DOT_KINDS = 8;
inline constexpr int MAX_DOT_ROWS = 32;

// acc[row][lane] = the sum, over taps, then groups, of the dot product of group g at
// a + row * a_pitch + a_tap[tap] with group [tap][g][lane] of b. Pitches are bytes. acc
// and b are aligned to a vector; both have lanes for two vectors, of which a narrow
// tile uses the first.
struct DotTile {
    const void* a;
    int64 a_pitch;
    int64 taps;
    const int64* a_tap;
    int64 groups; // of one tap, a multiple of `step`
    const void* b;
    void* acc;
    const void*
        ahead; // rows, a_pitch apart, that are read next, to be fetched; or null
};

// y[row][column] = activation(acc[row][column] + bias[column]), rounded where y is
// narrower than acc. Pitches are bytes; an activation that is a comparison or two.
struct DotOut {
    const void* acc;
    int64 acc_pitch;
    int64 rows;
    int64 columns;
    const void* bias; // or null
    int64 activation;
    void* y;
    int64 y_pitch;
};

struct DotKernel {
    int rows;          // of the largest tile; 0: there is none of this kind
    int row_unit;      // so many rows are read together
    int step;          // so many groups are read together
    int width;         // lanes of two vectors
    double row_cycles; // of a row of them, for one group
    void (*tile[2][MAX_DOT_ROWS])(const DotTile&); // [vectors - 1][rows - 1]
    void (*store)(const DotOut&);
    // The same for y[column][row]; null where there is none.
    void (*store_turned)(const DotOut&);
    // Called by a thread before its first tile and after its last; or null.
    void (*enter)();
    void (*leave)();
    // Multiplies and adds from registers `rounds` times, as fast as it can; two
    // operations for each product of elements.
    void (*peak)(int64 rounds);
    int64 peak_operations; // of a round
};

} // namespace pyconv
