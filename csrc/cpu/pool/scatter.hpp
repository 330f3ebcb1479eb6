// The gradient of a maximum: what each output got goes to the place its index names.
//
// Planes, or the channels of a sample, are shared among threads, and each is walked in
// order: sums do not depend on the number of threads. An index of -1 is a window of
// nothing but padding and goes nowhere; any other outside the plane is an error, found
// before anything is written there.
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

template <class T>
class Scatter {
  public:
    Scatter(const PoolProblem& problem, const PoolGradTensors& tensors)
        : problem_(problem), grad_(static_cast<const T*>(tensors.grad)),
          indices_(tensors.indices), dx_(static_cast<T*>(tensors.dx)),
          plane_(volume(problem.input)), adds_(problem.kind != POOL_UNPOOL),
          dense_(dense_plane(problem.input, problem.x_pitch)),
          pixel_(
              problem.input[2] > 1   ? problem.x_pitch[4]
              : problem.input[1] > 1 ? problem.x_pitch[3]
                                     : problem.x_pitch[2]) {}

    // Channels [first, first + count) of sample n, channel by channel at each pixel.
    void channels(int64 n, int64 first, int64 count) const {
        T* dx = dx_ + n * problem_.x_pitch[0] + first * problem_.x_pitch[1];
        clear(dx, count);
        const int64 start = n * problem_.y_pitch[0] + first * problem_.y_pitch[1];
        for (int64 m = 0; m < problem_.output[0]; ++m) {
            for (int64 p = 0; p < problem_.output[1]; ++p) {
                const int64 line =
                    start + m * problem_.y_pitch[2] + p * problem_.y_pitch[3];
                if (count == 1) {
                    run(line, problem_.y_pitch[4], problem_.output[2], dx, 0);
                    continue;
                }
                for (int64 q = 0; q < problem_.output[2]; ++q) {
                    run(line + q * problem_.y_pitch[4],
                        problem_.y_pitch[1],
                        count,
                        dx,
                        problem_.x_pitch[1]);
                }
            }
        }
    }

  private:
    void clear(T* dx, int64 count) const {
        const bool lanes = problem_.x_pitch[1] == 1 && count > 1;
        const int64 width = problem_.input[2];
        for (int64 c = 0; c < (lanes ? 1 : count); ++c) {
            for (int64 d = 0; d < problem_.input[0]; ++d) {
                for (int64 h = 0; h < problem_.input[1]; ++h) {
                    T* line = dx + c * problem_.x_pitch[1] + d * problem_.x_pitch[2] +
                              h * problem_.x_pitch[3];
                    if (problem_.x_pitch[4] == (lanes ? count : 1)) {
                        std::fill(line, line + width * (lanes ? count : 1), T(0));
                        continue;
                    }
                    for (int64 w = 0; w < width; ++w, line += problem_.x_pitch[4]) {
                        std::fill(line, line + (lanes ? count : 1), T(0));
                    }
                }
            }
        }
    }

    // `count` outputs, `step` apart: those of a line into one plane, or of a pixel into
    // planes `plane_step` apart.
    void run(int64 from, int64 step, int64 count, T* dx, int64 plane_step) const {
        if (adds_) {
            put_all<true>(from, step, count, dx, plane_step);
        } else {
            put_all<false>(from, step, count, dx, plane_step);
        }
    }

    template <bool ADDS>
    void put_all(int64 from, int64 step, int64 count, T* dx, int64 plane_step) const {
        const T* grad = grad_ + from;
        const int64* indices = indices_ + from;
        const auto plane = static_cast<unsigned long long>(plane_);
        for (int64 i = 0; i < count; ++i) {
            const int64 index = indices[i * step];
            if (static_cast<unsigned long long>(index) >= plane) {
                refuse(index);
                continue;
            }
            const int64 at =
                dense_ ? index * pixel_
                       : Pixel(problem_.input, index).offset(problem_.x_pitch);
            T& place = dx[at + i * plane_step];
            place = ADDS ? place + grad[i * step] : grad[i * step];
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
    int64 plane_;
    bool adds_;
    bool dense_;
    int64 pixel_; // from one element of a dense plane to the next
};

} // namespace pyconv
