// Convolution with pixels in the lanes: blocks of output rows through the plane tiles.
#include "cpu/conv/planes.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/plane_rows.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Vectors of one output row that are summed before they are stored together.
constexpr int64 SEGMENT_VECTORS = 16;

template <class T>
struct Road {
    const ConvPlan& plan;
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    const PlaneLayout& layout;
    const int64* column; // offset of each (tap, channel) of a tap row
    const T* x;
    const T* bias;
    const T* residual;
    T* y;
    const T* packed;

    // What a unit's tiles have in common.
    struct Unit {
        const T* scratch;
        T* acc;
        int64 start; // of the unit's first output in y, filter 0 of the group
        int64 filter;
        int64 rows;
        int64 columns;
    };

    int64 columns_per_row() const { return problem.kernel[2] * layout.channels; }

    PlaneTile<T> tile(const T* from, const T* weight, T* acc, int64 acc_pitch) const {
        return PlaneTile<T>{
            .x = from,
            .planes = problem.kernel[0],
            .rows = problem.kernel[1],
            .columns = columns_per_row(),
            .plane_pitch = layout.plane_pitch,
            .row_pitch = layout.row_pitch * problem.dilation[1],
            .out_pitch = layout.row_pitch * problem.stride[1],
            .offset = column,
            .weight = weight,
            .acc = acc,
            .acc_pitch = acc_pitch,
            .accumulate = false,
        };
    }

    // One stretch of `count` columns from column `q` of the unit, through tiles of at
    // most plan.planes.vectors vectors, as even as they come.
    void
    multiply(const PlaneKernels<T>& family, int64 rows, PlaneTile<T> next, int64 count)
        const {
        const int64 vectors = ceil_div(count, kernels.lanes);
        const int64 tiles = ceil_div(vectors, plan.planes.vectors);
        for (int64 i = 0, done = 0; i < tiles; ++i) {
            const int64 width = ceil_div(vectors - done, tiles - i);
            family[rows - 1][width - 1](next);
            next.x += width * kernels.lanes;
            next.acc += width * kernels.lanes;
            done += width;
        }
    }

    void store(
        const Unit& unit,
        int64 acc_pitch,
        int64 rows,
        int64 count,
        int64 start,
        const int64* row_offset,
        bool bias_per_row,
        const T* its_bias) const {
        kernels.store_tile(
            StoreTile<T>{
                .acc = unit.acc,
                .acc_pitch = acc_pitch,
                .rows = rows,
                .columns = count,
                .y = y + start,
                .residual = residual != nullptr ? residual + start : nullptr,
                .row_offset = row_offset,
                .column_pitch = problem.y_pitch[4],
                .rows_contiguous = rows == 1 || row_offset[1] == 1,
                .bias = its_bias,
                .bias_per_row = bias_per_row,
                .activation = problem.activation,
            });
    }

    void filters(const Unit& unit) const {
        const int64 segment = SEGMENT_VECTORS * kernels.lanes;
        int64 row_offset[MAX_PLANE_ROWS];
        for (int64 i = 0; i < MAX_PLANE_ROWS; ++i) {
            row_offset[i] = i * problem.y_pitch[1];
        }
        for (int64 f = 0; f < layout.filters; f += plan.planes.rows) {
            const int64 count = std::min(plan.planes.rows, layout.filters - f);
            const T* weight = packed + (unit.filter + f) * layout.terms;
            for (int64 row = 0; row < unit.rows; ++row) {
                for (int64 q = 0; q < unit.columns; q += segment) {
                    const int64 width = std::min(segment, unit.columns - q);
                    const T* from =
                        unit.scratch + row * problem.stride[1] * layout.row_pitch + q;
                    multiply(
                        kernels.filter_tile,
                        count,
                        tile(from, weight, unit.acc, segment),
                        width);
                    store(
                        unit,
                        segment,
                        count,
                        width,
                        unit.start + f * problem.y_pitch[1] + row * problem.y_pitch[3] +
                            q * problem.y_pitch[4],
                        row_offset,
                        true,
                        bias != nullptr ? bias + unit.filter + f : nullptr);
                }
            }
        }
    }

    void rows(const Unit& unit) const {
        const bool slides = plan.planes.form == PlaneForm::SLIDE;
        const PlaneKernels<T>& family = slides ? kernels.slide_tile : kernels.row_tile;
        const int64 segment = SEGMENT_VECTORS * kernels.lanes;
        int64 row_offset[MAX_PLANE_ROWS];
        for (int64 i = 0; i < MAX_PLANE_ROWS; ++i) {
            row_offset[i] = i * problem.y_pitch[3];
        }
        for (int64 f = 0; f < layout.filters; ++f) {
            const T* weight = packed + (unit.filter + f) * layout.terms;
            T same_bias[MAX_PLANE_ROWS];
            std::fill_n(
                same_bias,
                MAX_PLANE_ROWS,
                bias != nullptr ? bias[unit.filter + f] : T(0));
            const int64 tiles = ceil_div(unit.rows, plan.planes.rows);
            for (int64 i = 0, row = 0; i < tiles; ++i) {
                const int64 count = ceil_div(unit.rows - row, tiles - i);
                for (int64 q = 0; q < unit.columns; q += segment) {
                    const int64 width = std::min(segment, unit.columns - q);
                    const T* from =
                        unit.scratch + row * problem.stride[1] * layout.row_pitch + q;
                    multiply(
                        family, count, tile(from, weight, unit.acc, segment), width);
                    store(
                        unit,
                        segment,
                        count,
                        width,
                        unit.start + f * problem.y_pitch[1] + row * problem.y_pitch[3] +
                            q * problem.y_pitch[4],
                        row_offset,
                        true,
                        bias != nullptr ? same_bias : nullptr);
                }
                row += count;
            }
        }
    }

    // Stretches of `stretch` pixels of one row as the tile's rows: a tap `step` further
    // on is the next stretch's.
    void line(const Unit& unit) const {
        const int64 stretch = plan.planes.vectors * kernels.lanes;
        const int64 step = stretch * problem.stride[2] / problem.dilation[2];
        const int64 whole = problem.kernel[2] / step;
        const int64 segment = plan.planes.rows * stretch;
        const int64 columns = columns_per_row();
        const int64 no_offset = 0;
        for (int64 f = 0; f < layout.filters; ++f) {
            for (int64 row = 0; row < unit.rows; ++row) {
                for (int64 q = 0; q < unit.columns; q += segment) {
                    const int64 width = std::min(segment, unit.columns - q);
                    const int64 count = ceil_div(width, stretch);
                    const T* from =
                        unit.scratch + row * problem.stride[1] * layout.row_pitch + q;
                    const T* weight = packed + (unit.filter + f) * layout.terms;
                    PlaneTile<T> next = tile(from, weight, unit.acc, stretch);
                    next.planes = 1;
                    next.row_pitch = stretch;
                    next.out_pitch = stretch;
                    for (int64 t = 0; t < problem.kernel[0]; ++t) {
                        for (int64 r = 0; r < problem.kernel[1]; ++r) {
                            next.x = from + t * layout.plane_pitch +
                                     r * problem.dilation[1] * layout.row_pitch;
                            next.weight = weight;
                            next.rows = whole;
                            next.columns = step * layout.channels;
                            next.offset = column;
                            kernels.slide_tile[count - 1][plan.planes.vectors - 1](
                                next);
                            next.accumulate = true;
                            next.weight += whole * next.columns;
                            next.rows = 1;
                            next.offset = column + whole * next.columns;
                            next.columns = columns - whole * next.columns;
                            if (next.columns > 0) {
                                kernels.row_tile[count - 1][plan.planes.vectors - 1](
                                    next);
                            }
                            weight += columns;
                        }
                    }
                    store(
                        unit,
                        segment,
                        1,
                        width,
                        unit.start + f * problem.y_pitch[1] + row * problem.y_pitch[3] +
                            q * problem.y_pitch[4],
                        &no_offset,
                        true,
                        bias != nullptr ? bias + unit.filter + f : nullptr);
                }
            }
        }
    }

    // Units are (sample, group, plane, block of rows, block of columns).
    void walk(int64 begin, int64 end) const {
        ScratchFrame frame;
        T* scratch = frame.take<T>(layout.elements());
        const PlaneBlocking& blocking = plan.planes;
        const int64 acc_width =
            std::max(SEGMENT_VECTORS, blocking.vectors) * kernels.lanes;
        T* acc = frame.take<T>(MAX_PLANE_ROWS * acc_width);
        PlaneRows<T> rows_of(
            problem,
            layout,
            kernels,
            frame.take<PhaseSpan>(layout.phases),
            frame.take<T*>(problem.stride[2]));
        for (int64 i = begin; i < end; ++i) {
            int64 rest = i;
            const int64 q = rest % layout.column_blocks * blocking.block_columns;
            rest /= layout.column_blocks;
            const int64 p = rest % layout.row_blocks * blocking.block_rows;
            rest /= layout.row_blocks;
            const int64 m = rest % problem.output[0];
            rest /= problem.output[0];
            const int64 group = rest % problem.groups;
            const int64 n = rest / problem.groups;
            const Unit unit{
                .scratch = scratch,
                .acc = acc,
                .start = n * problem.y_pitch[0] +
                         group * layout.filters * problem.y_pitch[1] +
                         m * problem.y_pitch[2] + p * problem.y_pitch[3] +
                         q * problem.y_pitch[4],
                .filter = group * layout.filters,
                .rows = std::min(blocking.block_rows, problem.output[1] - p),
                .columns = std::min(blocking.block_columns, problem.output[2] - q),
            };
            rows_of.fill(
                x + n * problem.x_pitch[0] +
                    group * layout.channels * problem.x_pitch[1],
                m,
                p,
                unit.rows,
                q,
                unit.columns,
                scratch);
            switch (blocking.form) {
            case PlaneForm::FILTERS:
                filters(unit);
                break;
            case PlaneForm::LINE:
                line(unit);
                break;
            default:
                rows(unit);
            }
        }
    }
};

template <class T>
void pack_as(const ConvPlan& plan, const T* weight, T* packed) {
    const ConvProblem& problem = plan.problem;
    const int64 channels = problem.c / problem.groups;
    const int64 filters = problem.k / problem.groups;
    const int64 block =
        plan.planes.form == PlaneForm::FILTERS ? plan.planes.rows : int64{1};
    for (int64 k = 0; k < problem.k; k += std::min(block, filters - k % filters)) {
        const int64 count = std::min(block, filters - k % filters);
        for (int64 t = 0; t < problem.kernel[0]; ++t) {
            for (int64 r = 0; r < problem.kernel[1]; ++r) {
                for (int64 s = 0; s < problem.kernel[2]; ++s) {
                    const T* from = weight + k * problem.w_pitch[0] +
                                    t * problem.w_pitch[2] + r * problem.w_pitch[3] +
                                    s * problem.w_pitch[4];
                    for (int64 c = 0; c < channels; ++c) {
                        for (int64 i = 0; i < count; ++i) {
                            *packed++ =
                                from[c * problem.w_pitch[1] + i * problem.w_pitch[0]];
                        }
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
    const PlaneLayout layout(problem, plan.planes, kernels.lanes);
    ScratchFrame frame;
    const auto* packed = static_cast<const T*>(tensors.packed);
    if (packed == nullptr) {
        T* scratch = frame.take<T>(problem.k * layout.terms);
        pack_as(plan, static_cast<const T*>(tensors.weight), scratch);
        packed = scratch;
    }
    auto* column = frame.take<int64>(problem.kernel[2] * layout.channels);
    for (int64 s = 0; s < problem.kernel[2]; ++s) {
        for (int64 c = 0; c < layout.channels; ++c) {
            column[s * layout.channels + c] =
                c * layout.channel_pitch + s % layout.phases * layout.phase_pitch +
                s * problem.dilation[2] / problem.stride[2];
        }
    }
    const Road<T> road{
        .plan = plan,
        .problem = problem,
        .kernels = kernels,
        .layout = layout,
        .column = column,
        .x = static_cast<const T*>(tensors.x),
        .bias = static_cast<const T*>(tensors.bias),
        .residual = static_cast<const T*>(tensors.residual),
        .y = static_cast<T*>(tensors.y),
        .packed = packed,
    };
    parallel_for(
        layout.units(problem), plan.parallel, [&](int64 begin, int64 end, int) {
            road.walk(begin, end);
        });
}

} // namespace

void planes_run(const ConvPlan& plan, const ConvTensors& tensors) {
    run_where_padding_is_zero(plan, tensors, run_as<float>, run_as<double>);
}

void planes_pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        pack_as<float>(
            plan, static_cast<const float*>(weight), static_cast<float*>(packed));
    } else {
        pack_as<double>(
            plan, static_cast<const double*>(weight), static_cast<double*>(packed));
    }
}

} // namespace pyconv
