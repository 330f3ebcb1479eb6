// Which outputs' windows an input line lies in, along one axis: windows seen from
// below.
//
// A gradient is gathered: each element of x adds up what the windows that hold it give,
// so that threads share no sum and nothing is added twice.
#pragma once

#include "core/memory.hpp"
#include "cpu/pool/window.hpp"

namespace pyconv {

template <class T>
class Cover {
  public:
    // An average gives each element of output o's window `weight(o)` of its gradient.
    Cover(const PoolProblem& problem, int axis, ScratchFrame& frame)
        : begin_(frame.take<int64>(problem.input[axis] + 1)),
          weights_(frame.take<T>(problem.output[axis])) {
        const int64 extent = problem.input[axis];
        const int64 outputs = problem.output[axis];
        std::fill(begin_, begin_ + extent + 1, 0);
        const auto each = [&](const auto& visit) {
            for (int64 o = 0; o < outputs; ++o) {
                const Window window = window_of(problem, axis, o);
                for (int64 tap = window.first; tap < window.last; ++tap) {
                    visit(o, window.start + tap * problem.dilation[axis]);
                }
            }
        };
        each([&](int64, int64 at) { ++begin_[at + 1]; });
        for (int64 at = 0; at < extent; ++at) {
            begin_[at + 1] += begin_[at];
        }
        outputs_ = frame.take<int64>(begin_[extent]);
        auto* filled = frame.take<int64>(extent);
        std::copy(begin_, begin_ + extent, filled);
        each([&](int64 o, int64 at) { outputs_[filled[at]++] = o; });
        for (int64 o = 0; o < outputs; ++o) {
            weights_[o] = weight_of(problem, axis, o);
        }
    }

    // Outputs, in order, whose windows hold input line `at`.
    const int64* begin(int64 at) const { return outputs_ + begin_[at]; }
    const int64* end(int64 at) const { return outputs_ + begin_[at + 1]; }
    T weight(int64 output) const { return weights_[output]; }
    const T* weights() const { return weights_; }

    // The most outputs that hold one line.
    int64 most(int64 extent) const {
        int64 most = 0;
        for (int64 at = 0; at < extent; ++at) {
            most = std::max(most, begin_[at + 1] - begin_[at]);
        }
        return most;
    }

  private:
    static T weight_of(const PoolProblem& problem, int axis, int64 output) {
        if (problem.kind != POOL_AVERAGE) {
            return T(1);
        }
        if (problem.divisor_override != 0) {
            return axis == 2 ? T(1) / static_cast<T>(problem.divisor_override) : T(1);
        }
        const int64 counted = window_of(problem, axis, output).counted;
        return T(1) / static_cast<T>(std::max<int64>(counted, 1));
    }

    int64* begin_; // of each line's outputs
    int64* outputs_ = nullptr;
    T* weights_; // of each output
};

} // namespace pyconv
