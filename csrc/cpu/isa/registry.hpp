// The instruction sets of this build that this processor can run, best first.
#pragma once

#include "cpu/isa/isa.hpp"

#include <span>
#include <string>
#include <type_traits>

namespace pyconv {

std::span<const IsaTable* const> isa_tables();

// The one in use: set_isa()'s, else PYCONV_FORCE_ISA's, else the best.
// Throws std::invalid_argument, naming the choices, when PYCONV_FORCE_ISA is none of
// them.
const IsaTable& active_isa();

// False when no runnable instruction set has this name.
bool set_isa(const std::string& name);

inline int lanes_of(const ConvProblem& problem, const IsaTable& isa) {
    return problem.dtype == FLOAT32 ? isa.f32.lanes : isa.f64.lanes;
}

// Rows of the largest register tile.
inline int tile_rows(const ConvProblem& problem, const IsaTable& isa) {
    return problem.dtype == FLOAT32 ? isa.f32.rows : isa.f64.rows;
}

template <class T>
const Kernels<T>& kernels_of(const IsaTable& isa) {
    if constexpr (std::is_same_v<T, float>) {
        return isa.f32;
    } else {
        return isa.f64;
    }
}

} // namespace pyconv
