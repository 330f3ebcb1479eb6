// Loops that do nothing but reach one limit of the machine: arithmetic, or a cache.
#pragma once

#include "core/problem.hpp"

namespace pyconv {

// Elements a sweep takes at a time; its count is a multiple of it.
inline constexpr int64 SWEEP_STEP = 128;

// Independent chains of multiply-adds: latency times units of any core since 2013, and
// few enough for 16 registers.
inline constexpr int FUSED_CHAINS = 12;

template <class T>
struct CeilingKernels {
    // `rounds` multiply-adds of a vector in each chain; the result is of no use.
    T (*multiply_adds)(int64 rounds);
    T (*load)(const T* from, int64 count);
    void (*store)(T* to, int64 count);
    void (*copy)(const T* from, T* to, int64 count);
};

} // namespace pyconv
