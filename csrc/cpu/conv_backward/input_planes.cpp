// planes input gradient: few channels a group, pixels of a row in the lanes.
//
// The idea: where a group has few channels they leave most lanes of `interleaved`
// empty. Pixels of one phase of a line are neighbours in grad: a tap is a load at an
// offset times a broadcast weight. grad's rows are laid out with zeros around them, a
// block of a group at a time; a register tile is the group's channels under one line,
// or several lines under its only channel. The phases of a line are interleaved row by
// row. Sums run over taps from the last to the first, then over filters, as those of
// the phases' convolutions do: the same bits. Weights that are not finite, which would
// make NaN of a zero, go to `interleaved`.
#include "cpu/conv_backward/input_planes.hpp"

#include "core/machine.hpp"
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv_backward/phase_weights.hpp"

#include <algorithm>
#include <string>

namespace pyconv {

extern const InputAlgorithm input_interleaved;

namespace {

// More fill the lanes of `interleaved`.
constexpr int64 MOST_CHANNELS = 8;

template <class T>
class Planes {
  public:
    Planes(const InputPlan& plan, const InputTensors& tensors, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          cut_(problem_, *plan.isa), grad_(static_cast<const T*>(tensors.grad)),
          bias_(static_cast<const T*>(tensors.bias)),
          residual_(static_cast<const T*>(tensors.residual)),
          x_(static_cast<T*>(tensors.x)),
          weights_(problem_, cut_, static_cast<const T*>(tensors.weight), frame) {}

    void run(bool parallel) const {
        const int64 planes = problem_.n * problem_.groups * problem_.input[0];
        const int64 units = planes * cut_.blocks[0] * cut_.blocks[1];
        parallel_for(
            units, parallel, [&](int64 begin, int64 end, int) { walk(begin, end); });
    }

  private:
    // Room of one thread.
    struct Room {
        T* source;
        T* sums;
        T* line; // of the result, where it goes through an epilogue
        int64* offsets;
        const T** phases;
    };

    // A block of a plane of the result.
    struct Block {
        int64 n;
        int64 group;
        int64 d;
        Span planes;  // taps along the depth that reach d
        Span lines;   // of a phase
        Span columns; // of a phase
    };

    // Units are (sample, group, depth, block of lines, block of columns), the last
    // fastest.
    void walk(int64 begin, int64 end) const {
        ScratchFrame frame;
        const int64 phases = static_cast<int64>(cut_.axes[2].size());
        const int64 line = cut_.columns * problem_.stride[2];
        const Room room{
            .source = frame.take<T>(cut_.source_elements()),
            .sums = frame.take<T>(phases * cut_.tile * cut_.sum_pitch()),
            .line = frame.take<T>(line),
            .offsets = frame.take<int64>(problem_.kernel[2] * cut_.filters),
            .phases = frame.take<const T*>(problem_.stride[2])};
        const int64 lines = ceil_div(problem_.input[1], problem_.stride[1]);
        const int64 columns = ceil_div(problem_.input[2], problem_.stride[2]);
        int64 cleared = -1;
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 across = unit % cut_.blocks[1];
            const int64 down = unit / cut_.blocks[1] % cut_.blocks[0];
            const int64 plane = unit / (cut_.blocks[0] * cut_.blocks[1]);
            const int64 d = plane % problem_.input[0];
            const int64 stride = problem_.stride[0];
            const Block block{
                .n = plane / problem_.input[0] / problem_.groups,
                .group = plane / problem_.input[0] % problem_.groups,
                .d = d,
                .planes = reaching(depth_phase(d), d / stride, problem_.output[0]),
                .lines = {down * cut_.depth, std::min(lines, (down + 1) * cut_.depth)},
                .columns = {
                    across * cut_.columns,
                    std::min(columns, (across + 1) * cut_.columns)}};
            // The zeros around are those of the unit before where it met the same rows.
            const int64 place =
                (down * cut_.blocks[1] + across) * (cut_.most_planes() + 1) +
                block.planes.count();
            fill(block, place != cleared, room.source);
            cleared = place;
            for (const PhaseAxis& phase : cut_.axes[1]) {
                add_phase(block, phase, room);
            }
        }
    }

    const PhaseAxis& depth_phase(int64 d) const {
        return cut_.axes[0][static_cast<std::size_t>(d % problem_.stride[0])];
    }

    // grad's rows that the block meets; with `clear`, the zeros around them.
    void fill(const Block& block, bool clear, T* source) const {
        const PhaseAxis& depth = depth_phase(block.d);
        const Span rows{
            block.lines.begin + cut_.height.begin,
            block.lines.begin + cut_.height.begin + cut_.rows()};
        const int64 first = block.columns.begin + cut_.width.begin;
        const Span down{
            std::clamp<int64>(rows.begin, 0, problem_.output[1]),
            std::clamp<int64>(rows.end, 0, problem_.output[1])};
        const Span along{
            std::clamp<int64>(first, 0, problem_.output[2]),
            std::clamp<int64>(first + cut_.pitch, 0, problem_.output[2])};
        const int64 plane = cut_.rows() * cut_.pitch;
        const int64(&pitch)[5] = problem_.y_pitch;
        const int64 all = block.planes.count() * cut_.filters * plane;
        if (clear) {
            std::fill(source, source + all, T(0));
        }
        if (down.count() == 0 || along.count() == 0) {
            return;
        }
        source += (down.begin - rows.begin) * cut_.pitch + along.begin - first;
        for (int64 t = block.planes.begin; t < block.planes.end; ++t) {
            const T* from = grad_ + block.n * pitch[0] +
                            block.group * cut_.filters * pitch[1] +
                            depth.source(block.d / problem_.stride[0], t) * pitch[2] +
                            down.begin * pitch[3] + along.begin * pitch[4];
            for (int64 p = 0; pitch[1] == 1 && p < down.count(); ++p) {
                kernels_.transpose(
                    from + p * pitch[3],
                    pitch[4],
                    along.count(),
                    cut_.filters,
                    source + p * cut_.pitch,
                    plane);
            }
            for (int64 k = 0; pitch[1] != 1 && k < cut_.filters; ++k) {
                kernels_.copy_lines(
                    {.from = from + k * pitch[1],
                     .from_pitch = pitch[3],
                     .from_step = pitch[4],
                     .lines = down.count(),
                     .count = along.count(),
                     .to = source + k * plane,
                     .to_pitch = cut_.pitch});
            }
            source += cut_.filters * plane;
        }
    }

    // The lines of one phase.
    void add_phase(const Block& block, const PhaseAxis& phase, const Room& room) const {
        const int64 stride = problem_.stride[1];
        const int64 count =
            ceil_div(std::max<int64>(problem_.input[1] - phase.first, 0), stride);
        const int64 last = std::min(block.lines.end, count);
        const bool lines = cut_.channels == 1;
        for (int64 i = block.lines.begin; i < last;) {
            const int64 some = lines ? std::min(cut_.tile, last - i) : 1;
            const int64 step = lines ? 1 : cut_.tile;
            for (int64 c = 0; c < cut_.channels; c += step) {
                const int64 rows = lines ? some : std::min(step, cut_.channels - c);
                for (std::size_t s = 0; s < cut_.axes[2].size(); ++s) {
                    add_line(block, phase, cut_.axes[2][s], i, c, rows, s, room);
                }
                for (int64 row = 0; row < rows; ++row) {
                    const int64 line = phase.first + (lines ? i + row : i) * stride;
                    leave(block, line, lines ? 0 : c + row, row, room);
                }
            }
            i += some;
        }
    }

    // Sums of one phase along the line: `rows` lines from number i on, or channels
    // from c on.
    void add_line(
        const Block& block,
        const PhaseAxis& phase,
        const PhaseAxis& along,
        int64 i,
        int64 c,
        int64 rows,
        std::size_t number,
        const Room& room) const {
        const int64 pitch = cut_.sum_pitch();
        T* sums = room.sums + static_cast<int64>(number) * cut_.tile * pitch;
        const PhaseAxis& depth = depth_phase(block.d);
        const int64 columns = block.columns.count();
        if (block.planes.count() * phase.taps * along.taps == 0) {
            std::fill(sums, sums + rows * pitch, T(0));
            return;
        }
        const int64 plane = cut_.rows() * cut_.pitch;
        int64* offset = room.offsets;
        for (int64 s = 0; s < along.taps; ++s) {
            for (int64 k = 0; k < cut_.filters; ++k) {
                *offset++ = k * plane + along.source(0, s) - cut_.width.begin;
            }
        }
        const int64 row_terms =
            along.taps * cut_.filters * (cut_.channels == 1 ? 1 : rows);
        const T* weight = weights_.of(block.group, depth, phase, along, c) +
                          block.planes.begin * phase.taps * row_terms;
        const T* from = room.source + (i - block.lines.begin + phase.source(0, 0) -
                                       cut_.height.begin) *
                                          cut_.pitch;
        for (int64 q = 0; q < columns; q += cut_.vectors * cut_.lanes) {
            const int64 vectors =
                std::min<int64>(cut_.vectors, ceil_div(columns - q, cut_.lanes));
            const auto& kernel = cut_.channels == 1 ? kernels_.row_tile[rows - 1]
                                                    : kernels_.filter_tile[rows - 1];
            kernel[vectors - 1](
                {.x = from + q,
                 .planes = block.planes.count(),
                 .rows = phase.taps,
                 .columns = along.taps * cut_.filters,
                 .plane_pitch = cut_.filters * plane,
                 .row_pitch = phase.spread * cut_.pitch,
                 .out_pitch = cut_.pitch,
                 .offset = room.offsets,
                 .weight = weight,
                 .acc = sums + q,
                 .acc_pitch = pitch,
                 .accumulate = false});
        }
    }

    // A row of sums of every phase becomes a line of the result.
    void
    leave(const Block& block, int64 line, int64 channel, int64 row, const Room& room)
        const {
        const int64 stride = problem_.stride[2];
        const int64 begin = block.columns.begin * stride;
        const int64 count =
            std::min(problem_.input[2], block.columns.end * stride) - begin;
        for (std::size_t s = 0; s < cut_.axes[2].size(); ++s) {
            room.phases[s] = room.sums + (static_cast<int64>(s) * cut_.tile + row) *
                                             cut_.sum_pitch();
        }
        const int64 c = block.group * cut_.channels + channel;
        const int64 at = block.n * problem_.x_pitch[0] + c * problem_.x_pitch[1] +
                         block.d * problem_.x_pitch[2] + line * problem_.x_pitch[3] +
                         begin * problem_.x_pitch[4];
        const bool plain = problem_.x_pitch[4] == 1 && bias_ == nullptr &&
                           residual_ == nullptr && problem_.activation == ACT_NONE;
        T* to = plain ? x_ + at : room.line;
        kernels_.interleave(room.phases, stride, to, count);
        if (plain) {
            return;
        }
        kernels_.store_tile(
            {.acc = room.line,
             .acc_pitch = count,
             .rows = 1,
             .columns = count,
             .y = x_,
             .residual = residual_,
             .row_offset = &at,
             .column_pitch = problem_.x_pitch[4],
             .rows_contiguous = false,
             .bias = bias_ == nullptr ? nullptr : bias_ + c,
             .bias_per_row = true,
             .activation = problem_.activation});
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    InputPlanes cut_;
    const T* grad_;
    const T* bias_;
    const T* residual_;
    T* x_;
    PhaseWeights<T> weights_;
};

template <class T>
void run_as(const InputPlan& plan, const InputTensors& tensors) {
    ScratchFrame frame;
    Planes<T>(plan, tensors, frame).run(plan.parallel);
}

void run(const InputPlan& plan, const InputTensors& tensors) {
    if (!weights_are_finite(plan.problem, tensors.weight)) {
        input_interleaved.run(
            input_interleaved.plan(plan.problem, *plan.isa, machine()), tensors);
    } else if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const ConvProblem& problem) {
    return problem.c / problem.groups > MOST_CHANNELS
               ? "groups of up to " + std::to_string(MOST_CHANNELS) +
                     " channels of the result only"
               : "";
}

InputPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const InputAlgorithm input_planes;
const InputAlgorithm input_planes{
    .name = "planes",
    .summary = "few channels a group: rows of pixels, phases interleaved by the line",
    .supports = supports,
    .cost_us = input_planes_us,
    .movement = input_planes_movement,
    .plan = plan,
    .run = run,
};

namespace {

InputPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    const InputPlanes cut(problem, isa);
    return InputPlan{
        .problem = problem,
        .algorithm = &input_planes,
        .isa = &isa,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"rows", cut.tile},
             {"vectors", cut.vectors},
             {"lines", cut.depth},
             {"columns", cut.columns}},
        .workspace_bytes = (cut.source_elements() + cut.weight_elements(problem)) *
                           element_bytes(problem.dtype),
    };
}

} // namespace
} // namespace pyconv
