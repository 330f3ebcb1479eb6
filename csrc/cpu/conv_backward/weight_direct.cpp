// direct weight gradient: a matrix product over pixels, filters in the lanes.
//
// dw[k, (c, t, r, s)] = the sum over all output pixels of grad[pixel, k] times the
// element of x under tap (t, r, s) of channel c. A register tile is one tap of a few
// channels, which are its rows, and of a panel of filters, which are its lanes. grad is
// packed once into panels [pixel][filter]; of x a tile's channels are laid side by side
// with their padding, a band at a time, so that a tap is an offset and no line of
// pixels needs pointers of its own. Windows of one element over channels that lie apart
// read x where it lies, through one pointer a channel.
//
// Threads share the tiles, never a sum: each element is one chain of multiply-adds over
// samples and pixels in order, whatever the number of threads.
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

// Calls body(box) for the boxes of at most `extent` in a box, in the order of its
// pixels.
template <class Body>
void walk(const WeightBox& all, const int64 (&extent)[4], const Body& body) {
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
                row_offsets_[row] =
                    c * problem_.w_pitch[1] + tap.offset(problem_.w_pitch);
                contiguous_ = contiguous_ && row_offsets_[row] == row;
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
        walk(all, cut_.pass, [&](const WeightBox& pass) {
            grad_.pack(pass);
            parallel_for(cut_.units(), parallel_, [&](int64 begin, int64 end, int) {
                multiply(pass, begin, end);
            });
        });
    }

  private:
    // Taps [first, last) of a tile and panel.
    struct Share {
        int64 tile; // over all groups
        int64 panel;
        int64 first;
        int64 last;
    };

    // Adds a pass to the sums of units [begin, end), counted over groups, tiles, panels
    // and taps, and stores them after the last.
    void multiply(const WeightBox& pass, int64 begin, int64 end) const {
        ScratchFrame frame;
        InputBand<T> band(cut_, kernels_, x_, frame.take<T>(cut_.x_items));
        T* alone = frame.take<T>(cut_.sum_items == 0 ? cut_.pair_items : 0);
        const T** pointers = frame.take<const T*>(cut_.piece[2] * cut_.rows);
        walk(pass, cut_.band, [&](const WeightBox& box) {
            int64 laid = -1;
            for (int64 unit = begin; unit < end;) {
                const int64 pair = unit / cut_.taps;
                const Share share{
                    .tile = pair / cut_.panels,
                    .panel = pair % cut_.panels,
                    .first = unit % cut_.taps,
                    .last = std::min(cut_.taps, unit % cut_.taps + end - unit)};
                if (share.tile != laid && !cut_.in_place) {
                    band.lay(share.tile, box);
                    laid = share.tile;
                }
                T* sums = cut_.sum_items == 0 ? alone : sums_ + pair * cut_.pair_items;
                walk(box, cut_.piece, [&](const WeightBox& piece) {
                    if (cut_.in_place) {
                        add_in_place(piece, share, pointers, sums);
                    } else {
                        add_piece(band, box, piece, share, sums);
                    }
                });
                if (is_last(box)) {
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
            Pixel tap(problem_.kernel, share.first);
            for (int64 i = share.first; i < share.last;
                 ++i, tap.advance(problem_.kernel)) {
                tile[band.channels() - 1](
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
                             tap.at[2] * dilation[2]),
                     .a_block =
                         deep ? stride[0] * band.plane_pitch() : band.sample_pitch(),
                     .a_line = stride[1] * band.row_pitch(),
                     .a_step = stride[2] * cut_.rows,
                     .b = grad,
                     .b_block = deep ? grad_.plane_pitch(width) : grad_.sample_pitch(),
                     .b_line = grad_.line_pitch(width),
                     .acc = sums + i * width,
                     .acc_pitch = cut_.taps * width,
                     .accumulate = n > 0 || !is_first(piece)});
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
                     .y = nullptr,
                     .row_offset = nullptr,
                     .bias = nullptr,
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
        T* to = weight_ + (share.tile / cut_.tiles * filters + k) * pitch[0] +
                cut_.first_row(share.tile % cut_.tiles) * pitch[1];
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

    WeightBlocking cut_;
    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    bool parallel_;
    const T* x_;
    T* weight_;
    GradPanels<T> grad_;
    T* sums_;            // [group][tile][panel][channel][tap][filter]
    int64* row_offsets_; // of (channel, tap) pairs of a tile, in the weight
    bool contiguous_ = true;
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

// Cycles: two multiply-adds of a vector each, empty lanes as if they were full, sums
// too few to hide each other's latency as if they were eight; every piece loads and
// stores its sums. Laid out, x is touched once a tile, packed, grad once.
double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const WeightBlocking cut(problem, isa);
    const double pixels = static_cast<double>(problem.n * volume(problem.output));
    const double tiles =
        static_cast<double>(problem.groups * cut.tiles * cut.panels * cut.taps);
    const auto tile = static_cast<double>(cut.rows * cut.vectors);
    const auto piece =
        static_cast<double>(cut.piece[0] * cut.piece[1] * cut.piece[2] * cut.piece[3]);
    const double packed =
        static_cast<double>(problem.groups * cut.panels * cut.width) * pixels;
    const double laid =
        cut.in_place
            ? 0.0
            : static_cast<double>(problem.n * problem.c * volume(problem.input));
    const double stored = static_cast<double>(cut.pair_items * cut.tiles * cut.panels) *
                          static_cast<double>(problem.groups);
    return shared_us(
        tiles * pixels * (std::max(tile / 2.0, 4.0) + (2.0 * tile + 40.0) / piece) +
            0.5 * packed + 0.7 * laid + 0.5 * stored + 500.0,
        problem,
        host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const WeightBlocking cut(problem, isa);
    const auto element = static_cast<double>(element_bytes(problem.dtype));
    const double x = bytes_of_x(problem);
    const double y = bytes_of_y(problem);
    const double w = bytes_of_weight(problem);
    const double all = x + y + w;
    // Panels pass from L2 once for every tile, and are written and read once; x once
    // for every panel. Sums that outlive a band are read and written in each.
    const double grad = static_cast<double>(cut.width * cut.panels) /
                        static_cast<double>(problem.k / problem.groups) * y;
    const double sums = static_cast<double>(cut.sum_items) * element *
                        static_cast<double>(2 * cut.bands());
    const double l1 = grad * static_cast<double>(cut.tiles + 2) +
                      x * static_cast<double>(cut.panels + 2) + sums;
    const double l2 = x + 3.0 * grad + sums;
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
            {{"mr", cut.rows},
             {"nr", cut.width},
             {"in_place", cut.in_place ? 1 : 0},
             {"pass", cut.pass[0] * cut.pass[1] * cut.pass[2] * cut.pass[3]},
             {"band", cut.band[0] * cut.band[1] * cut.band[2] * cut.band[3]},
             {"piece", cut.piece[0] * cut.piece[1] * cut.piece[2] * cut.piece[3]}},
        .workspace_bytes = cut.workspace_bytes(),
    };
}

} // namespace
} // namespace pyconv
