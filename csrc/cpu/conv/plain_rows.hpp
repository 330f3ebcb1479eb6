// The definition's loops in another order: a row of outputs takes one product each, for
// tap after tap and channel after channel, before any of them takes the next.
//
// No vector is written here and no register is named: what the compiler makes of the
// innermost loop is what such code gets. Every output adds in the definition's order
// and rounds each product, so results are the reference's, bit for bit. reordered and
// cache_tiled differ in which rows they visit when.
#pragma once

#include "core/epilogue.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/geometry.hpp"

#include <algorithm>

namespace pyconv {

// Neighbouring outputs of one row, and filters of one group.
struct RowTile {
    int64 n;
    int64 row; // of output[0] * output[1]
    int64 first_column;
    int64 columns;
    int64 first_filter;
    int64 filters;
};

template <class T>
class PlainRows {
  public:
    // `chunk` channels' rows serve all filters of a tile before the next ones are read.
    PlainRows(const ConvProblem& problem, const ConvTensors& tensors, int64 chunk)
        : problem_(problem), tensors_(tensors), chunk_(chunk) {}

    // Sums and stores a tile by way of sums[filters][columns].
    void run(const RowTile& tile, T* sums) const {
        std::fill_n(sums, tile.filters * tile.columns, T(0));
        add_taps(tile, sums);
        for (int64 f = 0; f < tile.filters; ++f) {
            store(tile, tile.first_filter + f, sums + f * tile.columns);
        }
    }

  private:
    void add_taps(const RowTile& tile, T* sums) const {
        const int64 m = tile.row / problem_.output[1];
        const int64 p = tile.row % problem_.output[1];
        const int64 channels = problem_.c / problem_.groups;
        const int64 group = tile.first_filter / (problem_.k / problem_.groups);
        const T* sample = static_cast<const T*>(tensors_.x) +
                          tile.n * problem_.x_pitch[0] +
                          group * channels * problem_.x_pitch[1];
        for (int64 t = 0; t < problem_.kernel[0]; ++t) {
            const int64 d = input_index(problem_, 0, m, t);
            for (int64 r = 0; r < problem_.kernel[1]; ++r) {
                const int64 h = input_index(problem_, 1, p, r);
                if (d < 0 || h < 0) {
                    continue; // zero padding adds no term
                }
                const T* rows =
                    sample + d * problem_.x_pitch[2] + h * problem_.x_pitch[3];
                for (int64 s = 0; s < problem_.kernel[2]; ++s) {
                    add_tap(tile, rows, {t, r, s}, sums);
                }
            }
        }
    }

    void
    add_tap(const RowTile& tile, const T* rows, const int64 (&tap)[3], T* sums) const {
        const int64 stride = problem_.stride[2];
        const int64 start = tap[2] * problem_.dilation[2] - problem_.pad_before[2];
        // Outputs [begin, end) of the tile meet an element of the row itself.
        const int64 last = tile.first_column + tile.columns;
        const int64 begin = std::clamp<int64>(
            start < 0 ? ceil_div(-start, stride) : 0, tile.first_column, last);
        const int64 end = std::clamp<int64>(
            start < problem_.input[2] ? ceil_div(problem_.input[2] - start, stride) : 0,
            begin,
            last);
        const auto* weight =
            static_cast<const T*>(tensors_.weight) + tap[0] * problem_.w_pitch[2] +
            tap[1] * problem_.w_pitch[3] + tap[2] * problem_.w_pitch[4];
        const int64 channels = problem_.c / problem_.groups;
        for (int64 first = 0; first < channels; first += chunk_) {
            const int64 behind = std::min(first + chunk_, channels);
            for (int64 f = 0; f < tile.filters; ++f) {
                const T* filter =
                    weight + (tile.first_filter + f) * problem_.w_pitch[0];
                T* line = sums + f * tile.columns - tile.first_column;
                for (int64 c = first; c < behind; ++c) {
                    const T* row = rows + c * problem_.x_pitch[1];
                    const T factor = filter[c * problem_.w_pitch[1]];
                    add_outside(row, factor, tap[2], tile.first_column, begin, line);
                    add_row(
                        row + (begin * stride + start) * problem_.x_pitch[4],
                        stride * problem_.x_pitch[4],
                        factor,
                        line + begin,
                        end - begin);
                    add_outside(row, factor, tap[2], end, last, line);
                }
            }
        }
    }

    // Padding that is not zeros repeats elements of the row.
    void add_outside(
        const T* row, T factor, int64 tap, int64 begin, int64 end, T* line) const {
        if (problem_.padding_mode == PAD_ZEROS) {
            return;
        }
        for (int64 q = begin; q < end; ++q) {
            line[q] +=
                row[input_index(problem_, 2, q, tap) * problem_.x_pitch[4]] * factor;
        }
    }

    static void
    add_row(const T* from, int64 step, T factor, T* __restrict line, int64 count) {
        if (step == 1) {
            for (int64 i = 0; i < count; ++i) {
                line[i] += from[i] * factor;
            }
            return;
        }
        for (int64 i = 0; i < count; ++i) {
            line[i] += from[i * step] * factor;
        }
    }

    void store(const RowTile& tile, int64 k, T* line) const {
        const auto* bias = static_cast<const T*>(tensors_.bias);
        const auto* residual = static_cast<const T*>(tensors_.residual);
        const int64 at = tile.n * problem_.y_pitch[0] + k * problem_.y_pitch[1] +
                         tile.row / problem_.output[1] * problem_.y_pitch[2] +
                         tile.row % problem_.output[1] * problem_.y_pitch[3] +
                         tile.first_column * problem_.y_pitch[4];
        const int64 step = problem_.y_pitch[4];
        for (int64 i = 0; i < tile.columns; ++i) {
            line[i] += bias != nullptr ? bias[k] : T(0);
            line[i] += residual != nullptr ? residual[at + i * step] : T(0);
        }
        activate(problem_.activation, line, tile.columns);
        auto* y = static_cast<T*>(tensors_.y);
        for (int64 i = 0; i < tile.columns; ++i) {
            y[at + i * step] = line[i];
        }
    }

    const ConvProblem& problem_;
    const ConvTensors& tensors_;
    int64 chunk_;
};

// Cycles of such loops: a vector of the baseline (16 bytes) is two loads, a product, a
// sum and a store; elements that are not neighbours are taken one at a time.
inline double plain_rows_cycles(const ConvProblem& problem, double columns) {
    const bool is_dense = problem.stride[2] * problem.x_pitch[4] == 1;
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double each = is_dense ? 2.2 * bytes / 16.0 : 1.5;
    const double lines = outputs_of(problem) / columns;
    return each * products_of(problem) +
           12.0 * lines * static_cast<double>(depth_of(problem));
}

// Bytes of x that one sweep of a plane of outputs fetches into L1, all channels of a
// group. Rows stay for the next row of outputs if L1 holds as many as the kernel has;
// else those of one tap come again for its neighbours in the kernel's row, unless one
// row's lines stay.
inline double plain_plane_bytes(const ConvProblem& problem, const Machine& host) {
    const double channels = static_cast<double>(problem.c / problem.groups);
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double columns = static_cast<double>(problem.input[2]);
    const double deep = static_cast<double>(problem.kernel[0] * problem.kernel[1]);
    if (channels * columns * bytes * deep <=
        0.95 * static_cast<double>(host.l1_bytes)) {
        return channels * bytes * static_cast<double>(volume(problem.input));
    }
    const double row = problem.x_pitch[1] == 1
                           ? channels * columns * bytes
                           : channels * bytes_of_lines(columns * bytes);
    return row * deep * static_cast<double>(problem.output[0] * problem.output[1]) *
           static_cast<double>(stays_in(row, host.l1_bytes) ? 1 : problem.kernel[2]);
}

// Operations of the rows: the baseline's compiler takes two or three that are left of a
// row after its vectors of four float32 as a half vector, whose rest is computed too.
inline double plain_rows_flops(const ConvProblem& problem) {
    double inside = 0.0;
    double executed = 0.0;
    for (int64 tap = 0; tap < problem.kernel[2]; ++tap) {
        const int64 count = inside_outputs(problem, 2, tap);
        const bool half = problem.dtype == FLOAT32 && count % 4 >= 2;
        inside += static_cast<double>(count);
        executed += static_cast<double>(count) + (half ? 2.0 : 0.0);
    }
    return definition_flops(problem) * executed / std::max(inside, 1.0);
}

} // namespace pyconv
