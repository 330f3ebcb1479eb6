// Winograd's weights: U, [group][panel][point][tap][c][width], u_point
// elements from one point to the next.
#pragma once

#include "core/memory.hpp"
#include "cpu/conv/winograd_tiles.hpp"
#include "cpu/plan.hpp"

namespace pyconv {

// Channels whose weights are transformed, then multiplied, at a time: U of all points
// stays in L2 beside V.
inline constexpr int64 WINOGRAD_PASSING = 64;

template <class T>
class WinogradPanels {
  public:
    WinogradPanels(const ConvPlan& plan, const T* weight);

    void pack(bool parallel, T* packed) const;

    // Elements from one point to the next of some channels' U.
    int64 passing_point() const;

    // U of some channels of a panel, counted over all groups; of kernels without taps
    // in the transformed domain.
    void transform(int64 panel, int64 channel, int64 channels, T* u) const;

  private:
    // Where U of a panel goes: [point][tap][c][width].
    struct Target {
        T* u;
        int64 point;
        int64 tap;
    };

    // At most TURNED_TOGETHER channels; `lines` is room for them.
    void transform_run(
        int64 panel, int64 channel, int64 channels, T* lines, const Target& to) const;
    int64 line_elements() const;

    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    const WinogradForm& form_;
    WinogradGeometry geometry_;
    WinogradLayout layout_;
    const T* weight_;
};

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
