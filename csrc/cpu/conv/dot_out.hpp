// The way out of tiles of short dot products: sums to results, wherever they go.
//
// The idea: a tile's pixels are cut into stretches that lie at one pitch in y. Where
// filters are neighbours there, sums are finished into it at once; otherwise beside it,
// turned, and moved.
#pragma once

#include "core/element.hpp"
#include "core/memory.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/dot_shape.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

namespace pyconv {

template <class Result>
class DotStore {
  public:
    using Sum = std::conditional_t<
        std::is_same_v<Result, BFloat16>,
        float,
        Result>; // as it leaves a tile

    DotStore(const ConvPlan& plan, const DotKernel& kernel, const ConvTensors& tensors)
        : problem_(plan.problem), isa_(*plan.isa), kernel_(kernel),
          width_(kernel.width), residual_(static_cast<const Result*>(tensors.residual)),
          y_(static_cast<Result*>(tensors.y)),
          least_(std::is_unsigned_v<Result> && problem_.activation != ACT_NONE),
          beside_(frame_.take<Sum>(2 * MAX_DOT_ROWS * width_)) {}

    // Rows [row, row + count) of acc to output pixels from y_offset on, filters [k, k +
    // columns); bias is theirs, or null.
    void stretch(
        const Sum* acc,
        int64 row,
        int64 count,
        int64 y_offset,
        int64 k,
        int64 columns,
        const Sum* bias) {
        const int64 at = y_offset + k * problem_.y_pitch[1];
        const Sum* sums = acc + row * width_;
        const bool is_simple =
            residual_ == nullptr && !least_ && problem_.activation <= ACT_LEAKY_RELU;
        if (is_simple && problem_.y_pitch[1] == 1) {
            kernel_.store(
                out(sums, count, columns, bias, y_ + at, problem_.y_pitch[4]));
        } else if (
            is_simple && problem_.y_pitch[4] == 1 && kernel_.store_turned != nullptr) {
            kernel_.store_turned(
                out(sums, count, columns, bias, y_ + at, problem_.y_pitch[1]));
        } else if constexpr (std::is_same_v<Result, BFloat16>) {
            halves(sums, count, columns, bias, at);
        } else if (is_simple && problem_.y_pitch[4] == 1) {
            kernel_.store(out(sums, count, columns, bias, beside_, width_));
            turn(beside_, count, columns, y_ + at);
        } else {
            integers(sums, count, columns, bias, at);
        }
    }

  private:
    DotOut
    out(const Sum* sums,
        int64 count,
        int64 columns,
        const Sum* bias,
        Result* y,
        int64 pitch) const {
        return {
            .acc = sums,
            .acc_pitch = width_ * int64{sizeof(Sum)},
            .rows = count,
            .columns = columns,
            .bias = bias,
            .activation = problem_.activation,
            .y = y,
            .y_pitch = pitch * int64{sizeof(Result)},
        };
    }

    void turn(const Result* from, int64 count, int64 columns, Result* y) const {
        if constexpr (sizeof(Result) == 4) {
            isa_.f32.transpose(
                reinterpret_cast<const float*>(from),
                width_,
                count,
                columns,
                reinterpret_cast<float*>(y),
                problem_.y_pitch[1]);
        } else {
            isa_.f64.transpose(
                reinterpret_cast<const double*>(from),
                width_,
                count,
                columns,
                reinterpret_cast<double*>(y),
                problem_.y_pitch[1]);
        }
    }

    // In float32 beside y, in y's order, then rounded line by line.
    void halves(
        const Sum* sums, int64 count, int64 columns, const Sum* bias, int64 at) const {
        const bool by_pixel = problem_.y_pitch[1] == 1;
        const int64 lines = by_pixel ? count : columns;
        const int64 length = by_pixel ? columns : count;
        const int64 next = problem_.y_pitch[by_pixel ? 4 : 1];
        const int64 step = by_pixel ? 1 : problem_.y_pitch[4];
        const int64 pitch = by_pixel ? width_ : MAX_DOT_ROWS;
        const auto each = [&](auto convert) {
            for (int64 line = 0; line < lines; ++line) {
                for (int64 i = 0; i < length; i += step == 1 ? length : 1) {
                    const int64 some = step == 1 ? length : 1;
                    convert(at + line * next + i * step, line * pitch + i, some);
                }
            }
        };
        float* residual = beside_ + MAX_DOT_ROWS * width_;
        if (residual_ != nullptr) {
            each([&](int64 from, int64 to, int64 some) {
                isa_.convert.widen[BFLOAT16](residual_ + from, residual + to, some);
            });
        }
        int64 rows[MAX_DOT_ROWS];
        for (int64 i = 0; i < count; ++i) {
            rows[i] = by_pixel ? i * pitch : i;
        }
        isa_.f32.store_tile(
            StoreTile<float>{
                .acc = sums,
                .acc_pitch = width_,
                .rows = count,
                .columns = columns,
                .y = beside_,
                .residual = residual_ != nullptr ? residual : nullptr,
                .row_offset = rows,
                .column_pitch = by_pixel ? 1 : pitch,
                .rows_contiguous = !by_pixel,
                .bias = bias,
                .bias_per_row = false,
                .activation = problem_.activation,
            });
        each([&](int64 to, int64 from, int64 some) {
            for (int64 i = from; i < from + some; ++i) { // as the kernels' way out does
                const bool is_subnormal =
                    std::abs(beside_[i]) < std::numeric_limits<float>::min();
                beside_[i] =
                    is_subnormal ? std::copysign(0.0F, beside_[i]) : beside_[i];
            }
            isa_.convert.narrow[BFLOAT16](beside_ + from, y_ + to, some);
        });
    }

    // One by one; overflow is defined without a sign only.
    void integers(
        const Sum* sums, int64 count, int64 columns, const Sum* bias, int64 at) const {
        using Bits = std::make_unsigned_t<Sum>;
        for (int64 i = 0; i < count; ++i) {
            for (int64 j = 0; j < columns; ++j) {
                const int64 place =
                    at + i * problem_.y_pitch[4] + j * problem_.y_pitch[1];
                auto bits = static_cast<Bits>(sums[i * width_ + j]);
                bits += bias != nullptr ? static_cast<Bits>(bias[j]) : Bits{0};
                bits += residual_ != nullptr ? static_cast<Bits>(residual_[place])
                                             : Bits{0};
                const auto value = static_cast<Result>(bits);
                const bool is_least = problem_.activation != ACT_NONE && value < 1;
                const bool is_most = problem_.activation == ACT_RELU6 && value > 6;
                y_[place] = is_least ? Result{0} : is_most ? Result{6} : value;
            }
        }
    }

    ScratchFrame frame_;
    const ConvProblem& problem_;
    const IsaTable& isa_;
    const DotKernel& kernel_;
    int64 width_;
    const Result* residual_;
    Result* y_;
    bool least_; // kernels compare with a sign
    Sum* beside_;
};

} // namespace pyconv
