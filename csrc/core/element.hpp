// Element types by their codes: sizes, what results and sums are stored as, and the way
// from a code to a C++ type.
#pragma once

#include "core/number.hpp"

#include <cstdint>
#include <utility>

namespace pyconv {

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
