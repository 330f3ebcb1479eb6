// Every algorithm is asked; ties go to the first of the registry.
#include "cpu/selection.hpp"

#include "cpu/geometry.hpp"
#include "cpu/registry.hpp"

#include <cstring>

namespace pyconv {
namespace {

void set_channels_last(int64 (&pitch)[5], int64 channels, const int64 (&extent)[3]) {
    pitch[1] = 1;
    pitch[4] = channels;
    pitch[3] = extent[2] * pitch[4];
    pitch[2] = extent[1] * pitch[3];
    pitch[0] = extent[0] * pitch[2];
}

void set_channels_first(int64 (&pitch)[5], int64 channels, const int64 (&extent)[3]) {
    pitch[4] = 1;
    pitch[3] = extent[2];
    pitch[2] = extent[1] * pitch[3];
    pitch[1] = extent[0] * pitch[2];
    pitch[0] = channels * pitch[1];
}

ConvProblem sample_of(const ConvProblem& problem) {
    ConvProblem sample = problem;
    sample.n = 1;
    set_channels_last(sample.x_pitch, problem.c, problem.input);
    set_channels_last(sample.y_pitch, problem.k, problem.output);
    set_channels_first(sample.w_pitch, problem.c / problem.groups, problem.kernel);
    return sample;
}

const ConvAlgorithm* cheapest(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    bool keeps_weights,
    const char* rounding) {
    const ConvAlgorithm* best = nullptr;
    double least = 0.0;
    for (const ConvAlgorithm* one : conv_algorithms()) {
        const bool fits =
            rounding == nullptr || std::strcmp(one->rounding, rounding) == 0;
        // What rounds as the reference is there to be looked at.
        if (!fits || std::strcmp(one->rounding, "reference") == 0 ||
            !refusal(*one, problem).empty()) {
            continue;
        }
        const double packing = keeps_weights ? 0.0 : one->pack_us(problem, isa, host);
        const double cost = one->cost_us(problem, isa, host) + packing;
        if (best == nullptr || cost < least) {
            best = one;
            least = cost;
        }
    }
    return best;
}

} // namespace

const ConvAlgorithm* quickest(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    bool keeps_weights) {
    const auto* first = cheapest(sample_of(problem), isa, host, keeps_weights, nullptr);
    if (first == nullptr) {
        return nullptr;
    }
    const auto* alike = cheapest(problem, isa, host, keeps_weights, first->rounding);
    return alike != nullptr ? alike
                            : cheapest(problem, isa, host, keeps_weights, nullptr);
}

} // namespace pyconv
