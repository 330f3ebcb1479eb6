// The register tile of short dot products, and its way out.
//
// The idea: that of gemm_tile.hpp, with a group of small elements where it has one
// float: the group is broadcast from a pixel's row, and one instruction multiplies and
// adds it to sixteen filters. Where an instruction set has none, words are multiplied
// as they are. Source: Rodriguez et al. 2018, "Lower numerical precision deep learning
// inference and training" (Intel), for the four-byte form.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/activate.hpp"
#include "cpu/micro/ceilings.hpp"
#include "cpu/micro/simd.hpp"
#include "cpu/micro/transpose.hpp"

#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace pyconv::PYCONV_ISA {
namespace {

// Integers are summed without a sign, where overflow is defined.
struct WordDot {
    using Group = std::uint32_t;
    using Sum = std::int32_t;
    typedef std::uint32_t Vector __attribute__((vector_size(PYCONV_VECTOR_BYTES)));

    static __attribute__((always_inline)) Vector
    add(Vector sum, Vector pixel, Vector filters) {
        return sum + pixel * filters;
    }
};

struct LongDot {
    using Group = std::uint64_t;
    using Sum = std::int64_t;
    typedef std::uint64_t Vector __attribute__((vector_size(PYCONV_VECTOR_BYTES)));

    static __attribute__((always_inline)) Vector
    add(Vector sum, Vector pixel, Vector filters) {
        return sum + pixel * filters;
    }
};

#if defined(__SSE2__)
struct ShortDot : WordDot {
    static __attribute__((always_inline)) Vector
    add(Vector sum, Vector pixel, Vector filters) {
#if PYCONV_VECTOR_BYTES == 64
        const auto products = _mm512_madd_epi16((__m512i)pixel, (__m512i)filters);
#elif PYCONV_VECTOR_BYTES == 32
        const auto products = _mm256_madd_epi16((__m256i)pixel, (__m256i)filters);
#else
        const auto products = _mm_madd_epi16((__m128i)pixel, (__m128i)filters);
#endif
        return sum + (Vector)products;
    }
};
#endif

#if defined(__AVX512VNNI__)
// Bytes of a pixel have no sign, those of filters have.
struct ByteDot : WordDot {
    static __attribute__((always_inline)) Vector
    add(Vector sum, Vector pixel, Vector filters) {
        return (Vector)_mm512_dpbusd_epi32(
            (__m512i)sum, (__m512i)pixel, (__m512i)filters);
    }
};
#endif

#if defined(__AVX512BF16__)
struct BfloatDot {
    using Group = std::uint32_t;
    using Sum = float;
    typedef std::uint32_t Vector __attribute__((vector_size(PYCONV_VECTOR_BYTES)));

    static __attribute__((always_inline)) Vector
    add(Vector sum, Vector pixel, Vector filters) {
        return (Vector)_mm512_dpbf16_ps(
            (__m512)sum, (__m512bh)pixel, (__m512bh)filters);
    }
};
#endif

template <class Dot, int ROWS, int VECTORS>
void dot_tile(const DotTile& tile) {
    using Vector = typename Dot::Vector;
    using Group = typename Dot::Group;
    Vector acc[ROWS][VECTORS]{};
    const auto* right = static_cast<const Vector*>(tile.b);
    for (int64 tap = 0; tap < tile.taps; ++tap) {
        const char* a = static_cast<const char*>(tile.a) + tile.a_tap[tap];
        const char* row[ROWS];
        PYCONV_UNROLL
        for (int i = 0; i < ROWS; ++i) {
            row[i] = a + i * tile.a_pitch;
        }
        for (int64 group = 0; group < tile.groups; ++group, right += 2) {
            PYCONV_UNROLL
            for (int i = 0; i < ROWS; ++i) {
                Group one;
                std::memcpy(&one, row[i] + group * int64{sizeof(Group)}, sizeof one);
                const Vector left = one - Vector{}; // a broadcast
                PYCONV_UNROLL
                for (int j = 0; j < VECTORS; ++j) {
                    acc[i][j] = Dot::add(acc[i][j], left, right[j]);
                }
            }
        }
    }
    auto* memory = static_cast<Vector*>(tile.acc);
    PYCONV_UNROLL
    for (int i = 0; i < ROWS; ++i) {
        PYCONV_UNROLL
        for (int j = 0; j < VECTORS; ++j) {
            memory[i * 2 + j] = acc[i][j];
        }
    }
}

// Chains that wait for nothing: what the instruction does at most.
template <class Dot>
void dot_peak(int64 rounds) {
    using Vector = typename Dot::Vector;
    Vector pixel = Vector{} + 1;
    Vector filters = Vector{} + 1;
    Vector sum[FUSED_CHAINS]{};
    for (int64 round = 0; round < rounds; ++round) {
        PYCONV_UNROLL
        for (int chain = 0; chain < FUSED_CHAINS; ++chain) {
            PYCONV_OPAQUE(filters); // or one product would serve all chains
            sum[chain] = Dot::add(sum[chain], pixel, filters);
        }
        PYCONV_OPAQUE(pixel);
    }
    PYCONV_UNROLL
    for (int chain = 0; chain < FUSED_CHAINS; ++chain) {
        PYCONV_OPAQUE(sum[chain]); // and nobody wants it
    }
}

// Whole sums: bias, relu and relu6 on signed lanes.
template <class Dot>
void store_integers(const DotOut& out) {
    using Sum = typename Dot::Sum;
    using Group = typename Dot::Group;
    const Sum most = out.activation == ACT_RELU6 ? 6 : Sum(~Group{0} >> 1);
    const Sum least = out.activation == ACT_NONE ? Sum(-most - 1) : 0;
    const auto* bias = static_cast<const Group*>(out.bias);
    for (int64 row = 0; row < out.rows; ++row) {
        const auto* acc = reinterpret_cast<const Group*>(
            static_cast<const char*>(out.acc) + row * out.acc_pitch);
        auto* y = reinterpret_cast<Sum*>(static_cast<char*>(out.y) + row * out.y_pitch);
        for (int64 i = 0; i < out.columns; ++i) {
            Sum value = static_cast<Sum>(acc[i] + (bias != nullptr ? bias[i] : 0));
            value = value < least ? least : value;
            y[i] = value > most ? most : value;
        }
    }
}

#if defined(__AVX512BF16__)
// Sums of bfloat16, rounded back; a subnormal result becomes zero.
inline void store_bfloats(const DotOut& out) {
    constexpr int64 LANES = Simd<float>::LANES;
    using Vector = Simd<float>::Vector;
    for (int64 i = 0; i < out.columns; i += LANES) {
        const int64 left = out.columns - i;
        const auto some = static_cast<__mmask16>(
            left < LANES ? (1U << static_cast<unsigned>(left)) - 1 : 0xffffU);
        const Vector bias =
            out.bias != nullptr
                ? _mm512_maskz_loadu_ps(some, static_cast<const float*>(out.bias) + i)
                : Vector{};
        for (int64 row = 0; row < out.rows; ++row) {
            const auto* acc = static_cast<const char*>(out.acc) + row * out.acc_pitch;
            auto* y = static_cast<char*>(out.y) + row * out.y_pitch;
            const Vector sum = _mm512_loadu_ps(acc + i * int64{sizeof(float)});
            const Vector value = activate_cheap<float>(out.activation, sum + bias);
            _mm256_mask_storeu_epi16(
                y + i * int64{sizeof(std::uint16_t)},
                some,
                (__m256i)_mm512_cvtneps_pbh(value));
        }
    }
}

// Blocks of sixteen rows and columns are turned in registers.
inline void store_bfloats_turned(const DotOut& out) {
    constexpr int64 LANES = Simd<float>::LANES;
    using Vector = Simd<float>::Vector;
    const auto* bias = static_cast<const float*>(out.bias);
    for (int64 i = 0; i < out.rows; i += LANES) {
        const int64 rows = out.rows - i < LANES ? out.rows - i : LANES;
        const auto some =
            static_cast<__mmask16>((1U << static_cast<unsigned>(rows)) - 1);
        for (int64 j = 0; j < out.columns; j += LANES) {
            const int64 columns = out.columns - j < LANES ? out.columns - j : LANES;
            Vector block[LANES]{};
            for (int64 row = 0; row < rows; ++row) {
                const auto* acc =
                    static_cast<const char*>(out.acc) + (i + row) * out.acc_pitch;
                block[row] = _mm512_loadu_ps(acc + j * int64{sizeof(float)});
            }
            transpose_block(block);
            for (int64 column = 0; column < columns; ++column) {
                Vector value = block[column];
                value += bias != nullptr ? bias[j + column] : 0.0F;
                value = activate_cheap<float>(out.activation, value);
                auto* y = static_cast<char*>(out.y) + (j + column) * out.y_pitch;
                _mm256_mask_storeu_epi16(
                    y + i * int64{sizeof(std::uint16_t)},
                    some,
                    (__m256i)_mm512_cvtneps_pbh(value));
            }
        }
    }
}
#endif

} // namespace
} // namespace pyconv::PYCONV_ISA
