// Phases one after the other; the weight of groups is turned into scratch once for all.
#include "cpu/conv_backward/phases.hpp"

#include "core/memory.hpp"
#include "cpu/geometry.hpp"

namespace pyconv {
namespace {

// What a phase without taps reads: of any type.
constexpr double NOTHING = 0.0;

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

template <class T>
void run_as(const PhasesPlan& plan, const ConvTensors& tensors) {
    const auto* x = static_cast<const T*>(tensors.x);
    const auto* weight = static_cast<const T*>(tensors.weight);
    const auto* residual = static_cast<const T*>(tensors.residual);
    auto* y = static_cast<T*>(tensors.y);
    ScratchFrame frame;
    if (plan.turned) {
        weight = turn_groups(*plan.turned, weight, frame);
    }
    for (const Phase& phase : plan.phases) {
        ConvTensors part = tensors;
        if (phase.is_empty) {
            part.x = &NOTHING;
            part.weight = &NOTHING;
        } else {
            part.x = x + phase.x_offset;
            part.weight = weight + phase.weight_offset;
        }
        part.residual = residual == nullptr ? nullptr : residual + phase.y_offset;
        part.y = y + phase.y_offset;
        phase.plan->algorithm->run(*phase.plan, part);
    }
}

} // namespace

void run_phases(const PhasesPlan& plan, const ConvTensors& tensors) {
    if (plan.dtype == FLOAT32) {
        run_as<float>(plan, tensors);
    } else {
        run_as<double>(plan, tensors);
    }
}

} // namespace pyconv
