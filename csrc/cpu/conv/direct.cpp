// direct: register tiles straight from the input, without a matrix of patches.
//
// The idea: a tile of output pixels x a panel of filters is summed over all taps and
// channels in registers and stored once. Input pixels are reached through pointers
// (pixel_tile.hpp), in any memory order; channels that lie apart are laid side by side
// where that is cheaper (turned_input.hpp). Weights are rearranged into panels, by a
// layer once, by a call when it comes to them. Panels are grouped so that a group stays
// in L2 while all pixels pass; very deep sums are taken in chunks
// (direct_blocking.hpp).
// Source: Georganas et al. 2018 (arXiv 1808.05567), Zhang et al. 2018 (arXiv
// 1809.10170), Dukhan 2019 (arXiv 1907.02129) for the indirection.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/direct_blocking.hpp"
#include "cpu/conv/filter_panels.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/tile_product.hpp"
#include "cpu/conv/turned_input.hpp"

#include <algorithm>
#include <new>

namespace pyconv {
namespace {

// Panels of filters that a unit of work takes: those of all groups cut into equal
// parts; or those of each group, whose input alone is turned.
struct PanelParts {
    int64 whole; // panels that are cut into parts
    int64 parts;

    PanelParts(const ConvPlan& plan, const FilterPanels& shape)
        : whole(shape.panels * (plan.turned_blocks > 0 ? 1 : plan.problem.groups)),
          parts(ceil_div(whole, plan.filter_group)) {}

    int64 first(int64 part) const {
        return part / parts * whole + part % parts * whole / parts;
    }
};

template <class T>
struct Road {
    const ConvPlan& plan;
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    FilterPanels shape;
    PanelParts parts;
    TileCut cut;
    int64 blocks; // of tiles, in one sample
    TileProduct<T> product;
    const T* x;
    const T* weight;
    const T* packed; // null: each thread packs its panels when it comes to them

    Road(const ConvPlan& plan_, const ConvTensors& tensors)
        : plan(plan_), problem(plan_.problem), kernels(kernels_of<T>(*plan_.isa)),
          shape(problem, plan_.vectors * kernels.lanes), parts(plan_, shape),
          cut(problem, kernels.rows), blocks(ceil_div(cut.count(), plan_.pixel_group)),
          product{
              .plan = plan_,
              .problem = problem,
              .kernels = kernels,
              .shape = shape,
              .channel_pitch = plan_.turned_blocks > 0 ? 1 : problem.x_pitch[1],
              .dense = is_dense(problem),
              .bias = static_cast<const T*>(tensors.bias),
              .residual = static_cast<const T*>(tensors.residual),
              .y = static_cast<T*>(tensors.y)},
          x(static_cast<const T*>(tensors.x)),
          weight(static_cast<const T*>(tensors.weight)),
          packed(static_cast<const T*>(tensors.packed)) {}

    int64 all_parts() const {
        return problem.groups * shape.panels / parts.whole * parts.parts;
    }

    int64 units() const { return all_parts() * problem.n * blocks; }

    const T* sample(int64 n, int64 group) const {
        return x + n * problem.x_pitch[0] + group * shape.channels * problem.x_pitch[1];
    }

    int64 first_tile(int64 block) const { return block * cut.count() / blocks; }

    // Units are (part of the panels, sample, block of tiles), the last fastest: panels
    // are read from memory once and stay in L2, one of them stays in L1 over a block.
    void walk(int64 begin, int64 end) const {
        const int64 size = shape.panel_elements();
        ScratchFrame frame;
        TurnedWindow<T> turned(problem, kernels);
        const bool turns = plan.turned_blocks > 0;
        auto* tile = frame.take<PixelTile<T>>(plan.pixel_group);
        for (int64 i = 0; i < plan.pixel_group; ++i) {
            new (tile + i)
                PixelTile<T>(turns ? turned.problem() : problem, kernels.rows, frame);
        }
        T* acc = frame.take<T>(product.accumulators());
        T* own = packed == nullptr ? frame.take<T>(plan.filter_group * size) : nullptr;
        int64 ready = -1;
        int64 window = -1; // the part of x that is turned
        const T* seen = nullptr;
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 block = unit % blocks;
            const int64 n = unit / blocks % problem.n;
            const int64 part = unit / (blocks * problem.n);
            const int64 from = parts.first(part);
            const int64 last = parts.first(part + 1);
            if (packed == nullptr && part != ready) {
                pack_filter_run(
                    problem, kernels, shape, weight, from, last - from, own);
                ready = part;
            }
            const T* weights = packed == nullptr ? own : packed + from * size;
            if (turns) {
                const int64 group = from / shape.panels;
                const int64 at = block / plan.turned_blocks;
                const int64 needed = (group * problem.n + n) * blocks + at;
                if (needed != window) {
                    seen = turn(turned, sample(n, group), at);
                    window = needed;
                }
            }
            const int64 first = first_tile(block);
            const int64 count = first_tile(block + 1) - first;
            for (int64 panel = from; panel < last;) {
                const int64 group = panel / shape.panels;
                const int64 stop = std::min(last, (group + 1) * shape.panels);
                int64 pixel = cut.first(first);
                for (int64 i = 0; i < count; ++i) {
                    const int64 next = cut.first(first + i + 1);
                    tile[i].aim(turns ? seen : sample(n, group), pixel, next - pixel);
                    pixel = next;
                }
                product.multiply_block(
                    tile, count, n, panel, stop, weights + (panel - from) * size, acc);
                panel = stop;
            }
        }
    }

    // Turns what a window of blocks meets.
    const T* turn(TurnedWindow<T>& turned, const T* from, int64 window) const {
        const int64 begin = window * plan.turned_blocks;
        const int64 end = std::min(begin + plan.turned_blocks, blocks);
        const int64 first = cut.first(first_tile(begin));
        return turned.turn(from, first, cut.first(first_tile(end)) - first);
    }
};

template <class T>
void run_road(const ConvPlan& plan, const ConvTensors& tensors) {
    ScratchFrame frame;
    Road<T> road(plan, tensors);
    // With fewer parts than threads, threads would pack the same panels.
    if (road.packed == nullptr && road.all_parts() < num_threads()) {
        T* scratch = frame.take<T>(road.shape.elements(plan.problem.groups));
        pack_filter_panels(
            plan.problem,
            road.kernels,
            road.shape,
            road.weight,
            plan.parallel,
            scratch);
        road.packed = scratch;
    }
    parallel_for(road.units(), plan.parallel, [&](int64 begin, int64 end, int) {
        road.walk(begin, end);
    });
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_turned<float>(plan, tensors, run_road<float>);
    } else {
        run_turned<double>(plan, tensors, run_road<double>);
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
    .summary = "register tiles over pointers to the input, no matrix of patches",
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
        .turned_blocks = blocking.turned_blocks,
        .turned_ahead = blocking.turned_ahead,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", tile_rows(problem, isa)},
             {"nr", shape.width},
             {"filter_panels", blocking.panels},
             {"tiles", blocking.tiles},
             {"chunk_taps", blocking.taps},
             {"chunk_channels", blocking.channels},
             {"turned_blocks", blocking.turned_blocks},
             {"turned_ahead", blocking.turned_ahead ? 1 : 0}},
        .workspace_bytes =
            packed + blocking.turned_elements * element_bytes(problem.dtype),
        .packed_bytes = packed,
        .packing = "panels of " + std::to_string(shape.width),
    };
}

} // namespace
} // namespace pyconv
