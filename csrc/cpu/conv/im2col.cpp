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
#include "cpu/conv/finite.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/patch_product.hpp"

#include <algorithm>
#include <cmath>

namespace pyconv {
namespace {

// More than this for one sample's matrix and nobody wants it materialised.
constexpr double LARGEST_MATRIX_BYTES = 4e9;

// A matrix product blocked in two: a group of `group_panels` panels of b stays in L2
// while every tile of rows of a passes over it. Units are (group of panels, tile), the
// tile fastest.
template <class T, class Tile>
void multiply(
    const PatchProduct<T>& product,
    bool parallel,
    const T* a,
    int64 a_rows,
    const T* panels,
    int64 panel_count,
    int64 group_panels,
    const Tile& multiply_tile) {
    const int64 pitch = patch_row_pitch(product.depth);
    const int64 tiles = ceil_div(a_rows, product.kernels.rows);
    const int64 units = tiles * ceil_div(panel_count, group_panels);
    parallel_for(units, parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        T* acc = frame.take<T>(product.kernels.rows * product.width);
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 first = unit % tiles * product.kernels.rows;
            const int64 rows = std::min<int64>(product.kernels.rows, a_rows - first);
            const int64 from = unit / tiles * group_panels;
            const int64 to = std::min(from + group_panels, panel_count);
            for (int64 panel = from; panel < to; ++panel) {
                multiply_tile(
                    {a + first * pitch, pitch},
                    panels + panel * product.depth * product.width,
                    first,
                    rows,
                    panel,
                    acc);
            }
        }
    });
}

template <class T>
void pack_as(const ConvPlan& plan, const void* weight, void* packed) {
    const ConvProblem& problem = plan.problem;
    const Kernels<T>& kernels = kernels_of<T>(*plan.isa);
    const auto* from = static_cast<const T*>(weight);
    auto* to = static_cast<T*>(packed);
    if (pixels_contiguous(problem)) {
        pack_all_filter_rows(problem, kernels, from, plan.parallel, to);
    } else {
        const FilterPanels shape(problem, plan.vectors * kernels.lanes);
        pack_filter_panels(problem, kernels, shape, from, plan.parallel, to);
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
    const PatchProduct<T> product(plan, tensors);
    const int64 pitch = patch_row_pitch(product.depth);
    const auto* x = static_cast<const T*>(tensors.x);
    const bool by_filter = pixels_contiguous(problem);
    const int64 pixel_panels = ceil_div(product.pixels, shape.width);
    ScratchFrame frame;
    T* matrix = frame.take<T>(
        by_filter ? product.depth * pixel_panels * shape.width
                  : pitch * product.pixels);
    const auto* packed = static_cast<const T*>(tensors.packed);
    if (packed == nullptr) {
        T* scratch = frame.take<T>(plan.packed_bytes / static_cast<int64>(sizeof(T)));
        pack_as<T>(plan, tensors.weight, scratch);
        packed = scratch;
    }
    for (int64 unit = 0; unit < problem.n * problem.groups; ++unit) {
        const int64 n = unit / problem.groups;
        const int64 group = unit % problem.groups;
        const T* sample =
            x + n * problem.x_pitch[0] + group * shape.channels * problem.x_pitch[1];
        if (by_filter) {
            parallel_for(pixel_panels, plan.parallel, [&](int64 begin, int64 end, int) {
                const int64 first = begin * shape.width;
                fill_pixel_panels(
                    problem,
                    kernels,
                    sample,
                    shape.width,
                    first,
                    std::min(end * shape.width, product.pixels) - first,
                    matrix + first * product.depth);
            });
            multiply<T>(
                product,
                plan.parallel,
                packed + group * shape.filters * pitch,
                shape.filters,
                matrix,
                pixel_panels,
                plan.pixel_group,
                [&](const PatchRows<T>& a,
                    const T* b,
                    int64 first,
                    int64 rows,
                    int64 panel,
                    T* acc) {
                    product.multiply_filters(a, b, n, group, first, rows, panel, acc);
                });
        } else {
            parallel_for(
                product.pixels, plan.parallel, [&](int64 begin, int64 end, int) {
                    fill_pixel_rows(
                        problem, sample, begin, end - begin, matrix + begin * pitch);
                });
            multiply<T>(
                product,
                plan.parallel,
                matrix,
                product.pixels,
                packed + group * shape.panels * shape.panel_elements(),
                shape.panels,
                plan.filter_group,
                [&](const PatchRows<T>& a,
                    const T* b,
                    int64 first,
                    int64 rows,
                    int64 panel,
                    T* acc) {
                    product.multiply_pixels(a, b, n, group, first, rows, panel, acc);
                });
        }
    }
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    run_where_padding_is_zero(plan, tensors, run_as<float>, run_as<double>);
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
    // The matrix goes past L2 and comes back, at about 12 bytes a cycle.
    const double samples = static_cast<double>(problem.n * problem.groups);
    const double filling = by_filter
                               ? panel_filling_cycles(problem, width, width / vectors)
                               : row_filling_cycles(problem);
    const double matrix_cycles = filling + 2.0 * matrix_bytes(problem) / 12.0;
    const double cycles = samples * (tiles * tile_cycles + matrix_cycles) + 500.0;
    // Two rounds of threads a sample.
    const double rounds = 2.0 * (samples - 1.0) * FORK_JOIN_US;
    return shared_us(cycles, problem, host) +
           (products_of(problem) < PARALLEL_PRODUCTS ? 0.0 : rounds);
}

double pack_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double elements =
        bytes_of_weight(problem) / static_cast<double>(element_bytes(problem.dtype));
    return packing_us(packing_ahead_cycles(elements, problem, host), problem, host);
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
    const int64 pixels = volume(problem.output);
    // Panels pass through L1 once for every tile of rows, if it does not hold a group
    // of them; rows once for every group of panels, which stays in half of L2.
    const double tiles =
        static_cast<double>(ceil_div(by_filter ? filters : pixels, rows));
    const double panel_bytes = static_cast<double>(depth_of(problem) * width) *
                               static_cast<double>(element_bytes(problem.dtype));
    const double panels =
        static_cast<double>(ceil_div(by_filter ? pixels : filters, width));
    const double fitting =
        std::max(1.0, 0.5 * static_cast<double>(host.l2_bytes) / panel_bytes);
    const double groups = std::max(1.0, std::ceil(panels / std::floor(fitting)));
    const double panel_side = by_filter ? matrices : w * n;
    const double row_side = by_filter ? w * n : matrices;
    const bool held = stays_in(std::min(fitting, panels) * panel_bytes, host.l1_bytes);
    const double packed = 2.0 * w;
    // Rows too long for L1 come again for every panel.
    const double row_tile = static_cast<double>(rows * depth_of(problem)) *
                            static_cast<double>(element_bytes(problem.dtype));
    const double row_passes = stays_in(row_tile, host.l1_bytes) ? groups : panels;
    const double l1 = x + matrices + y + packed + panel_side * (held ? 1.0 : tiles) +
                      row_passes * row_side;
    // The matrix is written, and read where L2 does not hold it beside the rest.
    const double one = matrix_bytes(problem) + w;
    const bool stays = stays_in(one, host.l2_bytes);
    const double again = stays ? 0.0 : panel_side + groups * row_side + (n - 1.0) * w;
    const double l2 = x + matrices + packed + again + y;
    const double flops =
        2.0 * n * static_cast<double>(problem.groups * depth_of(problem)) *
        (by_filter ? static_cast<double>(filters) * in_whole(pixels, width)
                   : static_cast<double>(pixels) * in_whole(filters, width));
    return counted(flops, l1, l2, x + w + y, host);
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
    const int64 matrix = by_filter ? shape.depth() * pixel_panels * shape.width
                                   : patch_row_pitch(shape.depth()) * pixels;
    const int64 packed = by_filter ? problem.k * patch_row_pitch(shape.depth())
                                   : shape.elements(problem.groups);
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
