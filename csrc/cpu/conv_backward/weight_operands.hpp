// What a weight gradient's tiles read, a few samples at a time: the gradient in panels
// [pixel][filter], and the input with its padding, channels first; input that is so
// and has no padding is read where it lies.
#pragma once

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv_backward/weight_blocking.hpp"

#include <algorithm>
#include <optional>

namespace pyconv {

// Rows and channels that are turned together.
inline constexpr int64 TURNED_ROWS = 8;
inline constexpr int64 TURNED_CHANNELS = 32;

template <class T>
class WeightOperands {
  public:
    WeightOperands(
        const WeightPlan& plan,
        const WeightBlocking& cut,
        const WeightTensors& tensors,
        ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)), cut_(cut),
          parallel_(plan.parallel), x_(static_cast<const T*>(tensors.x)),
          grad_(static_cast<const T*>(tensors.grad)),
          packed_(frame.take<T>(cut.samples * cut.grad_items)),
          copied_(frame.take<T>(cut.samples * cut.x_items)) {
        std::copy(problem_.x_pitch, problem_.x_pitch + 5, pitch_);
        if (!cut_.in_place) {
            pitch_[4] = 1;
            pitch_[3] = cut_.reach[2];
            pitch_[2] = cut_.reach[1] * pitch_[3];
            pitch_[1] = cut_.reach[0] * pitch_[2];
            pitch_[0] = problem_.c * pitch_[1];
        }
    }

    // Of x as the tiles read it.
    const int64 (&pitch() const)[5] { return pitch_; }

    // A sample's first element as if it began with its padding; `n` counts from the
    // first sample packed.
    const T* x(int64 n) const {
        return cut_.in_place ? x_ + (first_ + n) * pitch_[0] : copied_ + n * pitch_[0];
    }
    const T* panel(int64 n, int64 panel) const {
        return packed_ + n * cut_.grad_items +
               panel * cut_.width * volume(problem_.output);
    }

    // Makes samples [first, first + count) ready.
    void pack(int64 first, int64 count) {
        first_ = first;
        const int64 panels = problem_.groups * cut_.panels;
        parallel_for(count * panels, parallel_, [&](int64 begin, int64 end, int) {
            for (int64 item = begin; item < end; ++item) {
                pack_panel(
                    grad_ + (first + item / panels) * problem_.y_pitch[0],
                    item % panels,
                    packed_ + item * cut_.width * volume(problem_.output));
            }
        });
        if (cut_.in_place) {
            return;
        }
        if (problem_.x_pitch[1] == 1) {
            const int64 bands = ceil_div(cut_.reach[1], TURNED_ROWS);
            const int64 items = cut_.reach[0] * bands;
            parallel_for(count * items, parallel_, [&](int64 begin, int64 end, int) {
                for (int64 item = begin; item < end; ++item) {
                    const int64 n = item / items;
                    turn_rows(
                        x_ + (first + n) * problem_.x_pitch[0],
                        item % items / bands,
                        item % bands * TURNED_ROWS,
                        copied_ + n * pitch_[0]);
                }
            });
            return;
        }
        const int64 planes = problem_.c * cut_.reach[0];
        parallel_for(count * planes, parallel_, [&](int64 begin, int64 end, int) {
            for (int64 item = begin; item < end; ++item) {
                const int64 n = item / planes;
                const int64 c = item % planes / cut_.reach[0];
                const int64 d = item % cut_.reach[0];
                copy_plane(
                    x_ + (first + n) * problem_.x_pitch[0] + c * problem_.x_pitch[1],
                    d,
                    copied_ + n * pitch_[0] + c * pitch_[1] + d * pitch_[2]);
            }
        });
    }

  private:
    // [pixel][filter] of one panel of one sample's gradient.
    void pack_panel(const T* grad, int64 panel, T* to) const {
        const int64 group = panel / cut_.panels;
        const int64 first = panel % cut_.panels * cut_.width;
        const int64 filters = problem_.k / problem_.groups;
        const int64 width = cut_.width_of(problem_, panel);
        const int64 columns = std::min(width, filters - first);
        const int64(&pitch)[5] = problem_.y_pitch;
        const T* from = grad + (group * filters + first) * pitch[1];
        const int64 line = problem_.output[2];
        if (columns < width) {
            std::fill(to, to + width * volume(problem_.output), T(0));
        }
        for (int64 m = 0; m < problem_.output[0]; ++m) {
            for (int64 p = 0; p < problem_.output[1]; ++p, to += line * width) {
                const T* row = from + m * pitch[2] + p * pitch[3];
                if (pitch[4] == 1) {
                    kernels_.transpose(row, pitch[1], columns, line, to, width);
                } else {
                    kernels_.copy_lines(
                        {.from = row,
                         .from_pitch = pitch[4],
                         .from_step = pitch[1],
                         .lines = line,
                         .count = columns,
                         .to = to,
                         .to_pitch = width});
                }
            }
        }
    }

    // Where row (d, h) of the padded input lies in a sample of x; nowhere in the
    // padding.
    std::optional<int64> row_offset(int64 d, int64 h) const {
        const int64 depth = d - problem_.pad_before[0];
        const int64 height = h - problem_.pad_before[1];
        const bool inside = depth >= 0 && depth < problem_.input[0] && height >= 0 &&
                            height < problem_.input[1];
        if (!inside) {
            return std::nullopt;
        }
        return depth * problem_.x_pitch[2] + height * problem_.x_pitch[3];
    }

    // Elements of a padded row that x has.
    int64 inside_of_row() const {
        return std::clamp<int64>(
            cut_.reach[2] - problem_.pad_before[2], 0, problem_.input[2]);
    }

    // The padding of a row, all of it where nothing is inside.
    void fill_padding(T* row, int64 inside) const {
        const int64 before = std::min(problem_.pad_before[2], cut_.reach[2]);
        std::fill(row, row + before, T(0));
        std::fill(row + before + inside, row + cut_.reach[2], T(0));
    }

    // Plane d of one channel with its padding around it.
    void copy_plane(const T* plane, int64 d, T* to) const {
        for (int64 h = 0; h < cut_.reach[1]; ++h, to += cut_.reach[2]) {
            const std::optional<int64> at = row_offset(d, h);
            const int64 inside = at ? inside_of_row() : 0;
            fill_padding(to, inside);
            if (inside > 0) {
                kernels_.copy_lines(
                    {.from = plane + *at,
                     .from_pitch = 0,
                     .from_step = problem_.x_pitch[4],
                     .lines = 1,
                     .count = inside,
                     .to = to + problem_.pad_before[2],
                     .to_pitch = 0});
            }
        }
    }

    // Rows of plane d from h on, of all channels, which are neighbours in x, into their
    // planes: some channels at a time, so that each plane's rows are written as a run.
    void turn_rows(const T* sample, int64 d, int64 h, T* to) const {
        const int64 last = std::min(h + TURNED_ROWS, cut_.reach[1]);
        for (int64 c = 0; c < problem_.c; c += TURNED_CHANNELS) {
            const int64 some = std::min(TURNED_CHANNELS, problem_.c - c);
            for (int64 row = h; row < last; ++row) {
                T* rows = to + c * pitch_[1] + d * pitch_[2] + row * pitch_[3];
                turn_row(sample + c, d, row, some, rows);
            }
        }
    }

    void turn_row(const T* sample, int64 d, int64 h, int64 channels, T* to) const {
        const std::optional<int64> at = row_offset(d, h);
        const int64 inside = at ? inside_of_row() : 0;
        for (int64 c = 0; c < channels; ++c) {
            fill_padding(to + c * pitch_[1], inside);
        }
        if (inside > 0) {
            kernels_.transpose(
                sample + *at,
                problem_.x_pitch[4],
                inside,
                channels,
                to + problem_.pad_before[2],
                pitch_[1]);
        }
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    const WeightBlocking& cut_;
    bool parallel_;
    const T* x_;
    const T* grad_;
    T* packed_; // [sample][group][panel][pixel][filter]
    T* copied_; // [sample][channel][depth][height][width], padded
    int64 pitch_[5];
    int64 first_ = 0;
};

} // namespace pyconv
