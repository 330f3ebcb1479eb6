// implicit_gemm: im2col's product with only a block of its matrix in existence.
//
// The idea: the patches of a block of output pixels are packed into a panel that stays
// in L2, multiplied with all filters, and forgotten. Filters x pixels where output
// pixels are neighbours (NCHW): a 1x1 convolution is then the matrix product it already
// is, and results leave in whole rows. Pixels x filters otherwise. Few blocks (a 7x7
// image): filters are shared out as well, each share packing the block for itself.
// Source: Chetlur et al. 2014 (arXiv 1410.0759); Goto and van de Geijn 2008.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/gemm_traffic.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/patch_product.hpp"

#include <algorithm>

namespace pyconv {
namespace {

enum Form : int { BY_FILTER = 0, BY_PIXEL = 1 };

// A panel's unused columns are work for nothing: rows of any number are not.
Form form_of(const ConvProblem& problem, const IsaTable& isa) {
    const int64 width = 2 * lanes_of(problem, isa);
    const int64 pixels = volume(problem.output);
    const bool full = 8 * pixels >= 7 * width * ceil_div(pixels, width);
    return pixels_contiguous(problem) && full ? BY_FILTER : BY_PIXEL;
}

int vectors_of(const ConvProblem& problem, const IsaTable& isa) {
    const int64 columns = form_of(problem, isa) == BY_FILTER
                              ? volume(problem.output)
                              : problem.k / problem.groups;
    return columns <= lanes_of(problem, isa) ? 1 : 2;
}

// Rows [first, first + count) of tile `tile` of `tiles` equal ones.
struct Share {
    int64 first;
    int64 count;

    Share(int64 all, int64 tile, int64 tiles)
        : first(tile * all / tiles), count((tile + 1) * all / tiles - first) {}
};

// One block: packed patches, and what is multiplied with them.
template <class T>
struct Road {
    const ConvPlan& plan;
    const ConvProblem& problem;
    PatchProduct<T> product;
    int64 row_pitch;
    int64 blocks; // of pixels, in one sample
    int64 shares; // of filters
    const T* x;
    const T* weight;
    const T* packed; // null: filters are packed tile by tile

    Road(const ConvPlan& plan_, const ConvTensors& tensors)
        : plan(plan_), problem(plan_.problem), product(plan_, tensors),
          row_pitch(patch_row_pitch(product.depth)),
          blocks(ceil_div(product.pixels, plan.pixel_group)),
          shares(ceil_div(tiles_of_filters(), plan.filter_group)),
          x(static_cast<const T*>(tensors.x)),
          weight(static_cast<const T*>(tensors.weight)),
          packed(static_cast<const T*>(tensors.packed)) {}

    bool by_filter() const { return plan.form == BY_FILTER; }

    int64 tiles_of_filters() const {
        return ceil_div(
            product.filters, by_filter() ? product.kernels.rows : product.width);
    }

    // Blocks of equal size, in whole panels where there are panels.
    Share block(int64 index) const {
        const int64 unit = by_filter() ? product.width : 1;
        const Share whole(ceil_div(product.pixels, unit), index, blocks);
        Share pixels = whole;
        pixels.first = whole.first * unit;
        pixels.count = std::min(whole.count * unit, product.pixels - pixels.first);
        return pixels;
    }

    int64 patch_elements() const {
        const int64 most = plan.pixel_group + product.width;
        return by_filter()
                   ? ceil_div(most, product.width) * product.width * product.depth
                   : most * row_pitch;
    }

    void pack_patches(int64 n, int64 group, const Share& pixels, T* patches) const {
        const T* sample = x + n * problem.x_pitch[0] +
                          group * (problem.c / problem.groups) * problem.x_pitch[1];
        if (by_filter()) {
            fill_pixel_panels(
                problem,
                product.kernels,
                sample,
                product.width,
                pixels.first,
                pixels.count,
                patches);
        } else {
            fill_pixel_rows(problem, sample, pixels.first, pixels.count, patches);
        }
    }

    // Every filter meets one block only, or is packed about as fast as it is read: a
    // pass over all of them beforehand would be one more through memory.
    bool packs_by_tile() const {
        return (by_filter() && volume(problem.kernel) == 1) || problem.n * blocks == 1;
    }

    int64 filter_tile_elements() const {
        return by_filter() ? product.kernels.rows * row_pitch
                           : product.depth * product.width;
    }

    // A tile of filters as rows: packed by a layer, or as they lie, or packed here.
    PatchRows<T> filter_rows(int64 filter, int64 count, T* own) const {
        if (packed != nullptr) {
            return {packed + filter * row_pitch, row_pitch};
        }
        if (filters_are_rows(problem)) {
            return {weight + filter * problem.w_pitch[0], problem.w_pitch[0]};
        }
        pack_filter_rows(problem, product.kernels, weight, filter, count, own);
        return {own, row_pitch};
    }

    // Panels of pixels are passed over by tiles of filters.
    void multiply_by_filter(
        int64 n,
        int64 group,
        const Share& pixels,
        const Share& tiles,
        const T* patches,
        T* own,
        T* acc) const {
        const int64 panels = ceil_div(pixels.count, product.width);
        for (int64 tile = tiles.first; tile < tiles.first + tiles.count; ++tile) {
            const Share rows(product.filters, tile, tiles_of_filters());
            const int64 filter = group * product.filters + rows.first;
            const PatchRows<T> filters = filter_rows(filter, rows.count, own);
            for (int64 panel = 0; panel < panels; ++panel) {
                product.multiply_filters(
                    filters,
                    patches + panel * product.depth * product.width,
                    n,
                    group,
                    rows.first,
                    rows.count,
                    pixels.first / product.width + panel,
                    acc);
            }
        }
    }

    // Panels of filters are passed over by tiles of pixels.
    void multiply_by_pixel(
        int64 n,
        int64 group,
        const Share& pixels,
        const Share& panels,
        const T* patches,
        T* own,
        T* acc) const {
        const int64 tiles = ceil_div(pixels.count, product.kernels.rows);
        const FilterPanels shape(problem, product.width);
        for (int64 panel = panels.first; panel < panels.first + panels.count; ++panel) {
            const int64 at = group * shape.panels + panel;
            if (packed == nullptr) {
                pack_filter_panel(problem, product.kernels, shape, weight, at, own);
            }
            const T* filters =
                packed == nullptr ? own : packed + at * shape.panel_elements();
            for (int64 tile = 0; tile < tiles; ++tile) {
                const Share rows(pixels.count, tile, tiles);
                product.multiply_pixels(
                    {patches + rows.first * row_pitch, row_pitch},
                    filters,
                    n,
                    group,
                    pixels.first + rows.first,
                    rows.count,
                    panel,
                    acc);
            }
        }
    }

    // Units are (group, sample, block, share of filters), the last fastest.
    void walk(int64 begin, int64 end) const {
        ScratchFrame frame;
        T* patches = frame.take<T>(patch_elements());
        T* acc = frame.take<T>(product.kernels.rows * product.width);
        T* own = packed == nullptr ? frame.take<T>(filter_tile_elements()) : nullptr;
        int64 ready = -1;
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 at = unit / shares;
            const int64 n = at / blocks % problem.n;
            const int64 group = at / (blocks * problem.n);
            const Share pixels = block(at % blocks);
            const Share filters(tiles_of_filters(), unit % shares, shares);
            if (at != ready) {
                pack_patches(n, group, pixels, patches);
                ready = at;
            }
            if (by_filter()) {
                multiply_by_filter(n, group, pixels, filters, patches, own, acc);
            } else {
                multiply_by_pixel(n, group, pixels, filters, patches, own, acc);
            }
        }
    }
};

template <class T>
void pack_as(const ConvPlan& plan, const void* weight, void* packed) {
    const Kernels<T>& kernels = kernels_of<T>(*plan.isa);
    const auto* from = static_cast<const T*>(weight);
    auto* to = static_cast<T*>(packed);
    if (plan.form == BY_FILTER) {
        pack_all_filter_rows(plan.problem, kernels, from, plan.parallel, to);
    } else {
        const FilterPanels shape(plan.problem, plan.vectors * kernels.lanes);
        pack_filter_panels(plan.problem, kernels, shape, from, plan.parallel, to);
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
    ScratchFrame frame;
    Road<T> road(plan, tensors);
    if (road.packed == nullptr && !road.packs_by_tile()) {
        T* scratch = frame.take<T>(plan.packed_bytes / static_cast<int64>(sizeof(T)));
        pack_as<T>(plan, tensors.weight, scratch);
        road.packed = scratch;
    }
    const int64 units =
        plan.problem.groups * plan.problem.n * road.blocks * road.shares;
    parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
        road.walk(begin, end);
    });
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    run_where_padding_is_zero(plan, tensors, run_as<float>, run_as<double>);
}

std::string supports(const ConvProblem&) {
    return "";
}

// Pixels whose patches fill a third of L2: the rest is for filters and output.
int64 pixels_in_block(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 pixel_bytes =
        patch_row_pitch(depth_of(problem)) * element_bytes(problem.dtype);
    const int64 unit = form_of(problem, isa) == BY_FILTER
                           ? vectors_of(problem, isa) * lanes_of(problem, isa)
                           : tile_rows(problem, isa);
    const int64 units = std::clamp<int64>(host.l2_bytes / 3 / pixel_bytes / unit, 1, 8);
    return std::min(units * unit, volume(problem.output));
}

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const bool by_filter = form_of(problem, isa) == BY_FILTER;
    const int vectors = vectors_of(problem, isa);
    const int64 width = vectors * lanes_of(problem, isa);
    const int64 rows = tile_rows(problem, isa);
    const int64 pixels = volume(problem.output);
    const int64 filters = problem.k / problem.groups;
    const double depth = static_cast<double>(depth_of(problem));
    const double panels =
        static_cast<double>(ceil_div(by_filter ? pixels : filters, width));
    const double a_rows = static_cast<double>(by_filter ? filters : pixels);
    const double tiles =
        static_cast<double>(ceil_div(by_filter ? filters : pixels, rows));
    const double store = by_filter || problem.y_pitch[1] == 1 ? 3.0 : 8.0;
    const double products =
        panels * (a_rows * vectors * (depth / 2.0 + store) + tiles * 60.0);
    double packing = by_filter ? panel_filling_cycles(problem, width, width / vectors)
                               : row_filling_cycles(problem);
    // A single block is packed by every thread for itself.
    if (problem.n * problem.groups == 1 &&
        pixels_in_block(problem, isa, host) >= pixels) {
        packing *= static_cast<double>(host.cores);
    }
    const double samples = static_cast<double>(problem.n * problem.groups);
    return shared_us(samples * (products + packing) + 700.0, problem, host);
}

double pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    if (form_of(problem, isa) == BY_FILTER && filters_are_rows(problem)) {
        return 0.0;
    }
    const double elements =
        bytes_of_weight(problem) / static_cast<double>(element_bytes(problem.dtype));
    return packing_us(packing_ahead_cycles(elements, problem, host), problem, host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const bool by_filter = form_of(problem, isa) == BY_FILTER;
    return patch_blocks_movement(
        problem,
        {.by_filter = by_filter,
         .packs = !filters_are_rows(problem) || !by_filter,
         .rows = tile_rows(problem, isa),
         .width = vectors_of(problem, isa) * lanes_of(problem, isa),
         .block_pixels = pixels_in_block(problem, isa, host)},
        host);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_implicit_gemm;
const ConvAlgorithm conv_implicit_gemm{
    .name = "implicit_gemm",
    .summary = "patches packed a block at a time, multiplied while they are in L2",
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
    const Form form = form_of(problem, isa);
    const int vectors = vectors_of(problem, isa);
    const int64 lanes = lanes_of(problem, isa);
    const int rows = tile_rows(problem, isa);
    const int64 filters = problem.k / problem.groups;
    const int64 pixels = pixels_in_block(problem, isa, host);
    const int64 blocks =
        problem.n * problem.groups * ceil_div(volume(problem.output), pixels);
    const int64 tiles = ceil_div(filters, form == BY_FILTER ? rows : vectors * lanes);
    const int64 shares = std::clamp<int64>(ceil_div(16, blocks), 1, tiles);
    const FilterPanels shape(problem, vectors * lanes);
    const int64 packed = form == BY_FILTER ? problem.k * patch_row_pitch(shape.depth())
                                           : shape.elements(problem.groups);
    const int64 bytes = element_bytes(problem.dtype);
    return ConvPlan{
        .problem = problem,
        .algorithm = &conv_implicit_gemm,
        .isa = &isa,
        .vectors = vectors,
        .filter_group = ceil_div(tiles, shares),
        .pixel_group = pixels,
        .form = form,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", rows},
             {"nr", vectors * lanes},
             {"pixels", pixels},
             {form == BY_FILTER ? "filter_tiles" : "filter_panels",
              ceil_div(tiles, shares)}},
        .workspace_bytes =
            (packed + (pixels + vectors * lanes) * patch_row_pitch(shape.depth())) *
            bytes,
        .packed_bytes = packed * bytes,
        .packing =
            form == BY_FILTER ? "rows" : "panels of " + std::to_string(vectors * lanes),
    };
}

} // namespace
} // namespace pyconv
