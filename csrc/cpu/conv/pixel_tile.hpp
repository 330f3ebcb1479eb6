// The road of a convolution tile: which input element each of its rows meets at each
// tap.
//
// The idea: a tile is a run of output pixels of one sample in (m, p, q) order. For
// every tap it has a row of pointers to the first channel of the input pixel; the
// microkernel follows them, so nothing of the input is copied, whatever the stride,
// dilation, memory order or padding mode. Taps that fall into zero padding are left
// out: consecutive taps that all rows have form one segment; a tap that some rows miss
// forms one segment for each run of rows that have it.
#pragma once

#include "core/memory.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/isa.hpp"

namespace pyconv {

struct TileSegment {
    int64 tap;
    int64 taps;
    int64 row;
    int64 rows;
};

template <class T>
class PixelTile {
  public:
    PixelTile(const ConvProblem& problem, int64 max_rows, ScratchFrame& frame)
        : problem_(problem), max_rows_(max_rows), taps_(volume(problem.kernel)),
          rows_(frame.take<const T*>(taps_ * max_rows)),
          // A tap's runs of present rows are at most every other row.
          segments_(frame.take<TileSegment>(taps_ * (max_rows / 2 + 1))) {
        for (int axis = 0; axis < 3; ++axis) {
            along_[axis] = frame.take<int64>(problem.kernel[axis] * max_rows);
        }
    }

    // Aims the tile at `rows` pixels from flat pixel `first`; x is the sample's and
    // group's first element.
    void aim(const T* x, int64 first, int64 rows) {
        count_ = rows;
        locate(first);
        segment_count_ = 0;
        const int64 everyone = (int64{1} << rows) - 1;
        int64 tap = 0;
        for (int64 t = 0; t < problem_.kernel[0]; ++t) {
            for (int64 r = 0; r < problem_.kernel[1]; ++r) {
                for (int64 s = 0; s < problem_.kernel[2]; ++s, ++tap) {
                    const int64 present = point(x, tap, t, r, s);
                    add_segments(tap, present, everyone);
                }
            }
        }
    }

    const T* const* rows() const { return rows_; }
    int64 segment_count() const { return segment_count_; }
    const TileSegment& segment(int64 index) const { return segments_[index]; }
    // The first segment covers every row: accumulators need not be cleared before it.
    bool starts_whole() const {
        return segment_count_ > 0 && segments_[0].rows == count_;
    }
    const int64* row_offset() const { return offset_; }
    bool rows_contiguous() const { return contiguous_; }

  private:
    static constexpr int64 PADDING = -1;

    // Element offsets along each axis, by kernel position and row; y's offset of each
    // row.
    void locate(int64 first) {
        Pixel pixel(problem_.output, first);
        contiguous_ = true;
        for (int64 i = 0; i < count_; ++i, pixel.advance(problem_.output)) {
            for (int axis = 0; axis < 3; ++axis) {
                for (int64 tap = 0; tap < problem_.kernel[axis]; ++tap) {
                    along_[axis][tap * max_rows_ + i] =
                        input_index(problem_, axis, pixel.at[axis], tap);
                }
            }
            offset_[i] = pixel.offset(problem_.y_pitch);
            contiguous_ = contiguous_ && offset_[i] == offset_[0] + i;
        }
    }

    // Points all rows of one tap; the bit of a row in zero padding stays clear.
    int64 point(const T* x, int64 tap, int64 t, int64 r, int64 s) {
        const int64* d = along_[0] + t * max_rows_;
        const int64* h = along_[1] + r * max_rows_;
        const int64* w = along_[2] + s * max_rows_;
        int64 present = 0;
        for (int64 i = 0; i < count_; ++i) {
            const bool inside = d[i] != PADDING && h[i] != PADDING && w[i] != PADDING;
            const int64 offset = d[i] * problem_.x_pitch[2] +
                                 h[i] * problem_.x_pitch[3] +
                                 w[i] * problem_.x_pitch[4];
            rows_[tap * max_rows_ + i] = inside ? x + offset : nullptr;
            present |= int64{inside} << i;
        }
        return present;
    }

    void add_segments(int64 tap, int64 present, int64 everyone) {
        if (present == everyone) {
            if (segment_count_ > 0) {
                TileSegment& last = segments_[segment_count_ - 1];
                if (last.rows == count_ && last.tap + last.taps == tap) {
                    ++last.taps;
                    return;
                }
            }
            segments_[segment_count_++] = {tap, 1, 0, count_};
            return;
        }
        for (int64 row = 0; row < count_; ++row) {
            int64 end = row;
            while (end < count_ && (present >> end & 1) != 0) {
                ++end;
            }
            if (end > row) {
                segments_[segment_count_++] = {tap, 1, row, end - row};
                row = end;
            }
        }
    }

    const ConvProblem& problem_;
    int64 max_rows_;
    int64 taps_;
    const T** rows_;
    TileSegment* segments_;
    int64* along_[3];
    int64 segment_count_ = 0;
    int64 count_ = 0;
    int64 offset_[MAX_TILE_ROWS];
    bool contiguous_ = false;
};

} // namespace pyconv
