// A filter becomes a row of groups, and rows of groups are turned as words.
#include "cpu/conv/dot_weights.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/dot_lanes.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Rows a large power of two apart would share a few sets of the cache.
constexpr int64 LINE_BYTES = 64;

template <class W, class Lane>
void copy(const W* from, int64 step, int64 count, Lane* to) {
    for (int64 c = 0; c < count; ++c) {
        to[c] = as_lane<Lane>(from[c * step]);
    }
}

// One filter's elements, chunk after chunk, tap after tap, and their sum.
template <class W, class Lane>
std::uint32_t filter_row(
    const ConvProblem& problem, const DotShape& shape, const W* filter, Lane* row) {
    const int64 taps = volume(problem.kernel);
    const int64 step = problem.w_pitch[1];
    const int64 elements = shape.row_groups * shape.lanes;
    const int64 chunk = shape.chunk_groups() * shape.lanes;
    std::uint32_t sum = 0;
    for (int64 tap = 0; tap < taps; ++tap) {
        const W* from = filter + Pixel(problem.kernel, tap).offset(problem.w_pitch);
        if (shape.form == DOT_PATCHES) {
            copy(from, step, shape.channels, row + tap * shape.channels);
        }
        for (int64 c = 0; shape.form == DOT_BAND && c < elements; c += chunk) {
            Lane* to = row + c * taps + tap * chunk;
            const int64 present = std::clamp<int64>(shape.channels - c, 0, chunk);
            copy(from + c * step, step, present, to);
            std::fill(to + present, to + chunk, Lane(0));
        }
        if constexpr (sizeof(W) == 1) {
            for (int64 c = 0; shape.shifts && c < shape.channels; ++c) {
                sum += static_cast<std::uint32_t>(from[c * step]);
            }
        }
    }
    if (shape.form == DOT_PATCHES) {
        std::fill(row + shape.row_elements, row + elements, Lane(0));
    }
    return sum;
}

template <class W, class Lane>
void panel_as(
    const ConvProblem& problem,
    const IsaTable& isa,
    const DotShape& shape,
    const W* weight,
    int64 panel,
    char* packed) {
    const int64 group = panel / shape.panels;
    const int64 first = panel % shape.panels * shape.width;
    const int64 present = std::min(shape.width, shape.filters - first);
    const int64 groups = shape.taps * shape.row_groups;
    const int64 pitch = groups + LINE_BYTES / shape.group_bytes();
    auto* corrections =
        reinterpret_cast<std::uint32_t*>(packed + shape.filter_bytes() * shape.width);
    ScratchFrame frame;
    Lane* rows = frame.take<Lane>(shape.width * pitch * shape.lanes);
    for (int64 k = 0; k < shape.width; ++k) {
        Lane* row = rows + k * pitch * shape.lanes;
        std::uint32_t sum = 0;
        if (k < present) {
            const int64 filter = group * shape.filters + first + k;
            sum = filter_row(problem, shape, weight + filter * problem.w_pitch[0], row);
        } else {
            std::fill(row, row + groups * shape.lanes, Lane(0));
        }
        corrections[k] = 0U - 128U * sum;
    }
    const auto turn = [&]<class Word>(Word* to) {
        const auto* from = reinterpret_cast<const Word*>(rows);
        transpose_words(isa, from, pitch, shape.width, groups, to, shape.width);
    };
    if (shape.group_bytes() == 4) {
        turn(reinterpret_cast<std::uint32_t*>(packed));
    } else {
        turn(reinterpret_cast<std::uint64_t*>(packed));
    }
}

} // namespace

void pack_dot_panel(
    const ConvProblem& problem,
    const IsaTable& isa,
    const DotShape& shape,
    const void* weight,
    int64 panel,
    void* packed) {
    with_lanes(problem.weight_dtype, shape, [&]<class W, class Lane>() {
        panel_as<W, Lane>(
            problem,
            isa,
            shape,
            static_cast<const W*>(weight),
            panel,
            static_cast<char*>(packed));
    });
}

void pack_dot_panels(
    const ConvProblem& problem,
    const IsaTable& isa,
    const DotShape& shape,
    const void* weight,
    bool parallel,
    void* packed) {
    const int64 panels = problem.groups * shape.panels;
    parallel_for(panels, parallel, [&](int64 begin, int64 end, int) {
        for (int64 panel = begin; panel < end; ++panel) {
            char* to = static_cast<char*>(packed) + panel * shape.panel_bytes();
            pack_dot_panel(problem, isa, shape, weight, panel, to);
        }
    });
}

} // namespace pyconv
