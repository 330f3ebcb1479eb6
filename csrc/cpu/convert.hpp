// Arrays from one element type to another: what `widened` does before and after.
#pragma once

#include "core/problem.hpp"
#include "cpu/isa/isa.hpp"

namespace pyconv {

inline constexpr int MOST_CONVERTED_AXES = 5;

// Pitches count elements.
struct ConvertedArray {
    const void* from;
    void* to;
    int axes;
    int64 extent[MOST_CONVERTED_AXES];
    int64 from_pitch[MOST_CONVERTED_AXES];
    int64 to_pitch[MOST_CONVERTED_AXES];
};

// The type whose numbers stand for an element type's: float32 for halves and integers
// up to 16 bits, float64 for integers of 32 bits; the type itself where there is none.
int64 widened_type(int64 dtype);

// From `dtype` to widened_type(dtype), or back.
void widen(const IsaTable& isa, int64 dtype, ConvertedArray array);
void narrow(const IsaTable& isa, int64 dtype, ConvertedArray array);

} // namespace pyconv
