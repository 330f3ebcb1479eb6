// direct weight gradient: a matrix product over pixels, filters in the lanes.
//
// dw[k, (c, t, r, s)] = the sum over all output pixels of grad[pixel, k] times the
// element of x under tap (t, r, s) of channel c. A register tile is one tap of a few
// channels, which are its rows, and of a panel of filters, which are its lanes. grad is
// packed once into panels [pixel][filter]; of x a tile's channels are laid side by side
// with their padding, a band at a time, so that a tap is an offset and no line of
// pixels needs pointers of its own; of few channels the taps of a row are side by side
// as well, and a tile takes those of several. Windows of one element over channels that
// lie apart read x where it lies, through one pointer a channel.
#include "core/memory.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv_backward/weight_blocking.hpp"
#include "cpu/conv_backward/weight_padding.hpp"
#include "cpu/conv_backward/weight_product.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

template <class T>
void run_as(const WeightPlan& plan, const WeightTensors& tensors) {
    ScratchFrame frame;
    WeightProduct<T>(plan, tensors, frame).run();
}

void run(const WeightPlan& plan, const WeightTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
    mend_padded_weight(plan, tensors);
}

std::string supports(const ConvProblem&) {
    return "";
}

// Cycles: two multiply-adds of a vector each, empty lanes as if they were full, sums
// too few to hide each other's latency as if they were eight; every piece loads and
// stores its sums. Laid out, x is touched once a tile, packed, grad once.
double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const WeightBlocking cut(problem, isa);
    const double pixels = static_cast<double>(problem.n * volume(problem.output));
    const double tiles =
        static_cast<double>(problem.groups * cut.tiles * cut.panels * cut.steps);
    const double tile = static_cast<double>(cut.rows * cut.taps * cut.vectors) /
                        static_cast<double>(cut.steps);
    const auto piece =
        static_cast<double>(cut.piece[0] * cut.piece[1] * cut.piece[2] * cut.piece[3]);
    const double packed =
        static_cast<double>(problem.groups * cut.panels * cut.width) * pixels;
    const double laid =
        cut.in_place
            ? 0.0
            : static_cast<double>(problem.n * problem.c * volume(problem.input));
    const double stored = static_cast<double>(cut.pair_items * cut.tiles * cut.panels) *
                          static_cast<double>(problem.groups);
    return shared_us(
        tiles * pixels * (std::max(tile / 2.0, 4.0) + (2.0 * tile + 40.0) / piece) +
            0.5 * packed + 0.7 * laid + 0.5 * stored + 500.0,
        problem,
        host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const WeightBlocking cut(problem, isa);
    const auto element = static_cast<double>(element_bytes(problem.dtype));
    const double x = bytes_of_x(problem);
    const double y = bytes_of_y(problem);
    const double w = bytes_of_weight(problem);
    const double all = x + y + w;
    // Panels pass from L2 once for every tile, and are written and read once; x once
    // for every panel. Sums that outlive a band are read and written in each.
    const double grad = static_cast<double>(cut.width * cut.panels) /
                        static_cast<double>(problem.k / problem.groups) * y;
    const double sums = static_cast<double>(cut.sum_items) * element *
                        static_cast<double>(2 * cut.bands());
    const double l1 = grad * static_cast<double>(cut.tiles + 2) +
                      x * static_cast<double>(cut.panels + 2) + sums;
    const double l2 = x + 3.0 * grad + sums;
    return layered(2.0 * products_of(problem), l1, l2, all, x + y, host);
}

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const WeightAlgorithm weight_direct;
const WeightAlgorithm weight_direct{
    .name = "direct",
    .summary = "a matrix product over pixels, filters in the lanes",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .plan = plan,
    .run = run,
};

namespace {

WeightPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    const WeightBlocking cut(problem, isa);
    return WeightPlan{
        .problem = problem,
        .algorithm = &weight_direct,
        .isa = &isa,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"mr", cut.rows},
             {"nr", cut.width},
             {"in_place", cut.in_place ? 1 : 0},
             {"runs", cut.runs},
             {"pass", cut.pass[0] * cut.pass[1] * cut.pass[2] * cut.pass[3]},
             {"band", cut.band[0] * cut.band[1] * cut.band[2] * cut.band[3]},
             {"piece", cut.piece[0] * cut.piece[1] * cut.piece[2] * cut.piece[3]}},
        .workspace_bytes = cut.workspace_bytes(),
    };
}

} // namespace
} // namespace pyconv
