// Vectors: the compiler's own, as wide as the instruction set this file is compiled
// for.
//
// The idea: arithmetic on GCC's and Clang's vector types becomes vector instructions,
// a * b + c one fused multiply-add where there is one, and arrays of them live in
// registers. Only baseline-safe names: this header is compiled once per instruction
// set.
#pragma once

#include "core/problem.hpp"

#if defined(__clang__)
#define PYCONV_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PYCONV_UNROLL _Pragma("GCC unroll 16")
#endif

namespace pyconv::PYCONV_ISA {
namespace {

template <class T>
struct Simd;

template <>
struct Simd<float> {
    typedef float Vector __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    typedef float Unaligned
        __attribute__((vector_size(PYCONV_VECTOR_BYTES), aligned(4), may_alias));
    static constexpr int LANES = PYCONV_VECTOR_BYTES / 4;
};

template <>
struct Simd<double> {
    typedef double Vector __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    typedef double Unaligned
        __attribute__((vector_size(PYCONV_VECTOR_BYTES), aligned(8), may_alias));
    static constexpr int LANES = PYCONV_VECTOR_BYTES / 8;
};

} // namespace
} // namespace pyconv::PYCONV_ISA
