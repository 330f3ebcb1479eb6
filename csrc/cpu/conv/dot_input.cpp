// Runs of pixels are copied whole where nothing is converted or filled up.
#include "cpu/conv/dot_input.hpp"

#include "cpu/conv/dot_lanes.hpp"

#include <algorithm>
#include <cstring>

namespace pyconv {
namespace {

constexpr int64 PADDING = -1;

// Copies pixels, and fills their rows up with zeros.
template <class X, class Lane>
class Filler {
  public:
    Filler(const ConvProblem& problem, const DotShape& shape)
        : problem_(problem), shape_(shape),
          shift_(static_cast<Lane>(shape.shifts ? 0x80 : 0)),
          joined_(
              problem.x_pitch[1] == 1 && problem.x_pitch[4] == shape.channels &&
              problem.dilation[2] == 1) {}

    // Channels of `count` pixels from x on, `to_elements` apart.
    void pixels(const X* x, int64 count, Lane* to, int64 to_elements) const {
        const int64 channels = shape_.channels;
        const int64 pitch = problem_.x_pitch[4];
        const int64 step = problem_.x_pitch[1];
        if constexpr (sizeof(X) == sizeof(Lane)) {
            if (step == 1 && shift_ == 0) {
                if (pitch == channels && to_elements == channels) {
                    std::memcpy(to, x, bytes(count * channels));
                    return;
                }
                for (int64 i = 0; i < count; ++i) {
                    std::memcpy(to + i * to_elements, x + i * pitch, bytes(channels));
                }
                return;
            }
        }
        for (int64 i = 0; i < count; ++i) {
            Lane* row = to + i * to_elements;
            const X* from = x + i * pitch;
            for (int64 c = 0; c < channels; ++c) {
                row[c] = static_cast<Lane>(as_lane<Lane>(from[c * step]) ^ shift_);
            }
        }
    }

    // Whether a window's row from this column on is one run of elements.
    bool follows(int64 column) const {
        return joined_ && column >= 0 &&
               column + problem_.kernel[2] <= problem_.input[2];
    }

    void run(const X* x, int64 count, Lane* to) const {
        if constexpr (sizeof(X) == sizeof(Lane)) {
            if (shift_ == 0) {
                std::memcpy(to, x, bytes(count));
                return;
            }
        }
        for (int64 i = 0; i < count; ++i) {
            to[i] = static_cast<Lane>(as_lane<Lane>(x[i]) ^ shift_);
        }
    }

    void padding(int64 count, Lane* to) const { std::fill(to, to + count, shift_); }

    // Elements past a row's last one; with weights of zero.
    static void rest(Lane* row, int64 from, int64 to) {
        std::fill(row + from, row + to, Lane(0));
    }

  private:
    static std::size_t bytes(int64 elements) {
        return static_cast<std::size_t>(elements) * sizeof(Lane);
    }

    const ConvProblem& problem_;
    const DotShape& shape_;
    Lane shift_;
    bool joined_; // pixels of a row follow each other, as a window's do
};

template <class X, class Lane>
void patches_as(
    const ConvProblem& problem,
    const DotShape& shape,
    const X* x,
    int64 first,
    int64 count,
    Lane* row) {
    const Filler<X, Lane> fill(problem, shape);
    const int64 channels = shape.channels;
    const int64 all = volume(problem.output);
    const int64 elements = shape.row_groups * shape.lanes;
    const auto first_column = [&](const Pixel& at) {
        return at.at[2] * problem.stride[2] - problem.pad_before[2];
    };
    int64 n = first / all;
    Pixel pixel(problem.output, first % all);
    for (int64 i = 0; i < count; ++i, row += elements) {
        const X* sample = x + n * problem.x_pitch[0];
        Lane* to = row;
        for (int64 t = 0; t < problem.kernel[0]; ++t) {
            const int64 d = input_index(problem, 0, pixel.at[0], t);
            for (int64 r = 0; r < problem.kernel[1]; ++r) {
                const int64 h = input_index(problem, 1, pixel.at[1], r);
                const X* line =
                    sample + d * problem.x_pitch[2] + h * problem.x_pitch[3];
                const int64 run = problem.kernel[2] * channels;
                if (d != PADDING && h != PADDING && fill.follows(first_column(pixel))) {
                    fill.run(line + first_column(pixel) * channels, run, to);
                    to += run;
                    continue;
                }
                for (int64 s = 0; s < problem.kernel[2]; ++s, to += channels) {
                    const int64 w = input_index(problem, 2, pixel.at[2], s);
                    if (d == PADDING || h == PADDING || w == PADDING) {
                        fill.padding(channels, to);
                    } else {
                        fill.pixels(line + w * problem.x_pitch[4], 1, to, channels);
                    }
                }
            }
        }
        fill.rest(row, shape.row_elements, elements);
        pixel.advance(problem.output);
        if (pixel.at[0] == problem.output[0]) {
            pixel.at[0] = 0;
            ++n;
        }
    }
}

// One row of a band.
template <class X, class Lane>
void band_line(
    const ConvProblem& problem,
    const DotShape& shape,
    const Filler<X, Lane>& fill,
    const X* line,
    Lane* to) {
    const int64 elements = shape.row_groups * shape.lanes;
    const int64 width = band_width(problem);
    const int64 before = problem.pad_before[2];
    const int64 begin = std::clamp<int64>(before, 0, width);
    const int64 end = std::clamp<int64>(before + problem.input[2], begin, width);
    const auto edge = [&](int64 from, int64 past) {
        for (int64 at = from; at < past; ++at) {
            const int64 w =
                folded_index(at - before, problem.input[2], problem.padding_mode);
            if (w == PADDING) {
                fill.padding(shape.channels, to + at * elements);
            } else {
                fill.pixels(
                    line + w * problem.x_pitch[4], 1, to + at * elements, elements);
            }
        }
    };
    edge(0, begin);
    fill.pixels(
        line + (begin - before) * problem.x_pitch[4],
        end - begin,
        to + begin * elements,
        elements);
    edge(end, width);
    for (int64 at = 0; at < width && shape.channels < elements; ++at) {
        fill.rest(to + at * elements, shape.channels, elements);
    }
}

template <class X, class Lane>
void band_as(
    const ConvProblem& problem,
    const DotShape& shape,
    const X* x,
    int64 m,
    int64 first,
    int64 count,
    Lane* to) {
    const Filler<X, Lane> fill(problem, shape);
    const int64 line_elements = band_width(problem) * shape.row_groups * shape.lanes;
    const int64 lines = band_height(problem, count);
    for (int64 t = 0; t < problem.kernel[0]; ++t) {
        const int64 d = input_index(problem, 0, m, t);
        for (int64 line = 0; line < lines; ++line, to += line_elements) {
            const int64 h = folded_index(
                first + line - problem.pad_before[1],
                problem.input[1],
                problem.padding_mode);
            if (d == PADDING || h == PADDING) {
                fill.padding(line_elements, to);
                continue;
            }
            const X* from = x + d * problem.x_pitch[2] + h * problem.x_pitch[3];
            band_line(problem, shape, fill, from, to);
        }
    }
}

} // namespace

void fill_dot_patches(
    const ConvProblem& problem,
    const DotShape& shape,
    const void* x,
    int64 first,
    int64 count,
    void* rows) {
    with_lanes(problem.dtype, shape, [&]<class X, class Lane>() {
        patches_as(
            problem,
            shape,
            static_cast<const X*>(x),
            first,
            count,
            static_cast<Lane*>(rows));
    });
}

void fill_dot_band(
    const ConvProblem& problem,
    const DotShape& shape,
    const void* x,
    int64 m,
    int64 first,
    int64 count,
    void* band) {
    with_lanes(problem.dtype, shape, [&]<class X, class Lane>() {
        band_as(
            problem,
            shape,
            static_cast<const X*>(x),
            m,
            first,
            count,
            static_cast<Lane*>(band));
    });
}

bool is_dot_input(const ConvProblem& problem, const DotShape& shape) {
    const int64(&pitch)[5] = problem.x_pitch;
    bool follows = volume(problem.kernel) == 1 && pitch[1] == 1 && !shape.shifts &&
                   shape.lane_bytes == element_bytes(problem.dtype) &&
                   shape.row_elements == shape.row_groups * shape.lanes;
    int64 expected = pitch[4];
    for (int axis = 2; axis >= 0; --axis) {
        follows = follows && problem.pad_before[axis] == 0 &&
                  (problem.stride[axis] == 1 || problem.input[axis] == 1) &&
                  problem.output[axis] == problem.input[axis] &&
                  (problem.input[axis] == 1 || pitch[axis + 2] == expected);
        expected *= problem.input[axis];
    }
    return follows && (problem.n == 1 || pitch[0] == expected);
}

} // namespace pyconv
