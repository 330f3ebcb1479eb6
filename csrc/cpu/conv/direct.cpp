// direct: register tiles straight from the input, nothing of it materialised.
//
// The idea: a tile of output pixels x a panel of filters is summed over all taps and
// channels in registers and stored once. Input pixels are reached through pointers
// (pixel_tile.hpp), in any memory order; only the weights are rearranged into panels,
// by a layer once, by a call when it comes to them. Panels are grouped so that a group
// stays in L2 while all pixels pass.
// Source: Georganas et al. 2018 (arXiv 1808.05567), Zhang et al. 2018 (arXiv
// 1809.10170), Dukhan 2019 (arXiv 1907.02129) for the indirection.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/filter_panels.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/pixel_tile.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <new>

namespace pyconv {
namespace {

// One vector of filters where they all fit in it, else two.
int vectors_of(const ConvProblem& problem, const IsaTable& isa) {
    return problem.k / problem.groups <= lanes_of(problem, isa) ? 1 : 2;
}

template <class T>
struct Road {
    const ConvPlan& plan;
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    FilterPanels shape;
    int64 panel_groups;
    bool dense; // x is a matrix of pixels x channels, read once
    const T* x;
    const T* bias;
    const T* residual;
    T* y;
    const T* weight;
    const T* packed; // null: each thread packs a group of panels when it comes to it

    // Fetches the lines of y that a tile will be stored to while it is being summed.
    void prefetch_for_store(const T* start, const PixelTile<T>& tile) const {
        if (problem.y_pitch[1] != 1) {
            return;
        }
        constexpr int64 LINE = 64 / sizeof(T);
        for (int64 i = 0; i < tile.row_count(); ++i) {
            for (int64 j = 0; j < shape.width; j += LINE) {
                __builtin_prefetch(start + tile.row_offset()[i] + j, 1);
            }
        }
    }

    // A whole panel of neighbouring filters, summed in one go, needs no accumulator in
    // memory.
    bool finishes_in_registers(const PixelTile<T>& tile, int64 first) const {
        return problem.y_pitch[1] == 1 && residual == nullptr &&
               problem.activation <= ACT_LEAKY_RELU &&
               shape.filters - first >= shape.width && tile.segment_count() == 1 &&
               tile.starts_whole();
    }

    // One panel of filters for one tile.
    void multiply(
        const PixelTile<T>& tile,
        int64 n,
        int64 group,
        int64 panel,
        const T* weights,
        T* acc) const {
        const int64 first = panel * shape.width;
        const int64 filter = group * shape.filters + first;
        const int64 start = n * problem.y_pitch[0] + filter * problem.y_pitch[1];
        prefetch_for_store(y + start, tile);
        if (finishes_in_registers(tile, first)) {
            sum(tile, weights, acc, y + start, filter);
            return;
        }
        sum(tile, weights, acc, nullptr, 0);
        kernels.store_tile(
            StoreTile<T>{
                .acc = acc,
                .acc_pitch = shape.width,
                .rows = tile.row_count(),
                .columns = std::min(shape.width, shape.filters - first),
                .y = y + start,
                .residual = residual != nullptr ? residual + start : nullptr,
                .row_offset = tile.row_offset(),
                .column_pitch = problem.y_pitch[1],
                .rows_contiguous = tile.rows_contiguous(),
                .bias = bias != nullptr ? bias + filter : nullptr,
                .bias_per_row = false,
                .activation = problem.activation,
            });
    }

    void sum(const PixelTile<T>& tile, const T* weights, T* acc, T* start, int64 filter)
        const {
        // A 1x1 tile's rows follow one another, and the next tile's follow them.
        const T* ahead =
            dense ? tile.rows()[0] + tile.row_count() * shape.channels : nullptr;
        bool accumulate = !tile.starts_whole();
        if (accumulate) {
            std::fill(acc, acc + tile.row_count() * shape.width, T(0));
        }
        const int64 tap_pitch = shape.channels * shape.width;
        for (int64 i = 0; i < tile.segment_count(); ++i) {
            const TileSegment& segment = tile.segment(i);
            kernels.gemm_tile[plan.vectors - 1][segment.rows - 1](GemmTile<T>{
                .taps = segment.taps,
                .a = tile.rows() + segment.tap * kernels.rows + segment.row,
                .a_tap_pitch = segment.columns * kernels.rows,
                .k = segment.columns * shape.channels,
                .a_step = problem.x_pitch[1],
                .b = weights + segment.tap * tap_pitch,
                .b_tap_pitch = segment.columns * tap_pitch,
                .acc = acc + segment.row * shape.width,
                .accumulate = accumulate,
                .y = start,
                .row_offset = tile.row_offset(),
                .bias = bias != nullptr ? bias + filter : nullptr,
                .activation = problem.activation,
                .ahead = ahead,
            });
            accumulate = true;
        }
    }

    // Units are (group of panels, sample, block of tiles), the last fastest: a group of
    // panels is read from memory once and stays in L2, a panel stays in L1 over a
    // block. Groups are equally large, or the threads would not have equal work.
    void walk(int64 begin, int64 end) const {
        const int64 pixels = volume(problem.output);
        const int64 tiles = ceil_div(pixels, kernels.rows);
        const int64 blocks = ceil_div(tiles, plan.pixel_group);
        const int64 panels = problem.groups * shape.panels;
        const int64 size = shape.panel_elements();
        ScratchFrame frame;
        auto* tile = frame.take<PixelTile<T>>(plan.pixel_group);
        for (int64 i = 0; i < plan.pixel_group; ++i) {
            new (tile + i) PixelTile<T>(problem, kernels.rows, frame);
        }
        T* acc = frame.take<T>(kernels.rows * shape.width);
        T* own = packed == nullptr ? frame.take<T>(plan.filter_group * size) : nullptr;
        int64 ready = -1;
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 block = unit % blocks;
            const int64 n = unit / blocks % problem.n;
            const int64 at = unit / (blocks * problem.n);
            const int64 from = at * panels / panel_groups;
            const int64 last = (at + 1) * panels / panel_groups;
            if (packed == nullptr && at != ready) {
                for (int64 i = 0; i < last - from; ++i) {
                    pack_filter_panel(
                        problem, kernels, shape, weight, from + i, own + i * size);
                }
                ready = at;
            }
            const T* weights = packed == nullptr ? own : packed + from * size;
            const int64 first = block * tiles / blocks;
            const int64 count = (block + 1) * tiles / blocks - first;
            int64 aimed = -1;
            for (int64 panel = from; panel < last; ++panel, weights += size) {
                const int64 group = panel / shape.panels;
                const T* sample = x + n * problem.x_pitch[0] +
                                  group * shape.channels * problem.x_pitch[1];
                for (int64 i = 0; group != aimed && i < count; ++i) {
                    const int64 pixel = (first + i) * kernels.rows;
                    tile[i].aim(
                        sample, pixel, std::min<int64>(kernels.rows, pixels - pixel));
                }
                aimed = group;
                for (int64 i = 0; i < count; ++i) {
                    multiply(tile[i], n, group, panel % shape.panels, weights, acc);
                }
            }
        }
    }
};

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const Kernels<T>& kernels = kernels_of<T>(*plan.isa);
    const FilterPanels shape(problem, plan.vectors * kernels.lanes);
    const int64 panel_groups =
        ceil_div(problem.groups * shape.panels, plan.filter_group);
    ScratchFrame frame;
    const auto* weight = static_cast<const T*>(tensors.weight);
    const auto* packed = static_cast<const T*>(tensors.packed);
    // With fewer groups than threads, threads would pack the same group.
    if (packed == nullptr && panel_groups < num_threads()) {
        T* scratch = frame.take<T>(shape.elements(problem.groups));
        pack_filter_panels(problem, kernels, shape, weight, plan.parallel, scratch);
        packed = scratch;
    }
    const Road<T> road{
        .plan = plan,
        .problem = problem,
        .kernels = kernels,
        .shape = shape,
        .panel_groups = panel_groups,
        .dense = is_dense(problem),
        .x = static_cast<const T*>(tensors.x),
        .bias = static_cast<const T*>(tensors.bias),
        .residual = static_cast<const T*>(tensors.residual),
        .y = static_cast<T*>(tensors.y),
        .weight = weight,
        .packed = packed,
    };
    const int64 tiles = ceil_div(volume(problem.output), kernels.rows);
    const int64 units = panel_groups * problem.n * ceil_div(tiles, plan.pixel_group);
    parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
        road.walk(begin, end);
    });
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

template <class T>
void pack_as(const ConvPlan& plan, const void* weight, void* packed) {
    const Kernels<T>& kernels = kernels_of<T>(*plan.isa);
    const FilterPanels shape(plan.problem, plan.vectors * kernels.lanes);
    pack_filter_panels(
        plan.problem,
        kernels,
        shape,
        static_cast<const T*>(weight),
        plan.parallel,
        static_cast<T*>(packed));
}

void pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        pack_as<float>(plan, weight, packed);
    } else {
        pack_as<double>(plan, weight, packed);
    }
}

std::string supports(const ConvProblem&) {
    return "";
}

// Panels whose weights fill half of L2: the other half is for the input and the output.
int64 panels_in_l2(
    const ConvProblem& problem, const FilterPanels& shape, const Machine& host) {
    const int64 bytes = shape.panel_elements() * element_bytes(problem.dtype);
    return std::clamp<int64>(
        host.l2_bytes / 2 / bytes, 1, problem.groups * shape.panels);
}

// Tiles that a panel stays in L1 for: with it there is room for their inputs. A panel
// that does not fit streams from L2, and more tiles would be no help.
int64 tiles_in_block(
    const ConvProblem& problem,
    const FilterPanels& shape,
    const Machine& host,
    int rows) {
    const int64 bytes = element_bytes(problem.dtype);
    const int64 room = host.l1_bytes * 3 / 4 - shape.panel_elements() * bytes;
    return std::clamp<int64>(room / (rows * shape.depth() * bytes), 1, 8);
}

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int rows = tile_rows(problem, isa);
    const int vectors = vectors_of(problem, isa);
    const FilterPanels shape(problem, vectors * lanes_of(problem, isa));
    const int64 pixels = volume(problem.output);
    const double samples = static_cast<double>(problem.n * problem.groups);
    const double tiles = samples * static_cast<double>(ceil_div(pixels, rows));
    // A tail of fewer rows than four leaves the multipliers waiting for sums.
    const int64 tail = pixels % rows;
    const double all_rows =
        samples *
        static_cast<double>(pixels - tail + (tail > 0 ? std::max<int64>(tail, 4) : 0));
    const double taps = static_cast<double>(shape.taps);
    const double loops = taps / static_cast<double>(joined_taps(problem));
    const double panels = static_cast<double>(shape.panels);
    // Two multiply-adds a cycle, then the way out; a tap reloads its row pointers and
    // starts a loop.
    const double store = problem.y_pitch[1] == 1 ? 3.5 : 9.0;
    const double row_cycles =
        vectors *
        (static_cast<double>(shape.depth()) * inside_share(problem) / 2.0 + store);
    // Channels apart: every one is a line, and often a page, of its own for each kernel
    // row of each tile.
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const bool far = bytes_of_x(problem) / static_cast<double>(problem.n) >
                     0.5 * static_cast<double>(host.l2_bytes);
    const double lines = problem.x_pitch[1] == 1
                             ? 0.0
                             : static_cast<double>(shape.channels) * taps /
                                   static_cast<double>(problem.kernel[2]) *
                                   (far ? 40.0 : 15.0);
    // Weights that do not stay in L2 are seen to arrive.
    const double weights = static_cast<double>(shape.elements(problem.groups)) * bytes;
    const double stream =
        weights > 0.5 * static_cast<double>(host.l2_bytes) ? weights / 16.0 : 0.0;
    const double cycles =
        panels * (all_rows * row_cycles + tiles * (loops * 16.0 + 30.0)) +
        tiles * (taps * rows * 0.8 + lines + 60.0) + stream + 500.0;
    return shared_us(0.93 * cycles, problem, host);
}

double pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const FilterPanels shape(
        problem, vectors_of(problem, isa) * lanes_of(problem, isa));
    return packing_us(
        static_cast<double>(shape.elements(problem.groups)), problem, host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int rows = tile_rows(problem, isa);
    const FilterPanels shape(
        problem, vectors_of(problem, isa) * lanes_of(problem, isa));
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const int64 swept = panels_in_l2(problem, shape, host);
    const double sweeps = static_cast<double>(ceil_div(shape.panels, swept));
    const double tiles =
        static_cast<double>(problem.n * ceil_div(volume(problem.output), rows));
    // Weights pass from L2 through L1 once a tile; x once per group of panels; packing
    // reads w and writes the panels, which stay in L2.
    const double l1 = w * (tiles + 2.0) + x * sweeps + y;
    const double l2 = w + x * sweeps + y;
    return layered(2.0 * products_of(problem), l1, l2, x + w + y, x + w + y, host);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_direct;
const ConvAlgorithm conv_direct{
    .name = "direct",
    .summary = "register tiles over pointers to the input, nothing materialised",
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
    const int rows = tile_rows(problem, isa);
    const int vectors = vectors_of(problem, isa);
    const FilterPanels shape(problem, vectors * lanes_of(problem, isa));
    // Few tiles (a 7x7 image, batch 1): smaller groups, so that threads share filters.
    const int64 tiles = problem.n * ceil_div(volume(problem.output), rows);
    const int64 shares = std::max<int64>(1, ceil_div(16, tiles));
    const int64 group = std::min(
        panels_in_l2(problem, shape, host),
        ceil_div(problem.groups * shape.panels, shares));
    return ConvPlan{
        .problem = problem,
        .algorithm = &conv_direct,
        .isa = &isa,
        .vectors = vectors,
        .filter_group = group,
        .pixel_group = tiles_in_block(problem, shape, host, rows),
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", rows},
             {"nr", shape.width},
             {"filter_panels", group},
             {"tiles", tiles_in_block(problem, shape, host, rows)}},
        .workspace_bytes =
            shape.elements(problem.groups) * element_bytes(problem.dtype),
        .packed_bytes = shape.elements(problem.groups) * element_bytes(problem.dtype),
        .packing = "panels of " + std::to_string(shape.width),
    };
}

} // namespace
} // namespace pyconv
