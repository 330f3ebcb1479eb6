// Transformed in double and rounded once: the transform of the weights adds nothing to
// the error of the result that a better rounding could have saved.
#include "cpu/conv/winograd_weights.hpp"

#include "core/threads.hpp"
#include "cpu/conv/filter_lines.hpp"
#include "cpu/conv/winograd_tiles.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {

// Some channels of a panel: turned into lines of filters, then transformed one by one.
template <class T>
WinogradPanels<T>::WinogradPanels(const ConvPlan& plan, const T* weight)
    : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
      form_(WINOGRAD_ALL_FORMS[plan.form]), geometry_(problem_, form_),
      layout_(problem_, *plan.isa, geometry_, 1), weight_(weight) {}

template <class T>
int64 WinogradPanels<T>::line_elements() const {
    return TURNED_TOGETHER * volume(problem_.kernel) * layout_.width;
}

template <class T>
int64 WinogradPanels<T>::passing_point() const {
    // A line more: points would share a few sets of the cache.
    return WINOGRAD_PASSING * layout_.width + kernels_.lanes;
}

template <class T>
void WinogradPanels<T>::pack(bool parallel, T* packed) const {
    const int64 runs = ceil_div(geometry_.channels, TURNED_TOGETHER);
    const int64 units = problem_.groups * layout_.panels * runs;
    parallel_for(units, parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        T* lines = frame.take<T>(line_elements());
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 panel = unit / runs;
            const int64 first = unit % runs * TURNED_TOGETHER;
            transform_run(
                panel,
                first,
                std::min(TURNED_TOGETHER, geometry_.channels - first),
                lines,
                {.u = packed + panel * geometry_.all_points * layout_.u_point +
                      first * layout_.width,
                 .point = layout_.u_point,
                 .tap = geometry_.channels * layout_.width});
        }
    });
}

template <class T>
void WinogradPanels<T>::transform(
    int64 panel, int64 channel, int64 channels, T* u) const {
    ScratchFrame frame;
    T* lines = frame.take<T>(line_elements());
    for (int64 c = 0; c < channels; c += TURNED_TOGETHER) {
        transform_run(
            panel,
            channel + c,
            std::min(TURNED_TOGETHER, channels - c),
            lines,
            {.u = u + c * layout_.width, .point = passing_point(), .tap = 0});
    }
}

template <class T>
void WinogradPanels<T>::transform_run(
    int64 panel, int64 channel, int64 channels, T* lines, const Target& to) const {
    const int64 first = panel % layout_.panels * layout_.width;
    const int64 filter = panel / layout_.panels * geometry_.filters + first;
    const int64 filters = std::min(layout_.width, geometry_.filters - first);
    const int64 of_channel = volume(problem_.kernel) * layout_.width;
    if (filters < layout_.width) {
        std::fill(lines, lines + channels * of_channel, T(0));
    }
    turn_lines<T>(
        problem_,
        kernels_,
        {.weight =
             weight_ + filter * problem_.w_pitch[0] + channel * problem_.w_pitch[1],
         .filters = filters,
         .channels = channels,
         .following = geometry_.channels - channel - channels,
         .to = lines,
         .tap_pitch = layout_.width,
         .channel_pitch = of_channel});
    const int64 of_row = problem_.kernel[2] * layout_.width;
    const int64 pitch[5] = {0, 0, problem_.kernel[1] * of_row, of_row, layout_.width};
    for (int64 c = 0; c < channels; ++c) {
        for (int64 tap = 0; tap < geometry_.tap_count; ++tap) {
            const Pixel at(geometry_.taps, tap);
            kernels_.winograd[form_.shape].filter(
                {.g = lines + c * of_channel + at.offset(pitch),
                 .row_pitch = form_.row_axis < 0 ? 0 : pitch[2 + form_.row_axis],
                 .column_pitch = pitch[2 + form_.column_axis],
                 .width = layout_.width,
                 .u = to.u + tap * to.tap + c * layout_.width,
                 .u_pitch = to.point});
        }
    }
}

template class WinogradPanels<float>;
template class WinogradPanels<double>;

void pack_winograd(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        WinogradPanels<float>(plan, static_cast<const float*>(weight))
            .pack(plan.parallel, static_cast<float*>(packed));
    } else {
        WinogradPanels<double>(plan, static_cast<const double*>(weight))
            .pack(plan.parallel, static_cast<double*>(packed));
    }
}

} // namespace pyconv
