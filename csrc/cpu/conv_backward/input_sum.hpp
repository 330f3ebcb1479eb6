// Sums of one register tile of an input gradient: pixels of one phase of a line, over
// the taps that reach them and all filters, in the order of input_interleaved.cpp.
#pragma once

#include "cpu/conv_backward/input_blocking.hpp"
#include "cpu/conv_backward/phase_axis.hpp"

#include <algorithm>

namespace pyconv {

// Room of one thread.
template <class T>
struct TileRoom {
    const T** pointers; // of a tap row
    T* acc;             // a register tile
    T* piece;
    int64* offsets; // of its pixels in the result
};

// One tile: pixels of one phase of one line.
template <class T>
struct InputTile {
    const PhaseAxis& along;
    Span pixels; // numbered within the phase
    const T* grad;
    const T* weights;
};

// Where a tile goes: straight out of the registers, or through room.acc.
template <class T>
struct TileTarget {
    T* y; // null: through room.acc and store_tile
    const T* bias;
    int64 activation;
};

template <class T>
class InputSum {
  public:
    // `pitch` is that of grad as it is read; all must outlive this.
    InputSum(
        const ConvProblem& problem,
        const Kernels<T>& kernels,
        const InputBlocking& cut,
        const int64 (&pitch)[5])
        : problem_(problem), kernels_(kernels), cut_(cut), pitch_(pitch) {}

    // Sums a tile up; true where it has left the registers for its target.
    bool
    add(const InputTile<T>& tile,
        const PhaseAxis* const (&phase)[2],
        const int64 (&pixel)[2],
        const Span (&taps)[2],
        const TileTarget<T>& target,
        const TileRoom<T>& room) const {
        const int64 rows = tile.pixels.count();
        const int64 width = cut_.shape.width;
        const PhaseAxis& along = tile.along;
        const int64 outputs = problem_.output[2];
        const bool inside = along.taps > 0 && along.source(tile.pixels.begin, 0) >= 0 &&
                            along.source(tile.pixels.end - 1, along.taps - 1) < outputs;
        const int64 steps = taps[0].count() * taps[1].count();
        if (!inside || steps == 0) {
            std::fill(room.acc, room.acc + rows * width, T(0));
        }
        int64 step = 0;
        for (int64 t = taps[0].begin; t < taps[0].end; ++t) {
            for (int64 r = taps[1].begin; r < taps[1].end; ++r, ++step) {
                const T* from = tile.grad + phase[0]->source(pixel[0], t) * pitch_[2] +
                                phase[1]->source(pixel[1], r) * pitch_[3];
                const int64 tap =
                    (phase[0]->tap(t) * problem_.kernel[1] + phase[1]->tap(r)) *
                    problem_.kernel[2];
                if (!inside) {
                    add_at_edge(tile, from, tap, room);
                    continue;
                }
                for (int64 s = 0; s < along.taps; ++s) {
                    const T* first =
                        from + along.source(tile.pixels.begin, s) * pitch_[4];
                    for (int64 i = 0; i < rows; ++i) {
                        room.pointers[s * rows + i] = first + i * pitch_[4];
                    }
                }
                const bool last = step + 1 == steps;
                multiply(
                    rows,
                    along.taps,
                    tile.weights + (tap + along.tap(0)) * tap_elements(),
                    -along.step * tap_elements(),
                    step > 0,
                    room.acc,
                    last ? target : TileTarget<T>{nullptr, nullptr, ACT_NONE},
                    room);
            }
        }
        return inside && steps > 0 && target.y != nullptr;
    }

  private:
    // Taps of a row that some pixels of the tile have and others do not.
    void add_at_edge(
        const InputTile<T>& tile,
        const T* from,
        int64 tap,
        const TileRoom<T>& room) const {
        const PhaseAxis& along = tile.along;
        for (int64 s = 0; s < along.taps; ++s) {
            const Span some = reached(along, s, tile.pixels, problem_.output[2]);
            if (some.count() == 0) {
                continue;
            }
            for (int64 i = 0; i < some.count(); ++i) {
                room.pointers[i] = from + along.source(some.begin + i, s) * pitch_[4];
            }
            multiply(
                some.count(),
                1,
                tile.weights + (tap + along.tap(s)) * tap_elements(),
                0,
                true,
                room.acc + (some.begin - tile.pixels.begin) * cut_.shape.width,
                {nullptr, nullptr, ACT_NONE},
                room);
        }
    }

    int64 tap_elements() const { return cut_.shape.channels * cut_.shape.width; }

    void multiply(
        int64 rows,
        int64 taps,
        const T* weights,
        int64 weight_pitch,
        bool accumulate,
        T* acc,
        const TileTarget<T>& target,
        const TileRoom<T>& room) const {
        kernels_.gemm_tile[cut_.vectors - 1][rows - 1](
            {.taps = taps,
             .a = room.pointers,
             .a_tap_pitch = rows,
             .k = cut_.shape.channels,
             .a_step = pitch_[1],
             .b = weights,
             .b_tap_pitch = weight_pitch,
             .acc = acc,
             .accumulate = accumulate,
             .y = target.y,
             .row_offset = room.offsets,
             .bias = target.bias,
             .bias_per_row = false,
             .activation = target.activation,
             .ahead = nullptr});
    }

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    const InputBlocking& cut_;
    const int64 (&pitch_)[5];
};

} // namespace pyconv
