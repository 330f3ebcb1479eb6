// im2col: the textbook. The matrix of patches is written out, then multiplied.
//
// For one sample and group the matrix holds, for every output pixel, the C/G * T * R *
// S inputs of its window; the convolution is then one matrix product. Two forms, by
// where the output's pixels lie:
//   filters x pixels (pixels side by side, as in NCHW): the matrix is stored in panels
//   of
//     pixels, [panel][tap][c][width], and weights are the tile's rows;
//   pixels x filters (otherwise, as in NHWC): the matrix is stored row by row,
//     [pixel][tap][c], and weights are packed in panels.
// Both sum in (tap, c) order, so they equal `direct` bit for bit. The matrix is T * R *
// S times the input: writing and reading it is what this algorithm costs. Source:
// Chellapilla, Puri, Simard 2006; Goto and van de Geijn 2008 for the blocking.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/filter_panels.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/patches.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// More than this for one sample's matrix and nobody wants it materialised.
constexpr double LARGEST_MATRIX_BYTES = 4e9;

int lanes_of(const ConvProblem& problem, const IsaTable& isa) {
    return problem.dtype == FLOAT32 ? isa.f32.lanes : isa.f64.lanes;
}

// Output pixels in (m, p, q) order are neighbours in memory.
bool pixels_contiguous(const ConvProblem& problem) {
    int64 expected = 1;
    for (int axis = 2; axis >= 0; --axis) {
        if (problem.output[axis] > 1 && problem.y_pitch[2 + axis] != expected) {
            return false;
        }
        expected *= problem.output[axis];
    }
    return true;
}

int64 depth_of(const ConvProblem& problem) {
    return problem.c / problem.groups * volume(problem.kernel);
}

template <class T>
struct Product {
    const ConvPlan& plan;
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    int64 width;
    int64 depth;
    int64 pixels;
    int64 filters; // of one group
    const T* bias;
    const T* residual;
    T* y;

    void sum(const T* const* rows, int64 count, const T* panel, T* acc) const {
        kernels.gemm_tile[plan.vectors - 1][count - 1](GemmTile<T>{
            .taps = 1,
            .a = rows,
            .a_tap_pitch = 0,
            .k = depth,
            .a_step = 1,
            .b = panel,
            .b_tap_pitch = 0,
            .acc = acc,
            .accumulate = false,
        });
    }

    // Rows are filters from `first`, columns are pixels of one panel.
    void store_filters(
        const T* acc, int64 n, int64 group, int64 first, int64 rows, int64 panel)
        const {
        const int64 pixel = panel * width;
        const int64 filter = group * filters + first;
        const int64 start =
            n * problem.y_pitch[0] + filter * problem.y_pitch[1] + pixel;
        int64 offset[MAX_TILE_ROWS];
        for (int64 i = 0; i < rows; ++i) {
            offset[i] = i * problem.y_pitch[1];
        }
        kernels.store_tile(
            StoreTile<T>{
                .acc = acc,
                .acc_pitch = width,
                .rows = rows,
                .columns = std::min(width, pixels - pixel),
                .y = y + start,
                .residual = residual != nullptr ? residual + start : nullptr,
                .row_offset = offset,
                .column_pitch = 1,
                .rows_contiguous = false,
                .bias = bias != nullptr ? bias + filter : nullptr,
                .bias_per_row = true,
                .activation = problem.activation,
            });
    }

    // Rows are pixels from `first`, columns are filters of one panel.
    void store_pixels(
        const T* acc, int64 n, int64 group, int64 first, int64 rows, int64 panel)
        const {
        const int64 filter = group * filters + panel * width;
        const int64 start = n * problem.y_pitch[0] + filter * problem.y_pitch[1];
        int64 offset[MAX_TILE_ROWS];
        Pixel pixel(problem.output, first);
        for (int64 i = 0; i < rows; ++i, pixel.advance(problem.output)) {
            offset[i] = pixel.offset(problem.y_pitch);
        }
        kernels.store_tile(
            StoreTile<T>{
                .acc = acc,
                .acc_pitch = width,
                .rows = rows,
                .columns = std::min(width, filters - panel * width),
                .y = y + start,
                .residual = residual != nullptr ? residual + start : nullptr,
                .row_offset = offset,
                .column_pitch = problem.y_pitch[1],
                .rows_contiguous = false,
                .bias = bias != nullptr ? bias + filter : nullptr,
                .bias_per_row = false,
                .activation = problem.activation,
            });
    }

    // A matrix product blocked in two: a group of `group_panels` panels of b stays in
    // L2 while every tile of `kernels.rows` rows of a passes over it. Units are (group
    // of panels, tile), the tile fastest.
    template <class Store>
    void multiply(
        const T* a,
        int64 a_rows,
        const T* panels,
        int64 panel_count,
        int64 group_panels,
        const Store& store) const {
        const int64 tiles = ceil_div(a_rows, kernels.rows);
        const int64 units = tiles * ceil_div(panel_count, group_panels);
        parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
            ScratchFrame frame;
            T* acc = frame.take<T>(kernels.rows * width);
            for (int64 unit = begin; unit < end; ++unit) {
                const int64 first = unit % tiles * kernels.rows;
                const int64 rows = std::min<int64>(kernels.rows, a_rows - first);
                const T* row[MAX_TILE_ROWS];
                for (int64 i = 0; i < rows; ++i) {
                    row[i] = a + (first + i) * depth;
                }
                const int64 from = unit / tiles * group_panels;
                const int64 to = std::min(from + group_panels, panel_count);
                for (int64 panel = from; panel < to; ++panel) {
                    sum(row, rows, panels + panel * depth * width, acc);
                    store(acc, first, rows, panel);
                }
            }
        });
    }
};

int64 packed_elements(const ConvPlan& plan) {
    const ConvProblem& problem = plan.problem;
    const FilterPanels shape(problem, plan.vectors * lanes_of(problem, *plan.isa));
    return pixels_contiguous(problem) ? problem.k * shape.depth()
                                      : shape.elements(problem.groups);
}

template <class T>
void pack_as(const ConvPlan& plan, const void* weight, void* packed) {
    const ConvProblem& problem = plan.problem;
    const auto* from = static_cast<const T*>(weight);
    auto* to = static_cast<T*>(packed);
    if (pixels_contiguous(problem)) {
        pack_filter_rows(problem, from, plan.parallel, to);
    } else {
        const FilterPanels shape(problem, plan.vectors * lanes_of(problem, *plan.isa));
        pack_filter_panels(problem, shape, from, plan.parallel, to);
    }
}

void pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        pack_as<float>(plan, weight, packed);
    } else {
        pack_as<double>(plan, weight, packed);
    }
}

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const Kernels<T>& kernels = kernels_of<T>(*plan.isa);
    const FilterPanels shape(problem, plan.vectors * kernels.lanes);
    const Product<T> product{
        .plan = plan,
        .problem = problem,
        .kernels = kernels,
        .width = shape.width,
        .depth = shape.depth(),
        .pixels = volume(problem.output),
        .filters = shape.filters,
        .bias = static_cast<const T*>(tensors.bias),
        .residual = static_cast<const T*>(tensors.residual),
        .y = static_cast<T*>(tensors.y),
    };
    const auto* x = static_cast<const T*>(tensors.x);
    const bool by_filter = pixels_contiguous(problem);
    const int64 pixel_panels = ceil_div(product.pixels, shape.width);
    ScratchFrame frame;
    T* matrix = frame.take<T>(
        product.depth * (by_filter ? pixel_panels * shape.width : product.pixels));
    const auto* packed = static_cast<const T*>(tensors.packed);
    if (packed == nullptr) {
        T* scratch = frame.take<T>(packed_elements(plan));
        pack_as<T>(plan, tensors.weight, scratch);
        packed = scratch;
    }
    for (int64 unit = 0; unit < problem.n * problem.groups; ++unit) {
        const int64 n = unit / problem.groups;
        const int64 group = unit % problem.groups;
        const T* sample =
            x + n * problem.x_pitch[0] + group * shape.channels * problem.x_pitch[1];
        if (by_filter) {
            fill_pixel_panels(problem, sample, shape.width, plan.parallel, matrix);
            product.multiply(
                packed + group * shape.filters * product.depth,
                shape.filters,
                matrix,
                pixel_panels,
                plan.pixel_group,
                [&](const T* acc, int64 first, int64 rows, int64 panel) {
                    product.store_filters(acc, n, group, first, rows, panel);
                });
        } else {
            fill_pixel_rows(problem, sample, plan.parallel, matrix);
            product.multiply(
                matrix,
                product.pixels,
                packed + group * shape.panels * shape.panel_elements(),
                shape.panels,
                plan.filter_group,
                [&](const T* acc, int64 first, int64 rows, int64 panel) {
                    product.store_pixels(acc, n, group, first, rows, panel);
                });
        }
    }
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

double matrix_bytes(const ConvProblem& problem) {
    return static_cast<double>(depth_of(problem)) *
           static_cast<double>(volume(problem.output)) *
           static_cast<double>(element_bytes(problem.dtype));
}

std::string supports(const ConvProblem& problem) {
    const double bytes = matrix_bytes(problem);
    if (bytes > LARGEST_MATRIX_BYTES) {
        return "the matrix of one sample would take " +
               std::to_string(static_cast<int64>(bytes / 1e6)) +
               " MB, more than the 4000 MB allowed";
    }
    return "";
}

// Two vectors wherever they can be filled, one where all columns fit in it.
int vectors_of(const ConvProblem& problem, const IsaTable& isa) {
    const int64 columns = pixels_contiguous(problem) ? volume(problem.output)
                                                     : problem.k / problem.groups;
    return columns <= lanes_of(problem, isa) ? 1 : 2;
}

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int vectors = vectors_of(problem, isa);
    const int64 width = vectors * lanes_of(problem, isa);
    const int rows = problem.dtype == FLOAT32 ? isa.f32.rows : isa.f64.rows;
    const bool by_filter = pixels_contiguous(problem);
    const int64 filters = problem.k / problem.groups;
    const int64 pixels = volume(problem.output);
    const double tiles = static_cast<double>(
        ceil_div(by_filter ? filters : pixels, rows) *
        ceil_div(by_filter ? pixels : filters, width));
    const double depth = static_cast<double>(depth_of(problem));
    const double tile_cycles =
        depth * static_cast<double>(rows * vectors) / 2.0 + 120.0;
    // The matrix is written at about 8 bytes a cycle and read back once.
    const double samples = static_cast<double>(problem.n * problem.groups);
    const double matrix_cycles = matrix_bytes(problem) / 8.0;
    const double cycles = samples * (tiles * tile_cycles + 1.5 * matrix_cycles) + 500.0;
    // Two rounds of threads a sample.
    const double rounds = problem.n > 1 ? 2.0 * (samples - 1.0) * FORK_JOIN_US : 0.0;
    return shared_us(cycles, problem, host) +
           (products_of(problem) < PARALLEL_PRODUCTS ? 0.0 : rounds);
}

double pack_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    return packing_us(
        bytes_of_weight(problem) / static_cast<double>(element_bytes(problem.dtype)),
        problem,
        host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 width = vectors_of(problem, isa) * lanes_of(problem, isa);
    const int rows = problem.dtype == FLOAT32 ? isa.f32.rows : isa.f64.rows;
    const bool by_filter = pixels_contiguous(problem);
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double matrices =
        matrix_bytes(problem) * static_cast<double>(problem.n * problem.groups);
    const double n = static_cast<double>(problem.n);
    const int64 filters = problem.k / problem.groups;
    // Panels pass through L1 once for every tile of rows; rows once for every group.
    const double tiles = static_cast<double>(
        ceil_div(by_filter ? filters : volume(problem.output), rows));
    const double columns = static_cast<double>(
        ceil_div(by_filter ? volume(problem.output) : filters, width));
    const double panel_side = by_filter ? matrices : w * n;
    const double row_side = by_filter ? w * n : matrices;
    const double l1 =
        x + matrices + y + panel_side * tiles + std::min(columns, 2.0) * row_side;
    // One sample's matrix is written, then read, past L2.
    const double l2 = x + 2.0 * matrices + w * n + y;
    const double one = matrix_bytes(problem) + (x + y) / n + w;
    return layered(2.0 * products_of(problem), l1, l2, x + w + y, one, host);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_im2col;
const ConvAlgorithm conv_im2col{
    .name = "im2col",
    .summary = "the matrix of patches written out, then a blocked matrix product",
    .rounding = "direct",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .pack_us = pack_us,
    .plan = plan,
    .pack = pack,
    .run = run,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int vectors = vectors_of(problem, isa);
    const FilterPanels shape(problem, vectors * lanes_of(problem, isa));
    const bool by_filter = pixels_contiguous(problem);
    const int64 bytes = element_bytes(problem.dtype);
    const int64 fitting =
        std::max<int64>(1, host.l2_bytes / 2 / (shape.panel_elements() * bytes));
    const int64 pixels = volume(problem.output);
    const int64 pixel_panels = ceil_div(pixels, shape.width);
    const int64 group = std::min(fitting, by_filter ? pixel_panels : shape.panels);
    const int64 matrix =
        shape.depth() * (by_filter ? pixel_panels * shape.width : pixels);
    const int64 packed =
        by_filter ? problem.k * shape.depth() : shape.elements(problem.groups);
    const int rows = problem.dtype == FLOAT32 ? isa.f32.rows : isa.f64.rows;
    return ConvPlan{
        .problem = problem,
        .algorithm = &conv_im2col,
        .isa = &isa,
        .vectors = vectors,
        .filter_group = by_filter ? 0 : group,
        .pixel_group = by_filter ? group : 0,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", rows},
             {"nr", shape.width},
             {"kc", shape.depth()},
             {by_filter ? "pixel_panels" : "filter_panels", group}},
        .workspace_bytes = (matrix + packed) * bytes,
        .packed_bytes = packed * bytes,
        .packing = by_filter ? "rows" : "panels of " + std::to_string(shape.width),
    };
}

} // namespace
} // namespace pyconv
