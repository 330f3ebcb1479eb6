// Packing weights, a block of source elements at a time.
#include "cpu/conv/filter_panels.hpp"

#include "core/threads.hpp"
#include "cpu/conv/patches.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Source elements handled together: their lines of a panel stay in L1 while every
// filter of the panel passes over them.
constexpr int64 BLOCK = 64;

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

// Packs `count` filters and fills up to `width` of them with zeros.
template <class T>
void pack_filters(
    const ConvProblem& problem,
    const T* weight,
    int64 count,
    int64 width,
    const Order& order,
    T* packed) {
    const int64 depth = problem.c / problem.groups * volume(problem.kernel);
    int64 source[BLOCK];
    int64 target[BLOCK];
    Walk walk(problem);
    for (int64 begin = 0; begin < depth; begin += BLOCK) {
        const int64 block = std::min(BLOCK, depth - begin);
        walk.next(block, source, target);
        for (int64 j = 0; j < width; ++j) {
            const T* filter = weight + j * problem.w_pitch[0];
            T* to = packed + j * order.filter_pitch;
            for (int64 i = 0; i < block; ++i) {
                to[target[i] * order.element_pitch] =
                    j < count ? filter[source[i]] : T(0);
            }
        }
    }
}

// Filters whose rows are packed together, to share the walk.
constexpr int64 ROWS_TOGETHER = 16;

} // namespace

template <class T>
void pack_filter_panels(
    const ConvProblem& problem,
    const FilterPanels& shape,
    const T* weight,
    bool parallel,
    T* packed) {
    parallel_for(
        problem.groups * shape.panels, parallel, [&](int64 begin, int64 end, int) {
            for (int64 unit = begin; unit < end; ++unit) {
                const int64 first = unit % shape.panels * shape.width;
                const int64 filter = unit / shape.panels * shape.filters + first;
                pack_filters(
                    problem,
                    weight + filter * problem.w_pitch[0],
                    std::min(shape.width, shape.filters - first),
                    shape.width,
                    {.element_pitch = shape.width, .filter_pitch = 1},
                    packed + unit * shape.panel_elements());
            }
        });
}

template <class T>
void pack_filter_rows(
    const ConvProblem& problem, const T* weight, bool parallel, T* rows) {
    const int64 pitch =
        patch_row_pitch(problem.c / problem.groups * volume(problem.kernel));
    const int64 units = ceil_div(problem.k, ROWS_TOGETHER);
    parallel_for(units, parallel, [&](int64 begin, int64 end, int) {
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 first = unit * ROWS_TOGETHER;
            const int64 count = std::min(ROWS_TOGETHER, problem.k - first);
            pack_filters(
                problem,
                weight + first * problem.w_pitch[0],
                count,
                count,
                {.element_pitch = 1, .filter_pitch = pitch},
                rows + first * pitch);
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
