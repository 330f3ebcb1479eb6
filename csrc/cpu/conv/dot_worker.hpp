// One thread's part of a product of small elements: blocks of pixels, panels of
// filters.
//
// A block's rows are filled once and pass every panel of a share; tiles of rows go
// through the register tile one after the other, and out.
#pragma once

#include "core/memory.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/dot_input.hpp"
#include "cpu/conv/dot_out.hpp"
#include "cpu/conv/dot_weights.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace pyconv {

// Panels of as many bytes stay in L2 beside what passes through.
inline constexpr int64 NEAR_BYTES = 256 << 10;

// Between a thread's first tile and its last.
class InTiles {
  public:
    explicit InTiles(const DotKernel& kernel) : kernel_(kernel) {
        if (kernel_.enter != nullptr) {
            kernel_.enter();
        }
    }
    ~InTiles() {
        if (kernel_.leave != nullptr) {
            kernel_.leave();
        }
    }
    InTiles(const InTiles&) = delete;
    InTiles& operator=(const InTiles&) = delete;

  private:
    const DotKernel& kernel_;
};

// A block of pixels. Of patches: [first, first + count), counted over all samples; of a
// band: rows of outputs in plane m of `samples` samples from n on.
struct Block {
    int64 group;
    int64 n;
    int64 samples;
    int64 m;
    int64 first;
    int64 count;
};

// What all threads share.
template <class Result>
struct Product {
    using Sum = typename DotStore<Result>::Sum;

    const ConvPlan& plan;
    const ConvProblem& problem;
    const DotShape shape;
    const DotKernel& kernel;
    const ConvTensors& tensors;
    const bool in_place;
    const char* packed = nullptr; // null: panels are packed where they are used
    int64 blocks;                 // of a group
    int64 shares;                 // of a group's panels
    bool rows_follow;             // in y: all rows of a sample are one

    Product(const ConvPlan& plan_, const ConvTensors& tensors_)
        : plan(plan_), problem(plan_.problem), shape(dot_shape(problem, *plan_.isa)),
          kernel(plan_.isa->dots[shape.kind]), tensors(tensors_),
          in_place(is_dot_input(problem, shape)),
          packed(static_cast<const char*>(tensors_.packed)),
          shares(ceil_div(shape.panels, plan_.filter_group)),
          rows_follow(
              (problem.output[1] == 1 ||
               problem.y_pitch[3] == problem.output[2] * problem.y_pitch[4]) &&
              (problem.output[0] == 1 ||
               problem.y_pitch[2] ==
                   problem.output[1] * problem.output[2] * problem.y_pitch[4])) {
        blocks = is_band() ? ceil_div(problem.n, plan.samples) * problem.output[0] *
                                 row_blocks()
                           : ceil_div(pixels(), plan.pixel_group);
    }

    bool is_band() const { return shape.form == DOT_BAND; }
    int64 pixels() const { return problem.n * volume(problem.output); }
    int64 row_blocks() const { return ceil_div(problem.output[1], plan.pixel_group); }

    Block block(int64 index) const {
        Block found{};
        found.group = index / blocks;
        index %= blocks;
        const int64 parts = is_band() ? row_blocks() : blocks;
        const int64 all = is_band() ? problem.output[1] : pixels();
        const int64 part = index % parts;
        found.m = index / parts % problem.output[0];
        found.n = index / parts / problem.output[0] * plan.samples;
        found.samples = is_band() ? std::min(plan.samples, problem.n - found.n) : 1;
        found.first = part * all / parts;
        found.count = (part + 1) * all / parts - found.first;
        return found;
    }

    // Bytes that the rows of a block may take, with whole tiles past their end.
    int64 rows_bytes() const {
        const int64 over = kernel.rows;
        if (in_place) {
            return over * shape.row_bytes();
        }
        if (is_band()) {
            const int64 box = band_height(problem, plan.pixel_group) *
                              band_width(problem) * problem.kernel[0];
            return (plan.samples * box + over) * shape.row_bytes();
        }
        return (plan.pixel_group + over) * shape.row_bytes();
    }
};

// What one thread has of its own.
template <class Result>
class Worker {
  public:
    using Sum = typename Product<Result>::Sum;

    explicit Worker(const Product<Result>& product)
        : product_(product), problem_(product.problem), shape_(product.shape),
          kernel_(product.kernel), store_(product.plan, kernel_, product.tensors),
          acc_(frame_.take<Sum>(kernel_.rows * kernel_.width)),
          bias_(frame_.take<Sum>(kernel_.width)),
          taps_(frame_.take<int64>(shape_.taps * shape_.chunks)),
          rows_(frame_.take<char>(product.rows_bytes())),
          panel_(
              product.packed == nullptr ? frame_.take<char>(shape_.panel_bytes())
                                        : nullptr),
          in_tiles_(kernel_) {}

    void run(int64 item) {
        const int64 share = item % product_.shares;
        const int64 index = item / product_.shares;
        if (index != filled_) {
            block_ = product_.block(index);
            fill();
            filled_ = index;
        }
        const int64 first = share * shape_.panels / product_.shares;
        const int64 last = (share + 1) * shape_.panels / product_.shares;
        first_panel_ = first;
        // Rows of the input come from memory: where the panels stay near, all of them
        // pass a tile of rows while the next one is fetched.
        const bool by_tile = product_.in_place && product_.packed != nullptr &&
                             (last - first) * shape_.panel_bytes() <= NEAR_BYTES;
        const int64 all = positions();
        const int64 step = by_tile ? kernel_.rows : all;
        for (int64 from = 0; from < all; from += step) {
            for (int64 panel = first; panel < last; ++panel) {
                multiply(panel, from, std::min(from + step, all));
            }
        }
    }

  private:
    void fill() {
        const int64 group_start = block_.group * shape_.channels * problem_.x_pitch[1];
        const auto bytes = element_bytes(problem_.dtype);
        const char* x =
            static_cast<const char*>(product_.tensors.x) + group_start * bytes;
        taps_[0] = 0;
        if (product_.in_place) {
            pitch_ = problem_.x_pitch[4] * bytes;
            first_row_ = x + block_.first * pitch_;
            return;
        }
        first_row_ = rows_;
        if (product_.is_band()) {
            pitch_ = shape_.row_bytes();
            sample_bytes_ = problem_.kernel[0] * band_width(problem_) *
                            band_height(problem_, block_.count) * pitch_;
            for (int64 i = 0; i < block_.samples; ++i) {
                fill_dot_band(
                    problem_,
                    shape_,
                    x + (block_.n + i) * problem_.x_pitch[0] * bytes,
                    block_.m,
                    block_.first,
                    block_.count,
                    rows_ + i * sample_bytes_);
            }
            place_taps();
        } else {
            pitch_ = shape_.row_bytes();
            fill_dot_patches(problem_, shape_, x, block_.first, block_.count, rows_);
        }
    }

    void place_taps() {
        const int64 height = band_height(problem_, block_.count);
        const int64 chunk_bytes = shape_.chunk_groups() * shape_.group_bytes();
        for (int64 i = 0; i < shape_.taps * shape_.chunks; ++i) {
            const Pixel at(problem_.kernel, i % shape_.taps);
            const int64 line = at.at[0] * height + at.at[1] * problem_.dilation[1];
            const int64 pixel =
                line * band_width(problem_) + at.at[2] * problem_.dilation[2];
            taps_[i] = pixel * pitch_ + i / shape_.taps * chunk_bytes;
        }
    }

    // Rows of a block, the gaps between a band's outputs among them.
    int64 positions() const {
        return product_.is_band()
                   ? (block_.count - 1) * band_width(problem_) + problem_.output[2]
                   : block_.count;
    }

    // Rows [from, to) of every sample of the block with a panel.
    void multiply(int64 panel, int64 from, int64 to) {
        const int64 index = block_.group * shape_.panels + panel;
        const char* b = product_.packed + index * shape_.panel_bytes();
        if (product_.packed == nullptr) {
            pack_dot_panel(
                problem_,
                *product_.plan.isa,
                shape_,
                product_.tensors.weight,
                index,
                panel_);
            b = panel_;
        }
        const int64 k = panel * shape_.width;
        const int64 columns = std::min(shape_.width, shape_.filters - k);
        const int64 filter = block_.group * shape_.filters + k;
        const Sum* bias = bias_of(filter, columns, b);
        for (int64 sample = 0; sample < block_.samples; ++sample) {
            const bool is_first = panel == first_panel_;
            multiply_rows(sample, from, to, b, bias, filter, columns, is_first);
        }
    }

    // Of one sample; at their first panel, rows of the input come from memory.
    void multiply_rows(
        int64 sample,
        int64 from,
        int64 to,
        const char* b,
        const Sum* bias,
        int64 filter,
        int64 columns,
        bool is_first) {
        const int vectors = 2 * columns <= shape_.width ? 1 : 2;
        const char* rows = first_row_ + sample * sample_bytes_;
        const int64 all = to - from;
        // Whole tiles where rows are read together, equal ones otherwise.
        const int64 tiles = ceil_div(all, kernel_.rows);
        for (int64 tile = 0; tile < tiles; ++tile) {
            const bool equal = kernel_.row_unit == 1;
            const int64 begin =
                from + (equal ? tile * all / tiles : tile * kernel_.rows);
            const int64 end = equal ? from + (tile + 1) * all / tiles
                                    : std::min(to, begin + kernel_.rows);
            DotTile work{
                .a = rows + begin * pitch_,
                .a_pitch = pitch_,
                .taps = shape_.taps * shape_.chunks,
                .a_tap = taps_,
                .groups = shape_.chunk_groups(),
                .b = b,
                .acc = acc_,
                .ahead = product_.in_place && is_first ? rows + end * pitch_ : nullptr,
            };
            if (product_.in_place && (end - begin) % kernel_.row_unit != 0) {
                beside(work, end - begin);
            }
            kernel_.tile[vectors - 1][end - begin - 1](work);
            place(sample, begin, end, filter, columns, bias);
        }
    }

    // Rows that are read past the input's last are read elsewhere.
    void beside(DotTile& work, int64 count) {
        const int64 bytes = shape_.row_bytes();
        for (int64 row = 0; row < count; ++row) {
            std::memcpy(
                rows_ + row * bytes,
                static_cast<const char*>(work.a) + row * pitch_,
                static_cast<std::size_t>(bytes));
        }
        work.a = rows_;
        work.a_pitch = bytes;
    }

    const Sum* bias_of(int64 filter, int64 columns, const char* panel) {
        const auto* bias = static_cast<const Sum*>(product_.tensors.bias);
        const Sum* mine = bias != nullptr ? bias + filter : nullptr;
        if constexpr (std::is_same_v<Sum, std::int32_t>) {
            if (shape_.shifts) {
                const std::uint32_t* corrections = dot_corrections(shape_, panel);
                for (int64 j = 0; j < columns; ++j) {
                    const auto own =
                        mine != nullptr ? static_cast<std::uint32_t>(mine[j]) : 0U;
                    bias_[j] = static_cast<Sum>(own + corrections[j]);
                }
                return bias_;
            }
        }
        return mine;
    }

    // Rows [begin, end) of a sample's part of the block to where their pixels are in y.
    void place(
        int64 sample,
        int64 begin,
        int64 end,
        int64 filter,
        int64 columns,
        const Sum* bias) {
        const int64 q = problem_.output[2];
        const int64 run = product_.is_band()     ? band_width(problem_)
                          : product_.rows_follow ? volume(problem_.output)
                                                 : q;
        const int64 valid = product_.is_band() ? q : run;
        const int64 from = product_.is_band() ? 0 : block_.first;
        for (int64 at = begin; at < end;) {
            const int64 line = (from + at) / run;
            const int64 column = (from + at) % run;
            const int64 past = std::min(end, at + run - column);
            const int64 count = std::min(past, at + valid - column) - at;
            if (count > 0) {
                store_.stretch(
                    acc_,
                    at - begin,
                    count,
                    line_offset(sample, line) + column * problem_.y_pitch[4],
                    filter,
                    columns,
                    bias);
            }
            at = past;
        }
    }

    // Of a line of outputs (or a sample, where all lines are one) in y.
    int64 line_offset(int64 sample, int64 line) const {
        const int64(&pitch)[5] = problem_.y_pitch;
        if (product_.is_band()) {
            return (block_.n + sample) * pitch[0] + block_.m * pitch[2] +
                   (block_.first + line) * pitch[3];
        }
        if (product_.rows_follow) {
            return line * pitch[0];
        }
        const int64 p = line % problem_.output[1];
        const int64 m = line / problem_.output[1] % problem_.output[0];
        const int64 n = line / problem_.output[1] / problem_.output[0];
        return n * pitch[0] + m * pitch[2] + p * pitch[3];
    }

    const Product<Result>& product_;
    const ConvProblem& problem_;
    const DotShape& shape_;
    const DotKernel& kernel_;
    ScratchFrame frame_;
    DotStore<Result> store_;
    Sum* acc_;
    Sum* bias_;
    int64* taps_;
    char* rows_;
    char* panel_;
    InTiles in_tiles_;
    Block block_{};
    int64 filled_ = -1;
    int64 first_panel_ = 0;
    const char* first_row_ = nullptr;
    int64 pitch_ = 0;
    int64 sample_bytes_ = 0;
};

} // namespace pyconv
