// Outputs in the lanes: one output row of one plane whose pixels lie along the row.
//
// The row is split into `stride` phases, in which consecutive outputs are neighbours,
// so that one reduction makes the whole output row. Rows whose elements are not
// neighbours are gathered first, and scattered at the end.
#pragma once

#include "core/memory.hpp"
#include "cpu/pool/power_rows.hpp"
#include "cpu/pool/rule.hpp"
#include "cpu/pool/window.hpp"

#include <optional>

namespace pyconv {

inline bool gathers(const PoolProblem& problem) {
    return problem.input[2] > 1 && problem.x_pitch[4] != 1;
}

inline bool scatters(const PoolProblem& problem) {
    return problem.output[2] > 1 && problem.y_pitch[4] != 1;
}

// As many 64-bit integers as the widest vector of floats has lanes.
inline constexpr int64 LEAST_ROOM = 16;
// Elements of lines that are held for the next window.
inline constexpr int64 MOST_HELD = 1 << 18;

template <class T>
class RowPool {
  public:
    RowPool(const PoolPlan& plan, const PoolTensors& tensors, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          rule_(problem_, *plan.isa), x_(static_cast<const T*>(tensors.x)),
          y_(static_cast<T*>(tensors.y)), indices_(tensors.indices),
          row_limit_(problem_.kernel[0] * problem_.kernel[1]),
          rows_(frame.take<const T*>(row_limit_)),
          windows_(windows_of(problem_, 2, frame)),
          depths_(windows_of(problem_, 0, frame)),
          heights_(windows_of(problem_, 1, frame)) {
        if (gathers(problem_)) {
            gathered_ = frame.take<T>(row_limit_ * problem_.input[2]);
        }
        if (scatters(problem_)) {
            result_ = frame.take<T>(problem_.output[2]);
            places_ = frame.take<int64>(indices_ != nullptr ? problem_.output[2] : 0);
        }
        if (indices_ != nullptr) {
            take_indexed(frame);
        } else {
            take_lines(frame);
        }
    }

    // Row (m, p) of plane (n, c).
    void pool(int64 n, int64 c, int64 m, int64 p) {
        plane_ = x_ + n * problem_.x_pitch[0] + c * problem_.x_pitch[1];
        plane_number_ = n * problem_.c + c;
        depth_ = depths_[m];
        height_ = heights_[p];
        const int64 at = n * problem_.y_pitch[0] + c * problem_.y_pitch[1] +
                         m * problem_.y_pitch[2] + p * problem_.y_pitch[3];
        T* y = result_ != nullptr ? result_ : y_ + at;
        const int64 count = list_rows();
        if (indices_ == nullptr) {
            reduce(count, y);
        } else {
            int64* places = result_ != nullptr ? places_ : indices_ + at;
            reduce_indexed(count, y, places);
            scatter(places, indices_ + at);
        }
        scatter(y, y_ + at);
    }

  private:
    // A column of a line split into phases.
    struct Place {
        int64 phase;
        int64 offset;
    };

    // Columns of input that a row of outputs reaches, from the first one's first on.
    int64 reach() const {
        return (problem_.output[2] - 1) * problem_.stride[2] +
               (problem_.kernel[2] - 1) * problem_.dilation[2] + 1;
    }

    void take_lines(ScratchFrame& frame) {
        const int64 stride = problem_.stride[2];
        const int64 outputs = problem_.output[2];
        columns_ = frame.take<const T*>(problem_.kernel[2]);
        divisors_ = frame.take<T>(outputs);
        const int64 length = problem_.adaptive != 0 ? problem_.input[2] : reach();
        // What the rows give begins on a vector's boundary.
        const int64 lanes = kernels_.lanes;
        const int64 room = length + 3 * lanes;
        line_ = frame.take<T>(room);
        std::fill(line_, line_ + room, rule_.nothing());
        line_ += (lanes - problem_.pad_before[2] % lanes) % lanes;
        in_registers_ =
            problem_.adaptive == 0 && !takes_powers(problem_) && stride <= 2;
        if (!in_registers_ && problem_.adaptive == 0 && stride > 1 && outputs > 1) {
            phases_ = frame.take<T*>(stride);
            for (int64 phase = 0; phase < stride; ++phase) {
                phases_[phase] = frame.take<T>(ceil_div(reach(), stride));
            }
        }
        // Rows that are gathered lie where others lay.
        const int64 width = problem_.input[2];
        if (keeps_powers(problem_, width) && gathered_ == nullptr) {
            powers_.emplace(problem_, width, frame);
        }
        // columns_[s][q] = line_[q * stride + s * dilation]
        for (int64 s = 0; s < problem_.kernel[2]; ++s) {
            const int64 at = s * problem_.dilation[2];
            columns_[s] =
                phases_ != nullptr ? phases_[at % stride] + at / stride : line_ + at;
        }
    }

    // Lines of the rows that a window may hold, padded and split into phases; those
    // that the next window holds too stay.
    void take_indexed(ScratchFrame& frame) {
        const int64 stride = problem_.stride[2];
        const int64 outputs = problem_.output[2];
        for (int axis = 0; axis < 2; ++axis) {
            slots_[axis] = std::min(
                (problem_.kernel[axis] - 1) * problem_.dilation[axis] + 1,
                problem_.input[axis]);
        }
        const int64 slots = slots_[0] * slots_[1];
        one_by_one_ =
            problem_.adaptive != 0 || outputs == 1 || slots * reach() > MOST_HELD;
        if (one_by_one_) {
            return;
        }
        held_ = frame.take<int64>(slots);
        std::fill(held_, held_ + slots, -1);
        const int64 length = ceil_div(reach(), stride);
        phases_ = frame.take<T*>(slots * stride);
        turned_ = frame.take<T*>(stride);
        for (int64 phase = 0; phase < slots * stride; ++phase) {
            phases_[phase] = frame.take<T>(length);
            std::fill(phases_[phase], phases_[phase] + length, rule_.nothing());
        }
        const int64 taps = row_limit_ * problem_.kernel[2];
        taps_ = frame.take<const T*>(taps);
        offsets_ = frame.take<int64>(taps);
        // Divisions are done here, once: each takes as long as a vector of outputs.
        const auto listed = [&](int64 count, int64 first, int64 step) {
            auto* places = frame.take<Place>(count);
            for (int64 i = 0; i < count; ++i) {
                const int64 at = first + i * step;
                places[i] = {at % stride, at / stride};
            }
            return places;
        };
        tap_places_ = listed(problem_.kernel[2], 0, problem_.dilation[2]);
        phase_places_ = listed(stride, problem_.pad_before[2], 1);
        for (int axis = 0; axis < 2; ++axis) {
            slot_of_[axis] = frame.take<int64>(problem_.input[axis]);
            for (int64 at = 0; at < problem_.input[axis]; ++at) {
                slot_of_[axis][at] = at % slots_[axis];
            }
        }
        least_ = frame.take<int64>(ceil_div(outputs, LEAST_ROOM) * LEAST_ROOM);
        for (int64 q = 0; q < outputs; ++q) {
            const Window& window = windows_[q];
            least_[q] = window.start + window.first * problem_.dilation[2] +
                        problem_.pad_before[2];
            some_empty_ = some_empty_ || window.taps() == 0;
        }
    }

    // Lists the window's rows inside the plane; returns how many there are.
    int64 list_rows() {
        int64 count = 0;
        for (int64 t = depth_.first; t < depth_.last; ++t) {
            const int64 d = depth_.start + t * problem_.dilation[0];
            for (int64 r = height_.first; r < height_.last; ++r) {
                const int64 h = height_.start + r * problem_.dilation[1];
                rows_[count++] =
                    plane_ + d * problem_.x_pitch[2] + h * problem_.x_pitch[3];
            }
        }
        if (gathered_ != nullptr) {
            gather(count);
        }
        return count;
    }

    // Copies the listed rows side by side, and lists the copies.
    void gather(int64 count) {
        const int64 width = problem_.input[2];
        for (int64 row = 0; row < count; ++row) {
            T* copy = gathered_ + row * width;
            for (int64 w = 0; w < width; ++w) {
                copy[w] = rows_[row][w * problem_.x_pitch[4]];
            }
            rows_[row] = copy;
        }
    }

    template <class Element>
    void scatter(const Element* from, Element* to) const {
        if (result_ != nullptr) {
            for (int64 q = 0; q < problem_.output[2]; ++q) {
                to[q * problem_.y_pitch[4]] = from[q];
            }
        }
    }

    void reduce(int64 count, T* y) {
        const int64 outputs = problem_.output[2];
        if (count > 0 && in_registers_) {
            if (rule_.divides()) {
                list_divisors();
            }
            kernels_.row_windows[rule_.reduction()](
                {.rows = rows_,
                 .count = count,
                 .line = line_,
                 .before = problem_.pad_before[2],
                 .inside =
                     std::min(problem_.input[2], reach() - problem_.pad_before[2]),
                 .stride = problem_.stride[2],
                 .taps = problem_.kernel[2],
                 .dilation = problem_.dilation[2],
                 .divisors = divisors_,
                 .y = y,
                 .outputs = outputs});
            return;
        }
        if (count == 0) {
            std::fill(y, y + outputs, rule_.nothing());
        } else if (problem_.adaptive != 0) {
            rule_.down(rows_, count, line_, problem_.input[2]);
            reduce_windows(y);
        } else {
            fill_line(count);
            if (phases_ != nullptr) {
                kernels_.deinterleave(line_, reach(), problem_.stride[2], phases_);
            }
            rule_.along(columns_, problem_.kernel[2], y, outputs);
        }
        if (rule_.divides()) {
            list_divisors();
            rule_.divide(y, divisors_, outputs);
        } else if (rule_.roots()) {
            rule_.root(y, outputs);
        }
    }

    // Adaptive windows differ in length: each output for itself.
    void reduce_windows(T* y) {
        for (int64 q = 0; q < problem_.output[2]; ++q) {
            const Window& window = windows_[q];
            for (int64 i = 0; i < window.taps(); ++i) {
                columns_[i] = line_ + window.start + i;
            }
            rule_.along(columns_, window.taps(), y + q, 1);
        }
    }

    // Divisors change from row to row only at the edges of the plane.
    void list_divisors() {
        const int64 counted = depth_.counted * height_.counted;
        if (counted == divided_by_) {
            return;
        }
        divided_by_ = counted;
        for (int64 q = 0; q < problem_.output[2]; ++q) {
            divisors_[q] = static_cast<T>(divisor_of(
                problem_, depth_.counted, height_.counted, windows_[q].counted));
        }
    }

    // Reduces the rows into the line; what is neutral lies on either side already.
    void fill_line(int64 count) {
        const int64 inside =
            std::min(problem_.input[2], reach() - problem_.pad_before[2]);
        T* line = line_ + problem_.pad_before[2];
        if (inside > 0 && powers_) {
            powers_->replace(rule_, rows_, count);
            rule_.along(rows_, count, line, inside); // a sum
        } else if (inside > 0) {
            rule_.down(rows_, count, line, inside);
        }
    }

    void reduce_indexed(int64 count, T* y, int64* places) {
        const int64 outputs = problem_.output[2];
        if (count == 0 || one_by_one_) {
            for (int64 q = 0; q < outputs; ++q) {
                const Window window[3] = {depth_, height_, windows_[q]};
                const Best<T> best = best_of(problem_, plane_, window);
                y[q] = best.value;
                places[q] = best.index;
            }
            return;
        }
        list_taps();
        kernels_.reduce_indexed(
            {.rows = taps_,
             .offset = offsets_,
             .count = count * problem_.kernel[2],
             .step = problem_.stride[2],
             .least = least_,
             .out = y,
             .index = places,
             .n = outputs});
        for (int64 q = 0; some_empty_ && q < outputs; ++q) {
            if (windows_[q].taps() == 0) {
                places[q] = -1;
            }
        }
    }

    // taps_[i][q] is the i-th element of output q's window, row by row.
    void list_taps() {
        const int64 stride = problem_.stride[2];
        int64 tap = 0;
        int64 row = 0;
        for (int64 t = depth_.first; t < depth_.last; ++t) {
            const int64 d = depth_.start + t * problem_.dilation[0];
            for (int64 r = height_.first; r < height_.last; ++r, ++row) {
                const int64 h = height_.start + r * problem_.dilation[1];
                const int64 slot = slot_of_[0][d] * slots_[1] + slot_of_[1][h];
                T* const* phases = phases_ + slot * stride;
                hold(slot, d * problem_.input[1] + h, rows_[row], phases);
                const int64 index =
                    plane_index(problem_, d, h, -problem_.pad_before[2]);
                for (int64 s = 0; s < problem_.kernel[2]; ++s, ++tap) {
                    taps_[tap] = phases[tap_places_[s].phase] + tap_places_[s].offset;
                    offsets_[tap] = index + s * problem_.dilation[2];
                }
            }
        }
    }

    // Makes the slot hold a row of the plane, unless it does.
    void hold(int64 slot, int64 number, const T* row, T* const* phases) {
        const int64 wanted =
            plane_number_ * problem_.input[0] * problem_.input[1] + number;
        if (held_[slot] == wanted) {
            return;
        }
        held_[slot] = wanted;
        // The padding on either side is there already.
        const int64 before = problem_.pad_before[2];
        for (int64 phase = 0; phase < problem_.stride[2]; ++phase) {
            const Place& place = phase_places_[phase];
            turned_[phase] = phases[place.phase] + place.offset;
        }
        const int64 inside = std::clamp<int64>(reach() - before, 0, problem_.input[2]);
        kernels_.deinterleave(row, inside, problem_.stride[2], turned_);
    }

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    PoolRule<T> rule_;
    const T* x_;
    T* y_;
    int64* indices_;
    int64 row_limit_; // of the rows in a window
    const T** rows_;
    const Window* windows_; // of each output of a row
    const Window* depths_;
    const Window* heights_;
    const T** columns_ = nullptr;
    T* divisors_ = nullptr;
    int64 divided_by_ = -1;
    T* line_ = nullptr;
    T** phases_ = nullptr; // of the line, or of each row
    T* gathered_ = nullptr;
    T* result_ = nullptr;
    int64* places_ = nullptr;
    const T** taps_ = nullptr;
    int64* offsets_ = nullptr;
    Place* tap_places_ = nullptr;
    Place* phase_places_ = nullptr;
    int64* least_ = nullptr; // the first column in x of each window, from the first
    bool some_empty_ = false;
    bool one_by_one_ = false;
    bool in_registers_ = false;
    std::optional<PowerRows<T>> powers_;
    int64 slots_[2]{};
    int64* slot_of_[2]{};   // of each line of x along an axis
    int64* held_ = nullptr; // the row that each slot holds
    T** turned_ = nullptr;  // the phases of a row that begins after the padding
    const T* plane_ = nullptr;
    int64 plane_number_ = 0;
    Window depth_{};
    Window height_{};
};

} // namespace pyconv
