// Winograd's weights: U, [group][panel][point][tap][c][width], u_point
// elements from one point to the next.
#pragma once

#include "core/memory.hpp"
#include "cpu/plan.hpp"

namespace pyconv {

// Fills plan.packed_bytes bytes.
void pack_winograd(const ConvPlan& plan, const void* weight, void* packed);

// The weights as the stages read them: the layer's, or packed now into `frame`.
template <class T>
const T* winograd_weights(
    const ConvPlan& plan, const void* weight, const void* packed, ScratchFrame& frame) {
    if (packed == nullptr) {
        T* scratch = frame.take<T>(plan.packed_bytes / static_cast<int64>(sizeof(T)));
        pack_winograd(plan, weight, scratch);
        packed = scratch;
    }
    return static_cast<const T*>(packed);
}

} // namespace pyconv
