// Copying rows that lie a pitch apart, many short ones in one call.
//
// The idea: a row of a small image is three or four vectors, less than a call of memcpy
// costs. The last vector of a row overlaps the one before it, so nothing past the row
// is touched.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class T>
void copy_rows(
    const T* from, int64 from_pitch, int64 rows, int64 count, T* to, int64 to_pitch) {
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr int LANES = Simd<T>::LANES;
    for (int64 row = 0; row < rows; ++row, from += from_pitch, to += to_pitch) {
        if (count < LANES) {
            for (int64 i = 0; i < count; ++i) {
                to[i] = from[i];
            }
            continue;
        }
        for (int64 i = 0; i + LANES <= count; i += LANES) {
            *reinterpret_cast<Unaligned*>(to + i) =
                *reinterpret_cast<const Unaligned*>(from + i);
        }
        *reinterpret_cast<Unaligned*>(to + count - LANES) =
            *reinterpret_cast<const Unaligned*>(from + count - LANES);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
