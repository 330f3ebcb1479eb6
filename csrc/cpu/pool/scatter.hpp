// The gradient of a maximum: what each output got goes to the place its index names.
//
// Planes, or the channels of a sample, are shared among threads, and each is walked in
// order: sums do not depend on the number of threads. An index of -1 is a window of
// nothing but padding and goes nowhere; any other outside the plane is an error, found
// before anything is written there.
//
// dx is cleared just ahead of the indices, which mostly ascend: what is added to is in
// L1 still, and the test whether an index lies in what is cleared is the test whether
// it lies in the plane.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"

#include <stdexcept>
#include <string>

namespace pyconv {

// Steps of a plane whose pixels follow each other.
inline bool dense_plane(const int64 (&extent)[3], const int64 (&pitch)[5]) {
    return (extent[1] == 1 || pitch[3] == extent[2] * pitch[4]) &&
           (extent[0] == 1 || pitch[2] == extent[1] * extent[2] * pitch[4]);
}

// From one element of such a plane to the next.
inline int64 pixel_of(const int64 (&extent)[3], const int64 (&pitch)[5]) {
    return extent[2] > 1 ? pitch[4] : extent[1] > 1 ? pitch[3] : pitch[2];
}

// Elements that are cleared at a time: a part of an L1.
inline constexpr int64 CLEARED_AHEAD = 1024;

template <class T>
class Scatter {
  public:
    Scatter(const PoolProblem& problem, const PoolGradTensors& tensors)
        : problem_(problem), grad_(static_cast<const T*>(tensors.grad)),
          indices_(tensors.indices), dx_(static_cast<T*>(tensors.dx)),
          plane_(volume(problem.input)), outputs_(volume(problem.output)),
          adds_(problem.kind != POOL_UNPOOL),
          dense_(dense_plane(problem.input, problem.x_pitch)),
          pixel_(pixel_of(problem.input, problem.x_pitch)) {}

    // Channels [first, first + count) of sample n, channel by channel at each pixel.
    void channels(int64 n, int64 first, int64 count) {
        to_ = dx_ + n * problem_.x_pitch[0] + first * problem_.x_pitch[1];
        count_ = count;
        cleared_ = 0;
        if (!dense_) {
            clear_lines();
            cleared_ = plane_;
        }
        const int64 start = n * problem_.y_pitch[0] + first * problem_.y_pitch[1];
        if (adds_) {
            put_plane<true>(start);
        } else {
            put_plane<false>(start);
        }
        clear(plane_);
    }

  private:
    template <bool ADDS>
    void put_plane(int64 start) {
        if (count_ == 1 && dense_plane(problem_.output, problem_.y_pitch)) {
            put<ADDS>(start, pixel_of(problem_.output, problem_.y_pitch), outputs_, 0);
            return;
        }
        for (int64 m = 0; m < problem_.output[0]; ++m) {
            for (int64 p = 0; p < problem_.output[1]; ++p) {
                const int64 line =
                    start + m * problem_.y_pitch[2] + p * problem_.y_pitch[3];
                if (count_ == 1) {
                    put<ADDS>(line, problem_.y_pitch[4], problem_.output[2], 0);
                    continue;
                }
                for (int64 q = 0; q < problem_.output[2]; ++q) {
                    put<ADDS>(
                        line + q * problem_.y_pitch[4],
                        problem_.y_pitch[1],
                        count_,
                        problem_.x_pitch[1]);
                }
            }
        }
    }

    // `count` outputs, `step` apart: those of a line into one plane, or of a pixel into
    // planes `plane_step` apart.
    template <bool ADDS>
    void put(int64 from, int64 step, int64 count, int64 plane_step) {
        const T* grad = grad_ + from;
        const int64* indices = indices_ + from;
        for (int64 i = 0; i < count; ++i) {
            if (dense_) {
                i = step == 1
                        ? put_cleared<ADDS, 1>(grad, indices, 1, i, count, plane_step)
                        : put_cleared<ADDS, 0>(
                              grad, indices, step, i, count, plane_step);
            }
            if (i == count || !reach(indices[i * step])) {
                continue;
            }
            const int64 index = indices[i * step];
            const int64 at =
                dense_ ? index * pixel_
                       : Pixel(problem_.input, index).offset(problem_.x_pitch);
            T& place = to_[at + i * plane_step];
            place = ADDS ? place + grad[i * step] : grad[i * step];
        }
    }

    // Outputs from the i-th on, until an index leaves what is cleared; returns whose.
    // A function of its own, for the registers' sake. STEP: step, or 0 for any.
    template <bool ADDS, int STEP>
    __attribute__((noinline)) int64 put_cleared(
        const T* grad,
        const int64* indices,
        int64 any_step,
        int64 i,
        int64 count,
        int64 plane_step) const {
        const int64 step = STEP == 0 ? any_step : STEP;
        const int64 pixel = pixel_;
        const auto cleared = static_cast<unsigned long long>(cleared_);
        T* dx = to_ + i * plane_step;
        for (; i < count; ++i) {
            const int64 index = indices[i * step];
            if (static_cast<unsigned long long>(index) >= cleared) {
                break;
            }
            T& place = dx[index * pixel];
            place = ADDS ? place + grad[i * step] : grad[i * step];
            dx += plane_step;
        }
        return i;
    }

    // Clears as far as an index reaches, and some more; false for a window of nothing
    // but padding.
    bool reach(int64 index) {
        if (static_cast<unsigned long long>(index) >=
            static_cast<unsigned long long>(plane_)) {
            refuse(index);
            return false;
        }
        if (index >= cleared_) {
            clear(std::min(plane_, index + ceil_div(CLEARED_AHEAD, count_)));
        }
        return true;
    }

    // Elements of the plane before `end`, of all channels.
    void clear(int64 end) {
        if (pixel_ == count_) {
            std::fill(to_ + cleared_ * count_, to_ + end * count_, T(0));
        } else {
            for (int64 at = cleared_; at < end; ++at) {
                std::fill(to_ + at * pixel_, to_ + at * pixel_ + count_, T(0));
            }
        }
        cleared_ = end;
    }

    // Of a plane whose pixels do not follow each other.
    void clear_lines() const {
        for (int64 d = 0; d < problem_.input[0]; ++d) {
            for (int64 h = 0; h < problem_.input[1]; ++h) {
                T* line = to_ + d * problem_.x_pitch[2] + h * problem_.x_pitch[3];
                for (int64 w = 0; w < problem_.input[2]; ++w) {
                    std::fill(line, line + count_, T(0));
                    line += problem_.x_pitch[4];
                }
            }
        }
    }

    // Throws unless the index is a window of nothing but padding.
    void refuse(int64 index) const {
        if (index != -1 || !adds_) {
            throw std::out_of_range(
                "indices holds " + std::to_string(index) + ", outside a plane of " +
                std::to_string(plane_) + " elements");
        }
    }

    const PoolProblem& problem_;
    const T* grad_;
    const int64* indices_;
    T* dx_;
    int64 plane_;   // its elements
    int64 outputs_; // that give to it
    bool adds_;
    bool dense_;
    int64 pixel_;     // from one element of a dense plane to the next
    T* to_ = nullptr; // the plane, or those of count_ neighbouring channels
    int64 count_ = 1;
    int64 cleared_ = 0; // elements of it, the first ones
};

} // namespace pyconv
