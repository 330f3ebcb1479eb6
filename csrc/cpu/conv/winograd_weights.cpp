// Transformed in double and rounded once: the transform of the weights adds nothing to
// the error of the result that a better rounding could have saved.
#include "cpu/conv/winograd_weights.hpp"

#include "core/threads.hpp"
#include "cpu/conv/winograd_tiles.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

constexpr int64 LARGEST_TILE_TAPS = 9; // of a filter: 3 x 3, or 7 in a row

// U: [group][panel][point][tap][c][width]
template <class T>
void pack_weights(const ConvPlan& plan, const T* weight, T* packed) {
    const ConvProblem& problem = plan.problem;
    const Kernels<T>& kernels = kernels_of<T>(*plan.isa);
    const WinogradForm& form = WINOGRAD_ALL_FORMS[plan.form];
    const WinogradGeometry geometry(problem, form);
    const WinogradLayout layout(problem, *plan.isa, geometry, 1);
    const int64 inner_rows = form.row_axis < 0 ? 1 : problem.kernel[form.row_axis];
    const int64 inner_columns = problem.kernel[form.column_axis];
    const int64 row_pitch = form.row_axis < 0 ? 0 : problem.w_pitch[2 + form.row_axis];
    const int64 column_pitch = problem.w_pitch[2 + form.column_axis];
    const int64 inner = inner_rows * inner_columns;
    int64 offset[LARGEST_TILE_TAPS];
    for (int64 i = 0; i < inner; ++i) {
        offset[i] = i / inner_columns * row_pitch + i % inner_columns * column_pitch;
    }
    // Units are (group, panel, c).
    const int64 units = problem.groups * layout.panels * geometry.channels;
    parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        auto* g = frame.take<double>(LARGEST_TILE_TAPS * layout.width);
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 c = unit % geometry.channels;
            const int64 panel = unit / geometry.channels;
            const int64 first = panel % layout.panels * layout.width;
            const int64 count = std::min(layout.width, geometry.filters - first);
            const T* from = weight +
                            (panel / layout.panels * geometry.filters + first) *
                                problem.w_pitch[0] +
                            c * problem.w_pitch[1];
            for (int64 tap = 0; tap < geometry.tap_count; ++tap) {
                const Pixel at(geometry.taps, tap);
                const T* here = from + at.offset(problem.w_pitch);
                for (int64 k = 0; k < layout.width; ++k) {
                    const T* filter = here + k * problem.w_pitch[0];
                    for (int64 i = 0; i < inner; ++i) {
                        g[i * layout.width + k] =
                            k < count ? static_cast<double>(filter[offset[i]]) : 0.0;
                    }
                }
                kernels.winograd[form.shape].filter(
                    WinogradFilter<T>{
                        .g = g,
                        .width = layout.width,
                        .u = packed + panel * geometry.all_points * layout.u_point +
                             (tap * geometry.channels + c) * layout.width,
                        .u_pitch = layout.u_point,
                    });
            }
        }
    });
}

} // namespace

void pack_winograd(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        pack_weights(
            plan, static_cast<const float*>(weight), static_cast<float*>(packed));
    } else {
        pack_weights(
            plan, static_cast<const double*>(weight), static_cast<double*>(packed));
    }
}

} // namespace pyconv
