// Element types: their sizes, what their products are summed in, and halves as numbers.
//
// Halves are summed in float32 and rounded once; bytes and 16-bit integers in 32 bits,
// wider ones in 64, modulo a power of two; floats and complex numbers in themselves.
// The rounding of halves is to nearest, ties to even; a NaN stays one.
#pragma once

#include "core/problem.hpp"

#include <bit>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace pyconv {

struct Half {
    std::uint16_t bits;
};

struct BFloat16 {
    std::uint16_t bits;
};

template <class T>
struct Complex {
    T re;
    T im;
};

inline float widened(BFloat16 value) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

inline float widened(Half value) {
    const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
    const std::uint32_t rest = value.bits & 0x7fffU;
    if (rest < 0x0400U) { // zero, or subnormal: a multiple of 2^-24
        const float size = static_cast<float>(rest) * 0x1p-24F;
        return std::bit_cast<float>(std::bit_cast<std::uint32_t>(size) | sign);
    }
    const std::uint32_t exponent =
        rest >= 0x7c00U ? 0x38000000U + 0x38000000U : 0x38000000U;
    return std::bit_cast<float>(sign | ((rest << 13) + exponent));
}

inline BFloat16 to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffU) > 0x7f800000U) {
        return {static_cast<std::uint16_t>((bits >> 16) | 0x0040U)};
    }
    return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

inline Half to_half(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t size = bits & 0x7fffffffU;
    if (size > 0x7f800000U) {
        return {static_cast<std::uint16_t>(sign | 0x7e00U | ((size >> 13) & 0x3ffU))};
    }
    if (size >= 0x477ff000U) { // rounds to 65520 and more
        return {static_cast<std::uint16_t>(sign | 0x7c00U)};
    }
    if (size < 0x38800000U) { // below the normal ones: the sum rounds at 2^-24
        const float rounded = std::bit_cast<float>(size) + 0.5F;
        return {static_cast<std::uint16_t>(
            sign | (std::bit_cast<std::uint32_t>(rounded) - 0x3f000000U))};
    }
    const std::uint32_t odd = (size >> 13) & 1U;
    return {
        static_cast<std::uint16_t>(sign | ((size - 0x38000000U + 0xfffU + odd) >> 13))};
}

// What products of an element type are summed in, and what a result is stored as.
template <class T>
struct Element {
    using Sum = T;
    using Result = T;
};

template <>
struct Element<Half> {
    using Sum = float;
    using Result = Half;
};

template <>
struct Element<BFloat16> {
    using Sum = float;
    using Result = BFloat16;
};

// Sums of integers wrap: they are taken without a sign, where that is defined.
template <class T>
    requires(std::is_integral_v<T> && sizeof(T) <= 2)
struct Element<T> {
    using Sum = std::uint32_t;
    using Result = std::int32_t;
};

template <class T>
    requires(std::is_integral_v<T> && sizeof(T) >= 4)
struct Element<T> {
    using Sum = std::uint64_t;
    using Result = std::
        conditional_t<std::is_same_v<T, std::uint64_t>, std::uint64_t, std::int64_t>;
};

// An element as a term of a sum: halves widened, integers with their sign extended.
template <class T>
typename Element<T>::Sum term_of(T value) {
    if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>) {
        return widened(value);
    } else if constexpr (std::is_integral_v<T>) {
        using Signed = std::conditional_t<sizeof(T) <= 2, std::int32_t, std::int64_t>;
        return static_cast<typename Element<T>::Sum>(static_cast<Signed>(value));
    } else {
        return value;
    }
}

// An element as a number to compare and to average: halves widened.
template <class T>
auto number_of(T value) {
    if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>) {
        return widened(value);
    } else {
        return value;
    }
}

template <class Result, class Sum>
Result result_of(Sum sum) {
    if constexpr (std::is_same_v<Result, Half>) {
        return to_half(sum);
    } else if constexpr (std::is_same_v<Result, BFloat16>) {
        return to_bfloat16(sum);
    } else {
        return static_cast<Result>(sum);
    }
}

constexpr bool is_real_float(int64 dtype) {
    return dtype == FLOAT32 || dtype == FLOAT64;
}

constexpr bool is_integer(int64 dtype) {
    return dtype >= INT8 && dtype <= UINT64;
}

constexpr int64 element_bytes(int64 dtype) {
    constexpr int64 BYTES[] = {4, 8, 2, 2, 1, 1, 2, 2, 4, 4, 8, 8, 8, 16};
    return BYTES[dtype];
}

// Of the result of a convolution of such elements.
constexpr int64 result_type(int64 dtype) {
    if (dtype >= INT8 && dtype <= UINT16) {
        return INT32;
    }
    return dtype >= INT32 && dtype <= INT64 ? INT64 : dtype;
}

// Of its bias: what sums are taken in.
constexpr int64 sum_type(int64 dtype) {
    return dtype == FLOAT16 || dtype == BFLOAT16 ? FLOAT32 : result_type(dtype);
}

// Calls work.operator()<T>() for the C++ type of a data type.
template <class Work>
decltype(auto) with_element(int64 dtype, Work&& work) {
    switch (dtype) {
    case FLOAT64:
        return work.template operator()<double>();
    case FLOAT16:
        return work.template operator()<Half>();
    case BFLOAT16:
        return work.template operator()<BFloat16>();
    case INT8:
        return work.template operator()<std::int8_t>();
    case UINT8:
        return work.template operator()<std::uint8_t>();
    case INT16:
        return work.template operator()<std::int16_t>();
    case UINT16:
        return work.template operator()<std::uint16_t>();
    case INT32:
        return work.template operator()<std::int32_t>();
    case UINT32:
        return work.template operator()<std::uint32_t>();
    case INT64:
        return work.template operator()<std::int64_t>();
    case UINT64:
        return work.template operator()<std::uint64_t>();
    case COMPLEX64:
        return work.template operator()<Complex<float>>();
    case COMPLEX128:
        return work.template operator()<Complex<double>>();
    default:
        return work.template operator()<float>();
    }
}

} // namespace pyconv
