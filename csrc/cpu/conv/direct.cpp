// direct: register tiles straight from the input, nothing of it materialised.
//
// The idea: a tile of output pixels x a panel of filters is summed over all taps and
// channels in registers and stored once. Input pixels are reached through pointers
// (pixel_tile.hpp), in any memory order; only the weights are rearranged into panels,
// by a layer once, by a call when it comes to them. Panels are grouped so that a group
// stays in L2 while all pixels pass; very deep sums are taken in chunks
// (direct_blocking.hpp).
// Source: Georganas et al. 2018 (arXiv 1808.05567), Zhang et al. 2018 (arXiv
// 1809.10170), Dukhan 2019 (arXiv 1907.02129) for the indirection.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/direct_blocking.hpp"
#include "cpu/conv/filter_panels.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/pixel_tile.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <new>

namespace pyconv {
namespace {

// A part of the sum of products.
struct Chunk {
    int64 tap;
    int64 taps;
    int64 channel;
    int64 channels;
};

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
        const int64 filter = group * shape.filters + panel * shape.width;
        T* start = y + n * problem.y_pitch[0] + filter * problem.y_pitch[1];
        prefetch_for_store(start, tile);
        const bool finishes = finishes_in_registers(tile, panel * shape.width);
        if (!finishes && !tile.starts_whole()) {
            clear(tile, acc);
        }
        sum(tile,
            weights,
            {0, shape.taps, 0, shape.channels},
            !tile.starts_whole(),
            acc,
            finishes ? start : nullptr,
            filter);
        if (!finishes) {
            store(tile, n, group, panel, acc);
        }
    }

    void clear(const PixelTile<T>& tile, T* acc) const {
        std::fill(acc, acc + tile.row_count() * shape.width, T(0));
    }

    void
    store(const PixelTile<T>& tile, int64 n, int64 group, int64 panel, const T* acc)
        const {
        const int64 first = panel * shape.width;
        const int64 filter = group * shape.filters + first;
        const int64 start = n * problem.y_pitch[0] + filter * problem.y_pitch[1];
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

    // Adds a chunk of the sum to acc; or, with `start`, finishes the whole of it.
    void
    sum(const PixelTile<T>& tile,
        const T* weights,
        const Chunk& chunk,
        bool accumulate,
        T* acc,
        T* start,
        int64 filter) const {
        // A 1x1 tile's rows follow one another, and the next tile's follow them.
        const T* ahead =
            dense ? tile.rows()[0] + tile.row_count() * shape.channels : nullptr;
        const int64 tap_pitch = shape.channels * shape.width;
        for (int64 i = 0; i < tile.segment_count(); ++i) {
            const TileSegment& segment = tile.segment(i);
            const int64 tap = std::max(segment.tap, chunk.tap);
            const int64 end = std::min(
                segment.tap + segment.taps * segment.columns, chunk.tap + chunk.taps);
            if (tap >= end) {
                continue;
            }
            const T* const* rows = tile.rows() + tap * kernels.rows + segment.row;
            const T* moved[MAX_TILE_ROWS];
            if (chunk.channel > 0) {
                for (int64 row = 0; row < segment.rows; ++row) {
                    moved[row] = rows[row] + chunk.channel * problem.x_pitch[1];
                }
                rows = moved;
            }
            kernels.gemm_tile[plan.vectors - 1][segment.rows - 1](GemmTile<T>{
                .taps = (end - tap) / segment.columns,
                .a = rows,
                .a_tap_pitch = segment.columns * kernels.rows,
                .k = segment.columns * chunk.channels,
                .a_step = problem.x_pitch[1],
                .b = weights + tap * tap_pitch + chunk.channel * shape.width,
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

    bool in_chunks() const {
        return plan.chunk_taps < shape.taps || plan.chunk_channels < shape.channels;
    }

    // A block of tiles times the panels [from, end) of one group.
    void multiply_block(
        const PixelTile<T>* tile,
        int64 count,
        int64 n,
        int64 from,
        int64 end,
        const T* weights,
        T* acc) const {
        const int64 group = from / shape.panels;
        const int64 size = shape.panel_elements();
        const int64 first = from % shape.panels;
        const int64 panels = end - from;
        if (!in_chunks()) {
            for (int64 panel = 0; panel < panels; ++panel) {
                for (int64 i = 0; i < count; ++i) {
                    multiply(
                        tile[i], n, group, first + panel, weights + panel * size, acc);
                }
            }
            return;
        }
        const int64 waiting = kernels.rows * shape.width;
        for (int64 i = 0; i < panels * count; ++i) {
            clear(tile[i % count], acc + i * waiting);
        }
        Chunk chunk{};
        for (; chunk.tap < shape.taps; chunk.tap += chunk.taps) {
            chunk.taps = std::min(plan.chunk_taps, shape.taps - chunk.tap);
            for (chunk.channel = 0; chunk.channel < shape.channels;
                 chunk.channel += chunk.channels) {
                chunk.channels =
                    std::min(plan.chunk_channels, shape.channels - chunk.channel);
                for (int64 i = 0; i < panels * count; ++i) {
                    const T* panel = weights + i / count * size;
                    T* to = acc + i * waiting;
                    sum(tile[i % count], panel, chunk, true, to, nullptr, 0);
                }
            }
        }
        for (int64 i = 0; i < panels * count; ++i) {
            store(tile[i % count], n, group, first + i / count, acc + i * waiting);
        }
    }

    // Units are (group of panels, sample, block of tiles), the last fastest: a group of
    // panels is read from memory once and stays in L2, a panel stays in L1 over a
    // block. Groups are equally large, or the threads would not have equal work.
    void walk(int64 begin, int64 end) const {
        const TileCut cut(problem, kernels.rows);
        const int64 tiles = cut.count();
        const int64 blocks = ceil_div(tiles, plan.pixel_group);
        const int64 panels = problem.groups * shape.panels;
        const int64 size = shape.panel_elements();
        ScratchFrame frame;
        auto* tile = frame.take<PixelTile<T>>(plan.pixel_group);
        for (int64 i = 0; i < plan.pixel_group; ++i) {
            new (tile + i) PixelTile<T>(problem, kernels.rows, frame);
        }
        const int64 waiting = in_chunks() ? plan.filter_group * plan.pixel_group : 1;
        T* acc = frame.take<T>(waiting * kernels.rows * shape.width);
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
            for (int64 panel = from; panel < last;) {
                const int64 group = panel / shape.panels;
                const int64 stop = std::min(last, (group + 1) * shape.panels);
                const T* sample = x + n * problem.x_pitch[0] +
                                  group * shape.channels * problem.x_pitch[1];
                for (int64 i = 0; i < count; ++i) {
                    const int64 pixel = cut.first(first + i);
                    tile[i].aim(sample, pixel, cut.first(first + i + 1) - pixel);
                }
                multiply_block(
                    tile, count, n, panel, stop, weights + (panel - from) * size, acc);
                panel = stop;
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
    const int64 tiles = TileCut(problem, kernels.rows).count();
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

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_direct;
const ConvAlgorithm conv_direct{
    .name = "direct",
    .summary = "register tiles over pointers to the input, nothing materialised",
    .rounding = "direct",
    .supports = supports,
    .cost_us = direct_us,
    .movement = direct_movement,
    .pack_us = direct_pack_us,
    .plan = plan,
    .pack = pack,
    .run = run,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const DirectBlocking blocking(problem, isa, host);
    const FilterPanels& shape = blocking.shape;
    const int64 packed = shape.elements(problem.groups) * element_bytes(problem.dtype);
    return ConvPlan{
        .problem = problem,
        .algorithm = &conv_direct,
        .isa = &isa,
        .vectors = blocking.vectors,
        .filter_group = blocking.panels,
        .pixel_group = blocking.tiles,
        .chunk_taps = blocking.taps,
        .chunk_channels = blocking.channels,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", tile_rows(problem, isa)},
             {"nr", shape.width},
             {"filter_panels", blocking.panels},
             {"tiles", blocking.tiles},
             {"chunk_taps", blocking.taps},
             {"chunk_channels", blocking.channels}},
        .workspace_bytes = packed,
        .packed_bytes = packed,
        .packing = "panels of " + std::to_string(shape.width),
    };
}

} // namespace
} // namespace pyconv
