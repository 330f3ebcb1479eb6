// winograd: fewer multiplications, by Winograd's minimal filtering.
//
// The idea: a block of tiles goes through all three stages (winograd_stages.hpp) before
// the next one starts, so that V, and M of one panel of filters, never leave L2; the
// transformed weights are streamed once for every block.
// Source: Lavin and Gray 2016 (arXiv 1509.09308).
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/winograd_model.hpp"
#include "cpu/conv/winograd_stages.hpp"
#include "cpu/conv/winograd_weights.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Every block of tiles through all stages; the panels of a block may be shared out.
template <class T>
void run_fused(const ConvPlan& plan, const WinogradStages<T>& stages) {
    const WinogradLayout& layout = stages.layout();
    const int64 tiles = stages.geometry().tile_count(plan.problem);
    const int64 blocks = ceil_div(tiles, plan.pixel_group);
    const int64 shares = ceil_div(layout.panels, plan.filter_group);
    const int64 units = plan.problem.groups * blocks * shares;
    parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        T* v = frame.take<T>(stages.geometry().all_points * layout.v_point);
        T* m = frame.take<T>(stages.geometry().all_points * layout.m_point);
        int64 ready = -1;
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 block = unit / shares;
            const int64 group = block / blocks;
            // Blocks of equal size: the last is not a small rest.
            const int64 at = block % blocks;
            const int64 first = at * tiles / blocks;
            const int64 count = (at + 1) * tiles / blocks - first;
            if (block != ready) {
                stages.transform_input(group, first, count, v);
                ready = block;
            }
            const int64 from = unit % shares * plan.filter_group;
            const int64 to = std::min(from + plan.filter_group, layout.panels);
            for (int64 panel = from; panel < to; ++panel) {
                stages.multiply(
                    group, panel, count, 0, stages.geometry().all_points, v, m);
                stages.transform_output(group, panel, first, count, m);
            }
        }
    });
}

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    ScratchFrame frame;
    ConvTensors given = tensors;
    given.packed = winograd_weights<T>(plan, tensors.weight, tensors.packed, frame);
    const WinogradGeometry geometry(plan.problem, WINOGRAD_ALL_FORMS[plan.form]);
    const WinogradBases bases(plan.problem, geometry, frame);
    run_fused(plan, WinogradStages<T>(plan, given, bases));
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return winograd_movement(problem, isa, host, false);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_winograd;
const ConvAlgorithm conv_winograd{
    .name = "winograd",
    .summary = "Winograd's minimal filtering, all stages of a block of tiles in L2",
    .rounding = "winograd",
    .supports = winograd_supports,
    .cost_us = winograd_cost_us,
    .movement = movement,
    .pack_us = winograd_pack_us,
    .plan = plan,
    .pack = pack_winograd,
    .run = run,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    ConvPlan made = winograd_plan(problem, isa, host, false);
    made.algorithm = &conv_winograd;
    return made;
}

} // namespace
} // namespace pyconv
