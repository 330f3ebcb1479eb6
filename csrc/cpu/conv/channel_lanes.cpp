// Depthwise convolution with channels in the lanes: rows of pixels, lists of taps.
#include "cpu/conv/channel_lanes.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/lane_out.hpp"
#include "cpu/conv/model.hpp"
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
void pack_as(const ConvProblem& problem, const void* weight, void* to) {
    T* packed = static_cast<T*>(to);
    for (int64 t = 0; t < problem.kernel[0]; ++t) {
        for (int64 r = 0; r < problem.kernel[1]; ++r) {
            for (int64 s = 0; s < problem.kernel[2]; ++s) {
                const T* from = static_cast<const T*>(weight) + t * problem.w_pitch[2] +
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
        pack_as<T>(problem, tensors.weight, scratch);
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

// Tap rows that some kernel takes whole.
bool suits_tap_rows(const ConvProblem& problem) {
    const int64 taps = problem.kernel[2];
    return (taps == 3 || taps == 5 || taps == 7) && problem.stride[2] <= 2 &&
           problem.dilation[2] == 1 && problem.padding_mode == PAD_ZEROS;
}

} // namespace

bool suits_channel_lanes(const ConvProblem& problem, const IsaTable& isa) {
    const int lanes = problem.dtype == FLOAT32 ? isa.f32.lanes : isa.f64.lanes;
    return problem.k == problem.c && problem.c == problem.groups &&
           problem.x_pitch[1] == 1 && problem.y_pitch[1] == 1 && problem.c >= lanes;
}

double
channel_lanes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int lanes = problem.dtype == FLOAT32 ? isa.f32.lanes : isa.f64.lanes;
    const double pixels = static_cast<double>(problem.n * volume(problem.output));
    const double vectors = static_cast<double>(ceil_div(problem.c, lanes));
    const double taps = static_cast<double>(volume(problem.kernel));
    // A load and a multiply-add a tap, two a cycle; the weights' loads are shared by a
    // tile. Then the way out, and the list of taps once a row and a pixel at its ends.
    // Whole tap rows share the loads of x as well.
    const bool whole = suits_tap_rows(problem);
    const double edges =
        static_cast<double>(problem.n * problem.output[0] * problem.output[1]) *
        static_cast<double>(1 + problem.pad_before[2] + problem.pad_after[2]);
    const double cycles = pixels * vectors * (taps * (whole ? 0.6 : 1.0) + 4.0) +
                          pixels * 10.0 + (whole ? 0.0 : edges * (taps * 6.0 + 50.0)) +
                          500.0;
    return shared_us(cycles, problem, host);
}

Movement channel_lanes_movement(const ConvProblem& problem, const Machine& host) {
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    // A row of x comes from L2 for every tap row that meets it.
    const double rows = static_cast<double>(problem.kernel[0] * problem.kernel[1]) /
                        static_cast<double>(problem.stride[0] * problem.stride[1]);
    const double l1 = x * std::max(1.0, rows) + w + y;
    return layered(
        2.0 * products_of(problem), l1, x + w + y, x + w + y, x + w + y, host);
}

ConvPlan channel_lanes_plan(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 bytes = element_bytes(problem.dtype);
    const int64 packed = problem.k * volume(problem.kernel) * bytes;
    const bool single = problem.dtype == FLOAT32;
    const bool whole = suits_tap_rows(problem);
    const PlaneForm form = whole ? PlaneForm::LANE_ROWS : PlaneForm::LANES;
    const bool wide =
        isa.f32.lane_row[0][0][1] != nullptr &&
        (problem.output[2] - 1) % (2 * LANE_ROW_PIXELS) >= LANE_ROW_PIXELS;
    const int64 pixels = whole    ? LANE_ROW_PIXELS * (wide ? 2 : 1)
                         : single ? isa.f32.lane_pixels
                                  : isa.f64.lane_pixels;
    const int64 lanes = single ? isa.f32.lanes : isa.f64.lanes;
    // Channels whose window of rows, one tile wide, stays in half of L1; the last chunk
    // must not be narrower than a vector.
    const int64 span = (pixels - 1) * problem.stride[2] +
                       (problem.kernel[2] - 1) * problem.dilation[2] + 1;
    const int64 window = span * problem.kernel[0] * problem.kernel[1] * bytes;
    const int64 most = std::max<int64>(host.l1_bytes / 2 / window / lanes, 4) * lanes;
    const int64 chunks = ceil_div(problem.c, most);
    const int64 even = ceil_div(ceil_div(problem.c, chunks), lanes) * lanes;
    const int64 tail = problem.c - (ceil_div(problem.c, even) - 1) * even;
    const int64 chunk = tail < lanes ? problem.c : even;
    // Eight rows, but at least sixteen units, so that threads can share.
    const int64 others = problem.n * problem.output[0] * ceil_div(problem.c, chunk);
    const int64 rows = std::min(
        ceil_div(problem.output[1], std::min(ceil_div(16, others), problem.output[1])),
        int64{8});
    return ConvPlan{
        .problem = problem,
        .algorithm = nullptr,
        .isa = &isa,
        .vectors = whole ? 1 : 2,
        .filter_group = chunk,
        .pixel_group = 0,
        // An output's way through memory costs about as much as eight products.
        .parallel =
            products_of(problem) + 8.0 * outputs_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"form", static_cast<int64>(form)},
             {"mr", pixels},
             {"nr", (whole ? 1 : 2) * lanes},
             {"block_p", rows},
             {"block_k", chunk}},
        .workspace_bytes = packed + pixels * chunk * bytes,
        .packed_bytes = packed,
        .packing = "channels of a tap",
        .planes = {form, pixels, whole ? 1 : 2, rows, problem.output[2]},
    };
}

void channel_lanes_pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        pack_as<float>(plan.problem, weight, packed);
    } else {
        pack_as<double>(plan.problem, weight, packed);
    }
}

void channel_lanes_run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (padding_would_show(plan.problem, tensors)) {
        run_direct_instead(plan, tensors);
    } else if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

} // namespace pyconv
