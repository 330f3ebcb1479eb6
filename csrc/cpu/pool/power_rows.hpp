// Rows of x to a norm's power, kept for the next windows that hold them.
//
// A power costs more than all else of a window; windows that overlap would take each
// several times.
#pragma once

#include "core/memory.hpp"
#include "cpu/pool/rule.hpp"

namespace pyconv {

// Elements of rows that are kept.
inline constexpr int64 MOST_POWERS = 1 << 17;

// Whether windows overlap, and what they share can be kept, rows being `width`
// elements.
inline bool keeps_powers(const PoolProblem& problem, int64 width) {
    const bool overlap = problem.output[1] > 1 && problem.stride[1] < problem.kernel[1];
    return takes_powers(problem) && overlap && problem.adaptive == 0 &&
           problem.kernel[0] == 1 && problem.kernel[1] * width <= MOST_POWERS;
}

template <class T>
class PowerRows {
  public:
    PowerRows(const PoolProblem& problem, int64 width, ScratchFrame& frame)
        : width_(width), slots_(problem.kernel[1]), held_(frame.take<const T*>(slots_)),
          rows_(frame.take<T*>(slots_)) {
        for (int64 slot = 0; slot < slots_; ++slot) {
            rows_[slot] = frame.take<T>(width);
        }
        forget();
    }

    // For when other numbers may lie at the same place.
    void forget() { std::fill(held_, held_ + slots_, nullptr); }

    // Lists the powers of the listed rows instead; no more than a window has.
    void replace(const PoolRule<T>& rule, const T** rows, int64 count) {
        for (int64 j = 0; j < count; ++j) {
            rows[j] = power(rule, rows[j]);
        }
    }

  private:
    // Windows go down the plane: the row that came first is needed no more.
    const T* power(const PoolRule<T>& rule, const T* row) {
        for (int64 slot = 0; slot < slots_; ++slot) {
            if (held_[slot] == row) {
                return rows_[slot];
            }
        }
        const int64 slot = next_;
        next_ = next_ + 1 == slots_ ? 0 : next_ + 1;
        held_[slot] = row;
        rule.down(&row, 1, rows_[slot], width_);
        return rows_[slot];
    }

    int64 width_;
    int64 slots_;
    const T** held_;
    T** rows_;
    int64 next_ = 0;
};

} // namespace pyconv
