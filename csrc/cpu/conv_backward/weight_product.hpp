// The direct weight gradient's product: bands, tiles and panels, pieces, steps.
//
// Threads share the steps of tiles and panels, never a sum: each element is one chain
// of multiply-adds over samples and pixels in order, whatever the number of threads.
#pragma once

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv_backward/weight_blocking.hpp"
#include "cpu/conv_backward/weight_operands.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {

// Calls body(box) for the boxes of at most `extent` in a box, in the order of its
// pixels.
template <class Body>
void walk_boxes(const WeightBox& all, const int64 (&extent)[4], const Body& body) {
    const auto last = [&](int axis) { return all.first[axis] + all.extent[axis]; };
    WeightBox box{};
    int64(&at)[4] = box.first;
    for (at[0] = all.first[0]; at[0] < last(0); at[0] += extent[0]) {
        for (at[1] = all.first[1]; at[1] < last(1); at[1] += extent[1]) {
            for (at[2] = all.first[2]; at[2] < last(2); at[2] += extent[2]) {
                for (at[3] = all.first[3]; at[3] < last(3); at[3] += extent[3]) {
                    for (int axis = 0; axis < 4; ++axis) {
                        box.extent[axis] =
                            std::min(extent[axis], last(axis) - at[axis]);
                    }
                    body(box);
                }
            }
        }
    }
}

template <class T>
class WeightProduct {
  public:
    WeightProduct(
        const WeightPlan& plan, const WeightTensors& tensors, ScratchFrame& frame)
        : cut_(plan.problem, *plan.isa), problem_(cut_.problem),
          kernels_(kernels_of<T>(*plan.isa)), parallel_(plan.parallel),
          x_(static_cast<const T*>(cut_.exchanged ? tensors.grad : tensors.x)),
          weight_(static_cast<T*>(tensors.weight)),
          grad_(
              plan,
              cut_,
              static_cast<const T*>(cut_.exchanged ? tensors.x : tensors.grad),
              frame),
          sums_(frame.take<T>(cut_.sum_items)),
          row_offsets_(frame.take<int64>(cut_.rows * cut_.taps)) {
        Pixel tap(problem_.kernel, 0);
        for (int64 i = 0; i < cut_.taps; ++i, tap.advance(problem_.kernel)) {
            for (int64 c = 0; c < cut_.rows; ++c) {
                const int64 row = c * cut_.taps + i;
                const int64 offset =
                    c * problem_.w_pitch[1] + tap.offset(problem_.w_pitch);
                row_offsets_[cut_.runs > 0 ? i * cut_.rows + c : row] = offset;
                contiguous_ = contiguous_ && offset == row;
            }
        }
    }

    void run() {
        const WeightBox all{
            .first = {0, 0, 0, 0},
            .extent = {
                problem_.n,
                problem_.output[0],
                problem_.output[1],
                problem_.output[2]}};
        walk_boxes(all, cut_.pass, [&](const WeightBox& pass) {
            grad_.pack(pass);
            parallel_for(cut_.units(), parallel_, [&](int64 begin, int64 end, int) {
                multiply(pass, begin, end);
            });
        });
    }

  private:
    // Steps [first, last) of a tile and panel.
    struct Share {
        int64 tile; // over all groups
        int64 panel;
        int64 first;
        int64 last;
    };

    // Adds a pass to the sums of units [begin, end), counted over groups, tiles, panels
    // and steps, and stores them after the last.
    void multiply(const WeightBox& pass, int64 begin, int64 end) const {
        ScratchFrame frame;
        InputBand<T> band(cut_, kernels_, x_, frame.take<T>(cut_.x_items));
        T* alone = frame.take<T>(cut_.sum_items == 0 ? cut_.pair_items : 0);
        T* turned = frame.take<T>(cut_.runs > 0 ? cut_.pair_items : 0);
        const T** pointers = frame.take<const T*>(cut_.piece[2] * cut_.rows);
        walk_boxes(pass, cut_.band, [&](const WeightBox& box) {
            int64 laid = -1;
            for (int64 unit = begin; unit < end;) {
                const int64 pair = unit / cut_.steps;
                const Share share{
                    .tile = pair / cut_.panels,
                    .panel = pair % cut_.panels,
                    .first = unit % cut_.steps,
                    .last = std::min(cut_.steps, unit % cut_.steps + end - unit)};
                if (share.tile != laid && !cut_.in_place) {
                    band.lay(share.tile, box);
                    laid = share.tile;
                }
                if (is_last(box)) {
                    prefetch_for_store(share);
                }
                T* sums = cut_.sum_items == 0 ? alone : sums_ + pair * cut_.pair_items;
                walk_boxes(box, cut_.piece, [&](const WeightBox& piece) {
                    if (cut_.in_place) {
                        add_in_place(piece, share, pointers, sums);
                    } else {
                        add_piece(band, box, piece, share, sums);
                    }
                });
                if (is_last(box) && cut_.runs > 0) {
                    store_runs(share, sums, turned);
                } else if (is_last(box) && !finishes_in_registers(share.panel)) {
                    store(share, sums);
                }
                unit += share.last - share.first;
            }
        });
    }

    static bool is_first(const WeightBox& box) {
        return box.first[0] + box.first[1] + box.first[2] + box.first[3] == 0;
    }
    bool is_last(const WeightBox& box) const {
        bool last = box.first[0] + box.extent[0] == problem_.n;
        for (int axis = 0; axis < 3; ++axis) {
            last = last &&
                   box.first[axis + 1] + box.extent[axis + 1] == problem_.output[axis];
        }
        return last;
    }

    int64 rows_of(int64 tile) const {
        const int64 of_group = tile % cut_.tiles;
        return cut_.first_row(of_group + 1) - cut_.first_row(of_group);
    }

    const T* grad_at(const WeightBox& piece, const Share& share) const {
        return grad_.at(
            piece.first, share.tile / cut_.tiles * cut_.panels + share.panel);
    }

    void add_piece(
        const InputBand<T>& band,
        const WeightBox& box,
        const WeightBox& piece,
        const Share& share,
        T* sums) const {
        const auto* tile = kernels_.outer_tile[cut_.vectors_of(share.panel) - 1];
        const int64 width = cut_.width_of(share.panel);
        // Whichever of samples and planes is more than one is a call's; seldom both.
        const bool deep = piece.extent[1] > 1;
        const int64 blocks = deep ? piece.extent[1] : piece.extent[0];
        const int64 calls = deep ? piece.extent[0] : 1;
        const int64(&stride)[3] = problem_.stride;
        const int64(&dilation)[3] = problem_.dilation;
        for (int64 n = 0; n < calls; ++n) {
            const T* grad = grad_at(piece, share) + n * grad_.sample_pitch();
            for (int64 i = share.first; i < share.last; ++i) {
                const Step step = step_of(i, band.channels());
                const Pixel tap(problem_.kernel, step.tap);
                tile[step.rows - 1](
                    {.blocks = blocks,
                     .lines = piece.extent[2],
                     .pixels = piece.extent[3],
                     .a = band.at(
                              piece.first[0] - box.first[0] + n,
                              (piece.first[1] - box.first[1]) * stride[0] +
                                  tap.at[0] * dilation[0],
                              (piece.first[2] - box.first[2]) * stride[1] +
                                  tap.at[1] * dilation[1],
                              (piece.first[3] - box.first[3]) * stride[2] +
                                  tap.at[2] * dilation[2]) +
                          step.pair,
                     .a_block =
                         deep ? stride[0] * band.plane_pitch() : band.sample_pitch(),
                     .a_line = stride[1] * band.row_pitch(),
                     .a_step = stride[2] * band.channels(),
                     .b = grad,
                     .b_block = deep ? grad_.plane_pitch(width) : grad_.sample_pitch(),
                     .b_line = grad_.line_pitch(width),
                     .acc = sums + step.row * width,
                     .acc_pitch = (cut_.runs > 0 ? 1 : cut_.taps) * width,
                     .accumulate = n > 0 || !is_first(piece)});
            }
        }
    }

    // What a register tile takes.
    struct Step {
        int64 tap;  // the first of its row, where runs are taken
        int64 pair; // of that row, from which on
        int64 rows;
        int64 row; // of the sums: [channel][tap], of runs [tap][channel]
    };

    Step step_of(int64 i, int64 channels) const {
        if (cut_.runs == 0) {
            return {.tap = i, .pair = 0, .rows = channels, .row = i};
        }
        const int64 line = i / cut_.runs;
        const int64 first = cut_.first_pair(i);
        return {
            .tap = line * problem_.kernel[2],
            .pair = first - line * cut_.pairs(),
            .rows = cut_.first_pair(i + 1) - first,
            .row = first};
    }

    // A whole panel of neighbouring filters goes from the tile to the weight.
    bool finishes_in_registers(int64 panel) const {
        return cut_.in_place && problem_.w_pitch[0] == 1 &&
               (panel + 1) * cut_.width <= problem_.k / problem_.groups;
    }

    // A tile's and panel's first sum.
    T* weight_at(const Share& share) const {
        const int64 filters = problem_.k / problem_.groups;
        const int64 k = share.tile / cut_.tiles * filters + share.panel * cut_.width;
        return weight_ + k * problem_.w_pitch[0] +
               cut_.first_row(share.tile % cut_.tiles) * problem_.w_pitch[1];
    }

    // Fetches the lines that neighbouring filters will be stored to.
    void prefetch_for_store(const Share& share) const {
        constexpr int64 LINE = 64 / sizeof(T);
        const T* to = weight_at(share);
        const int64 rows = problem_.w_pitch[0] == 1 ? rows_of(share.tile) : 0;
        for (int64 row = 0; row < rows * cut_.taps; ++row) {
            for (int64 i = 0; i < cut_.width; i += LINE) {
                __builtin_prefetch(to + row_offsets_[row] + i, 1);
            }
        }
    }

    // Of windows of one element, from x where it lies: every line of a piece is a set
    // of pointers.
    void add_in_place(
        const WeightBox& piece, const Share& share, const T** pointers, T* sums) const {
        const int64(&pitch)[5] = problem_.x_pitch;
        const int64 rows = rows_of(share.tile);
        const int64 width = cut_.width_of(share.panel);
        const int64 channel = share.tile / cut_.tiles * cut_.channels +
                              cut_.first_row(share.tile % cut_.tiles);
        for (int64 n = 0; n < piece.extent[0]; ++n) {
            for (int64 m = 0; m < piece.extent[1]; ++m) {
                const WeightBox lines{
                    .first =
                        {piece.first[0] + n,
                         piece.first[1] + m,
                         piece.first[2],
                         piece.first[3]},
                    .extent = {1, 1, piece.extent[2], piece.extent[3]}};
                const T* x = x_ + lines.first[0] * pitch[0] + channel * pitch[1];
                for (int axis = 0; axis < 3; ++axis) {
                    x +=
                        lines.first[axis + 1] * problem_.stride[axis] * pitch[axis + 2];
                }
                for (int64 l = 0; l < lines.extent[2]; ++l) {
                    for (int64 i = 0; i < rows; ++i) {
                        pointers[l * rows + i] =
                            x + l * problem_.stride[1] * pitch[3] + i * pitch[1];
                    }
                }
                const bool finishes =
                    is_last(lines) && finishes_in_registers(share.panel);
                kernels_.gemm_tile[cut_.vectors_of(share.panel) - 1][rows - 1](
                    {.taps = lines.extent[2],
                     .a = pointers,
                     .a_tap_pitch = rows,
                     .k = lines.extent[3],
                     .a_step = problem_.stride[2] * pitch[4],
                     .b = grad_at(lines, share),
                     .b_tap_pitch = grad_.line_pitch(width),
                     .acc = sums,
                     .accumulate = !is_first(lines),
                     .y = finishes ? weight_at(share) : nullptr,
                     .row_offset = row_offsets_,
                     .bias = nullptr,
                     .bias_per_row = false,
                     .activation = ACT_NONE,
                     .ahead = nullptr});
            }
        }
    }

    // All taps of a tile at once; of some, channel by channel, sums of others between.
    void store(const Share& share, const T* sums) const {
        const int64(&pitch)[5] = problem_.w_pitch;
        const int64 taps = share.last - share.first;
        const int64 rows = rows_of(share.tile) * cut_.taps;
        const int64 together = taps == cut_.taps ? rows : taps;
        const int64 filters = problem_.k / problem_.groups;
        const int64 k = share.panel * cut_.width;
        const int64 width = cut_.width_of(share.panel);
        T* to = weight_at(share);
        const int64 step = taps == cut_.taps ? rows : cut_.taps;
        for (int64 row = share.first; row < rows; row += step) {
            kernels_.store_tile(
                {.acc = sums + row * width,
                 .acc_pitch = width,
                 .rows = together,
                 .columns = std::min(cut_.width, filters - k),
                 .y = to,
                 .residual = nullptr,
                 .row_offset = row_offsets_ + row,
                 .column_pitch = pitch[0],
                 .rows_contiguous = contiguous_,
                 .bias = nullptr,
                 .bias_per_row = false,
                 .activation = ACT_NONE});
        }
    }

    // Runs' sums are turned from [tap][channel] where all of them leave at once.
    void store_runs(const Share& share, const T* sums, T* turned) const {
        const int64 first = cut_.first_pair(share.first);
        const int64 rows = cut_.first_pair(share.last) - first;
        const int64 width = cut_.width_of(share.panel);
        const int64 filters = problem_.k / problem_.groups;
        const int64 k = share.panel * cut_.width;
        const bool turns = contiguous_ && rows == cut_.rows * cut_.taps;
        for (int64 row = 0; turns && row < rows; ++row) {
            const int64 to = row % cut_.rows * cut_.taps + row / cut_.rows;
            const T* from = sums + row * width;
            std::copy(from, from + width, turned + to * width);
        }
        kernels_.store_tile(
            {.acc = turns ? turned : sums + first * width,
             .acc_pitch = width,
             .rows = rows,
             .columns = std::min(cut_.width, filters - k),
             .y = weight_ + (share.tile * filters + k) * problem_.w_pitch[0],
             .residual = nullptr,
             .row_offset = row_offsets_ + first,
             .column_pitch = problem_.w_pitch[0],
             .rows_contiguous = turns,
             .bias = nullptr,
             .bias_per_row = false,
             .activation = ACT_NONE});
    }

    WeightBlocking cut_;
    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    bool parallel_;
    const T* x_;
    T* weight_;
    GradPanels<T> grad_;
    T* sums_;            // [group][tile][panel][row][filter], rows as Step's
    int64* row_offsets_; // of the sums' rows, in the weight
    bool contiguous_ = true;
};

} // namespace pyconv
