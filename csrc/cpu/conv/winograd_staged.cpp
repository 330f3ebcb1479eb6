// winograd_staged: the same arithmetic as `winograd`, each stage over all tiles.
//
// The idea: none. V and M of the whole problem are written to memory and read back, as
// most implementations do; next to `winograd` it shows what fusing the stages is worth.
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

// One stage after the other over all tiles, each through memory.
template <class T>
void run_staged(const ConvPlan& plan, const WinogradStages<T>& stages) {
    const WinogradLayout& layout = stages.layout();
    const int64 points = stages.geometry().all_points;
    const int64 tiles = plan.pixel_group;
    const int64 m_panel = points * layout.m_point;
    ScratchFrame frame;
    T* v = frame.take<T>(points * layout.v_point);
    T* m = frame.take<T>(layout.panels * m_panel);
    for (int64 group = 0; group < plan.problem.groups; ++group) {
        parallel_for(tiles, plan.parallel, [&](int64 begin, int64 end, int) {
            stages.transform_input(group, begin, end - begin, v + begin * layout.row);
        });
        parallel_for(
            layout.panels * points, plan.parallel, [&](int64 begin, int64 end, int) {
                for (int64 unit = begin; unit < end; ++unit) {
                    const int64 panel = unit / points;
                    const int64 point = unit % points;
                    stages.multiply(
                        group, panel, tiles, point, point + 1, v, m + panel * m_panel);
                }
            });
        parallel_for(tiles, plan.parallel, [&](int64 begin, int64 end, int) {
            for (int64 panel = 0; panel < layout.panels; ++panel) {
                stages.transform_output(
                    group,
                    panel,
                    begin,
                    end - begin,
                    m + panel * m_panel + begin * layout.width);
            }
        });
    }
}

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    ScratchFrame frame;
    ConvTensors given = tensors;
    given.packed = winograd_weights<T>(plan, tensors.weight, tensors.packed, frame);
    const WinogradGeometry geometry(plan.problem, WINOGRAD_ALL_FORMS[plan.form]);
    const WinogradBases bases(plan.problem, geometry, frame);
    run_staged(plan, WinogradStages<T>(plan, given, bases));
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

// What goes past L2, at about 12 bytes a cycle, comes on top.
double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const double through = winograd_movement(problem, isa, host, true).l2_bytes / 12.0;
    return winograd_cost_us(problem, isa, host) + shared_us(through, problem, host);
}

Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    return winograd_movement(problem, isa, host, true);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace

extern const ConvAlgorithm conv_winograd_staged;
const ConvAlgorithm conv_winograd_staged{
    .name = "winograd_staged",
    .summary = "the same arithmetic, every stage over all tiles, through memory",
    .rounding = "winograd",
    .supports = winograd_supports,
    .cost_us = cost_us,
    .movement = movement,
    .pack_us = winograd_pack_us,
    .plan = plan,
    .pack = pack_winograd,
    .run = run,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    ConvPlan made = winograd_plan(problem, isa, host, true);
    made.algorithm = &conv_winograd_staged;
    return made;
}

} // namespace
} // namespace pyconv
