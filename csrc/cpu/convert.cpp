// Axes that follow each other in both arrays are walked as one; lines whose elements
// are neighbours in both are converted a vector at a time.
#include "cpu/convert.hpp"

#include "core/element.hpp"
#include "core/threads.hpp"
#include "cpu/geometry.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace pyconv {
namespace {

using Line = void (*)(const void* from, void* to, int64 count);

constexpr int64 PARALLEL_ELEMENTS = 1 << 15;
// Elements that a thread converts at a time.
constexpr int64 STRETCH = 1 << 13;

// Slowest axis first, by the result's memory; extents of one left out; axes joined.
void order_axes(ConvertedArray& array) {
    int kept = 0;
    for (int axis = 0; axis < array.axes; ++axis) {
        if (array.extent[axis] != 1) {
            array.extent[kept] = array.extent[axis];
            array.from_pitch[kept] = array.from_pitch[axis];
            array.to_pitch[kept] = array.to_pitch[axis];
            ++kept;
        }
    }
    const auto swap = [&](int a, int b) {
        std::swap(array.extent[a], array.extent[b]);
        std::swap(array.from_pitch[a], array.from_pitch[b]);
        std::swap(array.to_pitch[a], array.to_pitch[b]);
    };
    for (int end = kept; end > 1; --end) {
        for (int axis = 1; axis < end; ++axis) {
            if (std::abs(array.to_pitch[axis]) > std::abs(array.to_pitch[axis - 1])) {
                swap(axis, axis - 1);
            }
        }
    }
    int axes = 0;
    for (int axis = 0; axis < kept; ++axis) {
        const bool follows =
            axes > 0 &&
            array.from_pitch[axes - 1] == array.extent[axis] * array.from_pitch[axis] &&
            array.to_pitch[axes - 1] == array.extent[axis] * array.to_pitch[axis];
        const int at = follows ? axes - 1 : axes++;
        array.extent[at] = array.extent[axis] * (follows ? array.extent[at] : 1);
        array.from_pitch[at] = array.from_pitch[axis];
        array.to_pitch[at] = array.to_pitch[axis];
    }
    array.axes = axes;
}

void convert(ConvertedArray array, Line line, int64 from_bytes, int64 to_bytes) {
    order_axes(array);
    const int last = array.axes - 1;
    const int64 count = last < 0 ? 1 : array.extent[last];
    const int64 from_step = last < 0 ? 1 : array.from_pitch[last];
    const int64 to_step = last < 0 ? 1 : array.to_pitch[last];
    int64 lines = 1;
    for (int axis = 0; axis < last; ++axis) {
        lines *= array.extent[axis];
    }
    if (lines * count == 0) {
        return;
    }
    const int64 stretches = ceil_div(count, STRETCH);
    const auto* source = static_cast<const char*>(array.from);
    auto* target = static_cast<char*>(array.to);
    const auto body = [&](int64 begin, int64 end, int) {
        for (int64 unit = begin; unit < end; ++unit) {
            const int64 first = unit % stretches * STRETCH;
            const int64 some = std::min(STRETCH, count - first);
            int64 rest = unit / stretches;
            int64 from = first * from_step;
            int64 to = first * to_step;
            for (int axis = last - 1; axis >= 0; --axis) {
                from += rest % array.extent[axis] * array.from_pitch[axis];
                to += rest % array.extent[axis] * array.to_pitch[axis];
                rest /= array.extent[axis];
            }
            const char* at = source + from * from_bytes;
            char* into = target + to * to_bytes;
            if (from_step == 1 && to_step == 1) {
                line(at, into, some);
                continue;
            }
            for (int64 i = 0; i < some; ++i) {
                line(at + i * from_step * from_bytes, into + i * to_step * to_bytes, 1);
            }
        }
    };
    parallel_for(lines * stretches, lines * count >= PARALLEL_ELEMENTS, body);
}

} // namespace

int64 widened_type(int64 dtype) {
    if (dtype == FLOAT16 || dtype == BFLOAT16 || (dtype >= INT8 && dtype <= UINT16)) {
        return FLOAT32;
    }
    return dtype == INT32 || dtype == UINT32 ? FLOAT64 : dtype;
}

void widen(const IsaTable& isa, int64 dtype, ConvertedArray array) {
    convert(
        array,
        isa.convert.widen[dtype],
        element_bytes(dtype),
        element_bytes(widened_type(dtype)));
}

void narrow(const IsaTable& isa, int64 dtype, ConvertedArray array) {
    convert(
        array,
        isa.convert.narrow[dtype],
        element_bytes(widened_type(dtype)),
        element_bytes(dtype));
}

} // namespace pyconv
