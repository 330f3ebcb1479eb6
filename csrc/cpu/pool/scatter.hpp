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
          least_(adds_ ? -1 : 0), dense_(dense_plane(problem.input, problem.x_pitch)),
          pixel_(
              problem.input[2] > 1   ? problem.x_pitch[4]
              : problem.input[1] > 1 ? problem.x_pitch[3]
                                     : problem.x_pitch[2]) {}

    // Channels [first, first + count) of sample n, channel by channel at each pixel.
    void channels(int64 n, int64 first, int64 count) const {
        T* dx = dx_ + n * problem_.x_pitch[0] + first * problem_.x_pitch[1];
        clear(dx, count);
        const int64 pixels = volume(problem_.output);
        const int64 start = n * problem_.y_pitch[0] + first * problem_.y_pitch[1];
        Pixel pixel(problem_.output, 0);
        for (int64 i = 0; i < pixels; ++i, pixel.advance(problem_.output)) {
            const int64 at = start + pixel.offset(problem_.y_pitch);
            for (int64 c = 0; c < count; ++c) {
                const int64 from = at + c * problem_.y_pitch[1];
                put(dx + c * problem_.x_pitch[1], indices_[from], grad_[from]);
            }
        }
    }

  private:
    void clear(T* dx, int64 count) const {
        if (problem_.x_pitch[1] == 1 && count > 1) {
            Pixel pixel(problem_.input, 0);
            for (int64 i = 0; i < plane_; ++i, pixel.advance(problem_.input)) {
                T* at = dx + pixel.offset(problem_.x_pitch);
                std::fill(at, at + count, T(0));
            }
            return;
        }
        for (int64 c = 0; c < count; ++c) {
            T* plane = dx + c * problem_.x_pitch[1];
            if (dense_ && pixel_ == 1) {
                std::fill(plane, plane + plane_, T(0));
                continue;
            }
            Pixel pixel(problem_.input, 0);
            for (int64 i = 0; i < plane_; ++i, pixel.advance(problem_.input)) {
                plane[pixel.offset(problem_.x_pitch)] = T(0);
            }
        }
    }

    void put(T* plane, int64 index, T value) const {
        if (index < least_ || index >= plane_) {
            throw std::out_of_range(
                "indices holds " + std::to_string(index) + ", outside a plane of " +
                std::to_string(plane_) + " elements");
        }
        if (index < 0) {
            return;
        }
        const int64 at = dense_ ? index * pixel_
                                : Pixel(problem_.input, index).offset(problem_.x_pitch);
        plane[at] = adds_ ? plane[at] + value : value;
    }

    const PoolProblem& problem_;
    const T* grad_;
    const int64* indices_;
    T* dx_;
    int64 plane_;
    bool adds_;
    int64 least_; // index that is no error
    bool dense_;
    int64 pixel_; // from one element of a dense plane to the next
};

} // namespace pyconv
