// A block of tiles of output pixels times panels of filters, out through the epilogue.
//
// The idea: a tile's sum over all taps and channels stays in registers and is stored
// once. A sum too deep for its weights to stay in L2 is taken in chunks over all tiles
// of the block, whose accumulators wait in L2 meanwhile.
#pragma once

#include "cpu/conv/filter_panels.hpp"
#include "cpu/conv/pixel_tile.hpp"
#include "cpu/isa/registry.hpp"
#include "cpu/plan.hpp"

#include <algorithm>

namespace pyconv {

// A part of the sum of products.
struct Chunk {
    int64 tap;
    int64 taps;
    int64 channel;
    int64 channels;
};

template <class T>
struct TileProduct {
    const ConvPlan& plan;
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    FilterPanels shape;
    int64 channel_pitch; // of what the tiles point to
    bool dense;          // which is a matrix of pixels x channels, read once
    const T* bias;
    const T* residual;
    T* y;

    // Fetches the lines of y that a tile will be stored to while it is being summed.
    void
    prefetch_for_store(const T* start, int64 filters, const PixelTile<T>& tile) const {
        constexpr int64 LINE = 64 / sizeof(T);
        if (problem.y_pitch[1] != 1) {
            const int64 first = tile.row_offset()[0];
            const int64 last = tile.row_offset()[tile.row_count() - 1];
            for (int64 j = 0; j < filters; ++j) {
                __builtin_prefetch(start + j * problem.y_pitch[1] + first, 1);
                __builtin_prefetch(start + j * problem.y_pitch[1] + last, 1);
            }
            return;
        }
        for (int64 i = 0; i < tile.row_count(); ++i) {
            for (int64 j = 0; j < filters; j += LINE) {
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
        const int64 columns =
            std::min(shape.width, shape.filters - panel * shape.width);
        prefetch_for_store(start, columns, tile);
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
                    moved[row] = rows[row] + chunk.channel * channel_pitch;
                }
                rows = moved;
            }
            kernels.gemm_tile[plan.vectors - 1][segment.rows - 1](GemmTile<T>{
                .taps = (end - tap) / segment.columns,
                .a = rows,
                .a_tap_pitch = segment.columns * kernels.rows,
                .k = segment.columns * chunk.channels,
                .a_step = channel_pitch,
                .b = weights + tap * tap_pitch + chunk.channel * shape.width,
                .b_tap_pitch = segment.columns * tap_pitch,
                .acc = acc + segment.row * shape.width,
                .accumulate = accumulate,
                .y = start,
                .row_offset = tile.row_offset(),
                .bias = bias != nullptr ? bias + filter : nullptr,
                .bias_per_row = false,
                .activation = problem.activation,
                .ahead = ahead,
            });
            accumulate = true;
        }
    }

    // Elements that multiply_block() needs room for.
    int64 accumulators() const {
        const int64 waiting = in_chunks() ? plan.filter_group * plan.pixel_group : 1;
        return waiting * kernels.rows * shape.width;
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
};

} // namespace pyconv
