// Packing weights: a matrix transpose where filters are contiguous, one for each
// channel where filters are neighbours (the weights of an input gradient), else a block
// of source elements at a time.
#include "cpu/conv/filter_panels.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/patches.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Source elements handled together: their lines of a panel stay in L1 while every
// filter of the panel passes over them.
constexpr int64 BLOCK = 64;

// Channels that are turned together: the runs in which their lines leave.
constexpr int64 CHANNELS = 16;
// Channels whose windows are fetched ahead.
constexpr int64 AHEAD = 3;

// Filters whose rows are packed together, to share the walk.
constexpr int64 ROWS_TOGETHER = 16;

// Walks one filter in the order (c, t, r, s), forward through a contiguous weight, and
// says where each element lies in the user's weight and in the packed (t, r, s, c)
// order.
class Walk {
  public:
    explicit Walk(const ConvProblem& problem)
        : problem_(problem), channels_(problem.c / problem.groups) {}

    // Offsets of the next `count` elements.
    void next(int64 count, int64* source, int64* packed) {
        for (int64 i = 0; i < count; ++i) {
            source[i] = c_ * problem_.w_pitch[1] + t_ * problem_.w_pitch[2] +
                        r_ * problem_.w_pitch[3] + s_ * problem_.w_pitch[4];
            packed[i] = tap_ * channels_ + c_;
            step();
        }
    }

  private:
    void step() {
        ++tap_;
        if (++s_ < problem_.kernel[2]) {
            return;
        }
        s_ = 0;
        if (++r_ < problem_.kernel[1]) {
            return;
        }
        r_ = 0;
        if (++t_ < problem_.kernel[0]) {
            return;
        }
        t_ = 0;
        tap_ = 0;
        ++c_;
    }

    const ConvProblem& problem_;
    int64 channels_;
    int64 c_ = 0;
    int64 t_ = 0;
    int64 r_ = 0;
    int64 s_ = 0;
    int64 tap_ = 0;
};

// Where packed elements go: element * element_pitch + filter * filter_pitch.
struct Order {
    int64 element_pitch;
    int64 filter_pitch;
};

// Any weight, element by element.
template <class T>
void scatter_filters(
    const ConvProblem& problem,
    const T* weight,
    int64 count,
    const Order& order,
    T* packed) {
    const int64 depth = depth_of(problem);
    int64 source[BLOCK];
    int64 target[BLOCK];
    Walk walk(problem);
    for (int64 begin = 0; begin < depth; begin += BLOCK) {
        const int64 block = std::min(BLOCK, depth - begin);
        walk.next(block, source, target);
        for (int64 j = 0; j < count; ++j) {
            const T* filter = weight + j * problem.w_pitch[0];
            T* to = packed + j * order.filter_pitch;
            for (int64 i = 0; i < block; ++i) {
                to[target[i] * order.element_pitch] = filter[source[i]];
            }
        }
    }
}

// Filters as the rows of a matrix, turned some channels at a time: column c * taps +
// tap becomes line tap * channels + c of the panel.
template <class T>
void turn_filters(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* weight,
    int64 count,
    int64 width,
    T* panel) {
    const int64 taps = volume(problem.kernel);
    const int64 channels = problem.c / problem.groups;
    const int64 pitch = problem.w_pitch[0];
    if (taps == 1) {
        kernels.transpose(weight, pitch, count, channels, panel, width);
        return;
    }
    ScratchFrame frame;
    T* block = frame.take<T>(std::min(CHANNELS, channels) * taps * width);
    for (int64 first = 0; first < channels; first += CHANNELS) {
        const int64 some = std::min(CHANNELS, channels - first);
        kernels.transpose(
            weight + first * taps, pitch, count, some * taps, block, width);
        for (int64 tap = 0; tap < taps; ++tap) {
            T* lines = panel + (tap * channels + first) * width;
            for (int64 c = 0; c < some; ++c) {
                const T* line = block + (c * taps + tap) * width;
                std::copy(line, line + count, lines + c * width);
            }
        }
    }
}

// Where a window's taps are neighbours in memory, in their order or in reverse: the
// step from one to the next, 1 or -1; 0 where they are not.
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

// The taps of a window turned: from the matrix [row][tap], rows row_pitch apart, to
// lines, one a tap, line_pitch apart. `step` is tap_step's.
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

// Filters that are neighbours: of one tap and channel they are a line of the panel as
// they lie, or of one channel a matrix [filter][tap] to be turned.
template <class T>
bool turn_channels(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* weight,
    int64 count,
    int64 width,
    T* panel) {
    const int64 taps = volume(problem.kernel);
    const int64 channels = problem.c / problem.groups;
    if (problem.w_pitch[0] == 1) {
        Pixel tap(problem.kernel, 0);
        for (int64 i = 0; i < taps; ++i, tap.advance(problem.kernel)) {
            kernels.copy_lines(
                {.from = weight + tap.offset(problem.w_pitch),
                 .from_pitch = problem.w_pitch[1],
                 .from_step = 1,
                 .lines = channels,
                 .count = count,
                 .to = panel + i * channels * width,
                 .to_pitch = width});
        }
        return true;
    }
    const int64 step = tap_step(problem);
    if (step == 0) {
        return false;
    }
    constexpr int64 LINE = 64 / sizeof(T);
    ScratchFrame frame;
    T* block = frame.take<T>(std::min(CHANNELS, channels) * taps * width);
    for (int64 first = 0; first < channels; first += CHANNELS) {
        const int64 some = std::min(CHANNELS, channels - first);
        for (int64 c = 0; c < some; ++c) {
            // The windows of one channel are a run, often a page from the next
            // channel's, where no hardware prefetcher follows.
            const int64 ahead = std::min(first + c + AHEAD, channels - 1);
            const T* run = weight + ahead * problem.w_pitch[1];
            for (int64 i = 0; problem.w_pitch[0] == taps && i < count * taps;
                 i += LINE) {
                __builtin_prefetch(step > 0 ? run + i : run + i - taps + 1);
            }
            turn_window(
                kernels,
                taps,
                step,
                weight + (first + c) * problem.w_pitch[1],
                problem.w_pitch[0],
                count,
                block + c * width,
                some * width);
        }
        for (int64 tap = 0; tap < taps; ++tap) {
            const T* lines = block + tap * some * width;
            T* to = panel + (tap * channels + first) * width;
            if (count == width) {
                std::copy(lines, lines + some * width, to);
                continue;
            }
            for (int64 c = 0; c < some; ++c) {
                std::copy(lines + c * width, lines + c * width + count, to + c * width);
            }
        }
    }
    return true;
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

template <class T>
void pack_filter_panel(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const FilterPanels& shape,
    const T* weight,
    int64 panel,
    T* packed) {
    const int64 first = panel % shape.panels * shape.width;
    const int64 filter = panel / shape.panels * shape.filters + first;
    const int64 count = std::min(shape.width, shape.filters - first);
    const T* from = weight + filter * problem.w_pitch[0];
    if (count < shape.width) {
        std::fill(packed, packed + shape.panel_elements(), T(0));
    }
    if (filters_contiguous(problem)) {
        turn_filters(problem, kernels, from, count, shape.width, packed);
    } else if (!turn_channels(problem, kernels, from, count, shape.width, packed)) {
        scatter_filters(problem, from, count, {shape.width, 1}, packed);
    }
}

template <class T>
void pack_filter_panels(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const FilterPanels& shape,
    const T* weight,
    bool parallel,
    T* packed) {
    parallel_for(
        problem.groups * shape.panels, parallel, [&](int64 begin, int64 end, int) {
            for (int64 panel = begin; panel < end; ++panel) {
                pack_filter_panel(
                    problem,
                    kernels,
                    shape,
                    weight,
                    panel,
                    packed + panel * shape.panel_elements());
            }
        });
}

template <class T>
void pack_filter_rows(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* weight,
    int64 first,
    int64 count,
    T* rows) {
    const int64 depth = depth_of(problem);
    const int64 taps = volume(problem.kernel);
    const int64 pitch = patch_row_pitch(depth);
    const T* from = weight + first * problem.w_pitch[0];
    const int64 channels = depth / taps;
    if (taps == 1 && problem.w_pitch[0] == 1) {
        kernels.transpose(from, problem.w_pitch[1], channels, count, rows, pitch);
        return;
    }
    const int64 step = tap_step(problem);
    if (step == 0 || (taps == 1 && problem.w_pitch[1] != 1)) {
        scatter_filters(problem, from, count, {1, pitch}, rows);
        return;
    }
    for (int64 i = 0; i < count; ++i) {
        const T* filter = from + i * problem.w_pitch[0];
        T* row = rows + i * pitch;
        if (taps == 1) {
            std::copy(filter, filter + depth, row);
        } else {
            turn_window(
                kernels,
                taps,
                step,
                filter,
                problem.w_pitch[1],
                channels,
                row,
                channels);
        }
    }
}

template <class T>
void pack_all_filter_rows(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* weight,
    bool parallel,
    T* rows) {
    const int64 pitch = patch_row_pitch(depth_of(problem));
    const int64 units = ceil_div(problem.k, ROWS_TOGETHER);
    parallel_for(units, parallel, [&](int64 begin, int64 end, int) {
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 first = unit * ROWS_TOGETHER;
            pack_filter_rows(
                problem,
                kernels,
                weight,
                first,
                std::min(ROWS_TOGETHER, problem.k - first),
                rows + first * pitch);
        }
    });
}

#define PYCONV_INSTANTIATE(T)                                                          \
    template void pack_filter_panel(                                                   \
        const ConvProblem&,                                                            \
        const Kernels<T>&,                                                             \
        const FilterPanels&,                                                           \
        const T*,                                                                      \
        int64,                                                                         \
        T*);                                                                           \
    template void pack_filter_panels(                                                  \
        const ConvProblem&,                                                            \
        const Kernels<T>&,                                                             \
        const FilterPanels&,                                                           \
        const T*,                                                                      \
        bool,                                                                          \
        T*);                                                                           \
    template void pack_filter_rows(                                                    \
        const ConvProblem&, const Kernels<T>&, const T*, int64, int64, T*);            \
    template void pack_all_filter_rows(                                                \
        const ConvProblem&, const Kernels<T>&, const T*, bool, T*)

PYCONV_INSTANTIATE(float);
PYCONV_INSTANTIATE(double);

} // namespace pyconv
