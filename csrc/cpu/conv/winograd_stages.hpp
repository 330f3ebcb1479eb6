// Winograd's three stages, each over any run of tiles.
//
// transform_input writes V, at every point a matrix of tiles x channels; multiply takes
// it times the transformed weights of one panel of filters, M; transform_output turns M
// into pixels and stores them. Whoever calls them decides how many tiles are between
// the stages at a time. An Inf or NaN of the input would spread over its whole tile:
// outputs that come out not finite are computed again directly.
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/conv/winograd_patch.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <cmath>

namespace pyconv {

template <class T>
class WinogradStages {
  public:
    // `tiles` at most between two stages.
    WinogradStages(
        const ConvPlan& plan,
        const ConvTensors& tensors,
        const WinogradBases& bases,
        int64 tiles)
        : problem_(plan.problem), kernels_(kernels_of<T>(*plan.isa)),
          geometry_(problem_, WINOGRAD_ALL_FORMS[plan.form]),
          layout_(problem_, *plan.isa, geometry_, tiles), bases_(bases),
          vectors_(plan.vectors), x_(static_cast<const T*>(tensors.x)),
          weight_(static_cast<const T*>(tensors.weight)),
          packed_(static_cast<const T*>(tensors.packed)),
          bias_(static_cast<const T*>(tensors.bias)),
          residual_(static_cast<const T*>(tensors.residual)),
          y_(static_cast<T*>(tensors.y)) {}

    const WinogradGeometry& geometry() const { return geometry_; }
    const WinogradLayout& layout() const { return layout_; }

    // V of the tiles [first, first + count).
    void transform_input(int64 group, int64 first, int64 count, T* v) const {
        ScratchFrame frame;
        const WinogradPatch<T> patch(problem_, geometry_, layout_, kernels_, frame);
        WinogradStrips strips(
            problem_, geometry_, bases_, first, count, WINOGRAD_LONGEST_STRIP);
        WinogradStrip strip{};
        while (strips.next(strip)) {
            const T* sample = x_ + strip.n * problem_.x_pitch[0] +
                              group * geometry_.channels * problem_.x_pitch[1];
            int64 tap = 0;
            for (int64 t = 0; t < geometry_.taps[0]; ++t) {
                for (int64 r = 0; r < geometry_.taps[1]; ++r) {
                    for (int64 s = 0; s < geometry_.taps[2]; ++s, ++tap) {
                        const int64 taps[3] = {t, r, s};
                        T* to =
                            v + strip.first * layout_.row + tap * geometry_.channels;
                        patch.transform(sample, strip, taps, to);
                    }
                }
            }
        }
    }

    // Transformed weights of one panel: of `depth` values at every point the products
    // of a tile, `point` elements from one point to the next.
    struct Weights {
        const T* u;
        int64 point;
        int64 depth;
        bool accumulate; // to what other values gave
    };

    Weights weights(int64 group, int64 panel) const {
        return {
            .u = packed_ + (group * layout_.panels + panel) * geometry_.all_points *
                               layout_.u_point,
            .point = layout_.u_point,
            .depth = geometry_.depth(),
            .accumulate = false};
    }

    // M of one panel and the points [from, to), from V's first `depth` values on.
    void multiply(
        const Weights& weights, int64 count, int64 from, int64 to, const T* v, T* m)
        const {
        // Rows in equal shares: 16 are 8 and 8, not 14 and a slow 2.
        const int64 shares = ceil_div(count, kernels_.rows);
        for (int64 point = from; point < to; ++point) {
            int64 first = 0;
            for (int64 share = 0; share < shares; ++share) {
                const int64 rows = (count - first) / (shares - share);
                const T* row[MAX_TILE_ROWS];
                for (int64 i = 0; i < rows; ++i) {
                    row[i] = v + point * layout_.v_point + (first + i) * layout_.row;
                }
                kernels_.gemm_tile[vectors_ - 1][rows - 1](GemmTile<T>{
                    .taps = 1,
                    .a = row,
                    .a_tap_pitch = 0,
                    .k = weights.depth,
                    .a_step = 1,
                    .b = weights.u + point * weights.point,
                    .b_tap_pitch = 0,
                    .acc = m + point * layout_.m_point + first * layout_.width,
                    .accumulate = weights.accumulate,
                    .y = nullptr,
                    .row_offset = nullptr,
                    .bias = nullptr,
                    .bias_per_row = false,
                    .activation = ACT_NONE,
                    .ahead = nullptr,
                });
                first += rows;
            }
        }
    }

    // y of the tiles [first, first + count) and one panel.
    void transform_output(
        int64 group, int64 panel, int64 first, int64 count, const T* m) const {
        ScratchFrame frame;
        const int64 across = WINOGRAD_LONGEST_STRIP * geometry_.outputs[2];
        T* pixels = frame.take<T>(geometry_.outputs[1] * across * layout_.width);
        T* check = frame.take<T>(kernels_.lanes);
        WinogradStrips strips(
            problem_, geometry_, bases_, first, count, WINOGRAD_LONGEST_STRIP);
        WinogradStrip strip{};
        while (strips.next(strip)) {
            const int64 row_pitch = strip.tiles * geometry_.outputs[2] * layout_.width;
            std::fill(check, check + kernels_.lanes, T(0));
            for (int64 i = 0; i < strip.tiles; ++i) {
                kernels_.winograd[geometry_.shape_index].output(
                    WinogradOutput<T>{
                        .m = m + (strip.first + i) * layout_.width,
                        .m_pitch = layout_.m_point,
                        .width = layout_.width,
                        .o = pixels + i * geometry_.outputs[2] * layout_.width,
                        .row_pitch = row_pitch,
                        .column_pitch =
                            geometry_.transformed[2] ? layout_.width : row_pitch,
                        .check = check,
                    });
            }
            if (std::any_of(check, check + kernels_.lanes, [](T value) {
                    return value != T(0);
                })) {
                repair(group, panel, strip, pixels);
            }
            store(group, panel, strip, pixels);
        }
    }

  private:
    // Output position `at` places on from a tile's base along an axis.
    int64 output_at(int axis, int64 base, int64 at) const {
        return base + at * (geometry_.transformed[axis] ? problem_.dilation[axis] : 1);
    }

    // Pixels of a strip's row that exist.
    int64 pixels_across(const WinogradStrip& strip) const {
        const int64 apart = output_at(2, 0, 1);
        return std::min(
            strip.tiles * geometry_.outputs[2],
            ceil_div(problem_.output[2] - strip.base[2], apart));
    }

    int64 panel_filters(int64 panel) const {
        return std::min(layout_.width, geometry_.filters - panel * layout_.width);
    }

    void
    store(int64 group, int64 panel, const WinogradStrip& strip, const T* pixels) const {
        const int64 filter = group * geometry_.filters + panel * layout_.width;
        const int64 columns = strip.tiles * geometry_.outputs[2];
        const int64 across = pixels_across(strip);
        const int64 step = output_at(2, 0, 1) * problem_.y_pitch[4];
        int64 offset[WINOGRAD_LONGEST_STRIP * 8];
        for (int64 i = 0; i < geometry_.outputs[1]; ++i) {
            const int64 h = output_at(1, strip.base[1], i);
            if (h >= problem_.output[1]) {
                return;
            }
            for (int64 j = 0; j < across; ++j) {
                offset[j] = j * step;
            }
            const int64 start =
                strip.n * problem_.y_pitch[0] + filter * problem_.y_pitch[1] +
                strip.base[0] * problem_.y_pitch[2] + h * problem_.y_pitch[3] +
                strip.base[2] * problem_.y_pitch[4];
            kernels_.store_tile(
                StoreTile<T>{
                    .acc = pixels + i * columns * layout_.width,
                    .acc_pitch = layout_.width,
                    .rows = across,
                    .columns = panel_filters(panel),
                    .y = y_ + start,
                    .residual = residual_ != nullptr ? residual_ + start : nullptr,
                    .row_offset = offset,
                    .column_pitch = problem_.y_pitch[1],
                    .rows_contiguous = step == 1,
                    .bias = bias_ != nullptr ? bias_ + filter : nullptr,
                    .bias_per_row = false,
                    .activation = problem_.activation,
                });
        }
    }

    // Computes again, term by term, what did not come out finite.
    void repair(int64 group, int64 panel, const WinogradStrip& strip, T* pixels) const {
        const int64 columns = strip.tiles * geometry_.outputs[2];
        const int64 across = pixels_across(strip);
        const T* sample = x_ + strip.n * problem_.x_pitch[0] +
                          group * geometry_.channels * problem_.x_pitch[1];
        for (int64 i = 0; i < geometry_.outputs[1]; ++i) {
            const int64 h = output_at(1, strip.base[1], i);
            for (int64 j = 0; h < problem_.output[1] && j < across; ++j) {
                const int64 at[3] = {strip.base[0], h, output_at(2, strip.base[2], j)};
                T* pixel = pixels + (i * columns + j) * layout_.width;
                for (int64 k = 0; k < panel_filters(panel); ++k) {
                    if (!std::isfinite(pixel[k])) {
                        const int64 filter =
                            group * geometry_.filters + panel * layout_.width + k;
                        pixel[k] = direct_sum(
                            sample, weight_ + filter * problem_.w_pitch[0], at);
                    }
                }
            }
        }
    }

    T direct_sum(const T* x, const T* filter, const int64 (&at)[3]) const {
        T sum = T(0);
        for (int64 tap = 0; tap < volume(problem_.kernel); ++tap) {
            const Pixel position(problem_.kernel, tap);
            int64 from = 0;
            int64 weight = 0;
            bool inside = true;
            for (int axis = 0; axis < 3; ++axis) {
                const int64 index =
                    input_index(problem_, axis, at[axis], position.at[axis]);
                inside = inside && index >= 0;
                from += index * problem_.x_pitch[2 + axis];
                weight += position.at[axis] * problem_.w_pitch[2 + axis];
            }
            for (int64 c = 0; inside && c < geometry_.channels; ++c) {
                sum = std::fma(
                    x[from + c * problem_.x_pitch[1]],
                    filter[weight + c * problem_.w_pitch[1]],
                    sum);
            }
        }
        return sum;
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    WinogradGeometry geometry_;
    WinogradLayout layout_;
    const WinogradBases& bases_;
    int vectors_;
    const T* x_;
    const T* weight_;
    const T* packed_;
    const T* bias_;
    const T* residual_;
    T* y_;
};

} // namespace pyconv
