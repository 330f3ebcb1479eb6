// Writing the matrix of patches, in runs as long as the memory order allows.
//
// The idea: along a row of output pixels a tap's inputs are neighbours when the stride
// is 1 and the input's columns are; along channels they are neighbours in channels-last
// memory. Runs of neighbours are copied whole, everything else one by one.
#include "cpu/conv/patches.hpp"

#include "core/memory.hpp"

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
    int64 step;
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
            if (last.count == 1) {
                last.step = offset - last.offset;
            }
            if (last.padding == padding &&
                (padding || last.offset + last.count * last.step == offset)) {
                ++last.count;
                continue;
            }
        }
        runs[found++] = {i, 1, offset, 1, padding};
    }
    return found;
}

template <class T>
void fill_panel(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* x,
    int64 first,
    int64 width,
    int64 present,
    Run* runs,
    T* panel) {
    const int64 channels = problem.c / problem.groups;
    T* lines = panel;
    int64 tap[3];
    for (tap[0] = 0; tap[0] < problem.kernel[0]; ++tap[0]) {
        for (tap[1] = 0; tap[1] < problem.kernel[1]; ++tap[1]) {
            for (tap[2] = 0; tap[2] < problem.kernel[2]; ++tap[2]) {
                const int64 count = cut_runs(problem, first, present, tap, runs);
                for (int64 i = 0; i < count; ++i) {
                    const Run& run = runs[i];
                    T* to = lines + run.first;
                    if (run.padding) {
                        for (int64 c = 0; c < channels; ++c) {
                            std::fill_n(to + c * width, run.count, T(0));
                        }
                        continue;
                    }
                    kernels.copy_lines(
                        CopyLines<T>{
                            .from = x + run.offset,
                            .from_pitch = problem.x_pitch[1],
                            .from_step = run.step,
                            .lines = channels,
                            .count = run.count,
                            .to = to,
                            .to_pitch = width,
                        });
                }
                for (int64 c = 0; present < width && c < channels; ++c) {
                    std::fill(
                        lines + c * width + present, lines + (c + 1) * width, T(0));
                }
                lines += channels * width;
            }
        }
    }
}

// Every output pixel is the input pixel of its number, and these are neighbours.
bool pixels_follow(const ConvProblem& problem) {
    int64 expected = 1;
    for (int axis = 2; axis >= 0; --axis) {
        const int64 extent = problem.input[axis];
        if (problem.kernel[axis] != 1 || problem.pad_before[axis] != 0 ||
            problem.output[axis] != extent ||
            (extent > 1 &&
             (problem.stride[axis] != 1 || problem.x_pitch[2 + axis] != expected))) {
            return false;
        }
        expected *= extent;
    }
    return true;
}

// Whole panels of such pixels: a channel goes to all of them before the next one, whose
// plane is a page away.
template <class T>
void copy_planes(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* x,
    int64 width,
    int64 count,
    T* panels) {
    constexpr int64 AHEAD = 4; // channels
    constexpr int64 LINE = 64 / sizeof(T);
    const int64 channels = problem.c / problem.groups;
    for (int64 c = 0; c < channels; ++c) {
        const T* plane = x + c * problem.x_pitch[1];
        const T* next = plane + (c + AHEAD < channels ? AHEAD : 0) * problem.x_pitch[1];
        for (int64 i = 0; i < count * width; i += LINE) {
            __builtin_prefetch(next + i);
        }
        kernels.copy_lines(
            CopyLines<T>{
                .from = plane,
                .from_pitch = width,
                .from_step = 1,
                .lines = count,
                .count = width,
                .to = panels + c * width,
                .to_pitch = channels * width,
            });
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
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* x,
    int64 width,
    int64 first,
    int64 count,
    T* panels) {
    const int64 depth = problem.c / problem.groups * volume(problem.kernel);
    ScratchFrame frame;
    Run* runs = frame.take<Run>(width);
    int64 done = 0;
    if (pixels_follow(problem)) {
        done = count / width * width;
        copy_planes(problem, kernels, x + first, width, done / width, panels);
        panels += done * depth;
    }
    for (; done < count; done += width, panels += depth * width) {
        const int64 present = std::min(width, count - done);
        fill_panel(problem, kernels, x, first + done, width, present, runs, panels);
    }
}

template <class T>
void fill_pixel_rows(
    const ConvProblem& problem, const T* x, int64 first, int64 count, T* rows) {
    const int64 pitch =
        patch_row_pitch(problem.c / problem.groups * volume(problem.kernel));
    Pixel pixel(problem.output, first);
    for (int64 i = 0; i < count; ++i, pixel.advance(problem.output)) {
        fill_row(problem, x, pixel, rows + i * pitch);
    }
}

double panel_filling_cycles(const ConvProblem& problem, int64 width, int64 lanes) {
    const double panels = static_cast<double>(ceil_div(volume(problem.output), width));
    const double taps = static_cast<double>(volume(problem.kernel));
    const double lines = static_cast<double>(depth_of(problem));
    // Neighbours are copied by the vector, others one by one; before that the panel is
    // cut into runs, once a tap.
    const bool neighbours = problem.x_pitch[4] == 1 && problem.stride[2] == 1;
    const double line = neighbours ? 3.0 * static_cast<double>(width / lanes)
                                   : 1.3 * static_cast<double>(width);
    return panels * (lines * line + taps * 10.0 * static_cast<double>(width));
}

double row_filling_cycles(const ConvProblem& problem) {
    const double pixels = static_cast<double>(volume(problem.output));
    const double taps = static_cast<double>(volume(problem.kernel));
    const double element = problem.x_pitch[1] == 1 ? 0.12 : 3.0;
    return pixels * (taps * 16.0 + static_cast<double>(depth_of(problem)) * element);
}

template void fill_pixel_panels(
    const ConvProblem&,
    const Kernels<float>&,
    const float*,
    int64,
    int64,
    int64,
    float*);
template void fill_pixel_panels(
    const ConvProblem&,
    const Kernels<double>&,
    const double*,
    int64,
    int64,
    int64,
    double*);
template void fill_pixel_rows(const ConvProblem&, const float*, int64, int64, float*);
template void fill_pixel_rows(const ConvProblem&, const double*, int64, int64, double*);

} // namespace pyconv
