// Plan and prediction of weight gradients with filters in the lanes.
#include "cpu/conv/model.hpp"
#include "cpu/conv_backward/weight_lanes.hpp"

namespace pyconv {

WeightPlan plan_weight_lanes(
    const ConvProblem& problem, const IsaTable& isa, const WeightAlgorithm& algorithm) {
    const LaneBlocking cut(problem, isa);
    const int64 spread = cut.spread ? cut.row_elements(problem) : 0;
    return WeightPlan{
        .problem = problem,
        .algorithm = &algorithm,
        .isa = &isa,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking = {{"nr", cut.width}, {"lines", cut.lines}, {"pass", cut.pass}},
        .workspace_bytes = (cut.x_elements(problem) + cut.grad_elements(problem) +
                            2 * cut.sum_elements(problem) + spread) *
                           element_bytes(problem.dtype),
    };
}

// A load for every multiply-add of a vector, two a cycle at best, empty lanes as if
// they were full; both operands are laid out once. Measured; spread lines of many
// channels come from L2.
double
weight_lanes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const LaneBlocking cut(problem, isa);
    const auto lanes = static_cast<double>(lanes_of(problem, isa));
    const double vectors = static_cast<double>(cut.panels * cut.width) / lanes;
    const auto channels = static_cast<double>(cut.channels);
    const double pixels = static_cast<double>(problem.n * volume(problem.output));
    const double x = static_cast<double>(problem.n * volume(problem.input));
    const double laid = problem.x_pitch[1] == 1 ? 3.0 : 8.0;
    const double loaded = !cut.spread ? 0.75 : cut.channels <= 4 ? 1.1 : 1.5;
    const double shuffled =
        !cut.spread ? 0.0 : channels * (cut.shuffles(problem, isa) ? 3.0 : 2.0 * lanes);
    return shared_us(
        vectors * pixels *
                (loaded * channels * static_cast<double>(volume(problem.kernel)) +
                 laid) +
            vectors * x * (laid + shuffled) + 1000.0,
        problem,
        host);
}

Movement weight_lanes_movement(
    const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double x = bytes_of_x(problem);
    const double y = bytes_of_y(problem);
    const double all = x + y + bytes_of_weight(problem);
    // Laid out both are written and read once more, x once for every tap row, as many
    // times as a group has filters.
    const auto rows = static_cast<double>(problem.kernel[0] * problem.kernel[1]);
    const double spread =
        x * static_cast<double>(problem.k) / static_cast<double>(problem.groups);
    return layered(
        2.0 * products_of(problem),
        x + (1.0 + rows) * spread + 3.0 * y,
        all,
        all,
        all,
        host);
}

} // namespace pyconv
