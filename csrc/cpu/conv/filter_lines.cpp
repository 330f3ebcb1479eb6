// A matrix transpose where the taps or the channels of a filter are neighbours, a copy
// where filters are; blocks of it stay in registers.
#include "cpu/conv/filter_lines.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Channels whose windows are fetched ahead.
constexpr int64 AHEAD = 3;

// One channel at a time, a matrix [filter][tap].
template <class T>
void turn_windows(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    int64 step,
    const FilterLines<T>& lines) {
    constexpr int64 LINE = 64 / sizeof(T);
    const int64 taps = volume(problem.kernel);
    for (int64 c = 0; c < lines.channels; ++c) {
        // The windows of one channel of neighbouring filters are a run, often a page
        // from the next channel's, where no hardware prefetcher follows.
        const int64 ahead = std::min(c + AHEAD, lines.channels + lines.following - 1);
        const T* run = lines.weight + ahead * problem.w_pitch[1];
        for (int64 i = 0; problem.w_pitch[0] == taps && i < lines.filters * taps;
             i += LINE) {
            __builtin_prefetch(step > 0 ? run + i : run + i - taps + 1);
        }
        turn_window(
            kernels,
            taps,
            step,
            lines.weight + c * problem.w_pitch[1],
            problem.w_pitch[0],
            lines.filters,
            lines.to + c * lines.channel_pitch,
            lines.tap_pitch);
    }
}

} // namespace

bool filters_contiguous(const ConvProblem& problem) {
    int64 expected = 1;
    for (int axis = 2; axis >= 0; --axis) {
        if (problem.kernel[axis] > 1 && problem.w_pitch[2 + axis] != expected) {
            return false;
        }
        expected *= problem.kernel[axis];
    }
    return problem.c == problem.groups || problem.w_pitch[1] == expected;
}

int64 tap_step(const ConvProblem& problem) {
    int64 step = 0;
    int64 expected = 1;
    for (int axis = 2; axis >= 0; --axis) {
        const int64 pitch = problem.w_pitch[2 + axis];
        if (problem.kernel[axis] > 1) {
            if ((pitch != expected || step < 0) && (pitch != -expected || step > 0)) {
                return 0;
            }
            step = pitch > 0 ? 1 : -1;
        }
        expected *= problem.kernel[axis];
    }
    return step == 0 ? 1 : step;
}

template <class T>
void turn_window(
    const Kernels<T>& kernels,
    int64 taps,
    int64 step,
    const T* from,
    int64 row_pitch,
    int64 rows,
    T* to,
    int64 line_pitch) {
    if (step < 0) {
        from -= taps - 1;
        to += (taps - 1) * line_pitch;
        line_pitch = -line_pitch;
    }
    kernels.transpose(from, row_pitch, rows, taps, to, line_pitch);
}

template <class T>
void turn_lines(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const FilterLines<T>& lines) {
    const int64(&pitch)[5] = problem.w_pitch;
    const int64 taps = volume(problem.kernel);
    if (filters_contiguous(problem) && lines.channel_pitch == taps * lines.tap_pitch) {
        kernels.transpose(
            lines.weight,
            pitch[0],
            lines.filters,
            lines.channels * taps,
            lines.to,
            lines.tap_pitch);
        return;
    }
    const int64 step = tap_step(problem);
    if (step != 0 && pitch[0] != 1 && pitch[1] != 1) {
        turn_windows(problem, kernels, step, lines);
        return;
    }
    Pixel tap(problem.kernel, 0);
    for (int64 i = 0; i < taps; ++i, tap.advance(problem.kernel)) {
        const T* from = lines.weight + tap.offset(pitch);
        T* to = lines.to + i * lines.tap_pitch;
        if (pitch[0] != 1 && pitch[1] == 1) {
            kernels.transpose(
                from, pitch[0], lines.filters, lines.channels, to, lines.channel_pitch);
            continue;
        }
        kernels.copy_lines(
            {.from = from,
             .from_pitch = pitch[1],
             .from_step = pitch[0],
             .lines = lines.channels,
             .count = lines.filters,
             .to = to,
             .to_pitch = lines.channel_pitch});
    }
}

#define PYCONV_INSTANTIATE(T)                                                          \
    template void turn_window(                                                         \
        const Kernels<T>&, int64, int64, const T*, int64, int64, T*, int64);           \
    template void turn_lines(                                                          \
        const ConvProblem&, const Kernels<T>&, const FilterLines<T>&)

PYCONV_INSTANTIATE(float);
PYCONV_INSTANTIATE(double);

} // namespace pyconv
