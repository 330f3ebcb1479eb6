// How grouped convolution with filters in the lanes is cut, and what that costs.
#include "cpu/conv/group_lanes.hpp"
#include "cpu/conv/group_rows.hpp"
#include "cpu/conv/model.hpp"

#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Two vectors of filters a unit where they come in pairs.
int64 vectors_of(const ConvProblem& problem, int64 lanes) {
    return problem.k / lanes % 2 == 0 ? 2 : 1;
}

int64 block_rows(
    const ConvProblem& problem, int64 vectors, int64 lanes, int64 l2_bytes) {
    const int64 others =
        problem.n * problem.output[0] * (problem.k / (vectors * lanes));
    const int64 shares = std::min(ceil_div(16, others), problem.output[1]);
    int64 rows = std::min<int64>(8, ceil_div(problem.output[1], shares));
    while (rows > 1 && GroupLayout(problem, vectors, lanes, rows).elements(problem) *
                               element_bytes(problem.dtype) >
                           l2_bytes / 2) {
        --rows;
    }
    return rows;
}

} // namespace

bool suits_group_lanes(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    const int64 channels = problem.c / problem.groups;
    const int64 filters = problem.k / problem.groups;
    if (problem.x_pitch[1] != 1 || problem.y_pitch[1] != 1 || problem.k % lanes != 0 ||
        problem.c < lanes) {
        return false;
    }
    for (int64 k = 0; k < problem.k; k += lanes) {
        const int64 first = k / filters * channels;
        if (((k + lanes - 1) / filters + 1) * channels - first > lanes) {
            return false;
        }
    }
    const GroupLayout least(problem, vectors_of(problem, lanes), lanes, 1);
    return least.elements(problem) * element_bytes(problem.dtype) <= host.l2_bytes;
}

double
group_lanes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    const int64 vectors = vectors_of(problem, lanes);
    const int64 high = block_rows(problem, vectors, lanes, host.l2_bytes);
    const GroupLayout layout(problem, vectors, lanes, high);
    const double units = static_cast<double>(
        problem.n * problem.output[0] * ceil_div(problem.output[1], high) *
        (problem.k / layout.chunk));
    const double terms = static_cast<double>(volume(problem.kernel) * layout.channels);
    const double pixels =
        static_cast<double>(std::min(high, problem.output[1]) * problem.output[2]);
    const double wide = static_cast<double>(vectors);
    // A copy is a shuffle and a store; a term a load and a multiply-add, from L2 or,
    // for whole tap rows, in chains that the next column must wait for.
    const double copies =
        suits_group_rows(problem)
            ? pixels * wide * static_cast<double>(layout.channels) / 4.0
            : static_cast<double>(layout.elements(problem) / lanes);
    const double cycles =
        units * (pixels * wide * (terms * 0.85 + 4.0) + copies * 1.5 + 300.0) + 500.0;
    return shared_us(cycles, problem, host);
}

Movement group_lanes_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    const int64 vectors = vectors_of(problem, lanes);
    const int64 high = block_rows(problem, vectors, lanes, host.l2_bytes);
    const GroupLayout layout(problem, vectors, lanes, high);
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double units = static_cast<double>(
        problem.n * problem.output[0] * ceil_div(problem.output[1], high) *
        (problem.k / layout.chunk));
    const double copies =
        units *
        static_cast<double>(layout.elements(problem) * element_bytes(problem.dtype));
    // Copies are written to L2 and come back once for each tap row.
    const double l1 =
        x + w + y + copies * (1.0 + static_cast<double>(problem.kernel[1]));
    return layered(
        2.0 * products_of(problem), l1, x + w + y, x + w + y, x + w + y, host);
}

ConvPlan
group_lanes_plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    const int64 bytes = element_bytes(problem.dtype);
    const int64 vectors = vectors_of(problem, lanes);
    const int64 high = block_rows(problem, vectors, lanes, host.l2_bytes);
    const GroupLayout layout(problem, vectors, lanes, high);
    const int64 pixels =
        problem.dtype == FLOAT32 ? isa.f32.lane_pixels : isa.f64.lane_pixels;
    const bool rows = suits_group_rows(problem);
    const bool wide =
        isa.f32.group_row[0][0][1] != nullptr &&
        (problem.output[2] - 1) % (2 * LANE_ROW_PIXELS) >= LANE_ROW_PIXELS;
    const int64 row_pixels = wide ? 2 * LANE_ROW_PIXELS : LANE_ROW_PIXELS;
    const int64 packed = problem.k * layout.channels * volume(problem.kernel) * bytes;
    return ConvPlan{
        .problem = problem,
        .algorithm = nullptr,
        .isa = &isa,
        .vectors = static_cast<int>(vectors),
        .filter_group = 0,
        .pixel_group = 0,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"form",
              static_cast<int64>(rows ? PlaneForm::LANE_ROWS : PlaneForm::LANES)},
             {"mr", rows ? row_pixels : pixels},
             {"nr", rows ? lanes : layout.chunk},
             {"block_p", high}},
        .workspace_bytes = packed + layout.elements(problem) * bytes,
        .packed_bytes = packed,
        .packing =
            rows ? "terms of vectors of " + std::to_string(lanes) : "filters of a term",
        .planes = rows ? PlaneBlocking{PlaneForm::LANE_ROWS, row_pixels, 1, high, 0}
                       : PlaneBlocking{PlaneForm::LANES, pixels, vectors, high, 0},
    };
}

} // namespace pyconv
