// reordered: the definition with its loops in another order, and nothing else.
//
// The reference finishes one output before the next: every product waits for the last,
// and fetches two operands. Here the loop over a row's outputs is innermost: products
// do not wait for each other, neighbours are read as they lie, and a weight is fetched
// once for all of them. The sums of a row are read and written once for every product
// instead; they stay in L1 for as long as the row fits there.
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/model.hpp"
#include "cpu/conv/plain_rows.hpp"

#include <algorithm>

namespace pyconv {
namespace {

template <class T>
void run_as(const ConvPlan& plan, const ConvTensors& tensors) {
    const ConvProblem& problem = plan.problem;
    const PlainRows<T> rows(problem, tensors, problem.c);
    const int64 rows_a_plane = problem.output[0] * problem.output[1];
    const auto planes = [&](int64 begin, int64 end, int) {
        ScratchFrame frame;
        T* sums = frame.take<T>(problem.output[2]);
        for (int64 plane = begin; plane < end; ++plane) {
            for (int64 row = 0; row < rows_a_plane; ++row) {
                rows.run(
                    {.n = plane / problem.k,
                     .row = row,
                     .first_column = 0,
                     .columns = problem.output[2],
                     .first_filter = plane % problem.k,
                     .filters = 1},
                    sums);
            }
        }
    };
    parallel_for(problem.n * problem.k, plan.parallel, planes);
}

void run(const ConvPlan& plan, const ConvTensors& tensors) {
    if (plan.problem.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

std::string supports(const ConvProblem&) {
    return "";
}

double cost_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double columns = static_cast<double>(problem.output[2]);
    return shared_us(plain_rows_cycles(problem, columns), problem, host);
}

Movement movement(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double columns = static_cast<double>(problem.output[2]);
    const double lines = outputs_of(problem) / columns;
    // L1 holds a row of sums and of x, or sees both again for every product.
    const double row = (2.0 * columns + static_cast<double>(problem.input[2])) * bytes;
    const double l1_bytes = static_cast<double>(host.l1_bytes);
    double swept =
        static_cast<double>(problem.n * problem.k) * plain_plane_bytes(problem, host);
    if (row > 0.75 * l1_bytes) {
        swept = lines * static_cast<double>(depth_of(problem)) * row;
    }
    // One filter's weights, again for every row unless rows leave them in L1.
    const double filter = w / static_cast<double>(problem.k);
    const double weights =
        filter <= 0.25 * l1_bytes ? w * static_cast<double>(problem.n) : filter * lines;
    const double sample = x / static_cast<double>(problem.n * problem.groups);
    const double planes = static_cast<double>(problem.n * problem.k);
    const bool stays = sample <= 0.95 * static_cast<double>(host.l2_bytes);
    return counted(
        plain_rows_flops(problem),
        swept + weights + y,
        (stays ? x : planes * sample) + w + y,
        x + w + y,
        host);
}

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&);

} // namespace

extern const ConvAlgorithm conv_reordered;
const ConvAlgorithm conv_reordered{
    .name = "reordered",
    .summary = "plain loops, a row of outputs innermost",
    .rounding = "reference",
    .supports = supports,
    .cost_us = cost_us,
    .movement = movement,
    .pack_us = [](const ConvProblem&, const IsaTable&, const Machine&) { return 0.0; },
    .plan = plan,
    .pack = nullptr,
    .run = run,
};

namespace {

ConvPlan plan(const ConvProblem& problem, const IsaTable& isa, const Machine&) {
    return ConvPlan{
        .problem = problem,
        .algorithm = &conv_reordered,
        .isa = &isa,
        .vectors = 0,
        .filter_group = 0,
        .pixel_group = 0,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking = {},
        .workspace_bytes = problem.output[2] * element_bytes(problem.dtype),
    };
}

} // namespace
} // namespace pyconv
