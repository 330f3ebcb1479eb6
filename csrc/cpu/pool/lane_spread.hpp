// Channels in the lanes: one line of dx of an image whose channels are neighbours.
//
// First the output rows whose windows hold the line are added up, each with its weight,
// then of that, for every pixel, the columns whose windows hold it. A norm that takes
// powers adds window by window, in the order of the outputs.
#pragma once

#include "cpu/isa/registry.hpp"
#include "cpu/pool/cover.hpp"
#include "cpu/pool/lane_pool.hpp"

namespace pyconv {

template <class T>
class LaneSpread {
  public:
    LaneSpread(const PoolGradPlan& plan, int64 channels, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          channels_(channels), depth_(problem_, 0, frame), height_(problem_, 1, frame),
          width_(problem_, 2, frame) {
        const int64 rows =
            depth_.most(problem_.input[0]) * height_.most(problem_.input[1]);
        const int64 columns = width_.most(problem_.input[2]);
        rows_ = frame.take<const T*>(std::max(rows, columns));
        weights_ = frame.take<T>(rows);
        line_ = frame.take<T>(problem_.output[2] * channels);
        if (takes_powers(problem_)) {
            exponent_ = exponent_of(norm_of(problem_) - 1.0);
        } else if (problem_.kind == POOL_LP) {
            scaled_ = frame.take<T>(rows * problem_.output[2] * channels);
        }
    }

    // Line (d, h) of `channels` channels; x and y are a norm's, with dx's and grad's
    // pitches.
    void line(
        const T* grad,
        const T* x,
        const T* y,
        const LanePitches& from,
        int64 d,
        int64 h,
        T* dx,
        int64 step) {
        if (takes_powers(problem_)) {
            return share(grad, x, y, from, d, h, dx, step);
        }
        const int64 length = problem_.output[2] * channels_;
        int64 count = 0;
        for (const int64* m = depth_.begin(d); m != depth_.end(d); ++m) {
            for (const int64* p = height_.begin(h); p != height_.end(h); ++p) {
                const int64 at = *m * from.depth + *p * from.row;
                weights_[count] = depth_.weight(*m) * height_.weight(*p);
                rows_[count] = grad + at;
                if (scaled_ != nullptr) {
                    T* scaled = scaled_ + count * length;
                    scale(grad + at, y + at, from.pixel, scaled);
                    rows_[count] = scaled;
                }
                ++count;
            }
        }
        if (count > 0) {
            add_rows(count, scaled_ != nullptr ? channels_ : from.pixel);
            weigh_columns();
        }
        for (int64 w = 0; w < problem_.input[2]; ++w, dx += step) {
            int64 columns = 0;
            for (const int64* q = width_.begin(w); q != width_.end(w); ++q) {
                rows_[columns++] = line_ + *q * channels_;
            }
            if (count == 0 || columns == 0) {
                std::fill(dx, dx + channels_, T(0));
                continue;
            }
            kernels_.reduce[REDUCE_SUM](rows_, columns, dx, channels_);
            if (problem_.kind == POOL_LP) {
                finish(dx, x + w * step);
            }
        }
    }

  private:
    void share(
        const T* grad,
        const T* x,
        const T* y,
        const LanePitches& from,
        int64 d,
        int64 h,
        T* dx,
        int64 step) const {
        for (int64 w = 0; w < problem_.input[2]; ++w, x += step, dx += step) {
            std::fill(dx, dx + channels_, T(0));
            for (const int64* m = depth_.begin(d); m != depth_.end(d); ++m) {
                for (const int64* p = height_.begin(h); p != height_.end(h); ++p) {
                    const int64 row = *m * from.depth + *p * from.row;
                    for (const int64* q = width_.begin(w); q != width_.end(w); ++q) {
                        const int64 at = row + *q * from.pixel;
                        kernels_.add_shares(
                            grad + at, y + at, x, exponent_, dx, channels_);
                    }
                }
            }
        }
    }

    // grad / y for the norm 2, grad for the norm 1.
    void scale(const T* grad, const T* y, int64 step, T* to) const {
        for (int64 q = 0; q < problem_.output[2]; ++q, to += channels_) {
            if (norm_of(problem_) == 1.0) {
                std::copy(grad + q * step, grad + q * step + channels_, to);
            } else {
                kernels_.ratios(grad + q * step, y + q * step, to, channels_);
            }
        }
    }

    void add_rows(int64 count, int64 step) {
        if (step == channels_) {
            kernels_.reduce_weighted(
                rows_, weights_, count, line_, problem_.output[2] * channels_);
            return;
        }
        for (int64 q = 0; q < problem_.output[2]; ++q) {
            kernels_.reduce_weighted(
                rows_, weights_, count, line_ + q * channels_, channels_);
            for (int64 row = 0; row < count; ++row) {
                rows_[row] += step;
            }
        }
    }

    // Before they are added, as where pixels are in the lanes.
    void weigh_columns() const {
        for (int64 q = 0; problem_.kind == POOL_AVERAGE && q < problem_.output[2];
             ++q) {
            T* column = line_ + q * channels_;
            const T* const row[1] = {column};
            const T weight[1] = {width_.weight(q)};
            kernels_.reduce_weighted(row, weight, 1, column, channels_);
        }
    }

    void finish(T* dx, const T* x) const {
        if (norm_of(problem_) == 1.0) {
            kernels_.take_signs(dx, x, channels_);
        } else {
            kernels_.multiply(dx, x, channels_);
        }
    }

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    int64 channels_;
    Cover<T> depth_;
    Cover<T> height_;
    Cover<T> width_;
    const T** rows_ = nullptr;
    T* weights_ = nullptr;
    T* line_ = nullptr;
    T* scaled_ = nullptr;
    Exponent exponent_{};
};

} // namespace pyconv
