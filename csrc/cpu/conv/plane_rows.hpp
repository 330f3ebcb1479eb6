// Filling a unit's scratch: input rows with padding made real and phases apart.
//
// The idea: what lies between the paddings is copied in one sweep, all rows of a plane
// in one call where columns are neighbours and the stride is 1. The zeros around it are
// written when the shape of the unit changes and stay; only the other padding modes
// visit their few columns row by row. Rows that no tap of the block meets are left out.
#pragma once

#include "cpu/conv/planes.hpp"

#include <algorithm>

namespace pyconv {

// Positions of one phase of a scratch row: [0, inside) lie in the padding before the
// input, [inside, behind) in the input, [behind, asked) in the padding after it, the
// rest behind all that any tap asks for.
struct PhaseSpan {
    int64 phase; // a remainder of the stride along W
    int64 begin; // input position of the first
    int64 inside;
    int64 behind;
    int64 asked;
    int64 turn; // of the phase, counted from the first input column that is copied
    int64 at;   // where in a scratch row that turn begins
};

template <class T>
class PlaneRows {
  public:
    // spans: [layout.phases], phases: [stride along W], both for this object's use.
    PlaneRows(
        const ConvProblem& problem,
        const PlaneLayout& layout,
        const Kernels<T>& kernels,
        PhaseSpan* spans,
        T** phases)
        : problem_(problem), layout_(layout), kernels_(kernels), spans_(spans),
          phases_(phases) {
        for (int64 i = 0; i < layout.phases; ++i) {
            spans_[i] = {
                i * problem.dilation[2] % problem.stride[2], 0, -1, -1, -1, 0, 0};
        }
    }

    // x: the sample's and group's first element. Output rows [p, p + rows) of plane m,
    // columns [q, q + columns). Scratch is the same in every call.
    void
    fill(const T* x, int64 m, int64 p, int64 rows, int64 q, int64 columns, T* scratch) {
        if (reshape(q, columns)) {
            std::fill(scratch, scratch + layout_.elements(), T(0));
        }
        const int64 origin = p * problem_.stride[1] - problem_.pad_before[1];
        const int64 height = (rows - 1) * problem_.stride[1] +
                             (problem_.kernel[1] - 1) * problem_.dilation[1] + 1;
        // Rows [top, bottom) are rows of the input.
        const int64 top = std::clamp<int64>(-origin, 0, height);
        const int64 bottom = std::clamp(problem_.input[1] - origin, top, height);
        for (int64 c = 0; c < layout_.channels; ++c) {
            for (int64 t = 0; t < problem_.kernel[0]; ++t) {
                const int64 d = input_index(problem_, 0, m, t);
                const T* from = x + c * problem_.x_pitch[1] + d * problem_.x_pitch[2];
                T* to = scratch + c * layout_.channel_pitch + t * layout_.plane_pitch;
                if (d < 0) {
                    std::fill(to, to + height * layout_.row_pitch, T(0));
                } else if (in_one_sweep()) {
                    const PhaseSpan& span = spans_[0];
                    kernels_.copy_lines(
                        CopyLines<T>{
                            .from = from + (origin + top) * problem_.x_pitch[3] +
                                    span.begin + span.inside,
                            .from_pitch = problem_.x_pitch[3],
                            .from_step = 1,
                            .lines = bottom - top,
                            .count = span.behind - span.inside,
                            .to = to + top * layout_.row_pitch + span.inside,
                            .to_pitch = layout_.row_pitch,
                        });
                    std::fill(to, to + top * layout_.row_pitch, T(0));
                    std::fill(
                        to + bottom * layout_.row_pitch,
                        to + height * layout_.row_pitch,
                        T(0));
                } else {
                    fill_rows(from, origin, height, rows, to);
                }
            }
        }
    }

  private:
    // True when positions mean something else than in the call before.
    bool reshape(int64 q, int64 columns) {
        const int64 stride = problem_.stride[2];
        const int64 last = (q + columns - 1) * stride +
                           (problem_.kernel[2] - 1) * problem_.dilation[2] -
                           problem_.pad_before[2];
        bool changed = false;
        for (int64 i = 0; i < layout_.phases; ++i) {
            PhaseSpan& span = spans_[i];
            span.begin = q * stride - problem_.pad_before[2] + span.phase;
            const auto below = [&](int64 end) {
                return end <= span.begin ? 0
                                         : std::min(
                                               ceil_div(end - span.begin, stride),
                                               layout_.phase_pitch);
            };
            const int64 inside = below(std::min<int64>(0, last + 1));
            const int64 behind =
                std::max(inside, below(std::min(problem_.input[2], last + 1)));
            const int64 asked = std::max(behind, below(last + 1));
            changed = changed || span.inside != inside || span.behind != behind ||
                      span.asked != asked;
            span.inside = inside;
            span.behind = behind;
            span.asked = asked;
        }
        if (layout_.phases == stride) {
            find_turns();
        }
        return changed;
    }

    // How to take a row apart in one pass.
    void find_turns() {
        const int64 stride = problem_.stride[2];
        first_ = problem_.input[2];
        count_ = 0;
        for (int64 i = 0; i < stride; ++i) {
            const PhaseSpan& span = spans_[i];
            count_ += span.behind - span.inside;
            if (span.behind > span.inside) {
                first_ = std::min(first_, span.begin + span.inside * stride);
            }
        }
        for (int64 i = 0; i < stride; ++i) {
            PhaseSpan& span = spans_[i];
            span.turn = ((span.begin - first_) % stride + stride) % stride;
            span.at =
                i * layout_.phase_pitch + (first_ + span.turn - span.begin) / stride;
        }
    }

    bool in_one_sweep() const {
        return problem_.padding_mode == PAD_ZEROS && problem_.stride[1] == 1 &&
               problem_.dilation[1] == 1 && problem_.stride[2] == 1 &&
               problem_.x_pitch[4] == 1;
    }

    void fill_rows(const T* plane, int64 origin, int64 height, int64 rows, T* to) {
        for (int64 row = 0; row < height; ++row, to += layout_.row_pitch) {
            if (!is_met(row, rows)) {
                continue;
            }
            const int64 h =
                folded_index(origin + row, problem_.input[1], problem_.padding_mode);
            if (h < 0) {
                std::fill(to, to + layout_.row_pitch, T(0));
            } else {
                fill_row(plane + h * problem_.x_pitch[3], to);
            }
        }
    }

    bool is_met(int64 row, int64 rows) const {
        if (problem_.dilation[1] == 1 && problem_.stride[1] <= problem_.kernel[1]) {
            return true;
        }
        for (int64 r = 0; r < problem_.kernel[1]; ++r) {
            const int64 above = row - r * problem_.dilation[1];
            if (above >= 0 && above % problem_.stride[1] == 0 &&
                above / problem_.stride[1] < rows) {
                return true;
            }
        }
        return false;
    }

    void fill_row(const T* row, T* to) {
        const int64 stride = problem_.stride[2];
        const int64 pitch = problem_.x_pitch[4];
        const bool split = stride > 1 && pitch == 1 && layout_.phases == stride;
        if (split && count_ > 0) {
            for (int64 slot = 0; slot < stride; ++slot) {
                phases_[spans_[slot].turn] = to + spans_[slot].at;
            }
            kernels_.deinterleave(row + first_, count_, stride, phases_);
            if (problem_.padding_mode == PAD_ZEROS) {
                return;
            }
        }
        for (int64 slot = 0; slot < layout_.phases; ++slot, to += layout_.phase_pitch) {
            const PhaseSpan& span = spans_[slot];
            const int64 count = span.behind - span.inside;
            if (!split && count > 0) {
                const T* from = row + (span.begin + span.inside * stride) * pitch;
                kernels_.copy_lines(
                    CopyLines<T>{
                        .from = from,
                        .from_pitch = 0,
                        .from_step = stride * pitch,
                        .lines = 1,
                        .count = count,
                        .to = to + span.inside,
                        .to_pitch = 0,
                    });
            }
            if (problem_.padding_mode != PAD_ZEROS) {
                pad(row, span, 0, span.inside, to);
                pad(row, span, span.behind, span.asked, to);
            }
        }
    }

    void pad(const T* row, const PhaseSpan& span, int64 from, int64 end, T* to) const {
        for (int64 i = from; i < end; ++i) {
            const int64 w = folded_index(
                span.begin + i * problem_.stride[2],
                problem_.input[2],
                problem_.padding_mode);
            to[i] = row[w * problem_.x_pitch[4]];
        }
    }

    const ConvProblem& problem_;
    const PlaneLayout& layout_;
    const Kernels<T>& kernels_;
    PhaseSpan* spans_;
    T** phases_;
    int64 first_ = 0; // input columns that are copied
    int64 count_ = 0;
};

} // namespace pyconv
