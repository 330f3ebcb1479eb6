// The form is chosen by the same cycles that the cost is made of.
#include "cpu/conv/winograd_model.hpp"

#include "cpu/conv/model.hpp"
#include "cpu/conv/turned_input.hpp"
#include "cpu/conv/winograd_flops.hpp"
#include "cpu/conv/winograd_tiles.hpp"
#include "cpu/conv/winograd_weights.hpp"
#include "cpu/isa/registry.hpp"

#include <algorithm>

namespace pyconv {
namespace {

// Cycles of one vector of one tile, measured.
struct TransformCost {
    double input;
    double output;
    double filter;
};

constexpr TransformCost TRANSFORM_COST[WINOGRAD_FORMS] = {
    {35, 30, 15},
    {95, 75, 30},
    {220, 170, 60},
    {14, 14, 8},
    {24, 20, 10},
    {24, 16, 12}};

// Whether the transformed weights stay in the last cache from block to block.
bool weights_stay(
    const ConvProblem& problem,
    const Machine& host,
    const WinogradGeometry& geometry,
    const WinogradLayout& layout) {
    const int64 bytes = layout.packed_elements(geometry) * element_bytes(problem.dtype);
    return 10 * bytes < 6 * host.l3_bytes;
}

// How the stages go over the tiles (winograd_schedules.hpp).
struct Schedule {
    bool staged;
    int64 tiles; // of a block
};

// Bytes a cycle of one core while the other works too, and the share of that time which
// is not hidden behind products: measured.
constexpr double L3_STREAM = 8.0;
constexpr double MEMORY_STREAM = 4.0;
constexpr double STREAM_SHOWS = 0.5;

// Three stages of a block wait for the slower thread.
constexpr double STAGE_CYCLES = 20000.0;

// V and M of all tiles, and U of some channels.
int64 passing_elements(
    const ConvProblem& problem, const IsaTable& isa, const WinogradGeometry& geometry) {
    const WinogradLayout layout(problem, isa, geometry, geometry.tile_count(problem));
    return geometry.all_points *
           (layout.v_point + layout.m_point + WINOGRAD_PASSING * layout.width);
}

// Whether weights that no layer keeps are transformed as they pass, what lies between
// in L2.
bool passes(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    const WinogradGeometry& geometry) {
    const int64 bytes =
        passing_elements(problem, isa, geometry) * element_bytes(problem.dtype);
    return geometry.tap_count == 1 && 10 * bytes < 8 * host.l2_bytes;
}

// A dilated strip's pixels are not neighbours: one by one they are slow to turn.
bool turns_ahead(const ConvProblem& problem, const WinogradGeometry& geometry) {
    return can_turn(problem) && geometry.transformed[2] && problem.dilation[2] > 1 &&
           geometry.channels > 1;
}

double form_cycles(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    const WinogradForm& form,
    Schedule schedule) {
    const WinogradGeometry geometry(problem, form);
    const WinogradLayout layout(problem, isa, geometry, 1);
    const TransformCost& cost = TRANSFORM_COST[form.shape];
    const double lanes = lanes_of(problem, isa);
    const double tiles =
        static_cast<double>(geometry.tile_count(problem) * problem.groups);
    const double panels = static_cast<double>(layout.panels);
    const double points = static_cast<double>(geometry.all_points);
    const double depth = static_cast<double>(geometry.depth());
    const double vectors = static_cast<double>(layout.width) / lanes;
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double channel_vectors = static_cast<double>(
        geometry.tap_count * ceil_div(geometry.channels, lanes_of(problem, isa)));
    // Turning a row costs about two cycles a pixel and vector.
    const bool ahead = turns_ahead(problem, geometry);
    const double turned =
        problem.x_pitch[1] == 1 || ahead
            ? 0.0
            : 9.0 * static_cast<double>(geometry.points[1] * geometry.outputs[2]);
    const double input = channel_vectors * (cost.input + turned + 0.75 * points);
    const double pixels =
        static_cast<double>(geometry.outputs[1] * geometry.outputs[2]);
    const double output =
        panels * vectors *
        (cost.output + pixels * (problem.y_pitch[1] == 1 ? 3.0 : 6.0));
    const double products = panels * points * (depth * vectors / 2.0 * 1.06 + 8.0);
    // U is streamed once a block, from L3, or from memory where it does not stay there.
    const bool stay = weights_stay(problem, host, geometry, layout);
    const double u_all = static_cast<double>(layout.packed_elements(geometry)) * bytes;
    const double u_bytes =
        u_all /
        static_cast<double>(std::min(schedule.tiles, geometry.tile_count(problem)));
    const double v_bytes = points * static_cast<double>(layout.row) * bytes;
    const double m_bytes = points * panels * static_cast<double>(layout.width) * bytes;
    double stream = u_bytes / (stay ? L3_STREAM : MEMORY_STREAM);
    double between = 0.0;
    if (schedule.staged) {
        // V and M are written, which is a read as well, and read again; V of a point
        // once a panel, where it does not stay in L2.
        const double in_block = static_cast<double>(schedule.tiles);
        const bool beyond =
            in_block * (v_bytes + m_bytes) > 0.75 * static_cast<double>(host.l3_bytes);
        between = 3.0 * (v_bytes + m_bytes) / (beyond ? MEMORY_STREAM : L3_STREAM) +
                  STAGE_CYCLES / in_block;
        if (in_block * v_bytes / points > 0.75 * static_cast<double>(host.l2_bytes)) {
            stream += panels * v_bytes / L3_STREAM;
        }
    } else if (
        static_cast<double>(schedule.tiles) * v_bytes + u_all / panels >
        static_cast<double>(host.l2_bytes)) {
        // V is pushed out of L2 by the panels of U that pass through it.
        stream += panels * v_bytes / L3_STREAM;
    }
    // So few channels that every vector is mostly empty: measured.
    const double emptiness = geometry.channels < 8 ? 2.5 : 1.0;
    return emptiness * tiles *
               (input + output + between + products + STREAM_SHOWS * stream) +
           (ahead ? turning_ahead_cycles(problem) : 0.0) + 1500.0;
}

// Fused: tiles whose V, with M of one panel, stays in L2; never so few that streaming U
// once a block costs more than the products. Between the two limits times are flat.
Schedule fused_schedule(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    const WinogradForm& form) {
    const WinogradGeometry geometry(problem, form);
    const WinogradLayout layout(problem, isa, geometry, 1);
    const int64 rows = tile_rows(problem, isa);
    const int64 tile_bytes = geometry.all_points * (layout.row + layout.width) *
                             element_bytes(problem.dtype);
    const int64 fitting = host.l2_bytes * 6 / 10 / tile_bytes / rows * rows;
    const int64 least = weights_stay(problem, host, geometry, layout) ? 2 : 4;
    return {
        .staged = false,
        .tiles = std::min(
            std::clamp(fitting, least * rows, 8 * rows), geometry.tile_count(problem)),
    };
}

// Staged: tiles whose V of one point stays in L2, and V and M of all points in L3.
Schedule staged_schedule(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    const WinogradForm& form) {
    const WinogradGeometry geometry(problem, form);
    const WinogradLayout layout(problem, isa, geometry, 1);
    const int64 rows = tile_rows(problem, isa);
    const int64 bytes = element_bytes(problem.dtype);
    const int64 in_l2 = host.l2_bytes / 2 / (layout.row * bytes);
    const int64 in_l3 =
        host.l3_bytes / 2 /
        (geometry.all_points * (layout.row + layout.panels * layout.width) * bytes);
    const int64 fitting = std::min(in_l2, in_l3) / rows * rows;
    return {
        .staged = true,
        .tiles = std::min(std::max(fitting, 2 * rows), geometry.tile_count(problem)),
    };
}

Schedule best_schedule(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    const WinogradForm& form) {
    const Schedule fused = fused_schedule(problem, isa, host, form);
    const Schedule staged = staged_schedule(problem, isa, host, form);
    return form_cycles(problem, isa, host, form, staged) <
                   form_cycles(problem, isa, host, form, fused)
               ? staged
               : fused;
}

// Chosen for one sample in one memory order: forms round differently, and neither the
// batch nor the order of memory may show in a result.
int best_form(const ConvProblem& given, const IsaTable& isa, const Machine& host) {
    ConvProblem problem = given;
    problem.n = 1;
    problem.x_pitch[1] = 1;
    problem.y_pitch[1] = 1;
    int best = -1;
    double least = 0.0;
    for (int index = 0; index < WINOGRAD_FORM_COUNT; ++index) {
        const WinogradForm& form = WINOGRAD_ALL_FORMS[index];
        const bool large = WINOGRAD_SHAPES[form.shape].outputs == 6;
        if ((large && problem.accuracy != ACCURACY_FAST) ||
            !winograd_refusal(problem, form).empty()) {
            continue;
        }
        const double cycles = form_cycles(
            problem, isa, host, form, best_schedule(problem, isa, host, form));
        if (best < 0 || cycles < least) {
            best = index;
            least = cycles;
        }
    }
    return best;
}

Schedule schedule_of(
    const ConvProblem& problem,
    const IsaTable& isa,
    const Machine& host,
    const WinogradForm& form,
    bool whole) {
    if (whole) {
        const WinogradGeometry geometry(problem, form);
        return {.staged = true, .tiles = geometry.tile_count(problem)};
    }
    return best_schedule(problem, isa, host, form);
}

} // namespace

std::string winograd_supports(const ConvProblem& problem) {
    if (problem.accuracy == ACCURACY_STRICT) {
        return "accuracy='strict' allows direct sums only";
    }
    if (problem.dtype == FLOAT64 && problem.accuracy != ACCURACY_FAST) {
        return "float64 is taken with accuracy='fast' only";
    }
    std::string reason;
    for (const WinogradForm& form : WINOGRAD_ALL_FORMS) {
        reason = winograd_refusal(problem, form);
        if (reason.empty()) {
            return "";
        }
    }
    return "needs stride 1 and a kernel of extent 3, 5 or 7 along H or W";
}

double winograd_cost_us(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool whole) {
    const WinogradForm& form = WINOGRAD_ALL_FORMS[best_form(problem, isa, host)];
    const Schedule schedule = schedule_of(problem, isa, host, form, whole);
    return shared_us(form_cycles(problem, isa, host, form, schedule), problem, host);
}

double winograd_pack_us(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool whole) {
    const WinogradForm& form = WINOGRAD_ALL_FORMS[best_form(problem, isa, host)];
    const WinogradGeometry geometry(problem, form);
    const WinogradLayout layout(problem, isa, geometry, 1);
    const double elements =
        static_cast<double>(layout.packed_elements(geometry) * problem.groups);
    const double weights =
        bytes_of_weight(problem) / static_cast<double>(element_bytes(problem.dtype));
    // Measured; those that pass are not written to L3 and read from there.
    const bool passing = !whole && passes(problem, isa, host, geometry);
    return packing_us(0.8 * weights + (passing ? 0.3 : 0.6) * elements, problem, host);
}

Movement winograd_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool whole) {
    const WinogradForm& form = WINOGRAD_ALL_FORMS[best_form(problem, isa, host)];
    const WinogradGeometry geometry(problem, form);
    const Schedule schedule = schedule_of(problem, isa, host, form, whole);
    const WinogradLayout layout(problem, isa, geometry, schedule.tiles);
    const double bytes = static_cast<double>(element_bytes(problem.dtype));
    const double tiles =
        static_cast<double>(geometry.tile_count(problem) * problem.groups);
    const double points = static_cast<double>(geometry.all_points);
    const double panels = static_cast<double>(layout.panels);
    const double width = static_cast<double>(layout.width);
    const double depth = static_cast<double>(geometry.depth());
    const double v = tiles * points * static_cast<double>(layout.row) * bytes;
    const double m = tiles * points * panels * width * bytes;
    const double u =
        static_cast<double>(layout.packed_elements(geometry) * problem.groups) * bytes;
    const double x = bytes_of_x(problem);
    const double w = bytes_of_weight(problem);
    const double y = bytes_of_y(problem);
    const double blocks = std::max(1.0, tiles / static_cast<double>(schedule.tiles));
    const LineFlops transforms = transform_flops(geometry.shape);
    const double flops = 2.0 * tiles * points * panels * width * depth +
                         tiles * static_cast<double>(geometry.tap_count) *
                             in_whole(geometry.channels, lanes_of(problem, isa)) *
                             transforms.input +
                         tiles * panels * width * transforms.output +
                         static_cast<double>(problem.groups) * panels * width * depth *
                             transforms.filter;
    // Of U: a panel of one point stays in L1 while the tiles of a block pass, or comes
    // again for every register tile of them. V comes again for every panel, unless
    // stages follow each other point by point and L1 holds that of one.
    const double u_panel = depth * width * bytes;
    const double v_point = v / blocks / points;
    const double reads =
        stays_in(u_panel, host.l1_bytes)
            ? blocks
            : std::max(1.0, tiles / static_cast<double>(tile_rows(problem, isa)));
    const bool v_held = schedule.staged && stays_in(v_point + u_panel, host.l1_bytes);
    const double v_reads = v_held ? 1.0 : panels;
    const double turned = turns_ahead(problem, geometry) ? 2.0 * x : 0.0;
    const bool passing = !whole && passes(problem, isa, host, geometry);
    const double packed = w + u;
    const double l1 =
        turned + 2.0 * x + v * (1.0 + v_reads) + packed + u * reads + 2.0 * m + y;
    // Between staged stages everything goes past L2; V comes back once a panel where
    // that of one point does not stay there. Weights that pass are made in L2.
    const double scratch = (v + m) / blocks;
    const double v_again = stays_in(v_point, host.l2_bytes) ? 1.0 : panels;
    const bool stays = stays_in(scratch, host.l2_bytes);
    const double through = stays ? scratch : v * (1.0 + v_again) + 2.0 * m;
    const bool u_stays = stays_in(u + scratch, host.l2_bytes);
    const double of_u = passing ? w : packed + (u_stays ? 0.0 : u * blocks);
    const double l2 = x + turned + through + of_u + y;
    return counted(flops, l1, l2, x + w + y, host);
}

ConvPlan winograd_plan(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host, bool whole) {
    const int form_index = best_form(problem, isa, host);
    const WinogradForm& form = WINOGRAD_ALL_FORMS[form_index];
    const WinogradGeometry geometry(problem, form);
    const Schedule schedule = schedule_of(problem, isa, host, form, whole);
    const WinogradLayout layout(problem, isa, geometry, schedule.tiles);
    // Few blocks: panels are shared out as well, so that threads have equal work.
    const int64 blocks =
        ceil_div(geometry.tile_count(problem), schedule.tiles) * problem.groups;
    const int64 shares = std::clamp<int64>(ceil_div(16, blocks), 1, layout.panels);
    const int64 group = ceil_div(layout.panels, shares);
    const int64 bytes = element_bytes(problem.dtype);
    const int64 packed = layout.packed_elements(geometry) * problem.groups * bytes;
    const int64 m_panels = schedule.staged ? layout.panels : 1;
    const int64 stages =
        geometry.all_points * (layout.v_point + layout.m_point * m_panels) * bytes;
    const bool passing = !whole && passes(problem, isa, host, geometry);
    const int64 between =
        passing ? passing_elements(problem, isa, geometry) * bytes : packed + stages;
    const bool ahead = turns_ahead(problem, geometry);
    const int64 turned = ahead ? problem.n * problem.c * volume(problem.input) : 0;
    return ConvPlan{
        .problem = problem,
        .algorithm = nullptr,
        .isa = &isa,
        .vectors = winograd_vectors(problem, isa),
        .filter_group = group,
        .pixel_group = schedule.tiles,
        .form = form_index,
        .staged = schedule.staged,
        .passing = passing,
        .turned_ahead = ahead,
        .parallel = products_of(problem) > PARALLEL_PRODUCTS,
        .blocking =
            {{"m", geometry.shape.outputs},
             {"r", geometry.shape.taps},
             {"dimensions", geometry.shape.dimensions},
             {"staged", schedule.staged ? 1 : 0},
             {"passing", passing ? 1 : 0},
             {"turned_ahead", ahead ? 1 : 0},
             {"tiles", schedule.tiles},
             {"nr", layout.width},
             {"filter_panels", schedule.staged ? layout.panels : group}},
        .workspace_bytes = between + turned * bytes,
        .packed_bytes = packed,
        .packing =
            std::string(form.name) + " panels of " + std::to_string(layout.width),
    };
}

} // namespace pyconv
