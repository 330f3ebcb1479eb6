// Ceilings: how fast this machine can multiply, and move bytes, at most.
//
// All threads that a call may use run the same loop at the same time; the best of a few
// rounds counts, since other work on the machine can only slow a round down.
#pragma once

#include "core/problem.hpp"
#include "cpu/isa/isa.hpp"

namespace pyconv {

enum class Sweep { LOAD, STORE, COPY };

// Floating-point operations a second, a multiply-add counts two, over all threads.
template <class T>
double peak_flops(const IsaTable& isa, double seconds);

// The same of an instruction set's short dot products; 0 where it has none of the kind.
double peak_dots(const IsaTable& isa, DotKind kind, double seconds);

// Bytes a second, over all threads, each of which sweeps `bytes` of its own: half of
// them read and half written where it copies.
double bandwidth(const IsaTable& isa, Sweep sweep, int64 bytes, double seconds);

// Reads memory once, each thread a part: what the caches held before is gone if it is
// large enough.
void load_sweep(const IsaTable& isa, const float* memory, int64 count);

} // namespace pyconv
