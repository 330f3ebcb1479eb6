// Lines of pixels are turned as words, by the kernel that turns floats.
#include "core/element.hpp"
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/conv/dot_input.hpp"
#include "cpu/conv/dot_lanes.hpp"

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace pyconv {
namespace {

// Channels and pixels of two-byte and one-byte elements are turned as words: the
// elements of one pixel's neighbouring channels first become one word of a line.
template <class Part>
void turn_words(
    const IsaTable& isa,
    const Part* from,
    int64 channel_pitch,
    int64 channels,
    int64 count,
    Part* to,
    int64 to_pitch) {
    constexpr int64 PARTS = 4 / int64{sizeof(Part)};
    constexpr int64 COLUMNS = 256;
    const int64 groups = channels / PARTS;
    ScratchFrame frame;
    auto* words = frame.take<std::uint32_t>(groups * COLUMNS);
    for (int64 done = 0; done < count; done += COLUMNS) {
        const int64 columns = std::min(COLUMNS, count - done);
        for (int64 group = 0; group < groups; ++group) {
            const Part* line = from + group * PARTS * channel_pitch + done;
            std::uint32_t* word = words + group * COLUMNS;
            for (int64 i = 0; i < columns; ++i) {
                std::uint32_t all = 0;
                for (int64 part = 0; part < PARTS; ++part) {
                    const std::uint32_t one = line[part * channel_pitch + i];
                    all |= one << (8 * int64{sizeof(Part)} * part);
                }
                word[i] = all;
            }
        }
        transpose_words(
            isa,
            words,
            COLUMNS,
            groups,
            columns,
            reinterpret_cast<std::uint32_t*>(to + done * to_pitch),
            to_pitch / PARTS);
    }
}

// A line of pixels that are neighbours in memory.
template <class X>
void turn_line(
    const IsaTable& isa,
    const ConvProblem& problem,
    const X* from,
    X* to,
    int64 count) {
    const int64 channels = problem.c;
    const int64 pitch = problem.x_pitch[1];
    if constexpr (sizeof(X) >= 4) {
        transpose_words(isa, from, pitch, channels, count, to, channels);
    } else {
        using Part = std::conditional_t<sizeof(X) == 2, std::uint16_t, std::uint8_t>;
        constexpr int64 PARTS = 4 / int64{sizeof(X)};
        int64 done = 0;
        if (channels % PARTS == 0) {
            turn_words(
                isa,
                reinterpret_cast<const Part*>(from),
                pitch,
                channels,
                count,
                reinterpret_cast<Part*>(to),
                channels);
            done = channels;
        }
        for (int64 c = done; c < channels; ++c) {
            for (int64 i = 0; i < count; ++i) {
                to[i * channels + c] = from[c * pitch + i];
            }
        }
    }
}

template <class X>
void turn_as(
    const ConvProblem& problem,
    const IsaTable& isa,
    const X* x,
    bool parallel,
    X* turned) {
    const int64(&pitch)[5] = problem.x_pitch;
    const int64 width = problem.input[2];
    const bool joined = pitch[4] == 1 && pitch[3] == width;
    const int64 lines = joined ? ceil_div(256, width) : 1;
    const int64 height = problem.input[1];
    const int64 pieces = ceil_div(height, lines);
    parallel_for(
        problem.n * problem.input[0] * pieces,
        parallel,
        [&](int64 begin, int64 end, int) {
            for (int64 unit = begin; unit < end; ++unit) {
                const int64 h = unit % pieces * lines;
                const int64 d = unit / pieces % problem.input[0];
                const int64 n = unit / pieces / problem.input[0];
                const int64 count = std::min(lines, height - h) * width;
                const X* from = x + n * pitch[0] + d * pitch[2] + h * pitch[3];
                X* to = turned +
                        (((n * problem.input[0] + d) * height + h) * width) * problem.c;
                if (pitch[4] == 1) {
                    turn_line(isa, problem, from, to, count);
                    continue;
                }
                for (int64 i = 0; i < count; ++i) {
                    for (int64 c = 0; c < problem.c; ++c) {
                        to[i * problem.c + c] = from[i * pitch[4] + c * pitch[1]];
                    }
                }
            }
        });
}

} // namespace

void turn_dot_input(
    const ConvProblem& problem,
    const IsaTable& isa,
    const void* x,
    bool parallel,
    void* turned) {
    with_element(problem.dtype, [&]<class X>() {
        if constexpr (sizeof(X) <= 8) {
            turn_as(
                problem,
                isa,
                static_cast<const X*>(x),
                parallel,
                static_cast<X*>(turned));
        }
    });
}

} // namespace pyconv
