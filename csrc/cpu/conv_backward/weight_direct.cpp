// direct weight gradient: a matrix product over pixels, filters in the lanes.
//
// dw[k, (c, t, r, s)] = the sum over all output pixels of grad[pixel, k] times the
// element of x under tap (t, r, s) of channel c. The register tile is the
// convolution's: its rows are (channel, tap) pairs, each a pointer into x that steps
// from pixel to pixel; its lanes are filters, from grad packed once into panels
// [pixel][filter]. A tile takes the pixels of a few output lines at a time, so that the
// panel's part stays in L2 while all rows pass.
//
// Padded input is copied with its padding, a few samples at a time, so that no tap
// needs an edge, and input whose channels are neighbours is turned. Threads share the
// tiles, never a sum: each element is one chain of multiply-adds over samples and
// pixels in order, whatever the number of threads.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv_backward/weight_blocking.hpp"
#include "cpu/conv_backward/weight_operands.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

template <class T>
class WeightProduct {
  public:
    WeightProduct(
        const WeightPlan& plan, const WeightTensors& tensors, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          cut_(problem_, *plan.isa), parallel_(plan.parallel),
          weight_(static_cast<T*>(tensors.weight)),
          operands_(plan, cut_, tensors, frame), pitch_(operands_.pitch()),
          sums_(frame.take<T>(cut_.sum_items)) {
        row_offsets_ = frame.take<int64>(cut_.rows);
        const int64 taps = volume(problem_.kernel);
        Pixel tap(problem_.kernel, 0);
        for (int64 row = 0; row < cut_.rows; ++row) {
            row_offsets_[row] = row / taps * pitch_[1];
            for (int axis = 0; axis < 3; ++axis) {
                row_offsets_[row] +=
                    tap.at[axis] * problem_.dilation[axis] * pitch_[axis + 2];
            }
            tap.advance(problem_.kernel);
            if ((row + 1) % taps == 0) {
                tap = Pixel(problem_.kernel, 0);
            }
        }
        const int64 lines = problem_.output[0] * problem_.output[1];
        line_offsets_ = frame.take<int64>(lines);
        for (int64 line = 0; line < lines; ++line) {
            line_offsets_[line] =
                line / problem_.output[1] * problem_.stride[0] * pitch_[2] +
                line % problem_.output[1] * problem_.stride[1] * pitch_[3];
        }
    }

    void run() {
        for (int64 n = 0; n < problem_.n; n += cut_.samples) {
            const int64 count = std::min(cut_.samples, problem_.n - n);
            operands_.pack(n, count);
            const int64 all = problem_.groups * cut_.panels * cut_.tiles;
            parallel_for(all, parallel_, [&](int64 begin, int64 end, int) {
                multiply(n, count, begin, end);
            });
        }
    }

  private:
    // Tiles [begin, end), counted over groups, panels and rows: adds one pass to their
    // sums, and stores them after the last.
    void multiply(int64 first, int64 count, int64 begin, int64 end) const {
        ScratchFrame frame;
        auto** pointers = frame.take<const T*>(cut_.lines * cut_.tile_rows);
        while (begin < end) {
            const int64 panel = begin / cut_.tiles;
            const int64 last = std::min(end, (panel + 1) * cut_.tiles);
            for (int64 n = 0; n < count; ++n) {
                add_sample(first, n, panel, begin, last, pointers);
            }
            for (int64 tile = begin; first + count == problem_.n && tile < last;
                 ++tile) {
                store(panel, tile);
            }
            begin = last;
        }
    }

    void add_sample(
        int64 first, int64 n, int64 panel, int64 begin, int64 end, const T** pointers)
        const {
        const int64 channels = problem_.c / problem_.groups;
        const T* x = operands_.x(n) + panel / cut_.panels * channels * pitch_[1];
        const int64 lines = problem_.output[0] * problem_.output[1];
        const T* grad = operands_.panel(n, panel);
        for (int64 line = 0; line < lines; line += cut_.lines) {
            for (int64 q = 0; q < problem_.output[2]; q += cut_.columns) {
                const Piece piece{
                    .line = line,
                    .lines = std::min(cut_.lines, lines - line),
                    .column = q,
                    .columns = std::min(cut_.columns, problem_.output[2] - q),
                    .first = first + n + line + q == 0};
                for (int64 tile = begin; tile < end; ++tile) {
                    add_piece(x, grad, tile, piece, pointers);
                }
            }
        }
    }

    // Output pixels that are summed at a time: a few lines, or a part of one.
    struct Piece {
        int64 line;
        int64 lines;
        int64 column;
        int64 columns;
        bool first; // of the whole sum
    };

    void add_piece(
        const T* x,
        const T* grad,
        int64 tile,
        const Piece& piece,
        const T** pointers) const {
        const int64 row = tile % cut_.tiles * cut_.tile_rows;
        const int64 rows = std::min(cut_.tile_rows, cut_.rows - row);
        const int64 step = problem_.stride[2] * pitch_[4];
        for (int64 l = 0; l < piece.lines; ++l) {
            const T* from = x + line_offsets_[piece.line + l] + piece.column * step;
            for (int64 i = 0; i < rows; ++i) {
                pointers[l * rows + i] = from + row_offsets_[row + i];
            }
        }
        const int64 panel = tile / cut_.tiles;
        const int64 width = cut_.width_of(problem_, panel);
        const int64 line = problem_.output[2] * width;
        kernels_.gemm_tile[cut_.vectors_of(problem_, panel) - 1][rows - 1](
            {.taps = piece.lines,
             .a = pointers,
             .a_tap_pitch = rows,
             .k = piece.columns,
             .a_step = step,
             .b = grad + piece.line * line + piece.column * width,
             .b_tap_pitch = line,
             .acc = sums_of(tile),
             .accumulate = !piece.first,
             .y = nullptr,
             .row_offset = nullptr,
             .bias = nullptr,
             .activation = ACT_NONE,
             .ahead = nullptr});
    }

    T* sums_of(int64 tile) const {
        const int64 panel = tile / cut_.tiles;
        const int64 row = tile % cut_.tiles * cut_.tile_rows;
        return sums_ + (panel * cut_.rows + row) * cut_.width;
    }

    void store(int64 panel, int64 tile) const {
        const int64 row = tile % cut_.tiles * cut_.tile_rows;
        const int64 rows = std::min(cut_.tile_rows, cut_.rows - row);
        const int64 taps = volume(problem_.kernel);
        const int64 filters = problem_.k / problem_.groups;
        const int64 k = panel % cut_.panels * cut_.width;
        int64 offsets[MAX_TILE_ROWS];
        bool contiguous = true;
        for (int64 i = 0; i < rows; ++i) {
            const Pixel tap(problem_.kernel, (row + i) % taps);
            offsets[i] = (panel / cut_.panels * filters + k) * problem_.w_pitch[0] +
                         (row + i) / taps * problem_.w_pitch[1] +
                         tap.offset(problem_.w_pitch);
            contiguous = contiguous && offsets[i] == offsets[0] + i;
        }
        kernels_.store_tile(
            {.acc = sums_of(tile),
             .acc_pitch = cut_.width_of(problem_, panel),
             .rows = rows,
             .columns = std::min(cut_.width, filters - k),
             .y = weight_,
             .residual = nullptr,
             .row_offset = offsets,
             .column_pitch = problem_.w_pitch[0],
             .rows_contiguous = contiguous,
             .bias = nullptr,
             .bias_per_row = false,
             .activation = ACT_NONE});
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    WeightBlocking cut_;
    bool parallel_;
    T* weight_;
    WeightOperands<T> operands_;
    const int64 (&pitch_)[5]; // of x as the tiles read it
    T* sums_;                 // [group][panel][row][filter]
    int64* row_offsets_ = nullptr;
    int64* line_offsets_ = nullptr;
};

template <class T>
void run_as(const WeightPlan& plan, const WeightTensors& tensors) {
    ScratchFrame frame;
    WeightProduct<T>(plan, tensors, frame).run();
}

void run(const WeightPlan& plan, const WeightTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const ConvProblem&) {
    return "";
}

// Cycles: two multiply-adds of a vector each, empty lanes and rows as if they were
// full; a line of pixels starts a loop; packing and copying touch each element once.
double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const WeightBlocking cut(problem, isa);
    const double lines =
        static_cast<double>(problem.n * problem.output[0] * problem.output[1]);
    const auto line = static_cast<double>(problem.output[2]);
    const double tiles =
        static_cast<double>(problem.groups * cut.panels * cut.tiles) * lines;
    const auto tile = static_cast<double>(cut.tile_rows * cut.vectors);
    const double packed =
        static_cast<double>(problem.n * (cut.grad_items + cut.x_items));
    return shared_us(
        tiles * (line * tile / 2.0 + 40.0) + 1.5 * packed + 500.0, problem, host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const WeightBlocking cut(problem, isa);
    const auto element = static_cast<double>(element_bytes(problem.dtype));
    const double x = bytes_of_x(problem);
    const double y = bytes_of_y(problem);
    const double all = x + y + bytes_of_weight(problem);
    const auto n = static_cast<double>(problem.n);
    // Panels pass from L2 once for every tile of rows, x once for every panel; packed
    // and copied, both are read and written once more.
    const double grad = n * static_cast<double>(cut.grad_items) * element;
    const double copied = n * static_cast<double>(cut.x_items) * element;
    const double l1 = grad * static_cast<double>(cut.tiles) +
                      x * static_cast<double>(cut.panels) + 2.0 * (grad + copied);
    const double l2 = x * static_cast<double>(cut.panels) + y + 2.0 * (grad + copied);
    return layered(2.0 * products_of(problem), l1, l2, all, x + y, host);
}

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const WeightAlgorithm weight_direct;
const WeightAlgorithm weight_direct{
    .name = "direct",
    .summary = "a matrix product over pixels, filters in the lanes",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    const WeightBlocking cut(problem, isa);
    return WeightPlan{
        .problem = problem,
        .algorithm = &weight_direct,
        .isa = &isa,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", cut.tile_rows},
             {"nr", cut.width},
             {"lines", cut.lines},
             {"samples", cut.samples}},
        .workspace_bytes = cut.workspace_bytes(problem),
    };
}

} // namespace
} // namespace pyconv
