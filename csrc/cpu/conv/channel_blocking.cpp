// How depthwise convolution with channels in the lanes is cut, and what that costs.
#include "cpu/conv/channel_lanes.hpp"
#include "cpu/conv/model.hpp"

#include <algorithm>

namespace pyconv {
namespace {

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

} // namespace pyconv
