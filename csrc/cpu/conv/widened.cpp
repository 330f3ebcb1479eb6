// widened: halves by way of floats: widen, run the quickest float algorithm, narrow.
//
// The idea: a few samples at a time, so that what is widened is still in cache when it
// is read, and its result when it is rounded, once. Sums are float32's, and whatever
// makes a float32 convolution fast makes this fast. A call and a layer have plans of
// their own: a layer packs once, which may make another algorithm the quickest.
#include "core/memory.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/convert.hpp"
#include "cpu/selection.hpp"

#include <algorithm>
#include <cstdlib>

namespace pyconv {
namespace {

// Of ConvPlan::inner: what a call runs, and what a layer does.
enum Inner : std::size_t { CALL = 0, LAYER = 1 };

// Widening or narrowing an element within L2, in cycles; measured.
constexpr double ELEMENT_CYCLES = 0.35;

struct Axes {
    int64 extent[5];
};

Axes axes_of(int64 n, int64 channels, const int64 (&extent)[3]) {
    return {{n, channels, extent[0], extent[1], extent[2]}};
}

// Pitches without gaps, axes in the order they have in memory.
void make_dense(const Axes& axes, const int64 (&pitch)[5], int64 (&dense)[5]) {
    int order[5] = {0, 1, 2, 3, 4};
    std::stable_sort(order, order + 5, [&](int a, int b) {
        return std::abs(pitch[a]) > std::abs(pitch[b]);
    });
    int64 step = 1;
    for (int i = 4; i >= 0; --i) {
        dense[order[i]] = step;
        step *= axes.extent[order[i]];
    }
}

int64 elements_of(const Axes& axes) {
    int64 all = 1;
    for (const int64 extent : axes.extent) {
        all *= extent;
    }
    return all;
}

Axes weight_axes(const ConvProblem& problem) {
    return axes_of(problem.k, problem.c / problem.groups, problem.kernel);
}

Axes x_axes(const ConvProblem& problem) {
    return axes_of(problem.n, problem.c, problem.input);
}

Axes y_axes(const ConvProblem& problem) {
    return axes_of(problem.n, problem.k, problem.output);
}

// Samples that are widened together. The last part may take some once more.
int64 samples_of(const ConvProblem& problem, const Machine& host) {
    const int64 sample =
        (problem.c * volume(problem.input) + problem.k * volume(problem.output)) *
        int64{sizeof(float)};
    const int64 fitting = std::clamp<int64>(2 * host.l2_bytes / sample, 1, problem.n);
    return ceil_div(problem.n, ceil_div(problem.n, fitting));
}

ConvProblem inner_problem(const ConvProblem& problem, const Machine& host) {
    ConvProblem inner = problem;
    inner.dtype = FLOAT32;
    inner.weight_dtype = FLOAT32;
    inner.n = samples_of(problem, host);
    make_dense(x_axes(inner), problem.x_pitch, inner.x_pitch);
    make_dense(y_axes(inner), problem.y_pitch, inner.y_pitch);
    make_dense(weight_axes(inner), problem.w_pitch, inner.w_pitch);
    return inner;
}

ConvertedArray converted(
    const void* from,
    void* to,
    const Axes& axes,
    const int64 (&from_pitch)[5],
    const int64 (&to_pitch)[5]) {
    ConvertedArray array{};
    array.from = from;
    array.to = to;
    array.axes = 5;
    for (int axis = 0; axis < 5; ++axis) {
        array.extent[axis] = axes.extent[axis];
        array.from_pitch[axis] = from_pitch[axis];
        array.to_pitch[axis] = to_pitch[axis];
    }
    return array;
}

// Packed weights of a layer are behind the wide ones, which are read where the packed
// ones do not serve.
int64 wide_weight_bytes(const ConvProblem& problem) {
    constexpr int64 LINE = 64;
    const int64 bytes = elements_of(weight_axes(problem)) * int64{sizeof(float)};
    return ceil_div(bytes, LINE) * LINE;
}

void widen_weight(const ConvPlan& plan, const void* weight, void* wide) {
    const ConvProblem& inner = plan.inner[CALL].problem;
    widen(
        *plan.isa,
        plan.problem.dtype,
        converted(
            weight, wide, weight_axes(inner), plan.problem.w_pitch, inner.w_pitch));
}

// Wide and packed weights, packed ones where the plan has them and they are used twice.
ConvTensors with_weights(
    const ConvPlan& plan,
    const ConvPlan& chosen,
    const ConvTensors& tensors,
    ScratchFrame& frame) {
    ConvTensors part = tensors;
    if (tensors.packed != nullptr) {
        const auto* kept = static_cast<const char*>(tensors.packed);
        part.weight = kept;
        part.packed = chosen.packed_bytes > 0 ? kept + wide_weight_bytes(chosen.problem)
                                              : nullptr;
        return part;
    }
    char* wide = frame.take<char>(wide_weight_bytes(chosen.problem));
    widen_weight(plan, tensors.weight, wide);
    part.weight = wide;
    if (chosen.packed_bytes > 0 && plan.problem.n > chosen.problem.n) {
        char* packed = frame.take<char>(chosen.packed_bytes);
        chosen.algorithm->pack(chosen, wide, packed);
        part.packed = packed;
        part.packed_finite = weights_are_finite(chosen.problem, wide);
    }
    return part;
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const ConvPlan& chosen = plan.inner[tensors.packed != nullptr ? LAYER : CALL];
    const ConvProblem& inner = chosen.problem;
    const Axes x = x_axes(inner);
    const Axes y = y_axes(inner);
    ScratchFrame frame;
    ConvTensors part = with_weights(plan, chosen, tensors, frame);
    float* wide_x = frame.take<float>(elements_of(x));
    float* wide_y = frame.take<float>(elements_of(y));
    float* residual =
        tensors.residual != nullptr ? frame.take<float>(elements_of(y)) : nullptr;
    part.x = wide_x;
    part.y = wide_y;
    part.residual = residual;
    const int64 bytes = element_bytes(problem.dtype);
    for (int64 done = 0; done < problem.n; done += inner.n) {
        const int64 n = std::min(done, problem.n - inner.n);
        const auto* from =
            static_cast<const char*>(tensors.x) + n * problem.x_pitch[0] * bytes;
        const int64 y_offset = n * problem.y_pitch[0] * bytes;
        widen(
            *plan.isa,
            problem.dtype,
            converted(from, wide_x, x, problem.x_pitch, inner.x_pitch));
        if (residual != nullptr) {
            widen(
                *plan.isa,
                problem.dtype,
                converted(
                    static_cast<const char*>(tensors.residual) + y_offset,
                    residual,
                    y,
                    problem.y_pitch,
                    inner.y_pitch));
        }
        chosen.algorithm->run(chosen, part);
        narrow(
            *plan.isa,
            problem.dtype,
            converted(
                wide_y,
                static_cast<char*>(tensors.y) + y_offset,
                y,
                inner.y_pitch,
                problem.y_pitch));
    }
}

void pack(const ConvPlan& plan, const void* weight, void* packed) {
    const ConvPlan& layer = plan.inner[LAYER];
    auto* kept = static_cast<char*>(packed);
    widen_weight(plan, weight, kept);
    if (layer.packed_bytes > 0) {
        layer.algorithm->pack(layer, kept, kept + wide_weight_bytes(layer.problem));
    }
}

std::string supports(const ConvProblem& problem) {
    const bool is_half = problem.dtype == FLOAT16 || problem.dtype == BFLOAT16;
    return is_half ? "" : "float16 and bfloat16 only";
}

template <Inner USE>
const ConvAlgorithm&
inner_of(const ConvProblem& inner, const IsaTable& isa, const Machine& host) {
    // im2col, if nothing else, takes all
    return *quickest(inner, isa, host, USE == LAYER);
}

template <Inner USE>
double cost_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const ConvProblem inner = inner_problem(problem, host);
    const double parts = static_cast<double>(ceil_div(problem.n, inner.n));
    const double converted = static_cast<double>(elements_of(x_axes(problem))) +
                             static_cast<double>(elements_of(y_axes(problem))) *
                                 (problem.has_residual != 0 ? 2.0 : 1.0);
    return parts * inner_of<USE>(inner, isa, host).cost_us(inner, isa, host) +
           shared_us(ELEMENT_CYCLES * converted + 500.0, problem, host);
}

template <Inner USE>
double pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const ConvProblem inner = inner_problem(problem, host);
    const double elements = static_cast<double>(elements_of(weight_axes(problem)));
    return inner_of<USE>(inner, isa, host).pack_us(inner, isa, host) +
           packing_us(ELEMENT_CYCLES * elements, problem, host);
}

template <Inner USE>
Movement
movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const ConvProblem inner = inner_problem(problem, host);
    const double parts = static_cast<double>(ceil_div(problem.n, inner.n));
    const Movement within = inner_of<USE>(inner, isa, host).movement(inner, isa, host);
    const double halves =
        bytes_of_x(problem) + bytes_of_y(problem) + bytes_of_weight(problem);
    // Floats stay where their samples do; halves come from, and go to, memory.
    return {
        .flops = parts * within.flops,
        .l1_bytes = parts * within.l1_bytes + 3.0 * halves,
        .l2_bytes = parts * within.l2_bytes + 3.0 * halves,
        .dram_bytes = halves,
    };
}

template <Inner USE>
ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

// Called "widened", whatever it is used for.
template <Inner USE>
constexpr ConvAlgorithm widened_for(const ConvAlgorithm* of_layer) {
    return {
        .name = "widened",
        .summary = "halves widened to float32, the quickest float algorithm, narrowed",
        .rounding = "widened",
        .elements = Elements::ALL,
        .supports = supports,
        .cost_us = cost_us<USE>,
        .movement = movement<USE>,
        .pack_us = pack_us<USE>,
        .plan = plan<USE>,
        .pack = pack,
        .run = run,
        .of_layer = of_layer,
    };
}

constexpr ConvAlgorithm OF_LAYER = widened_for<LAYER>(nullptr);

} // namespace

extern const ConvAlgorithm conv_widened;
const ConvAlgorithm conv_widened = widened_for<CALL>(&OF_LAYER);

namespace {

// One plan serves calls and layers; USE says whose numbers it shows.
template <Inner USE>
ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const ConvProblem inner = inner_problem(problem, host);
    const ConvPlan call = inner_of<CALL>(inner, isa, host).plan(inner, isa, host);
    const ConvPlan layer = inner_of<LAYER>(inner, isa, host).plan(inner, isa, host);
    const ConvPlan& shown = USE == LAYER ? layer : call;
    const int64 weight = wide_weight_bytes(inner);
    const int64 outputs = elements_of(y_axes(inner)) * (1 + problem.has_residual);
    const int64 wide = (elements_of(x_axes(inner)) + outputs) * int64{sizeof(float)} +
                       (USE == LAYER ? 0 : weight);
    Blocking blocking = shown.blocking;
    blocking.insert(blocking.begin(), {"samples", inner.n});
    return ConvPlan{
        .problem = problem,
        .algorithm = &conv_widened,
        .isa = &isa,
        .vectors = shown.vectors,
        .filter_group = shown.filter_group,
        .pixel_group = shown.pixel_group,
        .parallel = shown.parallel,
        .blocking = blocking,
        .workspace_bytes = wide + shown.workspace_bytes,
        .packed_bytes = weight + layer.packed_bytes,
        .packing =
            std::string("widened for ") + layer.algorithm->name + ", " + layer.packing,
        .inner = {call, layer},
    };
}

} // namespace
} // namespace pyconv
