// The cycles of direct's cost were measured; its bytes follow the layer conditions.
#include "cpu/conv/direct_blocking.hpp"

#include "cpu/conv/model.hpp"
#include "cpu/conv/pixel_tile.hpp"
#include "cpu/conv/turned_input.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <cmath>

namespace pyconv {
namespace {

// Products of one output that are summed at a time, where not all are.
constexpr int64 CHUNK = 512;
// Tiles that a chunk of weights is read for.
constexpr int64 CHUNK_TILES = 8;
// Units of work, at the least.
constexpr int64 SHARES = 16;
// The share of L2 that a window of turned input may take.
constexpr double WINDOW = 0.25;
constexpr double LINE_BYTES = 64.0;
// Cycles to start a tap's loop.
constexpr double LOOP = 16.0;

// One vector of filters where they all fit in it, else two.
int vectors_of(const ConvProblem& problem, const IsaTable& isa) {
    return problem.k / problem.groups <= lanes_of(problem, isa) ? 1 : 2;
}

// What reaching channels that lie apart costs, in cycles of the whole problem: as they
// lie, or turned in windows of blocks of tiles, or turned ahead.
struct Reaching {
    int64 window; // in blocks
    int64 window_elements;
    double apart;
    double in_windows;
    double ahead;

    Reaching(
        const ConvProblem& problem,
        const DirectBlocking& blocking,
        int rows,
        const Machine& host) {
        const TileCut cut(problem, rows);
        const int64 blocks = ceil_div(cut.count(), blocking.tiles);
        const auto met = [&](int64 size) {
            // A window from the middle: the first ones meet padding.
            const int64 begin = std::min(blocks / size / 2 * size, blocks - 1);
            const int64 end = std::min(begin + size, blocks);
            const int64 first = cut.first(begin * cut.count() / blocks);
            const int64 last = cut.first(end * cut.count() / blocks);
            return met_by(problem, first, last - first);
        };
        const auto elements = [&](int64 size) {
            return blocking.shape.channels * volume(met(size).extent);
        };
        const double bytes = static_cast<double>(element_bytes(problem.dtype));
        const double room = WINDOW * static_cast<double>(host.l2_bytes) / bytes;
        const int64 samples = problem.n * problem.groups;
        window = std::min(blocks, ceil_div(blocks * samples, SHARES));
        while (window > 1 && static_cast<double>(elements(window)) > room) {
            window = ceil_div(window, 2);
        }
        const int64 windows = ceil_div(blocks, window);
        window = ceil_div(blocks, windows);
        const double all = static_cast<double>(samples);
        in_windows =
            all * turning_cycles(problem, met(window)) * static_cast<double>(windows);
        ahead = turning_ahead_cycles(problem);
        window_elements = elements(window);
        // Every channel is a line, and often a page, of its own for each kernel row of
        // each tile, for every part of the panels anew.
        const bool far = bytes_of_x(problem) / static_cast<double>(problem.n) >
                         0.5 * static_cast<double>(host.l2_bytes);
        const double line =
            static_cast<double>(rows * problem.stride[2]) * bytes / LINE_BYTES;
        const int64 lines = problem.kernel[0] * problem.kernel[1] * cut.count() *
                            ceil_div(blocking.shape.panels, blocking.panels);
        apart = all * static_cast<double>(lines * blocking.shape.channels) *
                std::max(1.0, line) * (far ? 60.0 : 15.0);
    }
};

} // namespace

DirectBlocking::DirectBlocking(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host)
    : shape(problem, vectors_of(problem, isa) * lanes_of(problem, isa)),
      vectors(vectors_of(problem, isa)), panels(problem.groups * shape.panels),
      tiles(1), taps(shape.taps), channels(shape.channels), turned_blocks(0),
      turned_elements(0), turned_ahead(false) {
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
        // Of a window that is turned: a multiple is right where fewer are joined.
        const int64 joined = joined_taps(
            can_turn(problem) ? turned_problem(problem, InputBox{}) : problem);
        taps = std::clamp(CHUNK / shape.channels / joined * joined, joined, shape.taps);
        tiles = std::min(CHUNK_TILES, all_tiles);
        const int64 waiting = tiles * rows * shape.width * bytes;
        panels = std::clamp<int64>(host.l2_bytes / 8 / waiting, 1, panels);
    }
    // Few tiles (a 7x7 image, batch 1): fewer panels, so that threads share filters.
    const int64 blocks = problem.n * ceil_div(all_tiles, tiles);
    const int64 shares = std::max<int64>(1, ceil_div(SHARES, blocks));
    panels = std::min(panels, ceil_div(problem.groups * shape.panels, shares));
    if (can_turn(problem)) {
        const Reaching reaching(problem, *this, rows, host);
        const bool at_once = panels >= shape.panels;
        const double turned = at_once ? reaching.in_windows : reaching.ahead;
        // Turned, taps along W may be read as one: fewer loops to start.
        const int64 joined = joined_taps(turned_problem(problem, InputBox{}));
        const double loops =
            static_cast<double>(problem.n * problem.groups * all_tiles * shape.panels) *
            static_cast<double>(shape.taps - shape.taps / joined);
        if (turned < reaching.apart + LOOP * loops) {
            turned_ahead = !at_once;
            turned_blocks = at_once ? reaching.window : 0;
            turned_elements = at_once ? reaching.window_elements
                                      : problem.n * problem.c * volume(problem.input);
            panels = at_once ? shape.panels : panels;
        }
    }
}

ConvProblem DirectBlocking::seen(const ConvProblem& problem) const {
    return turned_ahead        ? turned_problem(problem)
           : turned_blocks > 0 ? turned_problem(problem, InputBox{})
                               : problem;
}

double direct_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int rows = tile_rows(problem, isa);
    const DirectBlocking blocking(problem, isa, host);
    const FilterPanels& shape = blocking.shape;
    const int64 pixels = volume(problem.output);
    const double samples = static_cast<double>(problem.n * problem.groups);
    const double tiles = samples * static_cast<double>(TileCut(problem, rows).count());
    // Fewer rows than four leave the multipliers waiting for sums.
    const double all_rows =
        std::max(samples * static_cast<double>(pixels), 4.0 * tiles);
    const double taps = static_cast<double>(shape.taps);
    const double loops =
        taps / static_cast<double>(joined_taps(blocking.seen(problem)));
    const double panels = static_cast<double>(shape.panels);
    // Two multiply-adds a cycle, then the way out; a tap reloads its row pointers and
    // starts a loop. Taps left out in the padding save half of what they weigh: the
    // runs of rows that still have them are short.
    const double store = problem.y_pitch[1] == 1 ? 3.5 : 9.0;
    const double row_cycles =
        blocking.vectors *
        (static_cast<double>(shape.depth()) * std::sqrt(inside_share(problem)) / 2.0 +
         store);
    double reached = 0.0;
    if (problem.x_pitch[1] != 1) {
        const Reaching reaching(problem, blocking, rows, host);
        reached = blocking.turned_ahead        ? reaching.ahead
                  : blocking.turned_blocks > 0 ? reaching.in_windows
                                               : reaching.apart;
    }
    const double half_l2 = 0.5 * static_cast<double>(host.l2_bytes);
    // Weights that do not stay in L2 are seen to arrive: half of 8 bytes a cycle.
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double weights = static_cast<double>(shape.elements(problem.groups)) * bytes;
    const double sweeps = blocking.in_chunks()
                              ? tiles / static_cast<double>(blocking.tiles)
                              : (weights > half_l2 ? 1.0 : 0.0);
    const double cycles =
        panels * (all_rows * row_cycles + tiles * (loops * LOOP + 30.0)) +
        tiles * (taps * rows * 0.8 + 60.0) + reached + sweeps * weights / 16.0 + 500.0;
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
    const double panel = static_cast<double>(blocking.shape.panel_elements()) *
                         static_cast<double>(element_bytes(problem.dtype));
    // Packing reads w and writes the panels. A panel that stays in L1 passes once for
    // every block of tiles, another once for every tile. x comes once per unit's
    // panels, in chunks the weights once per unit's tiles. Turned, x is read and
    // written once more.
    const double blocks = std::max(1.0, tiles / static_cast<double>(blocking.tiles));
    const double passes = stays_in(panel, host.l1_bytes) ? blocks : tiles;
    const double x_sweeps =
        static_cast<double>(ceil_div(blocking.shape.panels, blocking.panels));
    const double w_sweeps = blocking.in_chunks() ? blocks : 1.0;
    const double turned = blocking.turned_elements > 0 ? 2.0 * x : 0.0;
    const double l1 = w * (passes + 2.0) + x * x_sweeps + turned + y;
    const double l2 =
        w * w_sweeps + x * x_sweeps + (blocking.turned_ahead ? turned : 0.0) + y;
    // Taps in zero padding are left out; a panel's filters are computed whole.
    const int64 filters = problem.k / problem.groups;
    const double flops = 2.0 * products_of(problem) * inside_share(problem) *
                         in_whole(filters, blocking.shape.width) /
                         static_cast<double>(filters);
    return layered(flops, l1, l2, x + w + y, x + w + y, host);
}

} // namespace pyconv
