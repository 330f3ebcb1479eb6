// The bytes and operations of a product of patches that are packed block by block.
#pragma once

#include "cpu/conv/model.hpp"

namespace pyconv {

// How implicit_gemm cuts a problem.
struct PatchBlocks {
    bool by_filter;     // filters are the tile's rows, and pixels its columns
    bool packs;         // filters are rearranged first
    int64 rows;         // of a register tile
    int64 width;        // of it
    int64 block_pixels; // whose patches are packed together
};

inline Movement patch_blocks_movement(
    const ConvProblem& problem, const PatchBlocks& cut, const Machine& host) {
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double depth = static_cast<double>(depth_of(problem));
    const double samples = static_cast<double>(problem.n * problem.groups);
    const int64 filters = problem.k / problem.groups;
    const int64 pixels = volume(problem.output);
    const double patches = samples * static_cast<double>(pixels) * depth * bytes;
    const double blocks =
        static_cast<double>(problem.n * ceil_div(pixels, cut.block_pixels));
    const double block = patches / blocks;
    const double rows =
        static_cast<double>(ceil_div(cut.by_filter ? filters : pixels, cut.rows));
    // A block's patches are written, then pass through L1 once for every tile of
    // filters unless they stay there; filters pass once for every block. Or a panel of
    // filters stays in L1 while the tiles of pixels of a block pass, once for each.
    const double panels = static_cast<double>(ceil_div(filters, cut.width));
    const bool held = stays_in(block, host.l1_bytes);
    const double swept =
        cut.by_filter ? (held ? 0.0 : patches * rows) : patches * (held ? 1.0 : panels);
    const double packed = cut.packs ? 2.0 * w : 0.0;
    // Rows of filters too long for L1 come again for every panel of pixels.
    const double row_tile = static_cast<double>(cut.rows) * depth * bytes;
    const double pixel_panels =
        static_cast<double>(problem.n * ceil_div(pixels, cut.width));
    const double passes =
        cut.by_filter && !stays_in(row_tile, host.l1_bytes) ? pixel_panels : blocks;
    const double l1 = x + (held ? 0.0 : patches) + swept + w * passes + packed + y;
    // Filters stay in L2 beside a block of patches, or come again for every block.
    const bool stay = w + block <= 0.9 * static_cast<double>(host.l2_bytes);
    const double l2 = x + block + packed + w * (stay ? 1.0 : blocks) + y;
    const double sums =
        cut.by_filter ? static_cast<double>(filters) * in_whole(pixels, cut.width)
                      : static_cast<double>(pixels) * in_whole(filters, cut.width);
    return counted(2.0 * samples * depth * sums, l1, l2, x + w + y, host);
}

} // namespace pyconv
