// Scratch of a unit of work stays in half of L2, a row's sums in L1.
#include "cpu/conv_backward/input_planes.hpp"

#include "cpu/conv/model.hpp"

namespace pyconv {
namespace {

constexpr int64 COLUMNS = 256;
constexpr int64 SOURCE_BYTES = int64{256} << 10;

// Outputs that pixel 0 of any phase meets.
Span met(const std::vector<PhaseAxis>& phases) {
    Span met{0, 0};
    bool first = true;
    for (const PhaseAxis& phase : phases) {
        if (phase.taps == 0) {
            continue;
        }
        const int64 low = phase.source(0, 0);
        const int64 high = phase.source(0, phase.taps - 1) + 1;
        met = first ? Span{low, high}
                    : Span{std::min(met.begin, low), std::max(met.end, high)};
        first = false;
    }
    return met;
}

// The largest tile of so many vectors in a row.
template <class T>
int64 most_rows(const PlaneKernels<T>& tiles, int vectors) {
    int64 rows = 1;
    while (rows < MAX_PLANE_ROWS && tiles[rows][vectors - 1] != nullptr) {
        ++rows;
    }
    return rows;
}

template <class T>
int64 most_rows(const Kernels<T>& kernels, bool lines, int vectors) {
    return lines ? most_rows<T>(kernels.row_tile, vectors)
                 : most_rows<T>(kernels.filter_tile, vectors);
}

} // namespace

InputPlanes::InputPlanes(const ConvProblem& problem, const IsaTable& isa)
    : axes{phases_of(problem, 0), phases_of(problem, 1), phases_of(problem, 2)},
      filters(problem.k / problem.groups), channels(problem.c / problem.groups),
      lanes(lanes_of(problem, isa)),
      columns(std::min(ceil_div(problem.input[2], problem.stride[2]), COLUMNS)),
      vectors(
          static_cast<int>(
              std::min<int64>(ceil_div(columns, lanes), MAX_PLANE_VECTORS))),
      tile(0), depth(ceil_div(problem.input[1], problem.stride[1])),
      height(met(axes[1])), width(met(axes[2])), pitch(0), blocks{} {
    const bool lines = channels == 1;
    const int64 most = problem.dtype == FLOAT32 ? most_rows(isa.f32, lines, vectors)
                                                : most_rows(isa.f64, lines, vectors);
    tile = lines ? most : ceil_div(channels, ceil_div(channels, most));
    // A vector more: loads take whole ones.
    pitch = ceil_div(columns + width.count(), lanes) * lanes + lanes;
    const int64 row_bytes =
        most_planes() * filters * pitch * element_bytes(problem.dtype);
    const int64 room =
        std::max<int64>(SOURCE_BYTES / row_bytes - height.count(), lines ? tile : 1);
    blocks[0] = ceil_div(depth, room);
    depth = ceil_div(depth, blocks[0]);
    blocks[0] = ceil_div(ceil_div(problem.input[1], problem.stride[1]), depth);
    blocks[1] = ceil_div(ceil_div(problem.input[2], problem.stride[2]), columns);
}

int64 InputPlanes::most_planes() const {
    int64 most = 1;
    for (const PhaseAxis& phase : axes[0]) {
        most = std::max(most, phase.taps);
    }
    return most;
}

// Cycles: two multiply-adds of a vector each, empty lanes as if they were full, half
// as fast where chains are short; filling scratch and interleaving.
double
input_planes_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const InputPlanes cut(problem, isa);
    const double lanes = static_cast<double>(cut.lanes);
    const double columns =
        static_cast<double>(ceil_div(problem.input[2], problem.stride[2]));
    const double full = static_cast<double>(cut.blocks[1] * cut.sum_pitch()) / columns;
    const double products = products_of(problem) * full / lanes;
    const double outputs =
        bytes_of_x(problem) / static_cast<double>(element_bytes(problem.dtype));
    const double lines = outputs / static_cast<double>(problem.input[2]);
    const double grad =
        static_cast<double>(problem.n * problem.k * volume(problem.output));
    const double reach = problem.y_pitch[4] == 1 ? 0.4 : 1.5;
    const double out = problem.x_pitch[4] == 1 ? 0.3 : 3.0;
    return shared_us(
        products * (cut.channels == 1 ? 0.8 : 0.6) + outputs * out + lines * 60.0 +
            grad * reach + 1000.0,
        problem,
        host);
}

Movement input_planes_movement(
    const ConvProblem& problem, const IsaTable&, const Machine& host) {
    const double x = bytes_of_x(problem);
    const double y = bytes_of_y(problem);
    const double all = x + y + bytes_of_weight(problem);
    // grad is copied into scratch and read once for every phase; sums pass once more.
    const double phases = static_cast<double>(volume(problem.stride));
    return layered(
        2.0 * products_of(problem),
        (2.0 + phases) * y + 2.0 * x,
        y + x,
        all,
        all,
        host);
}

} // namespace pyconv
