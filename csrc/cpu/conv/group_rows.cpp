// Grouped convolution with filters in the lanes: whole tap rows.
#include "cpu/conv/group_rows.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/lane_out.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <type_traits>

namespace pyconv {
namespace {

template <class T>
struct Road {
    using Index = std::conditional_t<sizeof(T) == 4, int, int64>;

    const ConvPlan& plan;
    const ConvProblem& problem;
    const Kernels<T>& kernels;
    const T* x;
    const T* bias;
    const T* residual;
    T* y;
    const T* packed;

    // Tap rows that output row (m, p) meets; returns how many.
    int64 list(int64 m, int64 p, int64* x_offset, int64* weight_offset) const {
        const int64 channels = problem.c / problem.groups;
        int64 count = 0;
        for (int64 t = 0; t < problem.kernel[0]; ++t) {
            const int64 d = input_index(problem, 0, m, t);
            for (int64 r = 0; r < problem.kernel[1]; ++r) {
                const int64 h = input_index(problem, 1, p, r);
                if (d >= 0 && h >= 0) {
                    x_offset[count] = d * problem.x_pitch[2] + h * problem.x_pitch[3];
                    weight_offset[count++] = (t * problem.kernel[1] + r) *
                                             problem.kernel[2] * channels *
                                             kernels.lanes;
                }
            }
        }
        return count;
    }

    // Units are (sample, plane, block of rows, vector of filters).
    void walk(int64 first, int64 last) const {
        ScratchFrame frame;
        const int64 lanes = kernels.lanes;
        const int64 channels = problem.c / problem.groups;
        const int64 high = plan.planes.block_rows;
        const int64 blocks = ceil_div(problem.output[1], high);
        const int64 vectors = problem.k / lanes;
        const int64 most = plan.planes.rows;
        const int64 tap_rows = problem.kernel[0] * problem.kernel[1];
        auto* x_offset = frame.take<int64>(tap_rows);
        auto* weight_offset = frame.take<int64>(tap_rows);
        auto* index = frame.take<Index>(channels * lanes);
        T* acc = frame.take<T>(most * lanes);
        const auto kernel =
            kernels.group_row[(problem.kernel[2] - 3) / 2][problem.stride[2] - 1]
                             [most / LANE_ROW_PIXELS - 1];
        for (int64 unit = first; unit < last; ++unit) {
            int64 rest = unit;
            const int64 k = rest % vectors * lanes;
            rest /= vectors;
            const int64 p = rest % blocks * high;
            rest /= blocks;
            const int64 m = rest % problem.output[0];
            const int64 n = rest / problem.output[0];
            const int64 begin = aim_lanes(problem, k, lanes, index);
            const T* sample = x + n * problem.x_pitch[0] + begin;
            const int64 end = std::min(p + high, problem.output[1]);
            for (int64 row = p; row < end; ++row) {
                const int64 count = list(m, row, x_offset, weight_offset);
                const int64 start = n * problem.y_pitch[0] + k +
                                    m * problem.y_pitch[2] + row * problem.y_pitch[3];
                for (int64 q = 0; q < problem.output[2]; q += most) {
                    const int64 column = q * problem.stride[2] - problem.pad_before[2];
                    const int64 at = start + q * problem.y_pitch[4];
                    finish_lane_tile(
                        kernels,
                        problem,
                        kernel,
                        LaneTile<T>{
                            .x = sample + column * problem.x_pitch[4],
                            .taps = count,
                            .x_offset = x_offset,
                            .weight_offset = weight_offset,
                            .pixel_pitch = problem.x_pitch[4],
                            .weight = packed + k * channels * volume(problem.kernel),
                            .channels = lanes,
                            .acc = acc,
                            .acc_pitch = lanes,
                            .bias = bias != nullptr ? bias + k : nullptr,
                            .activation = problem.activation,
                            .weight_pitch = lanes,
                            .first = -column,
                            .last = problem.input[2] - column,
                            .pixels = std::min(most, problem.output[2] - q),
                            .group_channels = channels,
                            .index = index,
                        },
                        residual != nullptr ? residual + at : nullptr,
                        y + at);
                }
            }
        }
    }
};

// A vector of filters after the other: their weights stay in L1 for a block of rows.
template <class T>
void pack_as(const ConvProblem& problem, int64 lanes, const T* weight, T* packed) {
    for (int64 k = 0; k < problem.k; k += lanes) {
        for (int64 t = 0; t < problem.kernel[0]; ++t) {
            for (int64 r = 0; r < problem.kernel[1]; ++r) {
                for (int64 s = 0; s < problem.kernel[2]; ++s) {
                    for (int64 c = 0; c < problem.c / problem.groups; ++c) {
                        const T* from = weight + k * problem.w_pitch[0] +
                                        c * problem.w_pitch[1] +
                                        t * problem.w_pitch[2] +
                                        r * problem.w_pitch[3] + s * problem.w_pitch[4];
                        for (int64 i = 0; i < lanes; ++i) {
                            *packed++ = from[i * problem.w_pitch[0]];
                        }
                    }
                }
            }
        }
    }
}

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors, const void* packed) {
    const ConvProblem& problem = plan.problem;
    const Road<T> road{
        .plan = plan,
        .problem = problem,
        .kernels = kernels_of<T>(*plan.isa),
        .x = static_cast<const T*>(tensors.x),
        .bias = static_cast<const T*>(tensors.bias),
        .residual = static_cast<const T*>(tensors.residual),
        .y = static_cast<T*>(tensors.y),
        .packed = static_cast<const T*>(packed),
    };
    const int64 units = problem.n * problem.output[0] *
                        ceil_div(problem.output[1], plan.planes.block_rows) *
                        (problem.k / road.kernels.lanes);
    parallel_for(units, plan.parallel, [&](int64 begin, int64 end, int) {
        road.walk(begin, end);
    });
}

} // namespace

bool suits_group_rows(const ConvProblem& problem) {
    const int64 taps = problem.kernel[2];
    return (taps == 3 || taps == 5 || taps == 7) && problem.stride[2] <= 2 &&
           problem.dilation[2] == 1 && problem.padding_mode == PAD_ZEROS;
}

void group_rows_pack(const ConvPlan& plan, const void* weight, void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        pack_as(
            plan.problem,
            plan.isa->f32.lanes,
            static_cast<const float*>(weight),
            static_cast<float*>(packed));
    } else {
        pack_as(
            plan.problem,
            plan.isa->f64.lanes,
            static_cast<const double*>(weight),
            static_cast<double*>(packed));
    }
}

void group_rows_run(
    const ConvPlan& plan, const ConvTensors& tensors, const void* packed) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors, packed);
    } else {
        run_as<double>(plan, tensors, packed);
    }
}

} // namespace pyconv
