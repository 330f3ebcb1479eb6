// A part of the channels is a depthwise problem of its own, of one sample and channels
// last, that runs in its thread alone.
#include "cpu/conv/turned_lanes.hpp"

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/channel_lanes.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/patch_product.hpp"
#include "cpu/conv/turned_input.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Cycles an element takes to be turned in or out: measured.
constexpr double TURNING = 1.0;
// Vectors of channels in a part.
constexpr int64 LEAST_VECTORS = 2;
constexpr int64 MOST_VECTORS = 8;

// `channels` channels of one sample, as they lie in scratch.
ConvProblem part_problem(const ConvProblem& problem, int64 channels) {
    ConvProblem part = problem;
    part.n = 1;
    part.c = channels;
    part.k = channels;
    part.groups = channels;
    const auto pack = [&](const int64(&extent)[3], int64(&pitch)[5]) {
        pitch[1] = 1;
        pitch[4] = channels;
        pitch[3] = extent[2] * pitch[4];
        pitch[2] = extent[1] * pitch[3];
        pitch[0] = extent[0] * pitch[2];
    };
    pack(part.input, part.x_pitch);
    pack(part.output, part.y_pitch);
    return part;
}

// Channels cut into equal parts, none narrower than a vector.
struct Parts {
    int64 channels;
    int64 count;

    explicit Parts(const ConvPlan& plan)
        : channels(plan.problem.c), count(ceil_div(channels, plan.filter_group)) {}

    int64 first(int64 part) const { return part * channels / count; }
};

int64 part_channels(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    const int64 vector_bytes = (volume(problem.input) + volume(problem.output)) *
                               lanes * element_bytes(problem.dtype);
    const int64 fitting = host.l1_bytes * 3 / 4 / vector_bytes;
    return std::clamp(fitting, LEAST_VECTORS, MOST_VECTORS) * lanes;
}

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const Kernels<T>& kernels = kernels_of<T>(*plan.isa);
    const Parts parts(plan);
    const int64 taps = volume(problem.kernel);
    const int64 pixels = volume(problem.output);
    ScratchFrame shared;
    const auto* packed = static_cast<const T*>(tensors.packed);
    if (packed == nullptr) {
        T* scratch = shared.take<T>(problem.c * taps);
        turned_lanes_pack(plan, tensors.weight, scratch);
        packed = scratch;
    }
    const auto* x = static_cast<const T*>(tensors.x);
    const auto* bias = static_cast<const T*>(tensors.bias);
    auto* y = static_cast<T*>(tensors.y);
    const auto body = [&](int64 begin, int64 end, int) {
        ConvPlan own = plan;
        own.parallel = false;
        ScratchFrame frame;
        T* in = frame.take<T>(plan.filter_group * volume(problem.input));
        T* out = frame.take<T>(plan.filter_group * pixels);
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 n = unit / parts.count;
            const int64 first = parts.first(unit % parts.count);
            const int64 channels = parts.first(unit % parts.count + 1) - first;
            const T* from = x + n * problem.x_pitch[0] + first * problem.x_pitch[1];
            own.problem = part_problem(problem, channels);
            own.filter_group = channels;
            turn_sample(problem, kernels, from, channels, in);
            channel_lanes_run(
                own,
                ConvTensors{
                    .x = in,
                    .weight = nullptr,
                    .packed = packed + first * taps,
                    .packed_finite = true,
                    .bias = bias != nullptr ? bias + first : nullptr,
                    .residual = nullptr,
                    .y = out,
                });
            T* to = y + n * problem.y_pitch[0] + first * problem.y_pitch[1];
            kernels.transpose(out, channels, pixels, channels, to, problem.y_pitch[1]);
        }
    };
    parallel_for(problem.n * parts.count, plan.parallel, body);
}

} // namespace

bool suits_turned_lanes(const ConvProblem& problem, const IsaTable& isa) {
    return problem.k == problem.c && problem.c == problem.groups &&
           problem.c >= lanes_of(problem, isa) && can_turn(problem) &&
           problem.y_pitch[1] != 1 && pixels_contiguous(problem) &&
           problem.has_residual == 0;
}

double
turned_lanes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    ConvProblem part = part_problem(problem, problem.c);
    part.n = problem.n;
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double turned = TURNING * (bytes_of_x(problem) + bytes_of_y(problem)) / bytes;
    const double parts =
        static_cast<double>(problem.n) *
        static_cast<double>(ceil_div(problem.c, part_channels(problem, isa, host)));
    return channel_lanes_us(part, isa, host) +
           shared_us(turned + 300.0 * parts, problem, host) -
           shared_us(0.0, problem, host);
}

Movement turned_lanes_movement(
    const ConvProblem& problem, const IsaTable&, const Machine& host) {
    // In and out, everything passes through scratch once more.
    ConvProblem part = part_problem(problem, problem.c);
    part.n = problem.n;
    Movement movement = channel_lanes_movement(part, host);
    movement.l1_bytes += 2.0 * (bytes_of_x(problem) + bytes_of_y(problem));
    return movement;
}

ConvPlan turned_lanes_plan(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 channels = std::min(problem.c, part_channels(problem, isa, host));
    ConvPlan plan = channel_lanes_plan(part_problem(problem, channels), isa, host);
    const int64 bytes = element_bytes(problem.dtype);
    const int64 pixels = volume(problem.input) + volume(problem.output);
    plan.problem = problem;
    plan.filter_group = channels;
    plan.parallel =
        products_of(problem) + 8.0 * outputs_of(problem) > PARALLEL_PRODUCTS;
    plan.blocking.emplace_back("part_k", channels);
    plan.packed_bytes = problem.c * volume(problem.kernel) * bytes;
    plan.workspace_bytes = plan.packed_bytes + pixels * channels * bytes;
    plan.packing = "taps of " + std::to_string(channels) + " channels";
    return plan;
}

void turned_lanes_pack(const ConvPlan& plan, const void* weight, void* packed) {
    const Parts parts(plan);
    const int64 bytes = element_bytes(plan.problem.dtype);
    const int64 filter = plan.problem.w_pitch[0] * bytes;
    const int64 packed_filter = volume(plan.problem.kernel) * bytes;
    parallel_for(parts.count, plan.parallel, [&](int64 begin, int64 end, int) {
        ConvPlan own = plan;
        for (int64 part = begin; part < end; ++part) {
            const int64 first = parts.first(part);
            own.problem = part_problem(plan.problem, parts.first(part + 1) - first);
            channel_lanes_pack(
                own,
                static_cast<const char*>(weight) + first * filter,
                static_cast<char*>(packed) + first * packed_filter);
        }
    });
}

void turned_lanes_run(const ConvPlan& plan, const ConvTensors& tensors) {
    run_where_padding_is_zero(plan, tensors, run_as<float>, run_as<double>);
}

} // namespace pyconv
