// Packing weights: panels from filters turned into lines, rows from windows turned.
#include "cpu/conv/filter_panels.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/filter_lines.hpp"
#include "cpu/conv/patches.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Source elements handled together: where they lie is found once for all filters.
constexpr int64 BLOCK = 64;

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

// Rows of any weight, element by element.
template <class T>
void scatter_rows(
    const ConvProblem& problem, const T* weight, int64 count, int64 pitch, T* rows) {
    const int64 depth = depth_of(problem);
    int64 source[BLOCK];
    int64 target[BLOCK];
    Walk walk(problem);
    for (int64 begin = 0; begin < depth; begin += BLOCK) {
        const int64 block = std::min(BLOCK, depth - begin);
        walk.next(block, source, target);
        for (int64 j = 0; j < count; ++j) {
            const T* filter = weight + j * problem.w_pitch[0];
            T* to = rows + j * pitch;
            for (int64 i = 0; i < block; ++i) {
                to[target[i]] = filter[source[i]];
            }
        }
    }
}

// Whole channels at once where their lines are runs of reads, else a few at a time, so
// that windows are read as runs and lines written as runs.
template <class T>
void turn_panel(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* weight,
    int64 count,
    int64 width,
    T* panel) {
    const int64 taps = volume(problem.kernel);
    const int64 channels = problem.c / problem.groups;
    if (problem.w_pitch[0] == 1 || problem.w_pitch[1] == 1) {
        turn_lines<T>(
            problem,
            kernels,
            {.weight = weight,
             .filters = count,
             .channels = channels,
             .following = 0,
             .to = panel,
             .tap_pitch = channels * width,
             .channel_pitch = width});
        return;
    }
    const bool contiguous = filters_contiguous(problem);
    ScratchFrame frame;
    T* block = frame.take<T>(std::min(TURNED_TOGETHER, channels) * taps * width);
    for (int64 first = 0; first < channels; first += TURNED_TOGETHER) {
        const int64 some = std::min(TURNED_TOGETHER, channels - first);
        const int64 tap_pitch = contiguous ? width : some * width;
        const int64 channel_pitch = contiguous ? taps * width : width;
        turn_lines<T>(
            problem,
            kernels,
            {.weight = weight + first * problem.w_pitch[1],
             .filters = count,
             .channels = some,
             .following = channels - first - some,
             .to = block,
             .tap_pitch = tap_pitch,
             .channel_pitch = channel_pitch});
        for (int64 tap = 0; tap < taps; ++tap) {
            const T* from = block + tap * tap_pitch;
            T* to = panel + (tap * channels + first) * width;
            if (channel_pitch == width && count == width) {
                std::copy(from, from + some * width, to);
                continue;
            }
            for (int64 c = 0; c < some; ++c) {
                const T* line = from + c * channel_pitch;
                std::copy(line, line + count, to + c * width);
            }
        }
    }
}

} // namespace

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
    turn_panel(problem, kernels, from, count, shape.width, packed);
}

template <class T>
void pack_filter_run(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const FilterPanels& shape,
    const T* weight,
    int64 first,
    int64 count,
    T* packed) {
    const int64 size = shape.panel_elements();
    if (problem.w_pitch[0] != 1) {
        for (int64 i = 0; i < count; ++i) {
            pack_filter_panel(
                problem, kernels, shape, weight, first + i, packed + i * size);
        }
        return;
    }
    // A channel's filters are a run, often a page from the next channel's: some
    // channels go to all panels before the next ones.
    const auto filters_of = [&](int64 panel) {
        return std::min(
            shape.width, shape.filters - panel % shape.panels * shape.width);
    };
    for (int64 i = 0; i < count; ++i) {
        if (filters_of(first + i) < shape.width) {
            std::fill(packed + i * size, packed + (i + 1) * size, T(0));
        }
    }
    Pixel tap(problem.kernel, 0);
    for (int64 t = 0; t < shape.taps; ++t, tap.advance(problem.kernel)) {
        for (int64 c = 0; c < shape.channels; c += TURNED_TOGETHER) {
            for (int64 i = 0; i < count; ++i) {
                const int64 panel = first + i;
                kernels.copy_lines(
                    {.from = weight + panel / shape.panels * shape.filters +
                             panel % shape.panels * shape.width +
                             c * problem.w_pitch[1] + tap.offset(problem.w_pitch),
                     .from_pitch = problem.w_pitch[1],
                     .from_step = 1,
                     .lines = std::min(TURNED_TOGETHER, shape.channels - c),
                     .count = filters_of(panel),
                     .to = packed + i * size + (t * shape.channels + c) * shape.width,
                     .to_pitch = shape.width});
            }
        }
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
            pack_filter_run(
                problem,
                kernels,
                shape,
                weight,
                begin,
                end - begin,
                packed + begin * shape.panel_elements());
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
        scatter_rows(problem, from, count, pitch, rows);
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
    template void pack_filter_run(                                                     \
        const ConvProblem&,                                                            \
        const Kernels<T>&,                                                             \
        const FilterPanels&,                                                           \
        const T*,                                                                      \
        int64,                                                                         \
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
