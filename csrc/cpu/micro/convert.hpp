// Lines of elements from one type to another: halves and small integers as floats, and
// back.
//
// The idea: bfloat16 is the upper half of a float32; float16 has instructions of its
// own from AVX2 on, and elsewhere is a float32 whose exponent is 112 too small, put
// right by one exact product. Rounding is to nearest, ties to even; NaN stays NaN.
// Integers are cut off at the ends of their range.
#pragma once

#include "core/problem.hpp"

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace pyconv::PYCONV_ISA {
namespace {

inline __attribute__((always_inline)) std::uint32_t bits_of(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline __attribute__((always_inline)) float float_of(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline __attribute__((always_inline)) float widen_bfloat(std::uint16_t bits) {
    return float_of(static_cast<std::uint32_t>(bits) << 16);
}

inline __attribute__((always_inline)) std::uint16_t narrow_bfloat(float value) {
    const std::uint32_t bits = bits_of(value);
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
    return static_cast<std::uint16_t>(is_nan ? (bits >> 16) | 0x40U : rounded);
}

inline __attribute__((always_inline)) float widen_half(std::uint16_t bits) {
    const std::uint32_t rest = bits & 0x7fffU;
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    const std::uint32_t whole = bits_of(float_of(rest << 13) * 0x1p112F);
    return float_of(sign | whole | (rest >= 0x7c00U ? 0x7f800000U : 0U));
}

inline __attribute__((always_inline)) std::uint16_t narrow_half(float value) {
    const std::uint32_t bits = bits_of(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t size = bits & 0x7fffffffU;
    // Below the normal halves the sum with 1/2 rounds where it has to.
    const std::uint32_t small = bits_of(float_of(size) + 0.5F) - 0x3f000000U;
    const std::uint32_t normal =
        (size - 0x38000000U + 0xfffU + ((size >> 13) & 1U)) >> 13;
    std::uint32_t half = size < 0x38800000U ? small : normal;
    half = size >= 0x477ff000U ? 0x7c00U : half;
    half = size > 0x7f800000U ? 0x7e00U | ((size >> 13) & 0x3ffU) : half;
    return static_cast<std::uint16_t>(sign | half);
}

inline void widen_bfloats(const void* from, void* to, int64 count) {
    const auto* source = static_cast<const std::uint16_t*>(from);
    auto* target = static_cast<float*>(to);
    for (int64 i = 0; i < count; ++i) {
        target[i] = widen_bfloat(source[i]);
    }
}

inline void narrow_bfloats(const void* from, void* to, int64 count) {
    const auto* source = static_cast<const float*>(from);
    auto* target = static_cast<std::uint16_t*>(to);
    for (int64 i = 0; i < count; ++i) {
        target[i] = narrow_bfloat(source[i]);
    }
}

inline void widen_halves(const void* from, void* to, int64 count) {
    const auto* source = static_cast<const std::uint16_t*>(from);
    auto* target = static_cast<float*>(to);
    int64 i = 0;
#if defined(__AVX2__)
    for (; i + 8 <= count; i += 8) {
        const __m128i halves =
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i));
        _mm256_storeu_ps(target + i, _mm256_cvtph_ps(halves));
    }
#endif
    for (; i < count; ++i) {
        target[i] = widen_half(source[i]);
    }
}

inline void narrow_halves(const void* from, void* to, int64 count) {
    const auto* source = static_cast<const float*>(from);
    auto* target = static_cast<std::uint16_t*>(to);
    int64 i = 0;
#if defined(__AVX2__)
    for (; i + 8 <= count; i += 8) {
        const __m256 floats = _mm256_loadu_ps(source + i);
        _mm_storeu_si128(
            reinterpret_cast<__m128i*>(target + i),
            _mm256_cvtps_ph(floats, _MM_FROUND_TO_NEAREST_INT));
    }
#endif
    for (; i < count; ++i) {
        target[i] = narrow_half(source[i]);
    }
}

template <class From, class To>
void widen_integers(const void* from, void* to, int64 count) {
    const auto* source = static_cast<const From*>(from);
    auto* target = static_cast<To*>(to);
    for (int64 i = 0; i < count; ++i) {
        target[i] = static_cast<To>(source[i]);
    }
}

// LEAST and MOST are the integer's range, which From holds exactly.
template <class From, class To, long long LEAST, long long MOST>
void narrow_integers(const void* from, void* to, int64 count) {
    const auto* source = static_cast<const From*>(from);
    auto* target = static_cast<To*>(to);
    for (int64 i = 0; i < count; ++i) {
        From value = source[i];
        value = value > From(LEAST) ? value : From(LEAST); // NaN becomes the least
        value = value < From(MOST) ? value : From(MOST);
        target[i] = static_cast<To>(value);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
