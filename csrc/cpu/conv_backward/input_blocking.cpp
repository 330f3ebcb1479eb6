// The cycles of the interleaved gradient follow direct's; its bytes the layer
// conditions.
#include "cpu/conv_backward/input_blocking.hpp"

#include "cpu/conv/model.hpp"

namespace pyconv {

// Cycles, as direct's: two multiply-adds of a vector each, empty lanes as if they were
// full; the way out; packing and turning touch each element once.
double
interleaved_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const InputBlocking cut(problem, isa);
    const double products = products_of(problem) *
                            static_cast<double>(cut.shape.panels * cut.shape.width) /
                            static_cast<double>(cut.shape.filters);
    const auto lanes = static_cast<double>(lanes_of(problem, isa));
    const double pixels =
        static_cast<double>(problem.n * problem.groups * volume(problem.input));
    const double vectors = pixels * static_cast<double>(cut.shape.panels * cut.vectors);
    const double store = cut.last ? 4.0 : 8.0;
    const double grad =
        static_cast<double>(problem.n * InputBlocking::grad_elements(problem));
    return shared_us(
        0.9 * products / lanes / 2.0 + vectors * store +
            1.2 * static_cast<double>(cut.packed_elements(problem)) +
            (cut.turned ? 0.5 * grad : 0.0) + 500.0,
        problem,
        host);
}

Movement interleaved_movement(
    const ConvProblem& problem, const IsaTable& isa, const Machine& host) {
    const InputBlocking cut(problem, isa);
    const double x = bytes_of_x(problem);
    const double y = bytes_of_y(problem);
    const double w = bytes_of_weight(problem);
    const double all = x + y + w;
    const auto bytes = static_cast<double>(element_bytes(problem.dtype));
    // The panels of a tile's taps pass from L2 once for each tile, all panels from L3
    // once for each block of lines.
    const double tiles = static_cast<double>(problem.n * volume(problem.input)) /
                         static_cast<double>(tile_rows(problem, isa));
    const double stride = static_cast<double>(volume(problem.stride));
    const double grad = cut.turned ? 2.0 * y : 0.0;
    const double packed = static_cast<double>(cut.packed_elements(problem)) * bytes;
    const double l1 = packed * tiles / stride + grad + x + y;
    const double l2 =
        packed * static_cast<double>(problem.n * cut.blocks) + grad + x + y;
    return layered(2.0 * products_of(problem), l1, l2, all, all, host);
}

} // namespace pyconv
