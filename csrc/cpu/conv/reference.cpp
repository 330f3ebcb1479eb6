// reference: the definition, seven loops and nothing else.
//
// y[n, k, o] = sum over t, r, s, c of x[n, c, o * stride + tap * dilation - pad] w[k,
// c, tap]: cross-correlation, the kernel is not flipped. Sums run in the order every
// direct-sum algorithm keeps. It refuses nothing, so every valid problem has an answer.
#include "core/element.hpp"
#include "core/epilogue.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/geometry.hpp"

namespace pyconv {
namespace {

template <class X, class W>
typename Element<X>::Sum sum_of_products(
    const ConvProblem& problem, const X* x, const W* weight, const Pixel& pixel) {
    const int64 channels = problem.c / problem.groups;
    typename Element<X>::Sum sum{};
    for (int64 t = 0; t < problem.kernel[0]; ++t) {
        const int64 d = input_index(problem, 0, pixel.at[0], t);
        for (int64 r = 0; r < problem.kernel[1]; ++r) {
            const int64 h = input_index(problem, 1, pixel.at[1], r);
            for (int64 s = 0; s < problem.kernel[2]; ++s) {
                const int64 w = input_index(problem, 2, pixel.at[2], s);
                if (d < 0 || h < 0 || w < 0) {
                    continue; // zero padding adds no term
                }
                const X* source = x + d * problem.x_pitch[2] + h * problem.x_pitch[3] +
                                  w * problem.x_pitch[4];
                const W* filter = weight + t * problem.w_pitch[2] +
                                  r * problem.w_pitch[3] + s * problem.w_pitch[4];
                for (int64 c = 0; c < channels; ++c) {
                    add_product(
                        sum,
                        term_of(source[c * problem.x_pitch[1]]),
                        term_of(filter[c * problem.w_pitch[1]]));
                }
            }
        }
    }
    return sum;
}

// Python lets integers through with none of the activations that need fractions, and
// complex numbers with none at all.
template <class Result, class Sum>
void activate_one(int64 activation, Sum& value) {
    if constexpr (std::is_floating_point_v<Sum>) {
        activate(activation, &value, 1);
    } else if constexpr (std::is_integral_v<Sum>) {
        const auto size = static_cast<Result>(value);
        if (activation != ACT_NONE && size < 1) {
            value = 0;
        } else if (activation == ACT_RELU6 && size > 6) {
            value = 6;
        }
    }
}

template <class X, class W>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    using Sum = typename Element<X>::Sum;
    using Result = typename Element<X>::Result;
    const ConvProblem& problem = plan.problem;
    const auto* x = static_cast<const X*>(tensors.x);
    const auto* weight = static_cast<const W*>(tensors.weight);
    const auto* bias = static_cast<const Sum*>(tensors.bias);
    const auto* residual = static_cast<const Result*>(tensors.residual);
    auto* y = static_cast<Result*>(tensors.y);
    const int64 pixels = volume(problem.output);
    const int64 filters = problem.k / problem.groups;
    const int64 channels = problem.c / problem.groups;
    const auto planes = [&](int64 begin, int64 end, int) {
        for (int64 plane = begin; plane < end; ++plane) {
            const int64 n = plane / problem.k;
            const int64 k = plane % problem.k;
            const X* source = x + n * problem.x_pitch[0] +
                              k / filters * channels * problem.x_pitch[1];
            const int64 start = n * problem.y_pitch[0] + k * problem.y_pitch[1];
            Pixel pixel(problem.output, 0);
            for (int64 i = 0; i < pixels; ++i, pixel.advance(problem.output)) {
                const int64 at = start + pixel.offset(problem.y_pitch);
                Sum value = sum_of_products(
                    problem, source, weight + k * problem.w_pitch[0], pixel);
                add(value, bias != nullptr ? bias[k] : Sum{});
                add(value,
                    residual != nullptr ? static_cast<Sum>(term_of(residual[at]))
                                        : Sum{});
                activate_one<Result>(problem.activation, value);
                y[at] = result_of<Result>(value);
            }
        }
    };
    parallel_for(problem.n * problem.k, plan.parallel, planes);
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    with_element(plan.problem.dtype, [&]<class X>() {
        if constexpr (sizeof(X) == 1) {
            if (plan.problem.weight_dtype == INT8) {
                run_as<X, std::int8_t>(plan, tensors);
            } else {
                run_as<X, std::uint8_t>(plan, tensors);
            }
        } else {
            run_as<X, X>(plan, tensors);
        }
    });
}

std::string supports(const ConvProblem&) {
    return "";
}

double cost_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    // One multiply-add waits for the last: 4 cycles of latency each, plus the index
    // arithmetic of a tap, at a nominal 3.5 GHz.
    const double taps = static_cast<double>(volume(problem.kernel));
    const double sums = outputs_of(problem);
    const double cycles = 4.5 * products_of(problem) + sums * taps * 12.0 + 20.0 * sums;
    return shared_us(cycles, problem, host);
}

// The share of the lines under one column of channels that L1 cannot hold at the same
// time: they lie a plane apart, and may share a few of its sets. `rows` of the input
// are met together.
double crowded_out(const ConvProblem& problem, int64 rows, const Machine& host) {
    constexpr int64 PAGE = 4096; // L1 is indexed by what lies within a page
    constexpr int64 SETS = PAGE / static_cast<int64>(LINE);
    const int64 ways = std::max<int64>(host.l1_bytes / PAGE, 1);
    const int64 bytes = element_bytes(problem.dtype);
    int64 held[SETS] = {};
    for (int64 c = 0; c < problem.c / problem.groups; ++c) {
        for (int64 r = 0; r < rows; ++r) {
            // Pitches may be negative: a set is what is left of a page.
            const int64 at = (c * problem.x_pitch[1] + r * problem.x_pitch[3]) * bytes;
            ++held[(at % PAGE + PAGE) % PAGE / static_cast<int64>(LINE)];
        }
    }
    int64 all = 0;
    int64 crowded = 0;
    for (const int64 lines : held) {
        all += lines;
        crowded += lines > ways ? lines : 0;
    }
    return static_cast<double>(crowded) / static_cast<double>(all);
}

Movement movement(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double planes = static_cast<double>(problem.n * problem.k);
    const double pixels = static_cast<double>(volume(problem.output));
    const double channels = static_cast<double>(problem.c / problem.groups);
    const int64 rows = problem.kernel[0] * problem.kernel[1];
    const double sample = x / static_cast<double>(problem.n * problem.groups);
    // A window's lines serve the next windows of the row if L1 holds a whole column of
    // channels; else every output fetches them anew, and every tap of a row if not even
    // one row's lines stay.
    const double line = problem.x_pitch[1] == 1 ? bytes : LINE; // of a channel
    double share = 0.0;
    double fetched = 0.0;
    if (problem.x_pitch[1] != 1) {
        share = crowded_out(problem, problem.kernel[1], host);
        const double times = crowded_out(problem, 1, host) > 0.0
                                 ? static_cast<double>(rows * problem.kernel[2])
                                 : static_cast<double>(rows);
        fetched = pixels * channels * line * times;
    }
    // What stays is fetched once for every row of outputs, or once for all of them.
    const double of_row = channels * static_cast<double>(problem.input[2]) * bytes;
    const bool plane_stays =
        of_row * static_cast<double>(rows) <= 0.95 * static_cast<double>(host.l1_bytes);
    const double swept = plane_stays ? sample
                                     : pixels / static_cast<double>(problem.output[2]) *
                                           of_row * static_cast<double>(rows);
    const double filter = w / static_cast<double>(problem.k);
    const double of_weights = stays_in(filter + of_row, host.l1_bytes)
                                  ? planes * filter
                                  : planes * filter * pixels * share;
    const double l1 = planes * (share * fetched + (1.0 - share) * swept) +
                      std::max(of_weights, planes * filter) + y;
    const bool stays = sample <= 0.95 * static_cast<double>(host.l2_bytes);
    const double l2 = (stays ? x : planes * sample) + w + y;
    return counted(definition_flops(problem), l1, l2, x + w + y, host);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    return ConvPlan{
        .problem = problem,
        .algorithm = nullptr,
        .isa = &isa,
        .vectors = 0,
        .filter_group = 0,
        .pixel_group = 0,
        .parallel = products_of(problem) > 5e4,
        .blocking = {},
        .workspace_bytes = 0,
    };
}

} // namespace

extern const ConvAlgorithm conv_reference;
const ConvAlgorithm conv_reference{
    .name = "reference",
    .summary = "the definition: seven loops, one product at a time",
    .rounding = "reference",
    .elements = Elements::ALL,
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .pack_us = [](const ConvProblem&, const IsaTable&, const Machine&) { return 0.0; },
    .plan =
        [](const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
            ConvPlan made = plan(problem, isa, host);
            made.algorithm = &conv_reference;
            return made;
        },
    .pack = nullptr,
    .run = run,
};

} // namespace pyconv
