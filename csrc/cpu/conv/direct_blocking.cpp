// The cycles of direct's cost were measured; its bytes follow the layer conditions.
#include "cpu/conv/direct_blocking.hpp"

#include "cpu/conv/model.hpp"
#include "cpu/conv/pixel_tile.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <cmath>

namespace pyconv {
namespace {

// Products of one output that are summed at a time, where not all are.
constexpr int64 CHUNK = 512;
// Tiles that a chunk of weights is read for.
constexpr int64 CHUNK_TILES = 8;

// One vector of filters where they all fit in it, else two.
int vectors_of(const ConvProblem& problem, const IsaTable& isa) {
    return problem.k / problem.groups <= lanes_of(problem, isa) ? 1 : 2;
}

} // namespace

DirectBlocking::DirectBlocking(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host)
    : shape(problem, vectors_of(problem, isa) * lanes_of(problem, isa)),
      vectors(vectors_of(problem, isa)), panels(problem.groups * shape.panels),
      tiles(1), taps(shape.taps), channels(shape.channels) {
    const int rows = tile_rows(problem, isa);
    const int64 bytes = element_bytes(problem.dtype);
    const int64 panel_bytes = shape.panel_elements() * bytes;
    const int64 all_tiles = TileCut(problem, rows).count();
    if (panel_bytes <= host.l2_bytes / 2) {
        // The other half is for the input and the output. Tiles: those that a panel
        // stays in L1 for with room for their inputs; one that does not fit streams
        // from L2, and more tiles would be no help.
        panels = std::clamp<int64>(host.l2_bytes / 2 / panel_bytes, 1, panels);
        const int64 room = host.l1_bytes * 3 / 4 - panel_bytes;
        tiles = std::clamp<int64>(room / (rows * shape.depth() * bytes), 1, 8);
    } else {
        channels = ceil_div(shape.channels, ceil_div(shape.channels, CHUNK));
        const int64 joined = joined_taps(problem);
        taps = std::clamp(CHUNK / shape.channels / joined * joined, joined, shape.taps);
        tiles = std::min(CHUNK_TILES, all_tiles);
        const int64 waiting = tiles * rows * shape.width * bytes;
        panels = std::clamp<int64>(host.l2_bytes / 8 / waiting, 1, panels);
    }
    // Few tiles (a 7x7 image, batch 1): fewer panels, so that threads share filters.
    const int64 blocks = problem.n * ceil_div(all_tiles, tiles);
    const int64 shares = std::max<int64>(1, ceil_div(16, blocks));
    panels = std::min(panels, ceil_div(problem.groups * shape.panels, shares));
}

double direct_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int rows = tile_rows(problem, isa);
    const DirectBlocking blocking(problem, isa, host);
    const FilterPanels& shape = blocking.shape;
    const int64 pixels = volume(problem.output);
    const double samples = static_cast<double>(problem.n * problem.groups);
    const double tiles = samples * static_cast<double>(TileCut(problem, rows).count());
    // A tail of fewer rows than four leaves the multipliers waiting for sums.
    const int64 tail = pixels % rows;
    const double all_rows =
        samples *
        static_cast<double>(pixels - tail + (tail > 0 ? std::max<int64>(tail, 4) : 0));
    const double taps = static_cast<double>(shape.taps);
    const double loops = taps / static_cast<double>(joined_taps(problem));
    const double panels = static_cast<double>(shape.panels);
    // Two multiply-adds a cycle, then the way out; a tap reloads its row pointers and
    // starts a loop. Taps left out in the padding save half of what they weigh: the
    // runs of rows that still have them are short.
    const double store = problem.y_pitch[1] == 1 ? 3.5 : 9.0;
    const double row_cycles =
        blocking.vectors *
        (static_cast<double>(shape.depth()) * std::sqrt(inside_share(problem)) / 2.0 +
         store);
    // Channels apart: every one is a line, and often a page, of its own for each kernel
    // row of each tile.
    const double half_l2 = 0.5 * static_cast<double>(host.l2_bytes);
    const bool far = bytes_of_x(problem) / static_cast<double>(problem.n) > half_l2;
    const double lines = problem.x_pitch[1] == 1
                             ? 0.0
                             : static_cast<double>(shape.channels) * taps /
                                   static_cast<double>(problem.kernel[2]) *
                                   (far ? 40.0 : 15.0);
    // Weights that do not stay in L2 are seen to arrive: half of 8 bytes a cycle.
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double weights = static_cast<double>(shape.elements(problem.groups)) * bytes;
    const double sweeps = blocking.in_chunks()
                              ? tiles / static_cast<double>(blocking.tiles)
                              : (weights > half_l2 ? 1.0 : 0.0);
    const double cycles =
        panels * (all_rows * row_cycles + tiles * (loops * 16.0 + 30.0)) +
        tiles * (taps * rows * 0.8 + lines + 60.0) + sweeps * weights / 16.0 + 500.0;
    return shared_us(0.93 * cycles, problem, host);
}

double
direct_pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const DirectBlocking blocking(problem, isa, host);
    // Measured: panel by panel, into L2.
    const double cycles =
        1.2 * static_cast<double>(blocking.shape.elements(problem.groups));
    return packing_us(cycles, problem, host);
}

Movement
direct_movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const DirectBlocking blocking(problem, isa, host);
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double tiles = static_cast<double>(
        problem.n * TileCut(problem, tile_rows(problem, isa)).count());
    // Weights pass from L2 through L1 once a tile; packing reads w and writes the
    // panels. x comes once per unit's panels, in chunks the weights once per unit's
    // tiles.
    const double x_sweeps =
        static_cast<double>(ceil_div(blocking.shape.panels, blocking.panels));
    const double w_sweeps =
        blocking.in_chunks()
            ? std::max(1.0, tiles / static_cast<double>(blocking.tiles))
            : 1.0;
    const double l1 = w * (tiles + 2.0) + x * x_sweeps + y;
    const double l2 = w * w_sweeps + x * x_sweeps + y;
    return layered(2.0 * products_of(problem), l1, l2, x + w + y, x + w + y, host);
}

} // namespace pyconv
