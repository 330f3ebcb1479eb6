// How the direct weight gradient is cut.
//
// Channels of a group fall into tiles, filters into panels; of both a register tile
// takes one tap's sums, or of few channels those of several taps of a row, which lie
// side by side as the channels do. Output pixels fall into bands, whose part of x and
// grad stays in L2 while every tile passes, and these into pieces that stay in L1 while
// every tap does.
#pragma once

#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {

// Of a tile's laid input, and of all panels' gradient, in a band.
inline constexpr int64 WEIGHT_BAND_X_BYTES = int64{192} << 10;
inline constexpr int64 WEIGHT_BAND_GRAD_BYTES = int64{512} << 10;
// Pixels of a band at the least: each reads and writes all sums.
inline constexpr int64 WEIGHT_BAND_PIXELS = 256;
// Pixels of a piece: of windows of one element nothing is read twice in it.
inline constexpr int64 WEIGHT_PIECE = 256;
inline constexpr int64 WEIGHT_PIECE_OF_ONE = 512;
// Packed gradient that exists at a time.
inline constexpr int64 WEIGHT_PASS_BYTES = int64{1} << 20;

// Pixels with nothing between them and a window of one: a single line.
inline ConvProblem flattened(const ConvProblem& given) {
    ConvProblem problem = given;
    int64 x_run = problem.x_pitch[4];
    int64 y_run = problem.y_pitch[4];
    for (int axis = 2; axis >= 0; --axis) {
        const bool alone = problem.input[axis] == 1;
        if (problem.kernel[axis] != 1 || problem.stride[axis] != 1 ||
            problem.pad_before[axis] != 0 || problem.pad_after[axis] != 0 ||
            (!alone && (problem.x_pitch[2 + axis] != x_run ||
                        problem.y_pitch[2 + axis] != y_run))) {
            return given;
        }
        x_run *= problem.input[axis];
        y_run *= problem.input[axis];
    }
    const int64 pixels = volume(problem.input);
    for (int axis = 0; axis < 3; ++axis) {
        problem.input[axis] = axis == 2 ? pixels : 1;
        problem.output[axis] = problem.input[axis];
    }
    return problem;
}

// Cycles of a window of one element beside the multiply-adds: x laid out or read in
// place, grad packed, the result stored; lanes that stay empty are counted. Measured.
inline double unshared_cycles(const ConvProblem& problem, const IsaTable& isa) {
    const auto pixels = static_cast<double>(problem.n * volume(problem.output));
    const auto channels = static_cast<double>(problem.c);
    const auto filters = static_cast<double>(problem.k);
    const int64 lanes = lanes_of(problem, isa);
    const auto filled = static_cast<double>(ceil_div(problem.k, lanes) * lanes);
    const double x = problem.x_pitch[4] == 1 ? 0.0 : 0.8;
    const double grad = problem.y_pitch[4] == 1 ? 0.5 : 0.1;
    const double stored = problem.w_pitch[0] == 1 ? 0.15 : 0.6;
    return pixels * (filled * channels / static_cast<double>(2 * lanes) + channels * x +
                     filters * grad) +
           channels * filters * stored;
}

// Where a window is one element and nothing lies between pixels, the products commute:
// x and grad may change places.
inline ConvProblem exchanged(const ConvProblem& given) {
    ConvProblem problem = given;
    std::swap(problem.c, problem.k);
    std::swap(problem.x_pitch, problem.y_pitch);
    std::swap(problem.w_pitch[0], problem.w_pitch[1]);
    return problem;
}

inline bool is_exchanged(const ConvProblem& problem, const IsaTable& isa) {
    if (problem.groups != 1 || volume(problem.kernel) != 1) {
        return false;
    }
    for (int axis = 0; axis < 3; ++axis) {
        if (problem.stride[axis] != 1 || problem.pad_before[axis] != 0 ||
            problem.input[axis] != problem.output[axis]) {
            return false;
        }
    }
    return unshared_cycles(exchanged(problem), isa) < unshared_cycles(problem, isa);
}

// A stretch of samples, planes, lines and columns of the output.
struct WeightBox {
    int64 first[4];
    int64 extent[4];
};

// The shapes that plan and run agree on.
struct WeightBlocking {
    bool exchanged;      // x and grad have changed places
    ConvProblem problem; // flattened
    int vectors;         // of filters in a row of a tile
    int64 width;         // filters of a panel
    int64 panels;        // of a group
    int64 channels;      // of a group
    int64 tiles;         // of a group's channels
    int64 rows;          // of the largest tile
    int64 taps;
    int64 runs = 0;   // in which a tap row's (tap, channel) pairs are taken; or 0
    int64 steps;      // of a tile and panel: taps, or such runs
    bool in_place;    // x is read where it lies
    int64 pass[4];    // extents of a pass
    int64 grad_items; // elements of its packed gradient
    int64 band[4];    // extents of a band
    int64 piece[4];   // and of a piece
    int64 x_items;    // elements of a tile's input in a band
    int64 pair_items; // sums of a tile and panel
    int64 sum_items;  // sums that outlive a band

    WeightBlocking(const ConvProblem& given, const IsaTable& isa)
        : exchanged(is_exchanged(given, isa)),
          problem(flattened(exchanged ? pyconv::exchanged(given) : given)),
          vectors(problem.k / problem.groups <= lanes_of(problem, isa) ? 1 : 2),
          width(vectors * lanes_of(problem, isa)),
          panels(ceil_div(problem.k / problem.groups, width)),
          channels(problem.c / problem.groups),
          tiles(ceil_div(channels, tile_rows(problem, isa))),
          rows(ceil_div(channels, tiles)), taps(volume(problem.kernel)), steps(taps),
          // Pixels that lie all channels apart are a cache line each, for every tile.
          in_place(
              taps == 1 && !padded(problem) && problem.x_pitch[1] != 1 &&
              problem.x_pitch[4] == 1),
          pass{
              std::max<int64>(problem.n, 1),
              problem.output[0],
              problem.output[1],
              problem.output[2]},
          grad_items(0), band{}, piece{}, x_items(0), pair_items(0), sum_items(0) {
        const int64 most_rows = tile_rows(problem, isa);
        if (problem.kernel[2] > 1 && problem.dilation[2] == 1 &&
            8 * rows < 7 * most_rows && channels <= 2 * most_rows) {
            tiles = 1;
            rows = channels;
            runs = ceil_div(pairs(), most_rows);
            steps = problem.kernel[0] * problem.kernel[1] * runs;
        }
        pair_items = rows * taps * width;
        const int64 bytes = element_bytes(problem.dtype);
        const int64 filters = problem.groups * panels * width;
        shrink(pass, fitting(WEIGHT_PASS_BYTES, filters * bytes));
        grad_items = filters * volume_of(pass);
        std::copy(pass, pass + 4, band);
        const int64 most = fitting(WEIGHT_BAND_GRAD_BYTES, filters * bytes);
        shrink(band, most);
        while (laid_items(band) * bytes > WEIGHT_BAND_X_BYTES &&
               volume_of(band) > WEIGHT_BAND_PIXELS) {
            shrink(band, volume_of(band) - 1);
        }
        std::copy(band, band + 4, piece);
        shrink(piece, taps == 1 ? WEIGHT_PIECE_OF_ONE : WEIGHT_PIECE);
        x_items = in_place ? 0 : laid_items(band);
        if (bands() > 1) {
            sum_items = problem.groups * tiles * panels * pair_items;
        }
    }

    // Input elements under `outputs` along an axis.
    static int64 reach(const ConvProblem& problem, int axis, int64 outputs) {
        return (outputs - 1) * problem.stride[axis] +
               (problem.kernel[axis] - 1) * problem.dilation[axis] + 1;
    }

    // Channels [first_row(tile), first_row(tile + 1)) are a tile's: equal shares.
    int64 first_row(int64 tile) const { return tile * channels / tiles; }

    // (tap, channel) pairs of a tap row.
    int64 pairs() const { return problem.kernel[2] * channels; }
    // The first pair of a step of runs, counted over all tap rows.
    int64 first_pair(int64 step) const {
        return step / runs * pairs() + step % runs * pairs() / runs;
    }

    // Vectors in a row of a panel's tiles: one where the last filters fit in it.
    int vectors_of(int64 panel) const {
        const int64 left = problem.k / problem.groups - panel * width;
        return left * vectors <= width ? 1 : vectors;
    }
    int64 width_of(int64 panel) const { return width / vectors * vectors_of(panel); }

    // Units of work: a step of a tile and panel.
    int64 units() const { return problem.groups * tiles * panels * steps; }

    // Bands in all: those of a pass end where it does.
    int64 bands() const {
        int64 count = 1;
        const int64 all[4] = {
            problem.n, problem.output[0], problem.output[1], problem.output[2]};
        for (int axis = 0; axis < 4; ++axis) {
            const int64 whole = all[axis] / pass[axis];
            count *= whole * ceil_div(pass[axis], band[axis]) +
                     ceil_div(all[axis] % pass[axis], band[axis]);
        }
        return count;
    }

    int64 workspace_bytes() const {
        const int64 alone = sum_items == 0 ? pair_items : 0;
        const int64 turned = runs > 0 ? pair_items : 0;
        return (grad_items + sum_items + x_items + alone + turned) *
               element_bytes(problem.dtype);
    }

  private:
    static bool padded(const ConvProblem& problem) {
        for (int axis = 0; axis < 3; ++axis) {
            if (problem.pad_before[axis] != 0 ||
                reach(problem, axis, problem.output[axis]) > problem.input[axis]) {
                return true;
            }
        }
        return false;
    }

    // Pixels of so many bytes, or the least that are worth it.
    static int64 fitting(int64 bytes, int64 of_pixel) {
        return std::max(WEIGHT_BAND_PIXELS, bytes / of_pixel);
    }

    static int64 volume_of(const int64 (&extent)[4]) {
        return extent[0] * extent[1] * extent[2] * extent[3];
    }

    int64 laid_items(const int64 (&extent)[4]) const {
        int64 items = extent[0] * rows;
        for (int axis = 0; axis < 3; ++axis) {
            items *= reach(problem, axis, extent[axis + 1]);
        }
        return items;
    }

    // Halves the outermost extent longer than one, in turn, until so many pixels are
    // left.
    static void shrink(int64 (&extent)[4], int64 pixels) {
        for (int axis = 0; axis < 4; ++axis) {
            while (extent[axis] > 1 && volume_of(extent) > pixels) {
                extent[axis] = ceil_div(extent[axis], 2);
            }
        }
    }
};

} // namespace pyconv
