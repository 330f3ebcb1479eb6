// Packing weights, a block of source elements at a time.
#include "cpu/conv/filter_panels.hpp"

#include "core/threads.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Source elements handled together: 64 lines of a 64-byte-wide panel stay in L1 while
// every filter of the panel passes over them.
constexpr int64 BLOCK = 64;

// Where each element of one filter lies in the user's weight, in the order (c, t, r, s)
// that walks a contiguous weight forward, and its row (tap * channels + c) in a panel.
struct Walk {
    const ConvProblem& problem;
    int64 channels;
    int64 taps;

    int64 source(int64 element) const {
        const int64 tap = element % taps;
        const int64 s = tap % problem.kernel[2];
        const int64 r = tap / problem.kernel[2] % problem.kernel[1];
        const int64 t = tap / (problem.kernel[2] * problem.kernel[1]);
        return element / taps * problem.w_pitch[1] + t * problem.w_pitch[2] +
               r * problem.w_pitch[3] + s * problem.w_pitch[4];
    }

    int64 row(int64 element) const {
        return element % taps * channels + element / taps;
    }
};

// One panel (or, with pitch 1 and width 1, one row): filters [first, first + count).
template <class T>
void pack_panel(
    const Walk& walk,
    const T* weight,
    int64 filter_pitch,
    int64 count,
    int64 width,
    T* panel) {
    const int64 depth = walk.channels * walk.taps;
    int64 source[BLOCK];
    int64 target[BLOCK];
    for (int64 begin = 0; begin < depth; begin += BLOCK) {
        const int64 block = std::min(BLOCK, depth - begin);
        for (int64 i = 0; i < block; ++i) {
            source[i] = walk.source(begin + i);
            target[i] = walk.row(begin + i) * width;
        }
        for (int64 j = 0; j < count; ++j) {
            const T* filter = weight + j * filter_pitch;
            for (int64 i = 0; i < block; ++i) {
                panel[target[i] + j] = filter[source[i]];
            }
        }
        for (int64 j = count; j < width; ++j) {
            for (int64 i = 0; i < block; ++i) {
                panel[target[i] + j] = T(0);
            }
        }
    }
}

} // namespace

template <class T>
void pack_filter_panels(
    const ConvProblem& problem,
    const FilterPanels& shape,
    const T* weight,
    bool parallel,
    T* packed) {
    const Walk walk{problem, shape.channels, shape.taps};
    parallel_for(
        problem.groups * shape.panels, parallel, [&](int64 begin, int64 end, int) {
            for (int64 unit = begin; unit < end; ++unit) {
                const int64 first = unit % shape.panels * shape.width;
                const int64 filter = unit / shape.panels * shape.filters + first;
                pack_panel(
                    walk,
                    weight + filter * problem.w_pitch[0],
                    problem.w_pitch[0],
                    std::min(shape.width, shape.filters - first),
                    shape.width,
                    packed + unit * shape.panel_elements());
            }
        });
}

template <class T>
void pack_filter_rows(
    const ConvProblem& problem, const T* weight, bool parallel, T* rows) {
    const int64 channels = problem.c / problem.groups;
    const Walk walk{problem, channels, volume(problem.kernel)};
    const int64 depth = channels * walk.taps;
    parallel_for(problem.k, parallel, [&](int64 begin, int64 end, int) {
        for (int64 k = begin; k < end; ++k) {
            pack_panel(
                walk, weight + k * problem.w_pitch[0], 0, 1, 1, rows + k * depth);
        }
    });
}

template void
pack_filter_panels(const ConvProblem&, const FilterPanels&, const float*, bool, float*);
template void pack_filter_panels(
    const ConvProblem&, const FilterPanels&, const double*, bool, double*);
template void pack_filter_rows(const ConvProblem&, const float*, bool, float*);
template void pack_filter_rows(const ConvProblem&, const double*, bool, double*);

} // namespace pyconv
