// interleaved input gradient: all phases of a stride in one pass, stored side by side.
//
// The idea: a pixel of the gradient is a sum over the taps of its phase and over all
// filters, a register tile of pixels of one phase x channels like a convolution's. A
// phase alone would write every stride-th pixel. Here the tiles of all phases of a few
// lines fill a piece of the result, [pixel][channel], which leaves whole, through one
// epilogue; where channels are neighbours in memory each tile leaves at once. Weights
// are packed once for all phases, and grad, where its channels lie apart, is turned
// once. Sums run over taps from the last to the first, then over filters, as those of
// the phases' convolutions do: the same bits. Source: Dumoulin and Visin (arXiv
// 1603.07285), chapter 4, for the phases.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/turned_input.hpp"
#include "cpu/conv_backward/input_blocking.hpp"
#include "cpu/conv_backward/input_sum.hpp"
#include "cpu/conv_backward/phase_axis.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace pyconv {
namespace {

template <class T>
class Interleaved {
  public:
    Interleaved(const InputPlan& plan, const InputTensors& tensors, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          cut_(problem_, *plan.isa), parallel_(plan.parallel),
          axes_{phases_of(problem_, 0), phases_of(problem_, 1), phases_of(problem_, 2)},
          grad_(static_cast<const T*>(tensors.grad)),
          weight_(static_cast<const T*>(tensors.weight)),
          bias_(static_cast<const T*>(tensors.bias)),
          residual_(static_cast<const T*>(tensors.residual)),
          x_(static_cast<T*>(tensors.x)),
          packed_(frame.take<T>(cut_.packed_elements(problem_))),
          turned_(frame.take<T>(cut_.turned_elements(problem_))),
          sum_(problem_, kernels_, cut_, pitch_) {
        const ConvProblem read = grad_read(problem_);
        const ConvProblem seen = cut_.turned ? turned_problem(read) : read;
        std::copy(seen.x_pitch, seen.x_pitch + 5, pitch_);
    }

    void run() {
        pack();
        const int64 unit_count = problem_.groups * cut_.parts * cut_.blocks;
        for (int64 n = 0; n < problem_.n; n += cut_.samples) {
            const int64 count = std::min(cut_.samples, problem_.n - n);
            const T* from = grad_ + n * problem_.y_pitch[0];
            if (cut_.turned) {
                ConvProblem read = grad_read(problem_);
                read.n = count;
                turn_input(read, kernels_, from, parallel_, turned_);
                from = turned_;
            }
            parallel_for(
                count * unit_count, parallel_, [&](int64 begin, int64 end, int) {
                    walk(n, from, begin, end);
                });
        }
    }

  private:
    using Room = TileRoom<T>;
    using Target = TileTarget<T>;

    // Pixels of the result that leave together: whole lines, or a part of one.
    struct Piece {
        int64 line;
        int64 lines;
        Span columns;
    };

    void pack() {
        const ConvProblem turned = weights_turned(problem_);
        const int64 all = problem_.groups * cut_.shape.panels;
        parallel_for(all, parallel_, [&](int64 begin, int64 end, int) {
            for (int64 item = begin; item < end; ++item) {
                const int64 group = item / cut_.shape.panels;
                pack_filter_panel(
                    turned,
                    kernels_,
                    cut_.shape,
                    weight_ + group * turned.c * problem_.w_pitch[0],
                    item % cut_.shape.panels,
                    packed_ + item * cut_.shape.panel_elements());
            }
        });
    }

    // Units are (sample, group, part of the panels, block of pieces), the last fastest.
    void walk(int64 first, const T* grad, int64 begin, int64 end) const {
        ScratchFrame frame;
        const int64 taps = problem_.kernel[2];
        const int64 pixels = cut_.piece_lines * cut_.columns;
        const Room room{
            .pointers = frame.take<const T*>(taps * kernels_.rows),
            .acc = frame.take<T>(kernels_.rows * cut_.shape.width),
            .piece = frame.take<T>(cut_.last ? 0 : pixels * cut_.shape.width),
            .offsets = frame.take<int64>(cut_.last ? kernels_.rows : pixels)};
        const int64 panels = cut_.shape.panels;
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 block = unit % cut_.blocks;
            const int64 part = unit / cut_.blocks % cut_.parts;
            const int64 group = unit / (cut_.blocks * cut_.parts) % problem_.groups;
            const int64 n = unit / (cut_.blocks * cut_.parts * problem_.groups);
            const Span pieces{
                block * cut_.pieces / cut_.blocks,
                (block + 1) * cut_.pieces / cut_.blocks};
            const T* from =
                grad + n * pitch_[0] + group * cut_.shape.channels * pitch_[1];
            for (int64 panel = part * panels / cut_.parts;
                 panel < (part + 1) * panels / cut_.parts;
                 ++panel) {
                add_panel(first + n, group, panel, pieces, from, room);
            }
        }
    }

    void add_panel(
        int64 n, int64 group, int64 panel, Span pieces, const T* grad, const Room& room)
        const {
        const int64 channel = group * cut_.shape.filters + panel * cut_.shape.width;
        const T* weights =
            packed_ + (group * cut_.shape.panels + panel) * cut_.shape.panel_elements();
        const Out out{
            .at = n * problem_.x_pitch[0] + channel * problem_.x_pitch[1],
            .channel = channel,
            .columns = std::min(
                cut_.shape.width, cut_.shape.filters - panel * cut_.shape.width)};
        for (int64 at = pieces.begin; at < pieces.end; ++at) {
            const int64 line = at / cut_.across * cut_.piece_lines;
            const int64 column = at % cut_.across * cut_.columns;
            const Piece piece{
                .line = line,
                .lines = std::min(cut_.piece_lines, cut_.lines - line),
                .columns = {
                    column, std::min(column + cut_.columns, problem_.input[2])}};
            for (int64 i = 0; i < piece.lines; ++i) {
                add_line(piece, i, grad, weights, out, room);
            }
            if (!cut_.last) {
                store_piece(piece, out, room);
            }
        }
    }

    // Where a panel's channels go.
    struct Out {
        int64 at; // the offset of the first, in the sample
        int64 channel;
        int64 columns; // channels that there are
    };

    void add_line(
        const Piece& piece,
        int64 index,
        const T* grad,
        const T* weights,
        const Out& out,
        const Room& room) const {
        const int64 line = piece.line + index;
        const int64 place[2] = {line / problem_.input[1], line % problem_.input[1]};
        const PhaseAxis* phase[2];
        Span taps[2];
        int64 pixel[2];
        for (int axis = 0; axis < 2; ++axis) {
            const int64 stride = problem_.stride[axis];
            phase[axis] = &axes_[axis][static_cast<std::size_t>(place[axis] % stride)];
            pixel[axis] = place[axis] / stride;
            taps[axis] = reaching(*phase[axis], pixel[axis], problem_.output[axis]);
        }
        const int64 stride = problem_.stride[2];
        const int64 width = cut_.shape.width;
        for (const PhaseAxis& along : axes_[2]) {
            const auto number = [&](int64 column) {
                return ceil_div(std::max<int64>(column - along.first, 0), stride);
            };
            const Span pixels{number(piece.columns.begin), number(piece.columns.end)};
            const int64 tiles = ceil_div(pixels.count(), kernels_.rows);
            for (int64 tile = 0; tile < tiles; ++tile) {
                const Span rows{
                    pixels.begin + tile * pixels.count() / tiles,
                    pixels.begin + (tile + 1) * pixels.count() / tiles};
                const int64 column = along.first + rows.begin * stride;
                const Target target =
                    cut_.last
                        ? target_in_x(place, column, stride, out, room, rows.count())
                        : target_in_piece(
                              (index * cut_.columns + column - piece.columns.begin) *
                                  width,
                              stride * width,
                              room,
                              rows.count());
                const bool done = sum_.add(
                    {along, rows, grad, weights}, phase, pixel, taps, target, room);
                if (!done) {
                    leave(target, rows.count(), out, room);
                }
            }
        }
    }

    Target target_in_x(
        const int64 (&place)[2],
        int64 column,
        int64 stride,
        const Out& out,
        const Room& room,
        int64 rows) const {
        const int64 at = out.at + place[0] * problem_.x_pitch[2] +
                         place[1] * problem_.x_pitch[3] + column * problem_.x_pitch[4];
        for (int64 i = 0; i < rows; ++i) {
            room.offsets[i] = at + i * stride * problem_.x_pitch[4];
        }
        const bool straight = out.columns == cut_.shape.width && residual_ == nullptr &&
                              problem_.activation <= ACT_LEAKY_RELU;
        return {
            straight ? x_ : nullptr,
            bias_ == nullptr ? nullptr : bias_ + out.channel,
            problem_.activation};
    }

    Target target_in_piece(int64 at, int64 step, const Room& room, int64 rows) const {
        for (int64 i = 0; i < rows; ++i) {
            room.offsets[i] = at + i * step;
        }
        return {room.piece, nullptr, ACT_NONE};
    }

    // A tile that did not go straight from the registers.
    void
    leave(const Target& target, int64 rows, const Out& out, const Room& room) const {
        const int64 width = cut_.shape.width;
        if (!cut_.last) {
            for (int64 i = 0; i < rows; ++i) {
                std::memcpy(
                    target.y + room.offsets[i],
                    room.acc + i * width,
                    static_cast<std::size_t>(width) * sizeof(T));
            }
            return;
        }
        store(room.acc, rows, 1, false, out, room.offsets);
    }

    void store_piece(const Piece& piece, const Out& out, const Room& room) const {
        const bool joined =
            problem_.x_pitch[4] == 1 && problem_.x_pitch[3] == problem_.input[2] &&
            (problem_.input[0] == 1 ||
             problem_.x_pitch[2] == problem_.input[1] * problem_.x_pitch[3]);
        const int64 columns = piece.columns.count();
        for (int64 i = 0; i < piece.lines; ++i) {
            const int64 line = piece.line + i;
            const int64 at = out.at + line / problem_.input[1] * problem_.x_pitch[2] +
                             line % problem_.input[1] * problem_.x_pitch[3] +
                             piece.columns.begin * problem_.x_pitch[4];
            for (int64 w = 0; w < columns; ++w) {
                room.offsets[w] = at + w * problem_.x_pitch[4];
            }
            const int64 rows = joined ? piece.lines * columns : columns;
            store(
                room.piece + i * cut_.columns * cut_.shape.width,
                rows,
                problem_.x_pitch[1],
                problem_.x_pitch[4] == 1,
                out,
                room.offsets);
            if (joined) {
                return;
            }
        }
    }

    void store(
        const T* acc,
        int64 rows,
        int64 column_pitch,
        bool contiguous,
        const Out& out,
        const int64* offsets) const {
        kernels_.store_tile(
            {.acc = acc,
             .acc_pitch = cut_.shape.width,
             .rows = rows,
             .columns = out.columns,
             .y = x_,
             .residual = residual_,
             .row_offset = offsets,
             .column_pitch = column_pitch,
             .rows_contiguous = contiguous,
             .bias = bias_ == nullptr ? nullptr : bias_ + out.channel,
             .bias_per_row = false,
             .activation = problem_.activation});
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    InputBlocking cut_;
    bool parallel_;
    std::vector<PhaseAxis> axes_[3];
    const T* grad_;
    const T* weight_;
    const T* bias_;
    const T* residual_;
    T* x_;
    T* packed_;      // [group][panel][tap][filter][channel]
    T* turned_;      // a pass: [sample][pixel][filter]
    int64 pitch_[5]; // of grad as the tiles read it
    InputSum<T> sum_;
};

template <class T>
void run_as(const InputPlan& plan, const InputTensors& tensors) {
    ScratchFrame frame;
    Interleaved<T>(plan, tensors, frame).run();
}

void run(const InputPlan& plan, const InputTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const ConvProblem&) {
    return "";
}

InputPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const InputAlgorithm input_interleaved;
const InputAlgorithm input_interleaved{
    .name = "interleaved",
    .summary = "all phases in one pass, their pixels stored side by side",
    .supports = supports,
    .cost_us = interleaved_us,
    .movement = interleaved_movement,
    .plan = plan,
    .run = run,
};

namespace {

InputPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    const InputBlocking cut(problem, isa);
    return InputPlan{
        .problem = problem,
        .algorithm = &input_interleaved,
        .isa = &isa,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", tile_rows(problem, isa)},
             {"nr", cut.shape.width},
             {"lines", cut.piece_lines},
             {"columns", cut.columns},
             {"samples", cut.samples},
             {"blocks", cut.blocks},
             {"parts", cut.parts}},
        .workspace_bytes =
            (cut.packed_elements(problem) + cut.turned_elements(problem)) *
            element_bytes(problem.dtype),
    };
}

} // namespace
} // namespace pyconv
