// Writing the matrix of patches, in runs as long as the memory order allows.
//
// The idea: along a row of output pixels a tap's inputs are neighbours when the stride
// is 1 and the input's columns are; along channels they are neighbours in channels-last
// memory. Runs of neighbours are copied whole, everything else one by one.
#include "cpu/conv/patches.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"

#include <algorithm>
#include <cstring>

namespace pyconv {
namespace {

constexpr int64 PADDING = -1;

// A stretch of a panel's pixels whose inputs lie `step` apart, or all in zero padding.
struct Run {
    int64 first;
    int64 count;
    int64 offset;
    bool padding;
};

// Cuts the panel's pixels into runs for tap (t, r, s). Returns how many there are.
int64 cut_runs(
    const ConvProblem& problem,
    int64 first,
    int64 count,
    const int64 (&tap)[3],
    Run* runs) {
    int64 found = 0;
    Pixel pixel(problem.output, first);
    for (int64 i = 0; i < count; ++i, pixel.advance(problem.output)) {
        int64 offset = 0;
        bool padding = false;
        for (int axis = 0; axis < 3; ++axis) {
            const int64 index = input_index(problem, axis, pixel.at[axis], tap[axis]);
            padding = padding || index == PADDING;
            offset += index * problem.x_pitch[2 + axis];
        }
        if (found > 0) {
            Run& last = runs[found - 1];
            if (last.padding == padding &&
                (padding || last.offset + last.count == offset)) {
                ++last.count;
                continue;
            }
        }
        runs[found++] = {i, 1, offset, padding};
    }
    return found;
}

template <class T>
void fill_panel(
    const ConvProblem& problem,
    const T* x,
    int64 first,
    int64 width,
    int64 present,
    Run* runs,
    T* panel) {
    const int64 channels = problem.c / problem.groups;
    T* line = panel;
    int64 tap[3];
    for (tap[0] = 0; tap[0] < problem.kernel[0]; ++tap[0]) {
        for (tap[1] = 0; tap[1] < problem.kernel[1]; ++tap[1]) {
            for (tap[2] = 0; tap[2] < problem.kernel[2]; ++tap[2]) {
                const int64 count = cut_runs(problem, first, present, tap, runs);
                for (int64 c = 0; c < channels; ++c, line += width) {
                    const T* plane = x + c * problem.x_pitch[1];
                    for (int64 i = 0; i < count; ++i) {
                        const Run& run = runs[i];
                        T* to = line + run.first;
                        if (run.padding) {
                            std::fill(to, to + run.count, T(0));
                        } else if (run.count == 1) {
                            *to = plane[run.offset];
                        } else {
                            std::copy_n(plane + run.offset, run.count, to);
                        }
                    }
                    std::fill(line + present, line + width, T(0));
                }
            }
        }
    }
}

// Copies the channels of one input pixel, `step` apart, or zeros.
template <class T>
void copy_channels(const T* from, int64 step, int64 count, T* to) {
    if (step == 1) {
        std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
        return;
    }
    for (int64 c = 0; c < count; ++c) {
        to[c] = from[c * step];
    }
}

template <class T>
void fill_row(const ConvProblem& problem, const T* x, const Pixel& pixel, T* row) {
    const int64 channels = problem.c / problem.groups;
    for (int64 t = 0; t < problem.kernel[0]; ++t) {
        const int64 d = input_index(problem, 0, pixel.at[0], t);
        for (int64 r = 0; r < problem.kernel[1]; ++r) {
            const int64 h = input_index(problem, 1, pixel.at[1], r);
            for (int64 s = 0; s < problem.kernel[2]; ++s, row += channels) {
                const int64 w = input_index(problem, 2, pixel.at[2], s);
                if (d == PADDING || h == PADDING || w == PADDING) {
                    std::fill(row, row + channels, T(0));
                    continue;
                }
                const T* source = x + d * problem.x_pitch[2] + h * problem.x_pitch[3] +
                                  w * problem.x_pitch[4];
                copy_channels(source, problem.x_pitch[1], channels, row);
            }
        }
    }
}

} // namespace

template <class T>
void fill_pixel_panels(
    const ConvProblem& problem, const T* x, int64 width, bool parallel, T* matrix) {
    const int64 pixels = volume(problem.output);
    const int64 depth = problem.c / problem.groups * volume(problem.kernel);
    parallel_for(ceil_div(pixels, width), parallel, [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        Run* runs = frame.take<Run>(width);
        for (int64 panel = begin; panel < end; ++panel) {
            const int64 first = panel * width;
            fill_panel(
                problem,
                x,
                first,
                width,
                std::min(width, pixels - first),
                runs,
                matrix + panel * depth * width);
        }
    });
}

template <class T>
void fill_pixel_rows(const ConvProblem& problem, const T* x, bool parallel, T* matrix) {
    const int64 depth = problem.c / problem.groups * volume(problem.kernel);
    parallel_for(volume(problem.output), parallel, [&](int64 begin, int64 end, int) {
        Pixel pixel(problem.output, begin);
        for (int64 i = begin; i < end; ++i, pixel.advance(problem.output)) {
            fill_row(problem, x, pixel, matrix + i * depth);
        }
    });
}

template void fill_pixel_panels(const ConvProblem&, const float*, int64, bool, float*);
template void
fill_pixel_panels(const ConvProblem&, const double*, int64, bool, double*);
template void fill_pixel_rows(const ConvProblem&, const float*, bool, float*);
template void fill_pixel_rows(const ConvProblem&, const double*, bool, double*);

} // namespace pyconv
