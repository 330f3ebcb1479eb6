// Both schedules compute the same bits: only the order of independent work differs.
#include "cpu/conv/winograd_schedules.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/turned_input.hpp"
#include "cpu/conv/winograd_stages.hpp"
#include "cpu/conv/winograd_weights.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// A block of tiles of one group.
struct Block {
    int64 group;
    int64 first;
    int64 count;

    // Blocks of equal size: the last is not a small rest.
    Block(int64 index, int64 blocks, int64 tiles)
        : group(index / blocks), first(index % blocks * tiles / blocks),
          count((index % blocks + 1) * tiles / blocks - first) {}
};

// The panels of a block may be shared out, so that threads have equal work.
template <class T>
void run_fused(const ConvPlan& plan, const WinogradStages<T>& stages) {
    const WinogradLayout& layout = stages.layout();
    const int64 points = stages.geometry().all_points;
    const int64 tiles = stages.geometry().tile_count(plan.problem);
    const int64 blocks = ceil_div(tiles, plan.pixel_group);
    const int64 shares = ceil_div(layout.panels, plan.filter_group);
    const int64 units = plan.problem.groups * blocks * shares;
    parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        T* v = frame.take<T>(points * layout.v_point);
        T* m = frame.take<T>(points * layout.m_point);
        int64 ready = -1;
        for (int64 unit = begin; unit < end; ++unit) {
            const Block block(unit / shares, blocks, tiles);
            if (unit / shares != ready) {
                stages.transform_input(block.group, block.first, block.count, v);
                ready = unit / shares;
            }
            const int64 from = unit % shares * plan.filter_group;
            const int64 to = std::min(from + plan.filter_group, layout.panels);
            for (int64 panel = from; panel < to; ++panel) {
                stages.multiply(
                    stages.weights(block.group, panel), block.count, 0, points, v, m);
                stages.transform_output(
                    block.group, panel, block.first, block.count, m);
            }
        }
    });
}

template <class T>
void run_staged(const ConvPlan& plan, const WinogradStages<T>& stages) {
    const WinogradLayout& layout = stages.layout();
    const int64 points = stages.geometry().all_points;
    const int64 tiles = stages.geometry().tile_count(plan.problem);
    const int64 blocks = ceil_div(tiles, plan.pixel_group);
    const int64 m_panel = points * layout.m_point;
    ScratchFrame frame;
    T* v = frame.take<T>(points * layout.v_point);
    T* m = frame.take<T>(layout.panels * m_panel);
    for (int64 index = 0; index < plan.problem.groups * blocks; ++index) {
        const Block block(index, blocks, tiles);
        parallel_for(block.count, plan.parallel, [&](int64 begin, int64 end, int) {
            T* to = v + begin * layout.row;
            stages.transform_input(block.group, block.first + begin, end - begin, to);
        });
        const int64 units = points * layout.panels;
        parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
            for (int64 unit = begin; unit < end; ++unit) {
                const int64 point = unit / layout.panels;
                const int64 panel = unit % layout.panels;
                T* to = m + panel * m_panel;
                stages.multiply(
                    stages.weights(block.group, panel),
                    block.count,
                    point,
                    point + 1,
                    v,
                    to);
            }
        });
        parallel_for(block.count, plan.parallel, [&](int64 begin, int64 end, int) {
            for (int64 panel = 0; panel < layout.panels; ++panel) {
                const T* from = m + panel * m_panel + begin * layout.width;
                stages.transform_output(
                    block.group, panel, block.first + begin, end - begin, from);
            }
        });
    }
}

// All tiles at once, and the weights transformed as they pass.
template <class T>
void run_passing(
    const ConvPlan& plan, const WinogradStages<T>& stages, const T* weight) {
    const WinogradLayout& layout = stages.layout();
    const int64 points = stages.geometry().all_points;
    const int64 channels = stages.geometry().channels;
    const int64 tiles = stages.geometry().tile_count(plan.problem);
    const WinogradPanels<T> panels(plan, weight);
    const int64 units = plan.problem.groups * layout.panels;
    parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        T* v = frame.take<T>(points * layout.v_point);
        T* m = frame.take<T>(points * layout.m_point);
        T* u = frame.take<T>(points * panels.passing_point());
        int64 ready = -1;
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 group = unit / layout.panels;
            if (group != ready) {
                stages.transform_input(group, 0, tiles, v);
                ready = group;
            }
            for (int64 c = 0; c < channels; c += WINOGRAD_PASSING) {
                const int64 some = std::min(WINOGRAD_PASSING, channels - c);
                panels.transform(unit, c, some, u);
                stages.multiply(
                    {.u = u,
                     .point = panels.passing_point(),
                     .depth = some,
                     .accumulate = c > 0},
                    tiles,
                    0,
                    points,
                    v + c,
                    m);
            }
            stages.transform_output(group, unit % layout.panels, 0, tiles, m);
        }
    });
}

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    ScratchFrame frame;
    const WinogradGeometry geometry(plan.problem, WINOGRAD_ALL_FORMS[plan.form]);
    const WinogradBases bases(plan.problem, geometry, frame);
    if (plan.passing && tensors.packed == nullptr) {
        run_passing(
            plan,
            WinogradStages<T>(plan, tensors, bases, geometry.tile_count(plan.problem)),
            static_cast<const T*>(tensors.weight));
        return;
    }
    ConvTensors given = tensors;
    given.packed = winograd_weights<T>(plan, tensors.weight, tensors.packed, frame);
    const WinogradStages<T> stages(plan, given, bases, plan.pixel_group);
    if (plan.staged) {
        run_staged(plan, stages);
    } else {
        run_fused(plan, stages);
    }
}

} // namespace

void run_winograd(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_turned<float>(plan, tensors, run_as<float>);
    } else {
        run_turned<double>(plan, tensors, run_as<double>);
    }
}

} // namespace pyconv
