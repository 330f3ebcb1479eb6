// Outputs in the lanes, picked in registers: rows of outputs of one plane whose pixels
// lie along the row, and whose windows are narrow.
//
// Everything that does not depend on the plane is listed once: the runs of outputs that
// two vectors of x serve, and the rows of x in each window (micro/picked_row.hpp).
#pragma once

#include "core/memory.hpp"
#include "cpu/pool/parts.hpp"
#include "cpu/pool/rule.hpp"
#include "cpu/pool/window.hpp"

namespace pyconv {

inline constexpr int64 LEAST_PICKED = 5; // outputs of a row

// Of a row, that two vectors of x serve; 0: not even one.
inline int64 picked_outputs(const PoolProblem& problem, int64 lanes) {
    const int64 reach = (problem.kernel[2] - 1) * problem.dilation[2] + 1;
    const int64 more = (2 * lanes - reach) / problem.stride[2];
    return reach > 2 * lanes ? 0 : std::min(lanes, more + 1);
}

inline bool picks(const PoolProblem& problem, const IsaTable& isa) {
    const int64 lanes = lanes_of(problem, isa);
    const bool along = (problem.x_pitch[4] == 1 || problem.input[2] == 1) &&
                       (problem.y_pitch[4] == 1 || problem.output[2] == 1);
    // Of fewer outputs channels are better.
    return has_masks(isa) && along && problem.output[2] >= LEAST_PICKED &&
           problem.adaptive == 0 && !takes_powers(problem) &&
           picked_outputs(problem, lanes) >= std::min(lanes / 2, problem.output[2]);
}

// Windows that are done block by block: of a plane that stays in L1 all, else of a few
// lines, so that x streams.
inline int64 windows_together(const PoolProblem& problem) {
    const int64 most = volume(problem.input) <= LINE_ELEMENTS
                           ? problem.output[0] * problem.output[1]
                           : LINE_ELEMENTS / 8 / (problem.input[2] * problem.stride[1]);
    return std::max<int64>(most, 1);
}

template <class T>
class PickedPool {
  public:
    PickedPool(const PoolPlan& plan, const PoolTensors& tensors, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          rule_(problem_, *plan.isa), x_(static_cast<const T*>(tensors.x)),
          y_(static_cast<T*>(tensors.y)), indices_(tensors.indices),
          each_(picked_outputs(problem_, kernels_.lanes)),
          together_(windows_together(problem_)),
          block_count_(ceil_div(problem_.output[2], each_)),
          blocks_(frame.take<PickedBlock>(block_count_)),
          windows_(
              frame.take<PickedWindow<T>>(problem_.output[0] * problem_.output[1])),
          lanes_(frame.take<Lane>(problem_.kernel[2] * kernels_.lanes)),
          least_(frame.take<Lane>(block_count_ * kernels_.lanes)) {
        list_blocks();
        list_windows(frame);
    }

    // Rows [begin, end) of plane (n, c), counted over all planes of outputs.
    void pool(int64 n, int64 c, int64 begin, int64 end) const {
        const int64 to = n * problem_.y_pitch[0] + c * problem_.y_pitch[1];
        const PickedRows<T> task{
            .x = x_ + n * problem_.x_pitch[0] + c * problem_.x_pitch[1],
            .y = y_ + to,
            .indices = indices_ == nullptr ? nullptr : indices_ + to,
            .windows = windows_ + begin,
            .count = end - begin,
            .together = together_,
            .plane_step = problem_.dilation[0] * problem_.x_pitch[2],
            .row_step = problem_.dilation[1] * problem_.x_pitch[3],
            .plane_place_step = plane_index(problem_, problem_.dilation[0], 0, 0),
            .row_place_step = plane_index(problem_, 0, problem_.dilation[1], 0),
            .blocks = blocks_,
            .block_count = block_count_,
            .lanes = lanes_,
            .taps = problem_.kernel[2],
            .least = least_,
            .roots = rule_.roots(),
        };
        if (indices_ != nullptr) {
            kernels_.picked_rows_indexed(task);
        } else {
            kernels_.picked_rows[rule_.reduction()](task);
        }
    }

  private:
    using Lane = std::conditional_t<sizeof(T) == 4, std::int32_t, int64>;

    void list_blocks() {
        const int64 lanes = kernels_.lanes;
        const int64 stride = problem_.stride[2];
        const int64 dilation = problem_.dilation[2];
        for (int64 b = 0; b < block_count_; ++b) {
            const int64 output = b * each_;
            const int64 column = output * stride - problem_.pad_before[2];
            const auto inside = [&](int64 at) {
                return std::clamp<int64>(at - column, 0, 2 * lanes);
            };
            blocks_[b] = {
                .output = output,
                .outputs = std::min(each_, problem_.output[2] - output),
                .column = column,
                .begin = inside(0),
                .end = inside(problem_.input[2]),
            };
            for (int64 i = 0; i < lanes; ++i) {
                const int64 q = std::min(output + i, problem_.output[2] - 1);
                const Window window = window_of(problem_, 2, q);
                const int64 first = window.start + window.first * dilation - column;
                least_[b * lanes + i] =
                    static_cast<Lane>(window.taps() > 0 ? first : -1);
            }
        }
        for (int64 s = 0; s < problem_.kernel[2]; ++s) {
            for (int64 i = 0; i < lanes; ++i) {
                // The last output's, where there are no more.
                const int64 at = std::min(i, each_ - 1) * stride + s * dilation;
                lanes_[s * lanes + i] = static_cast<Lane>(at);
            }
        }
    }

    void list_windows(ScratchFrame& frame) {
        int64 divided_by = -1;
        const T* divisors = nullptr;
        for (int64 m = 0; m < problem_.output[0]; ++m) {
            const Window depth = window_of(problem_, 0, m);
            const int64 d = depth.start + depth.first * problem_.dilation[0];
            for (int64 p = 0; p < problem_.output[1]; ++p) {
                const Window height = window_of(problem_, 1, p);
                const int64 h = height.start + height.first * problem_.dilation[1];
                const int64 counted = depth.counted * height.counted;
                if (rule_.divides() && counted != divided_by) {
                    divided_by = counted;
                    divisors = list_divisors(depth.counted, height.counted, frame);
                }
                windows_[m * problem_.output[1] + p] = {
                    .x = d * problem_.x_pitch[2] + h * problem_.x_pitch[3],
                    .planes = depth.taps(),
                    .rows = height.taps(),
                    .place = plane_index(problem_, d, h, 0),
                    .y = m * problem_.y_pitch[2] + p * problem_.y_pitch[3],
                    .divisors = divisors,
                };
            }
        }
    }

    const T* list_divisors(int64 depth, int64 height, ScratchFrame& frame) const {
        T* divisors = frame.take<T>(problem_.output[2]);
        for (int64 q = 0; q < problem_.output[2]; ++q) {
            const int64 width = window_of(problem_, 2, q).counted;
            divisors[q] = static_cast<T>(divisor_of(problem_, depth, height, width));
        }
        return divisors;
    }

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    PoolRule<T> rule_;
    const T* x_;
    T* y_;
    int64* indices_;
    int64 each_; // outputs of a block
    int64 together_;
    int64 block_count_;
    PickedBlock* blocks_;
    PickedWindow<T>* windows_; // of each row of outputs
    Lane* lanes_;
    Lane* least_;
};

} // namespace pyconv
