// Elements as lanes of a short dot product: as they are, or with their sign extended.
#pragma once

#include "core/element.hpp"
#include "cpu/conv/dot_shape.hpp"

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

} // namespace pyconv
