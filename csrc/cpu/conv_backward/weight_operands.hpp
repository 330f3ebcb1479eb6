// What a weight gradient's tiles read: the gradient in panels [pixel][filter], a few
// samples at a time, and a tile's channels of a band of the input, with its padding,
// [sample][depth][height][width][channel].
#pragma once

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv_backward/weight_blocking.hpp"

#include <algorithm>

namespace pyconv {

template <class T>
class GradPanels {
  public:
    // All must outlive this.
    GradPanels(
        const WeightPlan& plan,
        const WeightBlocking& cut,
        const T* grad,
        ScratchFrame& frame)
        : cut_(cut), kernels_(kernels_of<T>(*plan.isa)), parallel_(plan.parallel),
          grad_(grad), packed_(frame.take<T>(cut.grad_items)) {}

    // Makes the pixels of a pass ready.
    void pack(const WeightBox& pass) {
        pass_ = pass;
        const int64 panels = cut_.problem.groups * cut_.panels;
        const int64 lines = pass.extent[1] * pass.extent[2];
        const int64 across = ceil_div(pass.extent[3], PACKED_COLUMNS);
        const int64 items = pass.extent[0] * panels * lines * across;
        parallel_for(items, parallel_, [&](int64 begin, int64 end, int) {
            for (int64 item = begin; item < end; ++item) {
                const int64 line = item / across % lines;
                const int64 panel = item / across / lines;
                pack_run(
                    panel / panels,
                    panel % panels,
                    line,
                    item % across * PACKED_COLUMNS);
            }
        });
    }

    // A panel, counted over all groups, from a pixel of the pass on.
    const T* at(const int64 (&pixel)[4], int64 panel) const {
        const int64 width = cut_.width_of(panel % cut_.panels);
        return packed_ + (pixel[0] - pass_.first[0]) * sample_pitch() +
               panel * panel_pitch() +
               (pixel[1] - pass_.first[1]) * plane_pitch(width) +
               (pixel[2] - pass_.first[2]) * line_pitch(width) +
               (pixel[3] - pass_.first[3]) * width;
    }

    int64 line_pitch(int64 width) const { return pass_.extent[3] * width; }
    int64 plane_pitch(int64 width) const { return pass_.extent[2] * line_pitch(width); }
    int64 sample_pitch() const {
        return cut_.problem.groups * cut_.panels * panel_pitch();
    }

  private:
    static constexpr int64 PACKED_COLUMNS = 128;

    int64 panel_pitch() const { return pass_.extent[1] * plane_pitch(cut_.width); }

    // A run of a line of sample n, all counted from the pass' first.
    void pack_run(int64 n, int64 panel, int64 line, int64 column) const {
        const ConvProblem& problem = cut_.problem;
        const int64 first = panel % cut_.panels * cut_.width;
        const int64 filters = problem.k / problem.groups;
        const int64 width = cut_.width_of(panel % cut_.panels);
        const int64 count = std::min(width, filters - first);
        const int64 columns = std::min(PACKED_COLUMNS, pass_.extent[3] - column);
        const int64(&pitch)[5] = problem.y_pitch;
        const int64 pixel[4] = {
            pass_.first[0] + n,
            pass_.first[1] + line / pass_.extent[2],
            pass_.first[2] + line % pass_.extent[2],
            pass_.first[3] + column};
        const T* from = grad_ + (panel / cut_.panels * filters + first) * pitch[1] +
                        pixel[0] * pitch[0] + pixel[1] * pitch[2] +
                        pixel[2] * pitch[3] + pixel[3] * pitch[4];
        T* to = packed_ + (at(pixel, panel) - packed_);
        if (count < width) {
            std::fill(to, to + columns * width, T(0));
        }
        if (pitch[4] == 1) {
            kernels_.transpose(from, pitch[1], count, columns, to, width);
            return;
        }
        kernels_.copy_lines(
            {.from = from,
             .from_pitch = pitch[4],
             .from_step = pitch[1],
             .lines = columns,
             .count = count,
             .to = to,
             .to_pitch = width});
    }

    const WeightBlocking& cut_;
    const Kernels<T>& kernels_;
    bool parallel_;
    const T* grad_;
    T* packed_; // [sample][group][panel][pixel][filter]
    WeightBox pass_{};
};

template <class T>
class InputBand {
  public:
    // `room` holds cut.x_items elements. All must outlive this.
    InputBand(const WeightBlocking& cut, const Kernels<T>& kernels, const T* x, T* room)
        : cut_(cut), kernels_(kernels), x_(x), room_(room) {}

    // Lays out a tile, counted over all groups, under a box of the output.
    void lay(int64 tile, const WeightBox& box) {
        const ConvProblem& problem = cut_.problem;
        const int64 first = cut_.first_row(tile % cut_.tiles);
        channels_ = cut_.first_row(tile % cut_.tiles + 1) - first;
        for (int axis = 0; axis < 3; ++axis) {
            extent_[axis] = WeightBlocking::reach(problem, axis, box.extent[axis + 1]);
            start_[axis] =
                box.first[axis + 1] * problem.stride[axis] - problem.pad_before[axis];
        }
        const T* from =
            x_ + (tile / cut_.tiles * cut_.channels + first) * problem.x_pitch[1];
        T* to = room_;
        for (int64 n = 0; n < box.extent[0]; ++n) {
            const T* sample = from + (box.first[0] + n) * problem.x_pitch[0];
            for (int64 d = 0; d < extent_[0]; ++d) {
                for (int64 h = 0; h < extent_[1]; ++h, to += row_pitch()) {
                    lay_row(sample, start_[0] + d, start_[1] + h, to);
                }
            }
        }
    }

    int64 channels() const { return channels_; }
    int64 row_pitch() const { return extent_[2] * channels_; }
    int64 plane_pitch() const { return extent_[1] * row_pitch(); }
    int64 sample_pitch() const { return extent_[0] * plane_pitch(); }
    // The element at (d, h, w) of sample n, all counted from the box's.
    const T* at(int64 n, int64 d, int64 h, int64 w) const {
        return room_ + n * sample_pitch() + d * plane_pitch() + h * row_pitch() +
               w * channels_;
    }

  private:
    void lay_row(const T* sample, int64 d, int64 h, T* to) const {
        const ConvProblem& problem = cut_.problem;
        const int64 rows = channels_;
        const bool inside =
            d >= 0 && d < problem.input[0] && h >= 0 && h < problem.input[1];
        const int64 begin = std::clamp<int64>(-start_[2], 0, extent_[2]);
        const int64 end =
            inside ? std::clamp<int64>(problem.input[2] - start_[2], begin, extent_[2])
                   : begin;
        std::fill(to, to + begin * rows, T(0));
        std::fill(to + end * rows, to + extent_[2] * rows, T(0));
        if (end == begin) {
            return;
        }
        const int64(&pitch)[5] = problem.x_pitch;
        const T* from =
            sample + d * pitch[2] + h * pitch[3] + (start_[2] + begin) * pitch[4];
        if (pitch[4] == 1 && rows > 1) {
            kernels_.transpose(
                from, pitch[1], channels_, end - begin, to + begin * rows, rows);
            return;
        }
        const bool alone = rows == 1 && pitch[4] == 1; // one run
        kernels_.copy_lines(
            {.from = from,
             .from_pitch = pitch[4],
             .from_step = alone ? 1 : pitch[1],
             .lines = alone ? 1 : end - begin,
             .count = alone ? end - begin : channels_,
             .to = to + begin * rows,
             .to_pitch = rows});
    }

    const WeightBlocking& cut_;
    const Kernels<T>& kernels_;
    const T* x_;
    T* room_;
    int64 channels_ = 0; // of the tile
    int64 start_[3]{};   // of the box's input, negative in the padding
    int64 extent_[3]{};
};

} // namespace pyconv
