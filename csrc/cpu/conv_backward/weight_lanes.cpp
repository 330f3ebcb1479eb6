// A panel at a time: a band of x and of grad is laid out in scratch, from either memory
// order, and the sums of a tap row stay in registers over it (micro/lane_sums.hpp).
// Threads share the panels: each sum is one chain of multiply-adds over samples and
// pixels in order, as in `direct`.
#include "cpu/conv_backward/weight_lanes.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/filter_lines.hpp"
#include "cpu/conv_backward/weight_padding.hpp"

#include <type_traits>

namespace pyconv {
namespace {

template <class T>
class LaneWeights {
  public:
    LaneWeights(const WeightPlan& plan, const WeightTensors& tensors)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          cut_(problem_, *plan.isa), x_(static_cast<const T*>(tensors.x)),
          grad_(static_cast<const T*>(tensors.grad)),
          weight_(static_cast<T*>(tensors.weight)) {}

    void run(bool parallel) const {
        parallel_for(cut_.panels, parallel, [&](int64 begin, int64 end, int) {
            ScratchFrame frame;
            T* x = frame.take<T>(cut_.x_elements(problem_));
            T* grad = frame.take<T>(cut_.grad_elements(problem_));
            T* sums = frame.take<T>(cut_.sum_elements(problem_));
            Spread spread = spread_room(frame);
            // Lanes behind the last filter are summed up too, and dropped.
            if (problem_.k % cut_.width != 0) {
                std::fill(x, x + cut_.x_elements(problem_), T(0));
                std::fill(grad, grad + cut_.grad_elements(problem_), T(0));
            }
            T* turned = frame.take<T>(cut_.sum_elements(problem_));
            for (int64 panel = begin; panel < end; ++panel) {
                aim(panel, spread);
                add_panel(panel, spread, x, grad, sums);
                store(panel, sums, turned);
            }
        });
    }

  private:
    // Output lines of one plane of one sample.
    struct Band {
        int64 n;
        int64 m;
        int64 first;
        int64 lines;
    };

    // Where each filter of a panel finds its group's channels, among the panel's own,
    // of which there is room for a row.
    struct Spread {
        using Index = std::conditional_t<sizeof(T) == 4, int, int64>;

        int64 first = 0; // channel of the panel
        int64 channels = 0;
        bool shuffles = true;   // those of a vector of filters lie within a vector
        int64 begin[2]{};       // of each vector
        Index* index = nullptr; // [vector][channel of a group][lane], from there
        T* row = nullptr;
    };

    Spread spread_room(ScratchFrame& frame) const {
        Spread spread;
        if (cut_.spread) {
            using Index = typename Spread::Index;
            spread.index = frame.take<Index>(cut_.channels * cut_.width);
            spread.row = frame.take<T>(cut_.row_elements(problem_));
            std::fill(spread.row, spread.row + cut_.row_elements(problem_), T(0));
        }
        return spread;
    }

    void aim(int64 panel, Spread& spread) const {
        const int64 filters = problem_.k / problem_.groups;
        const int64 k = panel * cut_.width;
        const int64 last = k + filters_of(panel) - 1;
        spread.first = k / filters * cut_.channels;
        spread.channels = (last / filters + 1) * cut_.channels - spread.first;
        if (!cut_.spread) {
            return;
        }
        const int64 lanes = kernels_.lanes;
        spread.shuffles = true;
        for (int64 i = 0; i < cut_.width; ++i) {
            const int64 v = i / lanes;
            // Lanes behind the last filter read what it reads.
            const int64 first =
                std::min(k + i, last) / filters * cut_.channels - spread.first;
            if (i % lanes == 0) {
                spread.begin[v] = first;
            }
            for (int64 c = 0; c < cut_.channels; ++c) {
                const int64 from = first + c - spread.begin[v];
                spread.index[(v * cut_.channels + c) * lanes + i % lanes] =
                    static_cast<typename Spread::Index>(from);
                spread.shuffles = spread.shuffles && from < lanes;
            }
        }
    }

    void add_panel(int64 panel, const Spread& spread, T* x, T* grad, T* sums) const {
        std::fill(sums, sums + cut_.sum_elements(problem_), T(0));
        for (int64 n = 0; n < problem_.n; ++n) {
            for (int64 m = 0; m < problem_.output[0]; ++m) {
                for (int64 p = 0; p < problem_.output[1]; p += cut_.lines) {
                    const Band band{
                        n, m, p, std::min(cut_.lines, problem_.output[1] - p)};
                    fill_x(band, spread, x);
                    const Grad seen = grad_of(band, panel, grad);
                    for (int64 at = 0; at < band.lines; at += cut_.pass) {
                        add_lines(
                            at, std::min(cut_.pass, band.lines - at), x, seen, sums);
                    }
                }
            }
        }
    }

    int64 filters_of(int64 panel) const {
        return std::min(cut_.width, problem_.k - panel * cut_.width);
    }

    // A row of pixels of one panel, channels or filters side by side.
    void
    lay(const T* from,
        int64 channel_pitch,
        int64 pixel_pitch,
        int64 channels,
        int64 pixels,
        T* to,
        int64 to_pitch) const {
        if (pixel_pitch == 1 && channel_pitch != 1) {
            kernels_.transpose(from, channel_pitch, channels, pixels, to, to_pitch);
            return;
        }
        kernels_.copy_lines(
            {.from = from,
             .from_pitch = pixel_pitch,
             .from_step = channel_pitch,
             .lines = pixels,
             .count = channels,
             .to = to,
             .to_pitch = to_pitch});
    }

    // The same for x: under every filter the channels of its group, one after the
    // other.
    void lay_x(const T* from, const Spread& spread, int64 pixels, T* to) const {
        const int64(&pitch)[5] = problem_.x_pitch;
        if (!cut_.spread) {
            lay(from, pitch[1], pitch[4], spread.channels, pixels, to, cut_.width);
            return;
        }
        const int64 span = cut_.span(problem_);
        lay(from, pitch[1], pitch[4], spread.channels, pixels, spread.row, span);
        if (spread.shuffles) {
            kernels_.spread_lanes(
                {.x = spread.row,
                 .x_pitch = span,
                 .pixels = pixels,
                 .vectors = cut_.vectors,
                 .begin = spread.begin,
                 .channels = cut_.channels,
                 .index = spread.index,
                 .out = to,
                 .out_pitch = cut_.width});
            return;
        }
        const int64 lanes = kernels_.lanes;
        for (int64 i = 0; i < pixels; ++i) {
            const T* row = spread.row + i * span;
            for (int64 c = 0; c < cut_.channels; ++c, to += cut_.width) {
                for (int64 lane = 0; lane < cut_.width; ++lane) {
                    const int64 v = lane / lanes;
                    to[lane] =
                        row[spread.begin[v] +
                            spread
                                .index[(v * cut_.channels + c) * lanes + lane % lanes]];
                }
            }
        }
    }

    // The rows of x under a band for every tap along the depth: zeros in the padding.
    void fill_x(const Band& band, const Spread& spread, T* x) const {
        const int64(&pitch)[5] = problem_.x_pitch;
        const T* from = x_ + band.n * pitch[0] + spread.first * pitch[1];
        const int64 rows = cut_.band_rows(problem_);
        const int64 pixel = cut_.pixel();
        const int64 line = cut_.columns * pixel;
        const int64 before = std::min(problem_.pad_before[2], cut_.columns);
        const int64 inside = std::clamp<int64>(
            cut_.columns - problem_.pad_before[2], 0, problem_.input[2]);
        for (int64 t = 0; t < problem_.kernel[0]; ++t) {
            const int64 d = band.m * problem_.stride[0] + t * problem_.dilation[0] -
                            problem_.pad_before[0];
            for (int64 row = 0; row < LaneBlocking::reach(problem_, 1, band.lines);
                 ++row) {
                const int64 h =
                    band.first * problem_.stride[1] + row - problem_.pad_before[1];
                T* to = x + (t * rows + row) * line;
                if (d < 0 || d >= problem_.input[0] || h < 0 ||
                    h >= problem_.input[1] || inside == 0) {
                    std::fill(to, to + line, T(0));
                    continue;
                }
                std::fill(to, to + before * pixel, T(0));
                lay_x(
                    from + d * pitch[2] + h * pitch[3],
                    spread,
                    inside,
                    to + before * pixel);
                std::fill(to + (before + inside) * pixel, to + line, T(0));
            }
        }
    }

    // A band of grad as the sums read it.
    struct Grad {
        const T* first;
        int64 line_pitch;
        int64 pixel_pitch;
    };

    // Lays it out in `room`, or finds it where it lies.
    Grad grad_of(const Band& band, int64 panel, T* room) const {
        const int64(&pitch)[5] = problem_.y_pitch;
        const T* from = grad_ + band.n * pitch[0] + panel * cut_.width * pitch[1] +
                        band.m * pitch[2] + band.first * pitch[3];
        const int64 filters = filters_of(panel);
        if (pitch[1] == 1 && filters == cut_.width) {
            return {from, pitch[3], pitch[4]};
        }
        const int64 line = problem_.output[2] * cut_.width;
        for (int64 row = 0; row < band.lines; ++row) {
            lay(from + row * pitch[3],
                pitch[1],
                pitch[4],
                filters,
                problem_.output[2],
                room + row * line,
                cut_.width);
        }
        return {room, line, cut_.width};
    }

    // Adds output lines [first, first + lines) of a band to the sums of every tap.
    void
    add_lines(int64 first, int64 lines, const T* x, const Grad& grad, T* sums) const {
        const int64 pixel = cut_.pixel();
        const int64 line = cut_.columns * pixel;
        // A tap row's (tap, channel) pairs are as far apart from each other as the
        // channels of a tap where taps are neighbours.
        const bool side_by_side = cut_.channels == 1 || problem_.dilation[2] == 1;
        const int64 rows = side_by_side ? 1 : problem_.kernel[2];
        const int64 pairs =
            side_by_side ? problem_.kernel[2] * cut_.channels : cut_.channels;
        const int64 step =
            cut_.channels == 1 ? problem_.dilation[2] * pixel : cut_.width;
        const int64 runs = ceil_div(pairs, MAX_SUM_TAPS);
        for (int64 t = 0; t < problem_.kernel[0]; ++t) {
            for (int64 r = 0; r < problem_.kernel[1]; ++r) {
                const T* from =
                    x + (t * cut_.band_rows(problem_) + first * problem_.stride[1] +
                         r * problem_.dilation[1]) *
                            line;
                T* to =
                    sums + (t * problem_.kernel[1] + r) * problem_.kernel[2] * pixel;
                for (int64 i = 0; i < rows * runs; ++i) {
                    const int64 row = i / runs;
                    const int64 pair = i % runs * pairs / runs;
                    const int64 count = (i % runs + 1) * pairs / runs - pair;
                    kernels_.lane_sums[cut_.vectors - 1][count - 1](
                        {.x = from + row * problem_.dilation[2] * pixel + pair * step,
                         .x_line = problem_.stride[1] * line,
                         .x_step = problem_.stride[2] * pixel,
                         .tap_pitch = step,
                         .grad = grad.first + first * grad.line_pitch,
                         .grad_line = grad.line_pitch,
                         .grad_step = grad.pixel_pitch,
                         .lines = lines,
                         .pixels = problem_.output[2],
                         .sums = to + (row * pairs + pair) * cut_.width,
                         .sum_pitch = cut_.width});
                }
            }
        }
    }

    // From [tap][channel][filter], by way of [channel][tap][filter] where a filter's
    // elements are neighbours.
    void store(int64 panel, const T* sums, T* turned) const {
        const int64(&pitch)[5] = problem_.w_pitch;
        const int64 taps = volume(problem_.kernel);
        T* weight = weight_ + panel * cut_.width * pitch[0];
        if (filters_contiguous(problem_)) {
            for (int64 row = 0; row < taps * cut_.channels; ++row) {
                const int64 to = row % cut_.channels * taps + row / cut_.channels;
                const T* from = sums + row * cut_.width;
                std::copy(from, from + cut_.width, turned + to * cut_.width);
            }
            kernels_.transpose(
                turned,
                cut_.width,
                taps * cut_.channels,
                filters_of(panel),
                weight,
                pitch[0]);
            return;
        }
        Pixel tap(problem_.kernel, 0);
        for (int64 i = 0; i < taps; ++i, tap.advance(problem_.kernel)) {
            for (int64 c = 0; c < cut_.channels; ++c, sums += cut_.width) {
                T* to = weight + c * pitch[1] + tap.offset(pitch);
                for (int64 k = 0; k < filters_of(panel); ++k) {
                    to[k * pitch[0]] = sums[k];
                }
            }
        }
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    LaneBlocking cut_;
    const T* x_;
    const T* grad_;
    T* weight_;
};

} // namespace

void run_weight_lanes(const WeightPlan& plan, const WeightTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        LaneWeights<float>(plan, tensors).run(plan.parallel);
    } else {
        LaneWeights<double>(plan, tensors).run(plan.parallel);
    }
    mend_padded_weight(plan, tensors);
}

} // namespace pyconv
