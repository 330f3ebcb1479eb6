// Grouped convolution with filters in the lanes: blocks of rows x chunks of filters.
#include "cpu/conv/group_lanes.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/group_rows.hpp"
#include "cpu/conv/lane_out.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <type_traits>

namespace pyconv {
namespace {

template <class T>
struct Road {
    using Index = std::conditional_t<sizeof(T) == 4, int, int64>;

    const ConvPlan& plan;
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    const GroupLayout& layout;
    const int64* x_offset; // of each (tap, channel), in scratch
    const int64* weight_offset;
    const T* x;
    const T* bias;
    const T* residual;
    T* y;
    const T* packed;

    // Which channels the filters of each vector of the chunk from k read.
    void aim(int64 k, int64* begin, Index* index) const {
        for (int64 v = 0; v * kernels.lanes < layout.chunk; ++v) {
            begin[v] = aim_lanes(
                problem,
                k + v * kernels.lanes,
                kernels.lanes,
                index + v * kernels.lanes * layout.channels);
        }
    }

    // Spreads the input row that starts at `row`, padding included, into `to`.
    void fill_row(const T* row, const int64* begin, const Index* index, T* to) const {
        const auto spread = [&](int64 w, int64 pixels, int64 column) {
            kernels.spread_lanes(
                SpreadLanes<T>{
                    .x = row + w * problem.x_pitch[4],
                    .x_pitch = problem.x_pitch[4],
                    .pixels = pixels,
                    .vectors = layout.chunk / kernels.lanes,
                    .begin = begin,
                    .channels = layout.channels,
                    .index = index,
                    .out = to + column * layout.column_pitch,
                    .out_pitch = layout.chunk,
                });
        };
        const int64 inside = std::min(problem.pad_before[2], layout.columns);
        const int64 behind = std::clamp(
            problem.input[2] + problem.pad_before[2], inside, layout.columns);
        if (behind > inside) {
            spread(inside - problem.pad_before[2], behind - inside, inside);
        }
        for (int64 column = 0; column < layout.columns; ++column) {
            if (column == inside) {
                column = behind;
                if (column == layout.columns) {
                    break;
                }
            }
            const int64 w = folded_index(
                column - problem.pad_before[2], problem.input[2], problem.padding_mode);
            if (w < 0) {
                T* zeros = to + column * layout.column_pitch;
                std::fill(zeros, zeros + layout.column_pitch, T(0));
            } else {
                spread(w, 1, column);
            }
        }
    }

    void fill(
        const T* sample,
        int64 m,
        int64 p,
        int64 rows,
        const int64* begin,
        const Index* index,
        T* scratch) const {
        const int64 height = (rows - 1) * problem.stride[1] +
                             (problem.kernel[1] - 1) * problem.dilation[1] + 1;
        for (int64 t = 0; t < problem.kernel[0]; ++t) {
            const int64 d = input_index(problem, 0, m, t);
            for (int64 row = 0; row < height; ++row) {
                const int64 h = folded_index(
                    p * problem.stride[1] - problem.pad_before[1] + row,
                    problem.input[1],
                    problem.padding_mode);
                T* to = scratch + t * layout.plane_pitch + row * layout.row_pitch;
                if (d < 0 || h < 0) {
                    std::fill(to, to + layout.row_pitch, T(0));
                } else {
                    fill_row(
                        sample + d * problem.x_pitch[2] + h * problem.x_pitch[3],
                        begin,
                        index,
                        to);
                }
            }
        }
    }

    void multiply(const T* from, int64 k, int64 start, T* acc) const {
        const int64 tiles = ceil_div(problem.output[2], kernels.lane_pixels);
        for (int64 i = 0, q = 0; i < tiles; ++i) {
            const int64 pixels = ceil_div(problem.output[2] - q, tiles - i);
            const int64 at = start + q * problem.y_pitch[4];
            finish_lane_tile(
                kernels,
                problem,
                kernels.lane_tile[pixels - 1],
                LaneTile<T>{
                    .x = from + q * problem.stride[2] * layout.column_pitch,
                    .taps = volume(problem.kernel) * layout.channels,
                    .x_offset = x_offset,
                    .weight_offset = weight_offset,
                    .pixel_pitch = problem.stride[2] * layout.column_pitch,
                    .weight = packed + k,
                    .channels = layout.chunk,
                    .acc = acc,
                    .acc_pitch = layout.chunk,
                    .bias = bias != nullptr ? bias + k : nullptr,
                    .activation = problem.activation,
                    .weight_pitch = 0,
                    .first = 0,
                    .last = 0,
                    .pixels = pixels,
                    .group_channels = 0,
                    .index = nullptr,
                },
                residual != nullptr ? residual + at : nullptr,
                y + at);
            q += pixels;
        }
    }

    // Units are (sample, plane, block of rows, chunk of filters).
    void walk(int64 first, int64 last) const {
        ScratchFrame frame;
        const int64 high = plan.planes.block_rows;
        const int64 blocks = ceil_div(problem.output[1], high);
        const int64 chunks = problem.k / layout.chunk;
        T* scratch = frame.take<T>(layout.elements(problem));
        T* acc = frame.take<T>(kernels.lane_pixels * layout.chunk);
        auto* begin = frame.take<int64>(plan.planes.vectors);
        auto* index = frame.take<Index>(layout.column_pitch);
        for (int64 unit = first; unit < last; ++unit) {
            int64 rest = unit;
            const int64 k = rest % chunks * layout.chunk;
            rest /= chunks;
            const int64 p = rest % blocks * high;
            rest /= blocks;
            const int64 m = rest % problem.output[0];
            const int64 n = rest / problem.output[0];
            const int64 rows = std::min(high, problem.output[1] - p);
            aim(k, begin, index);
            fill(x + n * problem.x_pitch[0], m, p, rows, begin, index, scratch);
            for (int64 row = 0; row < rows; ++row) {
                multiply(
                    scratch + row * problem.stride[1] * layout.row_pitch,
                    k,
                    n * problem.y_pitch[0] + k + m * problem.y_pitch[2] +
                        (p + row) * problem.y_pitch[3],
                    acc);
            }
        }
    }
};

template <class T>
void pack_as(const ConvProblem& problem, const T* weight, T* packed) {
    for (int64 t = 0; t < problem.kernel[0]; ++t) {
        for (int64 r = 0; r < problem.kernel[1]; ++r) {
            for (int64 s = 0; s < problem.kernel[2]; ++s) {
                for (int64 c = 0; c < problem.c / problem.groups; ++c) {
                    const T* from = weight + c * problem.w_pitch[1] +
                                    t * problem.w_pitch[2] + r * problem.w_pitch[3] +
                                    s * problem.w_pitch[4];
                    for (int64 k = 0; k < problem.k; ++k) {
                        *packed++ = from[k * problem.w_pitch[0]];
                    }
                }
            }
        }
    }
}

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const Kernels<T>& kernels = kernels_of<T>(*plan.isa);
    const GroupLayout layout(
        problem, plan.planes.vectors, kernels.lanes, plan.planes.block_rows);
    const int64 terms = volume(problem.kernel) * layout.channels;
    ScratchFrame frame;
    const auto* packed = static_cast<const T*>(tensors.packed);
    if (packed == nullptr) {
        T* scratch = frame.take<T>(problem.k * terms);
        group_lanes_pack(plan, tensors.weight, scratch);
        packed = scratch;
    }
    if (plan.planes.form == PlaneForm::LANE_ROWS) {
        group_rows_run(plan, tensors, packed);
        return;
    }
    auto* x_offset = frame.take<int64>(terms);
    auto* weight_offset = frame.take<int64>(terms);
    for (int64 term = 0; term < terms; ++term) {
        const int64 tap = term / layout.channels;
        x_offset[term] =
            tap / (problem.kernel[1] * problem.kernel[2]) * layout.plane_pitch +
            tap / problem.kernel[2] % problem.kernel[1] * problem.dilation[1] *
                layout.row_pitch +
            tap % problem.kernel[2] * problem.dilation[2] * layout.column_pitch +
            term % layout.channels * layout.chunk;
        weight_offset[term] = term * problem.k;
    }
    const Road<T> road{
        .plan = plan,
        .problem = problem,
        .kernels = kernels,
        .layout = layout,
        .x_offset = x_offset,
        .weight_offset = weight_offset,
        .x = static_cast<const T*>(tensors.x),
        .bias = static_cast<const T*>(tensors.bias),
        .residual = static_cast<const T*>(tensors.residual),
        .y = static_cast<T*>(tensors.y),
        .packed = packed,
    };
    const int64 units = problem.n * problem.output[0] *
                        ceil_div(problem.output[1], plan.planes.block_rows) *
                        (problem.k / layout.chunk);
    parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
        road.walk(begin, end);
    });
}

} // namespace

void group_lanes_pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.planes.form == PlaneForm::LANE_ROWS) {
        group_rows_pack(plan, weight, packed);
    } else if (plan.problem.dtype == FLOAT32) {
        pack_as(
            plan.problem,
            static_cast<const float*>(weight),
            static_cast<float*>(packed));
    } else {
        pack_as(
            plan.problem,
            static_cast<const double*>(weight),
            static_cast<double*>(packed));
    }
}

void group_lanes_run(const ConvPlan& plan, const ConvTensors& tensors) {
    run_where_padding_is_zero(plan, tensors, run_as<float>, run_as<double>);
}

} // namespace pyconv
