// What an instruction set offers for the gradients of weights and biases: sums over
// pixels.
#pragma once

#include "core/problem.hpp"

namespace pyconv {

// acc[row * acc_pitch + lane] = (accumulate ? acc : 0) + the sum over blocks, lines,
// then pixels, of a[block * a_block + line * a_line + pixel * a_step + row] times
// b[block * b_block + line * b_line + pixel * width + lane]; width = vectors * lanes.
// acc and b are aligned to a vector.
template <class T>
struct OuterTile {
    int64 blocks;
    int64 lines;
    int64 pixels;
    const T* a;
    int64 a_block;
    int64 a_line;
    int64 a_step;
    const T* b;
    int64 b_block;
    int64 b_line;
    T* acc;
    int64 acc_pitch;
    bool accumulate;
};

// sums[tap * sum_pitch + lane] += the sum over lines, then pixels, of
// grad[line * grad_line + pixel * grad_step + lane] times
// x[line * x_line + pixel * x_step + tap * tap_pitch + lane]. Whole vectors of all.
template <class T>
struct LaneSums {
    const T* x;
    int64 x_line;
    int64 x_step;
    int64 tap_pitch;
    const T* grad;
    int64 grad_line;
    int64 grad_step;
    int64 lines;
    int64 pixels;
    T* sums;
    int64 sum_pitch;
};

inline constexpr int MAX_SUM_TAPS = 7;

inline constexpr int PARTIAL_SUMS = 64;

// out[k] = the sum over pixels of from[pixel * pitch + k], as sixty-four partial sums,
// pixel j belonging to the (j mod 64)th, that are halved onto each other.
template <class T>
struct PixelSums {
    const T* from;
    int64 pitch;
    int64 pixels;
    int64 filters;
    T* out;
};

} // namespace pyconv
