// dot_product: bfloat16 and integers multiplied as they are, several neighbours at
// once.
//
// The idea: where elements are smaller than their sums, instructions take two or four
// channels of a pixel at a time (bfloat16 pairs, bytes, pairs of 16 bits), or tiles of
// sixteen pixels by sixteen filters (AMX). Windows are read from a padded channels-last
// band of the input in L2, where a tap is a fixed distance, or copied where they
// overlap little; 1x1 windows over whole channels are the input itself. Integers are
// exact, so that only bfloat16 has an order of summation: chunks of channels, in each
// the taps, by steps of the instruction. Source: Georganas et al. 2021, "Tensor
// processing primitives" (arXiv 2104.05755), for blocks of products by addresses.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/dot_input.hpp"
#include "cpu/conv/dot_worker.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/turned_input.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <cstdint>

namespace pyconv {

extern const ConvAlgorithm conv_reference;

namespace {

// Pieces that keep all threads equally busy.
constexpr int64 PIECES = 8;

template <class Result>
void multiply(const ConvPlan& plan, const ConvTensors& tensors) {
    Product<Result> product(plan, tensors);
    const ConvProblem& problem = plan.problem;
    const int64 items = problem.groups * product.blocks * product.shares;
    ScratchFrame frame;
    // Where each panel meets one block only it is packed where it is used.
    if (product.packed == nullptr && product.blocks > 1) {
        const DotShape& shape = product.shape;
        char* packed =
            frame.take<char>(problem.groups * shape.panels * shape.panel_bytes());
        pack_dot_panels(
            problem, *plan.isa, shape, tensors.weight, plan.parallel, packed);
        product.packed = packed;
    }
    parallel_for(items, plan.parallel, [&](int64 begin, int64 end, int) {
        Worker<Result> worker(product);
        for (int64 item = begin; item < end; ++item) {
            worker.run(item);
        }
    });
}

template <class Result>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    if (!plan.turned_ahead) {
        multiply<Result>(plan, tensors);
        return;
    }
    ConvPlan seen = plan;
    seen.problem = turned_problem(plan.problem);
    ScratchFrame frame;
    char* turned = frame.take<char>(
        seen.problem.n * seen.problem.x_pitch[0] * element_bytes(plan.problem.dtype));
    turn_dot_input(plan.problem, *plan.isa, tensors.x, plan.parallel, turned);
    ConvTensors given = tensors;
    given.x = turned;
    multiply<Result>(seen, given);
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (padding_would_show(plan.problem, tensors)) {
        ConvTensors given = tensors;
        given.packed = nullptr;
        conv_reference.run(
            conv_reference.plan(plan.problem, *plan.isa, machine()), given);
        return;
    }
    switch (result_type(plan.problem.dtype)) {
    case BFLOAT16:
        run_as<BFloat16>(plan, tensors);
        break;
    case INT32:
        run_as<std::int32_t>(plan, tensors);
        break;
    case UINT64:
        run_as<std::uint64_t>(plan, tensors);
        break;
    default:
        run_as<std::int64_t>(plan, tensors);
    }
}

void pack(const ConvPlan& plan, const void* weight, void* packed) {
    const DotShape shape = dot_shape(plan.problem, *plan.isa);
    pack_dot_panels(plan.problem, *plan.isa, shape, weight, plan.parallel, packed);
}

std::string supports(const ConvProblem& problem) {
    return dot_refusal(problem, active_isa());
}

bool turns(const ConvProblem& problem) {
    return problem.x_pitch[1] != 1 && problem.c > 1;
}

// How a problem is cut: pixels (or rows of a band) and panels that are done together.
struct Cut {
    int64 pixels;
    int64 panels;
    int64 samples;
};

Cut cut_of(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const DotShape shape = dot_shape(problem, isa);
    const bool is_band = shape.form == DOT_BAND;
    const int64 row_bytes =
        is_band ? problem.kernel[0] * band_width(problem) * shape.row_bytes()
                : shape.row_bytes();
    const int64 all = is_band ? problem.output[1] : problem.n * volume(problem.output);
    const int64 others = problem.groups * (is_band ? problem.n * problem.output[0] : 1);
    const int64 least = is_band ? ceil_div(64, band_width(problem)) : 64;
    const int64 halo = is_band ? band_height(problem, 0) : 0;
    const int64 cached =
        std::max(host.l2_bytes / (is_band ? 4 : 2) / row_bytes - halo, least);
    int64 blocks = ceil_div(all, cached);
    int64 shares = 1;
    const auto missing = [&] { return ceil_div(PIECES, others * blocks * shares); };
    const auto cut_panels = [&] { shares = std::min(missing(), shape.panels); };
    const auto cut_pixels = [&] {
        blocks = std::min(blocks * missing(), std::max(all / least, blocks));
    };
    if (shape.panels * shape.panel_bytes() > all * row_bytes) {
        cut_panels();
        cut_pixels();
    } else {
        cut_pixels();
        cut_panels();
    }
    // Filters that do not stay in L2 pass once for each block: the more samples in one
    // the better, as long as every thread has blocks.
    int64 samples = 1;
    const bool streams = shape.panels * shape.panel_bytes() > host.l2_bytes / 2;
    if (is_band && blocks == 1 && streams) {
        const int64 band = (all + halo) * row_bytes;
        samples = std::clamp<int64>(host.l2_bytes / 2 / band, 1, problem.n);
        const int64 others_left = problem.groups * problem.output[0] * shares;
        while (samples > 1 && ceil_div(problem.n, samples) * others_left < PIECES / 2) {
            --samples;
        }
    }
    return {ceil_div(all, blocks), ceil_div(shape.panels, shares), samples};
}

double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const DotShape shape = dot_shape(problem, isa);
    double cycles = 1500.0 + static_cast<double>(problem.n * problem.groups) *
                                 dot_cycles(problem, isa, shape);
    if (turns(problem)) {
        cycles += turning_ahead_cycles(problem) / 2.0;
    }
    if (problem.y_pitch[1] != 1) {
        cycles += 0.5 * outputs_of(problem);
    }
    return shared_us(cycles, problem, host);
}

double pack_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double elements = static_cast<double>(problem.k * depth_of(problem));
    return packing_us(1.5 * elements, problem, host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const DotShape shape = dot_shape(problem, isa);
    const DotKernel& kernel = isa.dots[shape.kind];
    const Cut cut = cut_of(problem, isa, host);
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double groups = static_cast<double>(problem.groups);
    double rows = static_cast<double>(problem.n * volume(problem.output));
    double row_bytes = static_cast<double>(shape.row_bytes());
    int64 all = problem.n * volume(problem.output);
    if (shape.form == DOT_BAND) {
        rows *= static_cast<double>(band_width(problem)) /
                static_cast<double>(problem.output[2]);
        row_bytes = static_cast<double>(shape.row_bytes() * problem.kernel[0]);
        all = problem.output[1];
    }
    const double blocks = static_cast<double>(ceil_div(all, cut.pixels));
    const double scratch = rows * row_bytes * groups;
    const double panels = static_cast<double>(shape.panels);
    // Filters pass once for every tile of rows, rows once for every panel.
    const double tiles = rows / static_cast<double>(kernel.rows);
    const double l1 = scratch * (1.0 + panels) + w * std::max(tiles, 1.0) + y;
    const double l2 = x + w * blocks + y;
    return layered(2.0 * products_of(problem), l1, l2, x + w + y, x + w + y, host);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_dot_product;
const ConvAlgorithm conv_dot_product{
    .name = "dot_product",
    .summary =
        "bfloat16 and integers: neighbouring channels multiplied and added at once",
    .rounding = "dot_product",
    .elements = Elements::ALL,
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
    const DotShape shape = dot_shape(problem, isa);
    const Cut cut = cut_of(problem, isa, host);
    const bool is_band = shape.form == DOT_BAND;
    const int64 packed = problem.groups * shape.panels * shape.panel_bytes();
    const int64 rows = is_band ? problem.kernel[0] * band_width(problem) *
                                     band_height(problem, cut.pixels) * cut.samples *
                                     shape.row_bytes()
                               : cut.pixels * shape.row_bytes();
    const int64 turned = turns(problem)
                             ? problem.n * problem.c * volume(problem.input) *
                                   element_bytes(problem.dtype)
                             : 0;
    return ConvPlan{
        .problem = problem,
        .algorithm = &conv_dot_product,
        .isa = &isa,
        .vectors = 2,
        .filter_group = cut.panels,
        .pixel_group = cut.pixels,
        .form = shape.form,
        .turned_ahead = turns(problem),
        .samples = cut.samples,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", isa.dots[shape.kind].rows},
             {"nr", shape.width},
             {"elements_at_once", shape.lanes},
             {is_band ? "rows" : "pixels", cut.pixels},
             {"samples", cut.samples},
             {"filter_panels", cut.panels}},
        .workspace_bytes = packed + rows + turned,
        .packed_bytes = packed,
        .packing = std::string("dots, ") + (is_band ? "taps" : "patches") + " of " +
                   std::to_string(shape.width) + " by " +
                   std::to_string(shape.lanes * isa.dots[shape.kind].step) +
                   (shape.shifts ? ", shifted" : ""),
    };
}

} // namespace
} // namespace pyconv
