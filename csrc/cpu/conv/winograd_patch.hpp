// Winograd's way in: from the user's input to the points of a strip of tiles.
//
// Channels side by side: the transform reads the pixels where they are, padding from a
// line of zeros. Channels apart (NCHW): the strip's pixels are first turned, a block of
// channels at a time, into a patch that stays in L1.
#pragma once

#include "cpu/conv/winograd_tiles.hpp"

#include <algorithm>

namespace pyconv {

// Pointers to a tile's pixels, and room to turn them where channels lie apart.
template <class T>
class WinogradPatch {
  public:
    WinogradPatch(
        const ConvProblem& problem,
        const WinogradGeometry& geometry,
        const WinogradLayout& layout,
        const Kernels<T>& kernels,
        ScratchFrame& frame)
        : problem_(problem), geometry_(geometry), layout_(layout), kernels_(kernels),
          turned_(problem_.x_pitch[1] != 1 && geometry_.channels > 1),
          block_(
              turned_ ? std::min<int64>(geometry_.channels, 2 * kernels.lanes)
                      : geometry_.channels),
          zeros_(frame.take<T>(block_)), room_(nullptr) {
        std::fill(zeros_, zeros_ + block_, T(0));
        const int64 most =
            WINOGRAD_LONGEST_STRIP * geometry_.outputs[2] + geometry_.points[2];
        if (turned_) {
            room_ = frame.take<T>(geometry_.points[1] * most * block_);
        }
        column_ = frame.take<int64>(most);
    }

    // V of one strip at one tap: a row of `layout.row` elements for every tile.
    void
    transform(const T* sample, const WinogradStrip& strip, const int64 (&taps)[3], T* v)
        const {
        const int64 columns =
            (strip.tiles - 1) * geometry_.outputs[2] + geometry_.points[2];
        for (int64 j = 0; j < columns; ++j) {
            column_[j] = input_at(2, strip.base[2], j, taps[2]);
        }
        const int64 depth = input_at(0, strip.base[0], 0, taps[0]);
        const T* row[8];
        for (int64 i = 0; i < geometry_.points[1]; ++i) {
            const int64 h = input_at(1, strip.base[1], i, taps[1]);
            row[i] = depth < 0 || h < 0 ? nullptr
                                        : sample + depth * problem_.x_pitch[2] +
                                              h * problem_.x_pitch[3];
        }
        if (!turned_) {
            transform_tiles(row, strip.tiles, geometry_.channels, v);
            return;
        }
        for (int64 c = 0; c < geometry_.channels; c += block_) {
            const int64 channels = std::min(block_, geometry_.channels - c);
            for (int64 i = 0; i < geometry_.points[1]; ++i) {
                const T* from =
                    row[i] == nullptr ? nullptr : row[i] + c * problem_.x_pitch[1];
                turn(from, columns, channels, room_ + i * columns * block_);
            }
            transform_turned(columns, strip.tiles, channels, v + c);
        }
    }

  private:
    // The input index of output `base` along an axis, `at` points or outputs on.
    int64 input_at(int axis, int64 base, int64 at, int64 tap) const {
        const int64 out =
            (geometry_.transformed[axis] ? base : base + at) * problem_.stride[axis];
        const int64 point = geometry_.transformed[axis] ? at : tap;
        return folded_index(
            out + point * problem_.dilation[axis] - problem_.pad_before[axis],
            problem_.input[axis],
            problem_.padding_mode);
    }

    void call(const T* const* pixel, int64 channels, T* v) const {
        kernels_.winograd[geometry_.shape_index].input(
            WinogradInput<T>{
                .pixel = pixel,
                .channels = channels,
                .v = v,
                .v_pitch = layout_.v_point,
            });
    }

    void transform_tiles(const T* const* row, int64 tiles, int64 channels, T* v) const {
        const T* pixel[WINOGRAD_LARGEST_POINTS];
        for (int64 tile = 0; tile < tiles; ++tile) {
            const int64* column = column_ + tile * geometry_.outputs[2];
            const T** to = pixel;
            for (int64 i = 0; i < geometry_.points[1]; ++i) {
                for (int64 j = 0; j < geometry_.points[2]; ++j) {
                    *to++ = row[i] == nullptr || column[j] < 0
                                ? zeros_
                                : row[i] + column[j] * problem_.x_pitch[4];
                }
            }
            call(pixel, channels, v + tile * layout_.row);
        }
    }

    void transform_turned(int64 columns, int64 tiles, int64 channels, T* v) const {
        const T* pixel[WINOGRAD_LARGEST_POINTS];
        for (int64 tile = 0; tile < tiles; ++tile) {
            const T* first = room_ + tile * geometry_.outputs[2] * block_;
            const T** to = pixel;
            for (int64 i = 0; i < geometry_.points[1]; ++i) {
                for (int64 j = 0; j < geometry_.points[2]; ++j) {
                    *to++ = first + (i * columns + j) * block_;
                }
            }
            call(pixel, channels, v + tile * layout_.row);
        }
    }

    // One row of pixels with its channels side by side.
    void turn(const T* row, int64 columns, int64 channels, T* to) const {
        int64 j = 0;
        while (j < columns) {
            int64 end = j + 1;
            if (row == nullptr || column_[j] < 0) {
                std::fill(to + j * block_, to + j * block_ + channels, T(0));
            } else {
                // A run of neighbours is turned as a block.
                while (end < columns && column_[end] == column_[end - 1] + 1) {
                    ++end;
                }
                turn_run(
                    row + column_[j] * problem_.x_pitch[4],
                    end - j,
                    channels,
                    to + j * block_);
            }
            j = end;
        }
    }

    void turn_run(const T* from, int64 columns, int64 channels, T* to) const {
        if (problem_.x_pitch[4] == 1) {
            kernels_.transpose(
                from, problem_.x_pitch[1], channels, columns, to, block_);
            return;
        }
        for (int64 j = 0; j < columns; ++j) {
            for (int64 c = 0; c < channels; ++c) {
                to[j * block_ + c] =
                    from[j * problem_.x_pitch[4] + c * problem_.x_pitch[1]];
            }
        }
    }

    const ConvProblem& problem_;
    const WinogradGeometry& geometry_;
    const WinogradLayout& layout_;
    const Kernels<T>& kernels_;
    bool turned_;
    int64 block_;
    T* zeros_;
    T* room_;
    int64* column_;
};

} // namespace pyconv
