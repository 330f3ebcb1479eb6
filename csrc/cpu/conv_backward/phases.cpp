// Phases one after the other; the weight of groups is turned into scratch once for all.
#include "cpu/conv_backward/phases.hpp"

#include "core/element.hpp"
#include "core/memory.hpp"
#include "cpu/geometry.hpp"

namespace pyconv {
namespace {

// What a phase without taps reads: of any type.
constexpr double NOTHING[2] = {0.0, 0.0};

template <class T>
const T* turn_groups(const TurnedGroups& shape, const T* weight, ScratchFrame& frame) {
    const int64 taps = volume(shape.kernel);
    const int64 channels = shape.groups * shape.channels;
    T* const turned = frame.take<T>(channels * shape.filters * taps);
    T* to = turned;
    for (int64 c = 0; c < channels; ++c) {
        const int64 group = c / shape.channels;
        for (int64 k = 0; k < shape.filters; ++k) {
            const T* window = weight + (group * shape.filters + k) * shape.pitch[0] +
                              c % shape.channels * shape.pitch[1];
            Pixel tap(shape.kernel, 0);
            for (int64 i = 0; i < taps; ++i, tap.advance(shape.kernel)) {
                *to++ = window[tap.offset(shape.pitch)];
            }
        }
    }
    return turned;
}

} // namespace

void run_phases(const PhasesPlan& plan, const ConvTensors& tensors) {
    const int64 bytes = element_bytes(plan.dtype);
    const int64 y_bytes = element_bytes(result_type(plan.dtype));
    const auto* x = static_cast<const char*>(tensors.x);
    const auto* weight = static_cast<const char*>(tensors.weight);
    const auto* residual = static_cast<const char*>(tensors.residual);
    auto* y = static_cast<char*>(tensors.y);
    ScratchFrame frame;
    if (plan.turned) {
        weight = with_element(plan.dtype, [&]<class T>() {
            const auto* from = static_cast<const T*>(tensors.weight);
            return reinterpret_cast<const char*>(
                turn_groups(*plan.turned, from, frame));
        });
    }
    for (const Phase& phase : plan.phases) {
        ConvTensors part = tensors;
        if (phase.is_empty) {
            part.x = NOTHING;
            part.weight = NOTHING;
        } else {
            part.x = x + phase.x_offset * bytes;
            part.weight = weight + phase.weight_offset * bytes;
        }
        part.residual =
            residual == nullptr ? nullptr : residual + phase.y_offset * y_bytes;
        part.y = y + phase.y_offset * y_bytes;
        phase.plan->algorithm->run(*phase.plan, part);
    }
}

} // namespace pyconv
