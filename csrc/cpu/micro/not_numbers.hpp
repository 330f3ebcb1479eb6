// Whether vectors hold a NaN.
#pragma once

#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// Ones where a or b is NaN.
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Index
unordered(typename Simd<T>::Vector a, typename Simd<T>::Vector b) {
    using Index = typename Simd<T>::Index;
#if defined(__AVX2__) && !defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        return reinterpret_cast<Index>(_mm256_cmp_ps(a, b, _CMP_UNORD_Q));
    } else {
        return reinterpret_cast<Index>(_mm256_cmp_pd(a, b, _CMP_UNORD_Q));
    }
#else
    return reinterpret_cast<Index>((a != a) | (b != b));
#endif
}

template <class V>
inline __attribute__((always_inline)) bool any_lane(const V& mask) {
#if defined(__AVX512F__)
    const auto bits = reinterpret_cast<__m512i>(mask);
    return _mm512_test_epi64_mask(bits, bits) != 0;
#elif defined(__AVX2__)
    const auto bits = reinterpret_cast<__m256i>(mask);
    return _mm256_testz_si256(bits, bits) == 0;
#else
    unsigned long long words[sizeof(V) / 8];
    __builtin_memcpy(words, &mask, sizeof(V));
    unsigned long long any = 0;
    for (const unsigned long long word : words) {
        any |= word;
    }
    return any != 0;
#endif
}

} // namespace
} // namespace pyconv::PYCONV_ISA
