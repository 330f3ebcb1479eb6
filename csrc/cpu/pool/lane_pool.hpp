// Channels in the lanes: one output row of an image whose channels are neighbours, be
// it the user's or one turned in scratch.
//
// A row is pooled in stretches short enough that the line between the two reductions
// stays in L1. With indices there is no line: an output looks at every element of its
// window, row by row, so that the first of equal maxima wins.
#pragma once

#include "core/machine.hpp"
#include "core/memory.hpp"
#include "cpu/pool/model.hpp"
#include "cpu/pool/parts.hpp"
#include "cpu/pool/power_rows.hpp"
#include "cpu/pool/rule.hpp"
#include "cpu/pool/window.hpp"

#include <optional>

namespace pyconv {

// Steps between neighbours, in elements; channels lie side by side.
struct LanePitches {
    int64 depth;
    int64 row;
    int64 pixel;
};

// Rows of a window that are reduced in registers.
inline constexpr int64 LANE_WINDOW_ROWS = 8;

template <class T>
class LanePool {
  public:
    LanePool(const PoolPlan& plan, int64 channels, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          rule_(problem_, *plan.isa), channels_(channels),
          stretch_(outputs_of_a_stretch(problem_, channels)),
          rows_(frame.take<const T*>(volume(problem_.kernel))),
          offsets_(frame.take<int64>(volume(problem_.kernel))),
          windows_(windows_of(problem_, 2, frame)),
          depths_(windows_of(problem_, 0, frame)),
          heights_(windows_of(problem_, 1, frame)),
          spans_(frame.take<Span>(ceil_div(problem_.output[2], stretch_))) {
        int64 widest = 0;
        for (int64 q = 0; q < problem_.output[2]; ++q) {
            Span& span = spans_[q / stretch_];
            if (q % stretch_ == 0) {
                span = {problem_.input[2], 0};
            }
            span.cover(windows_[q], problem_.dilation[2]);
            widest = std::max(widest, span.columns());
        }
        if (plan.form == PoolForm::TURNED || stays_cached(problem_)) {
            list_runs(frame);
        }
        if (problem_.return_indices == 0) {
            line_ = frame.take<T>(widest * channels);
            columns_ = frame.take<const T*>(problem_.kernel[2]);
        }
        if (keeps_powers(problem_, problem_.input[2] * channels)) {
            powers_.emplace(problem_, problem_.input[2] * channels, frame);
        }
    }

    // For when another image lies where the last one lay.
    void forget() {
        if (powers_) {
            powers_->forget();
        }
    }

    // Row (m, p) of `channels` channels of an image at x, to pixels y_step apart.
    void pool(
        const T* x,
        const LanePitches& pitch,
        int64 m,
        int64 p,
        T* y,
        int64* indices,
        int64 y_step) {
        depth_ = depths_[m];
        height_ = heights_[p];
        if (problem_.return_indices != 0) {
            pool_indexed(x, pitch, y, indices, y_step);
            return;
        }
        if (runs_ != nullptr && depth_.taps() == 1) {
            pool_runs(x, pitch, y, y_step);
            return;
        }
        int64 count = 0;
        for (int64 t = depth_.first; t < depth_.last; ++t) {
            const int64 d = depth_.start + t * problem_.dilation[0];
            for (int64 r = height_.first; r < height_.last; ++r) {
                const int64 h = height_.start + r * problem_.dilation[1];
                rows_[count++] = x + d * pitch.depth + h * pitch.row;
            }
        }
        const bool kept = powers_.has_value() && pitch.pixel == channels_;
        if (kept) {
            powers_->replace(rule_, rows_, count);
        }
        powered_ = kept;
        for (int64 q = 0; q < problem_.output[2]; q += stretch_) {
            pool_stretch(count, pitch.pixel, q, y + q * y_step, y_step);
        }
    }

  private:
    static int64 outputs_of_a_stretch(const PoolProblem& problem, int64 channels) {
        const int64 shrink = ceil_div(problem.input[2], problem.output[2]);
        const int64 columns = LINE_ELEMENTS / channels - problem.kernel[2];
        return std::clamp<int64>(columns / shrink, 1, problem.output[2]);
    }

    // Outputs whose windows are equally wide, count as many columns and lie equally far
    // apart.
    struct Run {
        int64 first;
        int64 outputs;
        int64 column; // of x, the first one's first
        int64 step;
    };

    // What comes from memory comes quicker in the long stretches that lines are made
    // of.
    static bool stays_cached(const PoolProblem& problem) {
        const Machine& host = machine();
        const int64 last = std::max(host.l2_bytes, host.l3_bytes);
        return pool_bytes(problem) <= static_cast<double>(last);
    }

    // Narrow windows are pooled in registers, a run of outputs at a time.
    void list_runs(ScratchFrame& frame) {
        if (problem_.return_indices != 0 || takes_powers(problem_) ||
            problem_.kernel[2] > LANE_WINDOW_TAPS || problem_.dilation[2] != 1 ||
            problem_.kernel[1] > LANE_WINDOW_ROWS) {
            return;
        }
        runs_ = frame.take<Run>(problem_.output[2]);
        const auto column = [&](int64 q) {
            return windows_[q].start + windows_[q].first;
        };
        for (int64 q = 0; q < problem_.output[2]; ++q) {
            if (run_count_ > 0) {
                Run& run = runs_[run_count_ - 1];
                const int64 step = column(q) - column(q - 1);
                if (windows_[q].taps() == windows_[q - 1].taps() &&
                    windows_[q].counted == windows_[q - 1].counted &&
                    (run.outputs == 1 || step == run.step)) {
                    run.step = step;
                    ++run.outputs;
                    continue;
                }
            }
            runs_[run_count_++] = {q, 1, column(q), 0};
        }
    }

    void pool_runs(const T* x, const LanePitches& pitch, T* y, int64 y_step) {
        const T* line =
            x + (depth_.start + depth_.first * problem_.dilation[0]) * pitch.depth +
            (height_.start + height_.first * problem_.dilation[1]) * pitch.row;
        for (int64 i = 0; i < run_count_; ++i) {
            const Run& run = runs_[i];
            const Window& window = windows_[run.first];
            T* to = y + run.first * y_step;
            if (height_.taps() == 0 || window.taps() == 0) {
                for (int64 q = 0; q < run.outputs; ++q, to += y_step) {
                    std::fill(to, to + channels_, rule_.nothing());
                    finish(to, window);
                }
                continue;
            }
            const double divisor =
                rule_.divides()
                    ? divisor_of(
                          problem_, depth_.counted, height_.counted, window.counted)
                    : 1.0;
            kernels_.lane_windows[rule_.reduction()](
                {.x = line + run.column * pitch.pixel,
                 .row_pitch = problem_.dilation[1] * pitch.row,
                 .rows = height_.taps(),
                 .pixel_pitch = pitch.pixel,
                 .taps = window.taps(),
                 .step = run.step,
                 .outputs = run.outputs,
                 .channels = channels_,
                 .divisor = static_cast<T>(divisor),
                 .y = to,
                 .y_pitch = y_step});
        }
    }

    // Columns of input that neighbouring outputs look at; none where first >= last.
    struct Span {
        int64 first;
        int64 last;

        void cover(const Window& window, int64 dilation) {
            if (window.taps() > 0) {
                first = std::min(first, window.start + window.first * dilation);
                last = std::max(last, window.start + (window.last - 1) * dilation + 1);
            }
        }
        int64 columns() const { return std::max<int64>(last - first, 0); }
    };

    void pool_stretch(int64 count, int64 step, int64 begin, T* y, int64 y_step) {
        const Span& span = spans_[begin / stretch_];
        const int64 end = std::min(begin + stretch_, problem_.output[2]);
        if (count > 0 && span.columns() > 0) {
            fill_line(count, step, span);
        }
        for (int64 q = begin; q < end; ++q, y += y_step) {
            const Window& window = windows_[q];
            const int64 taps = count > 0 ? window.taps() : 0;
            for (int64 i = 0; i < taps; ++i) {
                const int64 w =
                    window.start + (window.first + i) * problem_.dilation[2];
                columns_[i] = line_ + (w - span.first) * channels_;
            }
            if (taps > 0) {
                rule_.along(columns_, taps, y, channels_);
            } else {
                std::fill(y, y + channels_, rule_.nothing());
            }
            finish(y, window);
        }
    }

    // Reduces the listed rows over the span's columns.
    void fill_line(int64 count, int64 step, const Span& span) {
        if (step == channels_) {
            shift(count, span.first * step);
            const int64 elements = span.columns() * channels_;
            if (powered_) {
                rule_.along(rows_, count, line_, elements); // a sum
            } else {
                rule_.down(rows_, count, line_, elements);
            }
            shift(count, -span.first * step);
            return;
        }
        for (int64 w = span.first; w < span.last; ++w) {
            shift(count, w * step);
            rule_.down(rows_, count, line_ + (w - span.first) * channels_, channels_);
            shift(count, -w * step);
        }
    }

    void shift(int64 count, int64 elements) {
        for (int64 row = 0; row < count; ++row) {
            rows_[row] += elements;
        }
    }

    void finish(T* y, const Window& window) {
        if (rule_.divides()) {
            const double divisor =
                divisor_of(problem_, depth_.counted, height_.counted, window.counted);
            rule_.divide_all(y, static_cast<T>(divisor), channels_);
        } else if (rule_.roots()) {
            rule_.root(y, channels_);
        }
    }

    void pool_indexed(
        const T* x, const LanePitches& pitch, T* y, int64* indices, int64 y_step) {
        for (int64 q = 0; q < problem_.output[2]; ++q, y += y_step, indices += y_step) {
            int64 count = 0;
            const Window window[3] = {depth_, height_, windows_[q]};
            walk(problem_, window, ROWS_FIRST, [&](int64 d, int64 h, int64 w) {
                rows_[count] = x + d * pitch.depth + h * pitch.row + w * pitch.pixel;
                offsets_[count++] = plane_index(problem_, d, h, w);
            });
            if (count > 0) {
                kernels_.reduce_indexed(
                    {.rows = rows_,
                     .offset = offsets_,
                     .count = count,
                     .step = 0,
                     .least = nullptr,
                     .out = y,
                     .index = indices,
                     .n = channels_});
            } else {
                std::fill(y, y + channels_, rule_.nothing());
                std::fill(indices, indices + channels_, -1);
            }
        }
    }

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    PoolRule<T> rule_;
    int64 channels_;
    int64 stretch_; // outputs of a row that are pooled together
    const T** rows_;
    int64* offsets_;
    const Window* windows_; // of each output of a row
    const Window* depths_;
    const Window* heights_;
    Span* spans_; // of each stretch
    Run* runs_ = nullptr;
    int64 run_count_ = 0;
    std::optional<PowerRows<T>> powers_;
    bool powered_ = false; // rows_ are of powers
    T* line_ = nullptr;
    const T** columns_ = nullptr;
    Window depth_{};
    Window height_{};
};

} // namespace pyconv
