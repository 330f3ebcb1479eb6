// cache_tiled: reordered, with its loops cut so that what they sweep stays in a cache.
//
// reordered sweeps all of the input once for every filter. Here a tile of rows stays in
// L2 while every filter passes over it, and a row that has come into L1 is used for
// several filters: a line of sums for each, short enough that all stay in L1 beside the
// rows of as many channels as fit. The products, their order and the innermost loop are
// reordered's.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/plain_rows.hpp"

#include <algorithm>

namespace pyconv {
namespace {

constexpr int64 LINE_BYTES = 64;
constexpr int64 MOST_FILTERS = 8; // whose sums are in L1 together

struct Tiling {
    int64 filters;  // at once
    int64 columns;  // of a row
    int64 channels; // whose rows of x are in L1 together
    int64 rows;     // of a tile

    Tiling(const ConvProblem& problem, const Machine& host)
        : filters(std::min(MOST_FILTERS, problem.k / problem.groups)) {
        const int64 bytes = element_bytes(problem.dtype);
        const int64 fitting = host.l1_bytes / 4 / (filters * bytes);
        columns = std::min(problem.output[2], std::max<int64>(fitting, 16));
        // In whole lines, of which a run begins and ends with a part.
        const int64 run = std::min(problem.input[2], columns * problem.stride[2]);
        const int64 lines = ceil_div(run * bytes, LINE_BYTES) + 1;
        channels = std::clamp<int64>(
            host.l1_bytes / 2 / (lines * LINE_BYTES), 1, problem.c / problem.groups);
        // Rows of x under one row of outputs, then one more (by the stride) for each.
        const int64 row = problem.c / problem.groups * problem.input[2] * bytes;
        const int64 deep = problem.kernel[0] * problem.kernel[1];
        const int64 more = host.l2_bytes / 2 / std::max<int64>(row, 1) - deep;
        const int64 all = problem.output[0] * problem.output[1];
        // Two tiles a core at least: tiles are what threads share.
        const int64 shared = all * problem.n * problem.groups / (2 * host.cores);
        rows = std::clamp<int64>(std::min(more / problem.stride[1], shared), 1, all);
    }
};

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const PlainRows<T> plain(problem, tensors, plan.chunk_channels);
    const int64 filters = problem.k / problem.groups;
    const int64 rows = problem.output[0] * problem.output[1];
    const int64 tile_rows = plan.planes.block_rows;
    const int64 tile_columns = plan.planes.block_columns;
    const int64 tiles = ceil_div(rows, tile_rows);
    const auto units = [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        T* sums = frame.take<T>(plan.filter_group * tile_columns);
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 first = unit % tiles * tile_rows;
            const int64 group = unit / tiles % problem.groups;
            RowTile tile{};
            tile.n = unit / tiles / problem.groups;
            for (int64 f = 0; f < filters; f += plan.filter_group) {
                tile.first_filter = group * filters + f;
                tile.filters = std::min(plan.filter_group, filters - f);
                const int64 last = std::min(first + tile_rows, rows);
                for (tile.row = first; tile.row < last; ++tile.row) {
                    for (int64 q = 0; q < problem.output[2]; q += tile_columns) {
                        tile.first_column = q;
                        tile.columns = std::min(tile_columns, problem.output[2] - q);
                        plain.run(tile, sums);
                    }
                }
            }
        }
    };
    parallel_for(problem.n * problem.groups * tiles, plan.parallel, units);
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const ConvProblem&) {
    return "";
}

double cost_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double columns = static_cast<double>(Tiling(problem, host).columns);
    return shared_us(plain_rows_cycles(problem, columns), problem, host);
}

Movement movement(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const Tiling tiling(problem, host);
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double n = static_cast<double>(problem.n);
    const int64 filters = problem.k / problem.groups;
    const int64 rows = problem.output[0] * problem.output[1];
    const double passes = static_cast<double>(ceil_div(filters, tiling.filters));
    const double units = n * static_cast<double>(problem.groups);
    const double swept = units * passes * plain_plane_bytes(problem, host);
    // Some filters' weights: again for every row and tap, whose neighbours share their
    // lines, unless they stay in L1 beside a row.
    const double tiles = static_cast<double>(ceil_div(rows, tiling.rows));
    const double some =
        w / static_cast<double>(problem.k) * static_cast<double>(tiling.filters);
    const bool held = some <= 0.35 * static_cast<double>(host.l1_bytes);
    const double again =
        static_cast<double>(rows) * static_cast<double>(volume(problem.kernel));
    const double weights = n * w * (held ? tiles : again);
    const bool stay = stays_in(w + x / n, host.l2_bytes);
    return counted(
        plain_rows_flops(problem),
        swept + weights + y,
        x + n * w * (stay ? 1.0 : tiles) + y,
        x + w + y,
        host);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_cache_tiled;
const ConvAlgorithm conv_cache_tiled{
    .name = "cache_tiled",
    .summary = "plain loops in tiles: input stays in L2, sums of several filters in L1",
    .rounding = "reference",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .pack_us = [](const ConvProblem&, const IsaTable&, const Machine&) { return 0.0; },
    .plan = plan,
    .pack = nullptr,
    .run = run,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const Tiling tiling(problem, host);
    ConvPlan made{
        .problem = problem,
        .algorithm = &conv_cache_tiled,
        .isa = &isa,
        .vectors = 0,
        .filter_group = tiling.filters,
        .pixel_group = 0,
        .chunk_channels = tiling.channels,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"filters", tiling.filters},
             {"channels", tiling.channels},
             {"rows", tiling.rows},
             {"columns", tiling.columns}},
        .workspace_bytes =
            tiling.filters * tiling.columns * element_bytes(problem.dtype),
    };
    made.planes.block_rows = tiling.rows;
    made.planes.block_columns = tiling.columns;
    return made;
}

} // namespace
} // namespace pyconv
