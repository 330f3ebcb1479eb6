// Depthwise convolution with channels in the lanes: rows of pixels, lists of taps.
#include "cpu/conv/channel_lanes.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/filter_lines.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/lane_out.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

template <class T>
struct Road {
    const ConvPlan& plan;
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    const T* bias;
    const T* residual;
    T* y;
    const T* packed;
    int64 inner; // output columns [inner, outer) have no tap in the padding along W
    int64 outer;

    // The taps of one pixel, or of a run of pixels that meet the same ones.
    struct Taps {
        int64 count;
        int64* x_offset;
        int64* weight_offset;
    };

    // Taps that pixel (m, p, q) meets, as offsets from the sample's first element.
    void list(const int64 (&at)[3], Taps& taps) const {
        taps.count = 0;
        int64 tap = 0;
        for (int64 t = 0; t < problem.kernel[0]; ++t) {
            const int64 d = input_index(problem, 0, at[0], t);
            for (int64 r = 0; r < problem.kernel[1]; ++r) {
                const int64 h = input_index(problem, 1, at[1], r);
                for (int64 s = 0; s < problem.kernel[2]; ++s, ++tap) {
                    const int64 w = input_index(problem, 2, at[2], s);
                    if (d < 0 || h < 0 || w < 0) {
                        continue;
                    }
                    taps.x_offset[taps.count] = d * problem.x_pitch[2] +
                                                h * problem.x_pitch[3] +
                                                w * problem.x_pitch[4];
                    taps.weight_offset[taps.count++] = tap * problem.c;
                }
            }
        }
    }

    // Tap rows that output row (m, p) meets.
    void list_rows(int64 m, int64 p, Taps& taps) const {
        taps.count = 0;
        for (int64 t = 0; t < problem.kernel[0]; ++t) {
            const int64 d = input_index(problem, 0, m, t);
            for (int64 r = 0; r < problem.kernel[1]; ++r) {
                const int64 h = input_index(problem, 1, p, r);
                if (d >= 0 && h >= 0) {
                    taps.x_offset[taps.count] =
                        d * problem.x_pitch[2] + h * problem.x_pitch[3];
                    taps.weight_offset[taps.count++] =
                        (t * problem.kernel[1] + r) * problem.kernel[2] * problem.c;
                }
            }
        }
    }

    // column: where in the input row the tile's first column lies.
    void multiply(
        void (*tile)(const LaneTile<T>&),
        int64 pixel_pitch,
        int64 column,
        const T* x,
        const Taps& taps,
        int64 channel,
        int64 channels,
        int64 pixels,
        int64 start,
        T* acc) const {
        finish_lane_tile(
            kernels,
            problem,
            tile,
            LaneTile<T>{
                .x = x + channel,
                .taps = taps.count,
                .x_offset = taps.x_offset,
                .weight_offset = taps.weight_offset,
                .pixel_pitch = pixel_pitch,
                .weight = packed + channel,
                .channels = channels,
                .acc = acc,
                .acc_pitch = channels,
                .bias = bias != nullptr ? bias + channel : nullptr,
                .activation = problem.activation,
                .weight_pitch = problem.c,
                .first = -column,
                .last = problem.input[2] - column,
                .pixels = pixels,
                .group_channels = 0,
                .index = nullptr,
            },
            residual != nullptr ? residual + start + channel : nullptr,
            y + start + channel);
    }

    // One block of rows x a chunk of channels, a column of tiles after the other.
    void sweep(
        const T* sample,
        int64 n,
        int64 m,
        int64 p,
        int64 rows,
        int64 channel,
        int64 channels,
        Taps* taps,
        T* acc) const {
        for (int64 q = 0; q < problem.output[2];) {
            const bool alone = q < inner || q >= outer;
            const int64 last = alone ? q + 1 : outer;
            const int64 first = q;
            for (int64 row = 0; row < rows; ++row) {
                list({m, p + row, q}, taps[row]);
            }
            const int64 tiles = ceil_div(last - q, kernels.lane_pixels);
            for (int64 i = 0; i < tiles; ++i) {
                const int64 pixels = ceil_div(last - q, tiles - i);
                const T* x =
                    sample + (q - first) * problem.stride[2] * problem.x_pitch[4];
                for (int64 row = 0; row < rows; ++row) {
                    multiply(
                        kernels.lane_tile[pixels - 1],
                        problem.stride[2] * problem.x_pitch[4],
                        0,
                        x,
                        taps[row],
                        channel,
                        channels,
                        pixels,
                        n * problem.y_pitch[0] + m * problem.y_pitch[2] +
                            (p + row) * problem.y_pitch[3] + q * problem.y_pitch[4],
                        acc);
                }
                q += pixels;
            }
        }
    }

    // The same where a tile's kernel takes whole tap rows, padding and all.
    void sweep_rows(
        const T* sample,
        int64 n,
        int64 m,
        int64 p,
        int64 rows,
        int64 channel,
        int64 channels,
        Taps* taps,
        T* acc) const {
        const int64 most = plan.planes.rows;
        const auto tile =
            kernels.lane_row[(problem.kernel[2] - 3) / 2][problem.stride[2] - 1]
                            [most / LANE_ROW_PIXELS - 1];
        for (int64 row = 0; row < rows; ++row) {
            list_rows(m, p + row, taps[row]);
        }
        for (int64 q = 0; q < problem.output[2]; q += most) {
            const int64 column = q * problem.stride[2] - problem.pad_before[2];
            const T* x = sample + column * problem.x_pitch[4];
            for (int64 row = 0; row < rows; ++row) {
                multiply(
                    tile,
                    problem.x_pitch[4],
                    column,
                    x,
                    taps[row],
                    channel,
                    channels,
                    std::min(most, problem.output[2] - q),
                    n * problem.y_pitch[0] + m * problem.y_pitch[2] +
                        (p + row) * problem.y_pitch[3] + q * problem.y_pitch[4],
                    acc);
            }
        }
    }

    // Units are (sample, plane, block of rows, chunk of channels).
    void walk(const T* x, int64 begin, int64 end) const {
        ScratchFrame frame;
        const int64 count = volume(problem.kernel);
        const int64 high = plan.planes.block_rows;
        Taps* taps = frame.take<Taps>(high);
        for (int64 i = 0; i < high; ++i) {
            taps[i] = {0, frame.take<int64>(count), frame.take<int64>(count)};
        }
        T* acc = frame.take<T>(plan.planes.rows * plan.filter_group);
        const int64 blocks = ceil_div(problem.output[1], high);
        const int64 chunks = ceil_div(problem.c, plan.filter_group);
        for (int64 unit = begin; unit < end; ++unit) {
            int64 rest = unit;
            const int64 channel = rest % chunks * plan.filter_group;
            rest /= chunks;
            const int64 p = rest % blocks * high;
            rest /= blocks;
            const int64 m = rest % problem.output[0];
            const int64 n = rest / problem.output[0];
            // The last chunk is as wide as the rest, which is at least a vector.
            const auto sweep_it = plan.planes.form == PlaneForm::LANE_ROWS
                                      ? &Road::sweep_rows
                                      : &Road::sweep;
            (this->*sweep_it)(
                x + n * problem.x_pitch[0],
                n,
                m,
                p,
                std::min(high, problem.output[1] - p),
                channel,
                std::min(plan.filter_group, problem.c - channel),
                taps,
                acc);
        }
    }
};

template <class T>
void pack_as(const ConvPlan& plan, const T* weight, T* packed) {
    const ConvProblem& problem = plan.problem;
    if (filters_contiguous(problem)) {
        kernels_of<T>(*plan.isa).transpose(
            weight,
            problem.w_pitch[0],
            problem.k,
            volume(problem.kernel),
            packed,
            problem.k);
        return;
    }
    for (int64 t = 0; t < problem.kernel[0]; ++t) {
        for (int64 r = 0; r < problem.kernel[1]; ++r) {
            for (int64 s = 0; s < problem.kernel[2]; ++s) {
                const T* from = weight + t * problem.w_pitch[2] +
                                r * problem.w_pitch[3] + s * problem.w_pitch[4];
                for (int64 k = 0; k < problem.k; ++k) {
                    *packed++ = from[k * problem.w_pitch[0]];
                }
            }
        }
    }
}

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    ScratchFrame frame;
    const auto* packed = static_cast<const T*>(tensors.packed);
    if (packed == nullptr) {
        T* scratch = frame.take<T>(problem.k * volume(problem.kernel));
        pack_as(plan, static_cast<const T*>(tensors.weight), scratch);
        packed = scratch;
    }
    const int64 reach = (problem.kernel[2] - 1) * problem.dilation[2];
    const int64 inner =
        std::min(problem.output[2], ceil_div(problem.pad_before[2], problem.stride[2]));
    const int64 room = problem.input[2] - 1 + problem.pad_before[2] - reach;
    const int64 outer = std::clamp<int64>(
        room < 0 ? 0 : room / problem.stride[2] + 1, inner, problem.output[2]);
    const Road<T> road{
        .plan = plan,
        .problem = problem,
        .kernels = kernels_of<T>(*plan.isa),
        .bias = static_cast<const T*>(tensors.bias),
        .residual = static_cast<const T*>(tensors.residual),
        .y = static_cast<T*>(tensors.y),
        .packed = packed,
        .inner = inner,
        .outer = outer,
    };
    parallel_for(
        problem.n * problem.output[0] *
            ceil_div(problem.output[1], plan.planes.block_rows) *
            ceil_div(problem.c, plan.filter_group),
        plan.parallel,
        [&](int64 begin, int64 end, int) {
            road.walk(static_cast<const T*>(tensors.x), begin, end);
        });
}

} // namespace

void channel_lanes_pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        pack_as(plan, static_cast<const float*>(weight), static_cast<float*>(packed));
    } else {
        pack_as(plan, static_cast<const double*>(weight), static_cast<double*>(packed));
    }
}

void channel_lanes_run(const ConvPlan& plan, const ConvTensors& tensors) {
    run_where_padding_is_zero(plan, tensors, run_as<float>, run_as<double>);
}

} // namespace pyconv
