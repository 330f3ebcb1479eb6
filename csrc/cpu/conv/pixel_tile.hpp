// The road of a convolution tile: which input element each of its rows meets at each
// tap.
//
// The idea: a tile is a run of output pixels of one sample in (m, p, q) order. For
// every tap it has a row of pointers to the first channel of the input pixel; the
// microkernel follows them, so nothing of the input is copied, whatever the stride,
// dilation, memory order or padding mode. Taps that fall into zero padding are left
// out: consecutive taps that all rows have form one segment; a tap that some rows miss
// forms one segment for each run of rows that have it. Where a pixel's channels and its
// right neighbour's are neighbours in memory (NHWC, one group, no dilation along W), a
// run of taps along W is one tap of as many times the channels: a first layer of three
// channels then has loops long enough to be worth starting.
#pragma once

#include "core/memory.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/isa.hpp"

#include <algorithm>
#include <limits>

namespace pyconv {

struct TileSegment {
    int64 tap;     // the first
    int64 taps;    // `columns` apart
    int64 columns; // taps along W that are read as one
    int64 row;
    int64 rows;
};

// Taps along W that a tile reads as one: loops over more channels are long enough.
inline int64 joined_taps(const ConvProblem& problem) {
    constexpr int64 LONG_ENOUGH = 256;
    const bool side_by_side = problem.x_pitch[1] == 1 && problem.dilation[2] == 1 &&
                              problem.x_pitch[4] == problem.c / problem.groups &&
                              problem.padding_mode == PAD_ZEROS;
    return side_by_side && problem.x_pitch[4] * problem.kernel[2] <= LONG_ENOUGH
               ? problem.kernel[2]
               : 1;
}

// How an output is cut into tiles: within its lines where that fills the tiles well, so
// that fewer of them meet the padding; else across them. Tiles are equal but for a row:
// few rows would leave the multipliers waiting for sums.
class TileCut {
  public:
    TileCut(const ConvProblem& problem, int64 rows)
        : pixels_(volume(problem.output)), line_(problem.output[2]), rows_(rows),
          parts_(ceil_div(line_, rows)) {
        if (volume(problem.kernel) == 1 || 4 * line_ < 3 * parts_ * rows) {
            parts_ = 0;
        }
    }

    int64 count() const {
        return parts_ == 0 ? ceil_div(pixels_, rows_) : pixels_ / line_ * parts_;
    }

    // The first pixel of a tile; that of the tile behind the last is behind the last.
    int64 first(int64 tile) const {
        if (parts_ == 0) {
            // Longer ones first: a tile is aimed anew where its length changes.
            const int64 tiles = count();
            return tile * (pixels_ / tiles) + std::min(tile, pixels_ % tiles);
        }
        return tile / parts_ * line_ + tile % parts_ * line_ / parts_;
    }

  private:
    int64 pixels_;
    int64 line_;
    int64 rows_;
    int64 parts_; // of a line; 0: tiles lie across lines
};

// A 1x1 convolution that reads pixel after pixel, all channels side by side.
inline bool is_dense(const ConvProblem& problem) {
    return volume(problem.kernel) == 1 && problem.groups == 1 &&
           problem.x_pitch[1] == 1 && problem.x_pitch[4] == problem.c &&
           std::all_of(
               problem.stride,
               problem.stride + 3,
               [](int64 step) { return step == 1; }) &&
           std::equal(problem.input, problem.input + 3, problem.output); // no padding
}

template <class T>
class PixelTile {
  public:
    PixelTile(const ConvProblem& problem, int64 max_rows, ScratchFrame& frame)
        : problem_(problem), max_rows_(max_rows), taps_(volume(problem.kernel)),
          joined_(joined_taps(problem)), rows_(frame.take<const T*>(taps_ * max_rows)),
          // A tap's runs of present rows are at most every other row.
          segments_(frame.take<TileSegment>(taps_ * (max_rows / 2 + 1))),
          spans_(frame.take<Span>(problem.kernel[2] * max_rows)) {}

    // Aims the tile at `rows` pixels from flat pixel `first`; x is the sample's and
    // group's first element.
    void aim(const T* x, int64 first, int64 rows) {
        const int64 before = count_;
        count_ = rows;
        locate(first);
        if (moves(x, before)) {
            return;
        }
        segment_count_ = 0;
        const int64 everyone = (int64{1} << rows) - 1;
        int64 tap = 0;
        for (int64 t = 0; t < problem_.kernel[0]; ++t) {
            for (int64 r = 0; r < problem_.kernel[1]; ++r) {
                int64 plane[MAX_TILE_ROWS];
                for (int64 run = 0; run < run_count_; ++run) {
                    plane[run] = plane_offset(runs_[run], t, r);
                }
                if (inside_) {
                    point_inside(x, plane, tap, everyone);
                    tap += problem_.kernel[2];
                    continue;
                }
                int64 columns = 0; // behind `tap`, which the same rows have
                int64 had = 0;
                for (int64 s = 0; s < problem_.kernel[2]; ++s) {
                    int64 present = 0;
                    for (int64 run = 0; run < run_count_; ++run) {
                        present |= plane[run] != PADDING ? rows_at(run, s) : 0;
                    }
                    if (columns > 0 && (present != had || columns == joined_)) {
                        add_segments(tap, columns, had, everyone);
                        tap += columns;
                        columns = 0;
                    }
                    for (int64 run = 0; columns == 0 && run < run_count_; ++run) {
                        if (plane[run] != PADDING) {
                            point(x + plane[run], run, s, tap);
                        }
                    }
                    had = present;
                    ++columns;
                }
                add_segments(tap, columns, had, everyone);
                tap += columns;
            }
        }
    }

    const T* const* rows() const { return rows_; }
    int64 row_count() const { return count_; }
    int64 segment_count() const { return segment_count_; }
    const TileSegment& segment(int64 index) const { return segments_[index]; }
    // The first segment covers every row: accumulators need not be cleared before it.
    bool starts_whole() const {
        return segment_count_ > 0 && segments_[0].rows == count_;
    }
    const int64* row_offset() const { return offset_; }
    bool rows_contiguous() const { return contiguous_; }

  private:
    static constexpr int64 PADDING = std::numeric_limits<int64>::min();

    // Rows that are neighbours along the last axis.
    struct Run {
        int64 row;
        int64 rows;
        int64 at[3]; // of the first
    };

    // The rows of a run whose position along the last axis is not padding, for one tap.
    struct Span {
        int64 begin;
        int64 end;
        int64 first; // input index of the run's first row, in the padding or not
    };

    // Runs, their spans, and y's offset of each row.
    void locate(int64 first) {
        Pixel pixel(problem_.output, first);
        run_count_ = 0;
        int64 row = 0;
        while (row < count_) {
            Run& run = runs_[run_count_];
            run.row = row;
            run.rows = std::min(count_ - row, problem_.output[2] - pixel.at[2]);
            const int64 start = pixel.offset(problem_.y_pitch);
            for (int axis = 0; axis < 3; ++axis) {
                run.at[axis] = pixel.at[axis];
            }
            for (int64 i = 0; i < run.rows; ++i) {
                offset_[row + i] = start + i * problem_.y_pitch[4];
            }
            row += run.rows;
            pixel.at[2] += run.rows - 1;
            pixel.advance(problem_.output);
            ++run_count_;
        }
        inside_ = std::all_of(runs_, runs_ + run_count_, [this](const Run& run) {
            return is_inside(run);
        });
        for (int64 run = 0; !inside_ && run < run_count_; ++run) {
            for (int64 s = 0; s < problem_.kernel[2]; ++s) {
                spans_[s * max_rows_ + run] = span_of(runs_[run], s);
            }
        }
        contiguous_ = problem_.y_pitch[4] == 1;
        for (int64 run = 1; run < run_count_; ++run) {
            const int64 row = runs_[run].row;
            contiguous_ = contiguous_ && offset_[row] == offset_[0] + row;
        }
    }

    // From one place without padding to another: every row moves by as much.
    bool moves(const T* x, int64 before) {
        const bool was_free = free_;
        const T* from = start_;
        const int64 pitch[2] = {pitch_[0], pitch_[1]};
        const Run& run = runs_[0];
        free_ = run_count_ == 1 && inside_;
        start_ = x;
        for (int axis = 0; axis < 3; ++axis) {
            const int64 first =
                run.at[axis] * problem_.stride[axis] - problem_.pad_before[axis];
            const int64 last =
                first + (problem_.kernel[axis] - 1) * problem_.dilation[axis];
            free_ = free_ && first >= 0 && last < problem_.input[axis];
            start_ += first * problem_.x_pitch[2 + axis];
        }
        pitch_[0] = problem_.x_pitch[2];
        pitch_[1] = problem_.x_pitch[3];
        if (!free_ || !was_free || count_ != before || pitch_[0] != pitch[0] ||
            pitch_[1] != pitch[1]) {
            return false;
        }
        for (int64 tap = 0; tap < taps_; tap += joined_) {
            const T** row = rows_ + tap * max_rows_;
            for (int64 i = 0; i < count_; ++i) {
                row[i] += start_ - from;
            }
        }
        return true;
    }

    // No tap of any row is padding along the last axis: true of most tiles.
    bool is_inside(const Run& run) const {
        const int64 first = run.at[2] * problem_.stride[2] - problem_.pad_before[2];
        const int64 last = first + (run.rows - 1) * problem_.stride[2] +
                           (problem_.kernel[2] - 1) * problem_.dilation[2];
        return first >= 0 && last < problem_.input[2];
    }

    // Points rows at the taps of one kernel row, of which they have all or none.
    void point_inside(const T* x, const int64* plane, int64 tap, int64 everyone) {
        const int64 pitch = problem_.x_pitch[4];
        const int64 step = problem_.stride[2] * pitch;
        int64 present = 0;
        for (int64 index = 0; index < run_count_; ++index) {
            if (plane[index] == PADDING) {
                continue;
            }
            const Run& run = runs_[index];
            present |= ((int64{1} << run.rows) - 1) << run.row;
            const int64 first = run.at[2] * problem_.stride[2] - problem_.pad_before[2];
            for (int64 s = 0; s < problem_.kernel[2]; s += joined_) {
                const T* at =
                    x + plane[index] + (first + s * problem_.dilation[2]) * pitch;
                const T** row = rows_ + (tap + s) * max_rows_ + run.row;
                for (int64 i = 0; i < run.rows; ++i) {
                    row[i] = at + i * step;
                }
            }
        }
        for (int64 s = 0; s < problem_.kernel[2]; s += joined_) {
            add_segments(tap + s, joined_, present, everyone);
        }
    }

    Span span_of(const Run& run, int64 s) const {
        const int64 stride = problem_.stride[2];
        const int64 first =
            run.at[2] * stride + s * problem_.dilation[2] - problem_.pad_before[2];
        if (problem_.padding_mode != PAD_ZEROS) {
            return {0, run.rows, first};
        }
        const int64 extent = problem_.input[2];
        if (stride == 1) {
            return {
                std::clamp<int64>(-first, 0, run.rows),
                std::clamp<int64>(extent - first, 0, run.rows),
                first};
        }
        const int64 begin = first < 0 ? ceil_div(-first, stride) : 0;
        const int64 end = first < extent ? ceil_div(extent - first, stride) : 0;
        return {std::min(begin, run.rows), std::clamp<int64>(end, 0, run.rows), first};
    }

    int64 plane_offset(const Run& run, int64 t, int64 r) const {
        const int64 d = input_index(problem_, 0, run.at[0], t);
        const int64 h = input_index(problem_, 1, run.at[1], r);
        return d < 0 || h < 0 ? PADDING
                              : d * problem_.x_pitch[2] + h * problem_.x_pitch[3];
    }

    // Bits of the rows of one run that a tap column meets outside zero padding.
    int64 rows_at(int64 index, int64 s) const {
        const Span& span = spans_[s * max_rows_ + index];
        const auto bits = [](int64 count) { return (int64{1} << count) - 1; };
        return span.begin < span.end
                   ? (bits(span.end) & ~bits(span.begin)) << runs_[index].row
                   : 0;
    }

    // Points those rows at one tap.
    void point(const T* x, int64 index, int64 s, int64 tap) {
        const Run& run = runs_[index];
        const Span& span = spans_[s * max_rows_ + index];
        const T** row = rows_ + tap * max_rows_ + run.row;
        const int64 pitch = problem_.x_pitch[4];
        if (problem_.padding_mode != PAD_ZEROS) {
            for (int64 i = 0; i < run.rows; ++i) {
                row[i] = x + input_index(problem_, 2, run.at[2] + i, s) * pitch;
            }
            return;
        }
        const int64 step = problem_.stride[2] * pitch;
        const T* at = x + span.first * pitch + span.begin * step;
        for (int64 i = span.begin; i < span.end; ++i, at += step) {
            row[i] = at;
        }
    }

    void add_segments(int64 tap, int64 columns, int64 present, int64 everyone) {
        if (present == everyone) {
            if (segment_count_ > 0) {
                TileSegment& last = segments_[segment_count_ - 1];
                if (last.rows == count_ && last.columns == columns &&
                    last.tap + last.taps * columns == tap) {
                    ++last.taps;
                    return;
                }
            }
            segments_[segment_count_++] = {tap, 1, columns, 0, count_};
            return;
        }
        for (int64 row = 0; row < count_; ++row) {
            int64 end = row;
            while (end < count_ && (present >> end & 1) != 0) {
                ++end;
            }
            if (end > row) {
                segments_[segment_count_++] = {tap, 1, columns, row, end - row};
                row = end;
            }
        }
    }

    const ConvProblem& problem_;
    int64 max_rows_;
    int64 taps_;
    int64 joined_;
    const T** rows_;
    TileSegment* segments_;
    Span* spans_;
    Run runs_[MAX_TILE_ROWS];
    int64 run_count_ = 0;
    int64 segment_count_ = 0;
    int64 count_ = 0;
    bool free_ = false;        // one run, no padding
    const T* start_ = nullptr; // the first row's pixel at the first tap
    int64 pitch_[2]{};         // x's, of planes and lines, when it was aimed
    int64 offset_[MAX_TILE_ROWS];
    bool contiguous_ = false;
    bool inside_ = false;
};

} // namespace pyconv
