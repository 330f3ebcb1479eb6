// Lines are turned one by one, or at once where they follow each other in memory.
#include "cpu/conv/turned_input.hpp"

#include "core/threads.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Columns of the input that a thread turns at a time.
constexpr int64 COLUMNS = 256;

// Cycles of an element, measured: to come from L3, and to be shuffled, with empty lanes
// as if they were full.
constexpr double FETCHING = 1.1;
constexpr double SHUFFLING = 0.5;
constexpr int64 CHANNELS = 16;
// As many times the cycles where everything goes back to L3.
constexpr double AHEAD = 1.9;

// Some output meets line `index` of an axis.
bool is_met(const ConvProblem& problem, int axis, int64 index) {
    bool met = problem.padding_mode != PAD_ZEROS;
    for (int64 tap = 0; !met && tap < problem.kernel[axis]; ++tap) {
        const int64 at =
            index + problem.pad_before[axis] - tap * problem.dilation[axis];
        met = at % problem.stride[axis] == 0;
    }
    return met;
}

// Turns `channels` channels of a box. `from` is its first element in x; to_pitch is
// that of turned_problem().
template <class T>
void turn_box(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const InputBox& box,
    int64 channels,
    const T* from,
    const int64 (&to_pitch)[5],
    T* to) {
    const int64(&pitch)[5] = problem.x_pitch;
    const bool joined = box.extent[2] == pitch[3] && pitch[3] == problem.input[2] &&
                        problem.stride[1] == 1;
    const int64 lines = joined ? box.extent[1] : 1;
    for (int64 d = 0; d < box.extent[0]; ++d) {
        for (int64 h = 0; h < box.extent[1]; h += lines) {
            if (is_met(problem, 0, box.first[0] + d) &&
                (joined || is_met(problem, 1, box.first[1] + h))) {
                kernels.transpose(
                    from + d * pitch[2] + h * pitch[3],
                    pitch[1],
                    channels,
                    lines * box.extent[2],
                    to + d * to_pitch[2] + h * to_pitch[3],
                    to_pitch[4]);
            }
        }
    }
}

} // namespace

InputBox met_by(const ConvProblem& problem, int64 first_pixel, int64 count) {
    const Pixel begin(problem.output, first_pixel);
    const Pixel end(problem.output, first_pixel + count - 1);
    InputBox box{};
    bool same = true; // so far along the outer axes
    for (int axis = 0; axis < 3; ++axis) {
        const int64 from = same ? begin.at[axis] : 0;
        const int64 to = same ? end.at[axis] : problem.output[axis] - 1;
        same = same && from == to;
        const int64 last = problem.input[axis] - 1;
        const int64 reach = (problem.kernel[axis] - 1) * problem.dilation[axis];
        int64 least = from * problem.stride[axis] - problem.pad_before[axis];
        int64 most = to * problem.stride[axis] - problem.pad_before[axis] + reach;
        if (problem.padding_mode != PAD_ZEROS && (least < 0 || most > last)) {
            least = 0; // what lies outside may be folded to any place
            most = last;
        }
        least = std::max<int64>(least, 0);
        most = std::min(most, last);
        box.first[axis] = most >= least ? least : 0;
        box.extent[axis] = std::max<int64>(most - least + 1, 0);
    }
    return box;
}

double turning_cycles(const ConvProblem& problem, const InputBox& box) {
    double pixels = static_cast<double>(box.extent[2]);
    for (int axis = 0; axis < 2; ++axis) {
        int64 met = 0;
        for (int64 at = 0; at < box.extent[axis]; ++at) {
            met += is_met(problem, axis, box.first[axis] + at) ? 1 : 0;
        }
        pixels *= static_cast<double>(met);
    }
    const int64 channels = problem.c / problem.groups;
    const int64 in_vectors = ceil_div(channels, CHANNELS) * CHANNELS;
    return pixels * (FETCHING * static_cast<double>(channels) +
                     SHUFFLING * static_cast<double>(in_vectors));
}

double turning_ahead_cycles(const ConvProblem& problem) {
    const InputBox whole{
        {0, 0, 0}, {problem.input[0], problem.input[1], problem.input[2]}};
    return AHEAD * static_cast<double>(problem.n * problem.groups) *
           turning_cycles(problem, whole);
}

bool can_turn(const ConvProblem& problem) {
    return problem.x_pitch[1] != 1 && problem.x_pitch[4] == 1;
}

ConvProblem turned_problem(const ConvProblem& problem, const InputBox& box) {
    ConvProblem turned = problem;
    turned.x_pitch[1] = 1;
    turned.x_pitch[4] = problem.c / problem.groups;
    turned.x_pitch[3] = box.extent[2] * turned.x_pitch[4];
    turned.x_pitch[2] = box.extent[1] * turned.x_pitch[3];
    return turned;
}

ConvProblem turned_problem(const ConvProblem& problem) {
    ConvProblem turned = problem;
    turned.x_pitch[1] = 1;
    turned.x_pitch[4] = problem.c;
    turned.x_pitch[3] = problem.input[2] * turned.x_pitch[4];
    turned.x_pitch[2] = problem.input[1] * turned.x_pitch[3];
    turned.x_pitch[0] = problem.input[0] * turned.x_pitch[2];
    return turned;
}

template <class T>
void turn_input(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* x,
    bool parallel,
    T* turned) {
    const ConvProblem seen = turned_problem(problem);
    const int64 columns = std::min(problem.input[2], COLUMNS);
    const int64 lines = std::min(problem.input[1], COLUMNS / columns);
    const int64 across = ceil_div(problem.input[2], columns);
    const int64 down = ceil_div(problem.input[1], lines);
    const int64 units = problem.n * problem.input[0] * down * across;
    parallel_for(units, parallel, [&](int64 begin, int64 end, int) {
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 w = unit % across * columns;
            const int64 h = unit / across % down * lines;
            const int64 d = unit / (across * down) % problem.input[0];
            const int64 n = unit / (across * down * problem.input[0]);
            const InputBox box{
                {d, h, w},
                {1,
                 std::min(lines, problem.input[1] - h),
                 std::min(columns, problem.input[2] - w)}};
            const auto offset = [&](const int64(&pitch)[5]) {
                return n * pitch[0] + d * pitch[2] + h * pitch[3] + w * pitch[4];
            };
            turn_box(
                problem,
                kernels,
                box,
                problem.c,
                x + offset(problem.x_pitch),
                seen.x_pitch,
                turned + offset(seen.x_pitch));
        }
    });
}

template <class T>
void turn_sample(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* from,
    int64 channels,
    T* turned) {
    const int64(&extent)[3] = problem.input;
    const int64 line = extent[2] * channels;
    const int64 pitch[5] = {0, 1, extent[1] * line, line, channels};
    const InputBox whole{{0, 0, 0}, {extent[0], extent[1], extent[2]}};
    turn_box(problem, kernels, whole, channels, from, pitch, turned);
}

template <class T>
const T* TurnedWindow<T>::turn(const T* x, int64 first, int64 count) {
    const InputBox box = met_by(problem_, first, count);
    seen_ = turned_problem(problem_, box);
    frame_.emplace();
    T* turned = frame_->template take<T>(box.extent[0] * seen_.x_pitch[2]);
    const auto offset = [&](const int64(&pitch)[5]) {
        return box.first[0] * pitch[2] + box.first[1] * pitch[3] +
               box.first[2] * pitch[4];
    };
    turn_box(
        problem_,
        kernels_,
        box,
        problem_.c / problem_.groups,
        x + offset(problem_.x_pitch),
        seen_.x_pitch,
        turned);
    return turned - offset(seen_.x_pitch);
}

template void
turn_input(const ConvProblem&, const Kernels<float>&, const float*, bool, float*);
template void
turn_input(const ConvProblem&, const Kernels<double>&, const double*, bool, double*);
template void
turn_sample(const ConvProblem&, const Kernels<float>&, const float*, int64, float*);
template void
turn_sample(const ConvProblem&, const Kernels<double>&, const double*, int64, double*);
template class TurnedWindow<float>;
template class TurnedWindow<double>;

} // namespace pyconv
