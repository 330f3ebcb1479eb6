// How many operations Winograd's transforms take: those of cpu/micro/winograd.hpp,
// counted.
#pragma once

#include "cpu/isa/isa.hpp"

namespace pyconv {

// Operations of the transforms of one line, of input, output and filter
// (cpu/micro/winograd.hpp). A multiply-add is two; a coefficient of one leaves a sum.
struct LineFlops {
    double input;
    double output;
    double filter;

    explicit LineFlops(const WinogradShape& shape) {
        const double pairs = static_cast<double>(shape.points - 2) / 2.0;
        // Of the pairs of points, +-1 is one for four points and for eight.
        const double ones = shape.points == 6 ? 0.0 : 1.0;
        const double more = static_cast<double>(shape.outputs - 1);
        input = shape.points == 4 ? 4.0 : shape.points == 6 ? 24.0 : 42.0;
        output = 3.0 * pairs + more * (2.0 * pairs - ones) + 1.0;
        filter = 1.0 - ones + pairs * (2.0 * shape.taps + 2.0);
    }
};

// Of one tile's input in one channel, of its output in one filter, with the test for
// what is not finite, and of one filter of one channel.
inline LineFlops transform_flops(const WinogradShape& shape) {
    LineFlops found(shape);
    const double points = shape.points;
    const double outputs = shape.outputs;
    if (shape.dimensions == 2) {
        found.input *= 2.0 * points;
        found.output *= points + outputs;
        found.filter *= shape.taps + points;
    }
    found.output += 2.0 * (shape.dimensions == 2 ? outputs * outputs : outputs);
    return found;
}

} // namespace pyconv
