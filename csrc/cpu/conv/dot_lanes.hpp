// Elements as lanes of a short dot product: as they are, or with their sign extended.
#pragma once

#include "core/element.hpp"
#include "cpu/conv/dot_shape.hpp"
#include "cpu/isa/registry.hpp"

#include <cstdint>
#include <type_traits>

namespace pyconv {

template <class Lane, class X>
Lane as_lane(X value) {
    if constexpr (std::is_same_v<X, BFloat16>) {
        return value.bits;
    } else {
        return static_cast<Lane>(value);
    }
}

// Calls work.operator()<element, lane>() for a type and how it is multiplied.
template <class Work>
void with_lanes(int64 dtype, const DotShape& shape, Work&& work) {
    with_element(dtype, [&]<class X>() {
        if constexpr (std::is_same_v<X, BFloat16>) {
            work.template operator()<X, std::uint16_t>();
        } else if constexpr (std::is_integral_v<X> && sizeof(X) >= 4) {
            work.template operator()<X, std::uint64_t>();
        } else if constexpr (std::is_integral_v<X>) {
            if (shape.lane_bytes == 4) {
                work.template operator()<X, std::uint32_t>();
            } else if (shape.lane_bytes == 2) {
                work.template operator()<X, std::uint16_t>();
            } else if constexpr (sizeof(X) == 1) {
                work.template operator()<X, std::uint8_t>();
            }
        }
    });
}

// Turns a matrix of four or eight bytes an element. Moved, never computed with: any
// word is as good as a float.
template <class Word>
void transpose_words(
    const IsaTable& isa,
    const Word* from,
    int64 from_pitch,
    int64 rows,
    int64 columns,
    Word* to,
    int64 to_pitch) {
    using Real = std::conditional_t<sizeof(Word) == 4, float, double>;
    static_assert(sizeof(Word) == sizeof(Real));
    kernels_of<Real>(isa).transpose(
        reinterpret_cast<const Real*>(from),
        from_pitch,
        rows,
        columns,
        reinterpret_cast<Real*>(to),
        to_pitch);
}

} // namespace pyconv
