// How the planes are cut, and what that costs.
//
// The idea: every form and tile size that fits is priced with the same few numbers (two
// multiply-adds or two aligned loads a cycle, an unaligned vector load two halves, a
// chain of additions four cycles a link), and the cheapest is taken. The block of rows
// is then as high as fits half of L1, or, for tall windows, half of L2.
#include "cpu/conv/model.hpp"
#include "cpu/conv/planes.hpp"

#include "cpu/isa/registry.hpp"

#include <algorithm>
#include <numeric>

namespace pyconv {
namespace {

// A window that spans more than this would make scratch larger than the input.
constexpr int64 SPAN_LIMIT = int64{1} << 20;

bool tile_exists(const IsaTable& isa, int64 rows, int64 vectors) {
    return isa.f32.filter_tile[rows - 1][vectors - 1] != nullptr;
}

int64 phases_of(const ConvProblem& problem) {
    const int64 period =
        problem.stride[2] / std::gcd(problem.stride[2], problem.dilation[2]);
    return std::min(period, problem.kernel[2]);
}

double as_double(int64 value) {
    return static_cast<double>(value);
}

// Cycles of one input row (or term) that feeds `sums` accumulators of `loads` vectors
// and `broadcasts` weights: multiply-adds, load ports, or the chain of additions, part
// of which overlaps with the next tile.
double step_cycles(double sums, double loads, double broadcasts) {
    return std::max({sums / 2.0, (1.8 * loads + broadcasts) / 2.0, 2.5});
}

// All terms of one tile.
double tile_cycles(
    const ConvProblem& problem,
    PlaneForm form,
    int64 rows,
    int64 vectors,
    int64 lanes) {
    const double channels = as_double(problem.c / problem.groups);
    const double taps = as_double(volume(problem.kernel));
    const double terms = taps * channels;
    const double wide = as_double(vectors);
    const double high = as_double(rows);
    const auto slide = [&](double lines, double window) {
        double cycles = 0;
        for (int64 i = 1; i < rows; ++i) {
            cycles += 2.0 * step_cycles(as_double(i) * wide, wide, as_double(i));
        }
        return lines *
               (cycles + (window - high + 1.0) * step_cycles(high * wide, wide, high));
    };
    switch (form) {
    case PlaneForm::FILTERS:
        return terms * step_cycles(high * wide, wide, high);
    case PlaneForm::SLIDE:
        return slide(
            terms / as_double(problem.kernel[1]), as_double(problem.kernel[1]));
    case PlaneForm::LINE: {
        const int64 step = vectors * lanes * problem.stride[2] / problem.dilation[2];
        const int64 whole = problem.kernel[2] / step;
        const double lines =
            as_double(problem.kernel[0] * problem.kernel[1]) * channels;
        return lines * as_double(problem.kernel[2] % step) *
                   step_cycles(high * wide, high * wide, 1.0) +
               slide(lines * as_double(step), as_double(whole));
    }
    default:
        return terms * step_cycles(high * wide, high * wide, 1.0);
    }
}

bool is_possible(
    const ConvProblem& problem,
    PlaneForm form,
    int64 rows,
    int64 vectors,
    int64 lanes) {
    switch (form) {
    case PlaneForm::FILTERS:
        return rows <= problem.k / problem.groups;
    case PlaneForm::SLIDE:
        return problem.stride[1] == problem.dilation[1] && rows <= problem.output[1] &&
               rows <= problem.kernel[1];
    case PlaneForm::LINE: {
        const int64 reach = vectors * lanes * problem.stride[2];
        return reach % problem.dilation[2] == 0 &&
               problem.kernel[2] / (reach / problem.dilation[2]) >= rows;
    }
    default:
        return rows <= problem.output[1];
    }
}

// Cycles of all tiles of one group's outputs in one sample, stores included.
double
form_cycles(const ConvProblem& problem, const PlaneBlocking& choice, int64 lanes) {
    const int64 filters = problem.k / problem.groups;
    const int64 lines = problem.output[0] * problem.output[1];
    const int64 vectors = ceil_div(problem.output[2], lanes);
    int64 tiles = 0;
    switch (choice.form) {
    case PlaneForm::FILTERS:
        tiles =
            lines * ceil_div(filters, choice.rows) * ceil_div(vectors, choice.vectors);
        break;
    case PlaneForm::LINE:
        tiles = lines * filters * ceil_div(vectors, choice.vectors * choice.rows);
        break;
    default:
        tiles = filters * problem.output[0] * ceil_div(problem.output[1], choice.rows) *
                ceil_div(vectors, choice.vectors);
    }
    // Filters apart in memory go out element by element.
    const double store =
        problem.y_pitch[4] == 1 ? 3.0 : (problem.y_pitch[1] == 1 ? 12.0 : 30.0);
    const double even =
        as_double(vectors) / as_double(ceil_div(vectors, choice.vectors));
    const double wide =
        choice.form == PlaneForm::LINE ? as_double(choice.vectors) : even;
    const double one =
        tile_cycles(problem, choice.form, choice.rows, choice.vectors, lanes) * wide /
            as_double(choice.vectors) +
        as_double(choice.rows) * (wide * store + 4.0) + 20.0;
    return as_double(tiles) * one;
}

// Copying a group's input into scratch, halos included.
double fill_cycles(
    const ConvProblem& problem,
    const PlaneBlocking& blocking,
    const PlaneLayout& layout,
    int64 lanes) {
    const double rows =
        as_double(problem.output[0] * layout.row_blocks) *
        as_double(layout.channels * problem.kernel[0] * layout.column_blocks) *
        as_double(std::min(layout.rows, blocking.block_rows * problem.kernel[1]));
    const double width = as_double(layout.row_pitch);
    // A vector a cycle and a half, a shuffle of two, or one element at a time.
    const double each = problem.x_pitch[4] != 1  ? 2.0
                        : problem.stride[2] == 1 ? 1.5 / as_double(lanes)
                        : problem.stride[2] == 2 ? 4.0 / as_double(lanes)
                                                 : 1.5;
    return rows * (width * each + 25.0);
}

} // namespace

PlaneLayout::PlaneLayout(
    const ConvProblem& problem, const PlaneBlocking& blocking, int64 lanes)
    : channels(problem.c / problem.groups), filters(problem.k / problem.groups),
      terms(channels * volume(problem.kernel)), phases(phases_of(problem)) {
    const int64 stretch =
        blocking.form == PlaneForm::LINE ? blocking.vectors * lanes : lanes;
    const int64 reach =
        (problem.kernel[2] - 1) * problem.dilation[2] / problem.stride[2];
    const int64 positions = ceil_div(blocking.block_columns, stretch) * stretch;
    phase_pitch = ceil_div(positions + reach, lanes) * lanes;
    row_pitch = phases * phase_pitch;
    if (row_pitch % (16 * lanes) == 0) {
        row_pitch += lanes; // rows a power of two apart would share cache sets
    }
    rows = (blocking.block_rows - 1) * problem.stride[1] +
           (problem.kernel[1] - 1) * problem.dilation[1] + 1;
    plane_pitch = rows * row_pitch;
    channel_pitch = problem.kernel[0] * plane_pitch;
    column_blocks = ceil_div(problem.output[2], blocking.block_columns);
    row_blocks = ceil_div(problem.output[1], blocking.block_rows);
}

std::string planes_support(const ConvProblem& problem) {
    const int64 height =
        (problem.kernel[1] - 1) * problem.dilation[1] + problem.stride[1];
    const int64 width =
        (problem.kernel[2] - 1) * problem.dilation[2] + problem.stride[2];
    const int64 deep = problem.c / problem.groups * problem.kernel[0];
    if (height > SPAN_LIMIT || width > SPAN_LIMIT || height * width > SPAN_LIMIT ||
        height * width * deep > SPAN_LIMIT) {
        return "the window spans too many input elements to copy them for each block";
    }
    return "";
}

PlaneBlocking
plane_blocking(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    PlaneBlocking best{PlaneForm::ROWS, 1, 1, 1, 1};
    double least = 0;
    for (const PlaneForm form :
         {PlaneForm::FILTERS, PlaneForm::SLIDE, PlaneForm::LINE, PlaneForm::ROWS}) {
        for (int64 rows = 1; rows <= MAX_PLANE_ROWS; ++rows) {
            for (int64 vectors = 1; vectors <= MAX_PLANE_VECTORS; ++vectors) {
                if (!tile_exists(isa, rows, vectors) ||
                    !is_possible(problem, form, rows, vectors, lanes)) {
                    continue;
                }
                const PlaneBlocking choice{form, rows, vectors, 1, 1};
                const double cycles = form_cycles(problem, choice, lanes);
                if (least == 0 || cycles < least) {
                    least = cycles;
                    best = choice;
                }
            }
        }
    }
    // Columns first: a block one tile high must fit half of L2.
    const int64 high =
        best.form == PlaneForm::FILTERS || best.form == PlaneForm::LINE ? 1 : best.rows;
    const int64 bytes = element_bytes(problem.dtype);
    const auto scratch_bytes = [&](int64 rows, int64 columns) {
        best.block_rows = rows;
        best.block_columns = columns;
        return PlaneLayout(problem, best, lanes).elements() * bytes;
    };
    const int64 tile_columns =
        best.vectors * lanes * (best.form == PlaneForm::LINE ? best.rows : 1);
    int64 columns = problem.output[2];
    while (columns > tile_columns &&
           (scratch_bytes(high, columns) > host.l2_bytes / 2 ||
            columns > 128 * tile_columns)) {
        columns = ceil_div(ceil_div(columns, 2), tile_columns) * tile_columns;
    }
    // Rows: what half of L1 holds, but at least four windows' height, if half of L2
    // holds that; and at least eight blocks, so that threads can share.
    const int64 halo = (problem.kernel[1] - 1) * problem.dilation[1];
    const int64 tall = std::max(high, ceil_div(4 * halo, problem.stride[1]));
    int64 rows = high;
    while (rows < problem.output[1]) {
        const int64 more = rows + high;
        const int64 need = scratch_bytes(more, columns);
        if (need > host.l2_bytes / 2 || (need > host.l1_bytes / 2 && more > tall)) {
            break;
        }
        rows = more;
    }
    const int64 others = problem.n * problem.groups * problem.output[0] *
                         ceil_div(problem.output[2], columns);
    const int64 shares =
        std::min(ceil_div(16, others), ceil_div(problem.output[1], high));
    rows = std::min(rows, ceil_div(problem.output[1], shares));
    best.block_rows = std::min(ceil_div(rows, high) * high, problem.output[1]);
    best.block_columns = columns;
    return best;
}

double planes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    const PlaneBlocking blocking = plane_blocking(problem, isa, host);
    const PlaneLayout layout(problem, blocking, lanes);
    const double cycles = as_double(problem.n * problem.groups) *
                              (form_cycles(problem, blocking, lanes) +
                               fill_cycles(problem, blocking, layout, lanes)) +
                          as_double(layout.units(problem)) * 60.0 + 500.0;
    return shared_us(cycles, problem, host);
}

double
planes_pack_us(const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double elements =
        as_double(problem.k * (problem.c / problem.groups) * volume(problem.kernel));
    return packing_us(packing_ahead_cycles(elements, problem, host), problem, host);
}

Movement
planes_movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    const PlaneBlocking blocking = plane_blocking(problem, isa, host);
    const PlaneLayout layout(problem, blocking, lanes);
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double scratch = as_double(layout.elements() * element_bytes(problem.dtype));
    const double filled = scratch * as_double(layout.units(problem));
    // Scratch is written from x; what L1 does not hold of it is written back and read
    // again for each block of filters.
    const int64 filters = blocking.form == PlaneForm::FILTERS
                              ? ceil_div(layout.filters, blocking.rows)
                              : layout.filters;
    const bool in_l1 = scratch <= 0.75 * as_double(host.l1_bytes);
    const double l1 =
        filled + y + w + (in_l1 ? 0.0 : filled * (1.0 + as_double(filters)));
    return layered(
        2.0 * products_of(problem), l1, filled + w + y, x + w + y, x + w + y, host);
}

ConvPlan
planes_plan(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const int64 lanes = lanes_of(problem, isa);
    const PlaneBlocking blocking = plane_blocking(problem, isa, host);
    const PlaneLayout layout(problem, blocking, lanes);
    const int64 bytes = element_bytes(problem.dtype);
    const int64 filters = blocking.form == PlaneForm::FILTERS ? blocking.rows : 1;
    const int64 packed = problem.k * layout.terms * bytes;
    return ConvPlan{
        .problem = problem,
        .algorithm = nullptr,
        .isa = &isa,
        .vectors = static_cast<int>(blocking.vectors),
        .filter_group = 0,
        .pixel_group = 0,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"form", static_cast<int64>(blocking.form)},
             {"mr", blocking.rows},
             {"nr", blocking.vectors * lanes},
             {"block_p", blocking.block_rows},
             {"block_q", blocking.block_columns}},
        .workspace_bytes = packed + layout.elements() * bytes,
        .packed_bytes = packed,
        .packing = "terms of " + std::to_string(filters) + " filters",
        .planes = blocking,
    };
}

} // namespace pyconv
