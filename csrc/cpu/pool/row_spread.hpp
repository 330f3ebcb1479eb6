// Pixels in the lanes: one line of dx of one plane whose pixels lie along the line.
//
// The output rows whose windows hold the line are added up, each with its weight.
// Pixels `stride` apart get from neighbouring outputs, by the same taps: each such
// phase is one sum of shifted rows, and the phases are interleaved into the line. A
// norm that takes powers adds window by window, in the order of the outputs.
#pragma once

#include "cpu/isa/registry.hpp"
#include "cpu/pool/cover.hpp"
#include "cpu/pool/rule.hpp"

namespace pyconv {

template <class T>
class RowSpread {
  public:
    RowSpread(
        const PoolGradPlan& plan, const PoolGradTensors& tensors, ScratchFrame& frame)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          grad_(static_cast<const T*>(tensors.grad)),
          x_(static_cast<const T*>(tensors.x)), y_(static_cast<const T*>(tensors.y)),
          dx_(static_cast<T*>(tensors.dx)), depth_(problem_, 0, frame),
          height_(problem_, 1, frame), width_(problem_, 2, frame) {
        const int64 outputs = problem_.output[2];
        const int64 stride = problem_.stride[2];
        const int64 rows =
            depth_.most(problem_.input[0]) * height_.most(problem_.input[1]);
        rows_ = frame.take<const T*>(rows);
        weights_ = frame.take<T>(rows);
        if (problem_.kind == POOL_LP && !takes_powers(problem_)) {
            scaled_ = frame.take<T>(rows * outputs);
        }
        // Zeros on either side, as far as taps shift.
        const int64 span = (problem_.kernel[2] - 1) * problem_.dilation[2];
        const int64 before = span / stride + 1;
        const int64 last = (problem_.input[2] - 1 + problem_.pad_before[2]) / stride;
        const int64 after = std::max<int64>(last - (outputs - 1), 0) + 1;
        const auto padded = [&] {
            T* memory = frame.take<T>(before + outputs + after);
            std::fill(memory, memory + before + outputs + after, T(0));
            return memory + before;
        };
        line_ = padded();
        list_taps(frame);
        if (takes_powers(problem_)) {
            exponent_ = exponent_of(norm_of(problem_) - 1.0);
            norms_ = padded();
            x_phases_ = frame.take<T*>(stride);
            for (int64 phase = 0; phase < stride; ++phase) {
                x_phases_[phase] = frame.take<T>(ceil_div(problem_.input[2], stride));
            }
        }
    }

    // Line (d, h) of plane (n, c).
    void line(int64 n, int64 c, int64 d, int64 h) {
        const int64 to = n * problem_.x_pitch[0] + c * problem_.x_pitch[1] +
                         d * problem_.x_pitch[2] + h * problem_.x_pitch[3];
        const int64 from = n * problem_.y_pitch[0] + c * problem_.y_pitch[1];
        const int64 outputs = problem_.output[2];
        const int64 width = problem_.input[2];
        T* dx = dx_ + to;
        if (takes_powers(problem_)) {
            return share(x_ + to, from, d, h, dx);
        }
        int64 count = 0;
        for (const int64* m = depth_.begin(d); m != depth_.end(d); ++m) {
            for (const int64* p = height_.begin(h); p != height_.end(h); ++p) {
                const int64 at =
                    from + *m * problem_.y_pitch[2] + *p * problem_.y_pitch[3];
                weights_[count] = depth_.weight(*m) * height_.weight(*p);
                rows_[count] = grad_ + at;
                if (scaled_ != nullptr && norm_of(problem_) != 1.0) {
                    rows_[count] = scaled_ + count * outputs;
                    kernels_.ratios(
                        grad_ + at, y_ + at, scaled_ + count * outputs, outputs);
                }
                ++count;
            }
        }
        if (count == 0) {
            std::fill(dx, dx + width, T(0));
            return;
        }
        kernels_.reduce_weighted(rows_, weights_, count, line_, outputs);
        if (problem_.kind == POOL_AVERAGE) {
            kernels_.multiply(line_, width_.weights(), outputs);
        }
        add_taps(dx);
        if (problem_.kind == POOL_LP) {
            if (norm_of(problem_) == 1.0) {
                kernels_.take_signs(dx, x_ + to, width);
            } else {
                kernels_.multiply(dx, x_ + to, width);
            }
        }
    }

  private:
    // A norm of 0, as there is on either side, shares nothing.
    void share(const T* x, int64 from, int64 d, int64 h, T* dx) {
        const int64 outputs = problem_.output[2];
        const int64 stride = problem_.stride[2];
        const int64 width = problem_.input[2];
        kernels_.deinterleave(x, width, stride, x_phases_);
        for (int64 phase = 0; phase < stride; ++phase) {
            std::fill(phases_[phase], phases_[phase] + phase_length(phase), T(0));
        }
        for (const int64* m = depth_.begin(d); m != depth_.end(d); ++m) {
            for (const int64* p = height_.begin(h); p != height_.end(h); ++p) {
                const int64 at =
                    from + *m * problem_.y_pitch[2] + *p * problem_.y_pitch[3];
                std::copy(grad_ + at, grad_ + at + outputs, line_);
                std::copy(y_ + at, y_ + at + outputs, norms_);
                for (int64 phase = 0; phase < stride; ++phase) {
                    share_row(phase);
                }
            }
        }
        kernels_.interleave(phases_, stride, dx, width);
    }

    void share_row(int64 phase) {
        const T* const* taps = taps_ + phase * problem_.kernel[2];
        for (int64 tap = 0; tap < counts_[phase]; ++tap) {
            kernels_.add_shares(
                taps[tap],
                norms_ + (taps[tap] - line_),
                x_phases_[phase],
                exponent_,
                phases_[phase],
                phase_length(phase));
        }
    }

    // Pixels of the line.
    int64 phase_length(int64 phase) const {
        const int64 stride = problem_.stride[2];
        return std::max<int64>(problem_.input[2] - phase + stride - 1, 0) / stride;
    }

    // Pixels w = j stride + phase get from outputs j + shift, one shift for each tap s
    // with phase + padding - s dilation a whole number of strides.
    void list_taps(ScratchFrame& frame) {
        const int64 stride = problem_.stride[2];
        taps_ = frame.take<const T*>(stride * problem_.kernel[2]);
        counts_ = frame.take<int64>(stride);
        phases_ = frame.take<T*>(stride);
        for (int64 phase = 0; phase < stride; ++phase) {
            const T** taps = taps_ + phase * problem_.kernel[2];
            counts_[phase] = 0;
            // The last tap first: outputs in order.
            for (int64 s = problem_.kernel[2] - 1; s >= 0; --s) {
                const int64 apart =
                    phase + problem_.pad_before[2] - s * problem_.dilation[2];
                if (apart % stride == 0) {
                    taps[counts_[phase]++] = line_ + apart / stride;
                }
            }
            const int64 length = ceil_div(problem_.input[2], stride);
            phases_[phase] = frame.take<T>(length);
            std::fill(phases_[phase], phases_[phase] + length, T(0));
        }
    }

    void add_taps(T* dx) {
        const int64 stride = problem_.stride[2];
        const int64 width = problem_.input[2];
        for (int64 phase = 0; phase < std::min(stride, width); ++phase) {
            if (counts_[phase] > 0) {
                kernels_.reduce[REDUCE_SUM](
                    taps_ + phase * problem_.kernel[2],
                    counts_[phase],
                    stride == 1 ? dx : phases_[phase],
                    phase_length(phase));
            }
        }
        if (stride > 1) {
            kernels_.interleave(phases_, stride, dx, width);
        }
    }

    const PoolProblem& problem_;
    const Kernels<T>& kernels_;
    const T* grad_;
    const T* x_;
    const T* y_;
    T* dx_;
    Cover<T> depth_;
    Cover<T> height_;
    Cover<T> width_;
    const T** rows_ = nullptr;
    T* weights_ = nullptr;
    T* scaled_ = nullptr;
    T* line_ = nullptr;
    const T** taps_ = nullptr; // of each phase: a row of outputs for every tap
    int64* counts_ = nullptr;
    T** phases_ = nullptr;
    T* norms_ = nullptr; // a row of y, padded as the line is
    T** x_phases_ = nullptr;
    Exponent exponent_{};
};

} // namespace pyconv
