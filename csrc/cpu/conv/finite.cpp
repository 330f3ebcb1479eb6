// Exponent bits that are all ones say Inf or NaN; integers, so that the compiler may
// test many at a time.
#include "cpu/conv/finite.hpp"

#include "core/machine.hpp"
#include "cpu/geometry.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

namespace pyconv {

extern const ConvAlgorithm conv_direct;

namespace {

template <class T, class Bits>
constexpr Bits exponent_bits() {
    if constexpr (std::is_same_v<T, Half>) {
        return 0x7c00U;
    } else if constexpr (std::is_same_v<T, BFloat16>) {
        return 0x7f80U;
    } else if constexpr (sizeof(T) == 4) {
        return 0x7f800000U;
    } else {
        return 0x7ff0000000000000U;
    }
}

template <class T>
bool run_is_finite(const T* values, int64 count, int64 pitch) {
    using Bits = std::conditional_t<
        sizeof(T) == 2,
        std::uint16_t,
        std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>;
    constexpr Bits EXPONENT = exponent_bits<T, Bits>();
    Bits found = 0;
    const auto look = [&](T value) {
        const Bits bits = std::bit_cast<Bits>(value);
        found |= static_cast<Bits>((bits & EXPONENT) == EXPONENT);
    };
    if (pitch == 1) { // by the vector
        for (int64 i = 0; i < count; ++i) {
            look(values[i]);
        }
    } else {
        for (int64 i = 0; i < count; ++i) {
            look(values[i * pitch]);
        }
    }
    return found == 0;
}

template <class T>
bool are_finite(const ConvProblem& problem, const T* weight) {
    const int64 channels = problem.c / problem.groups;
    const int64 taps = volume(problem.kernel);
    bool packed = true;
    int64 expected = 1;
    const int64 extents[5] = {
        problem.k, channels, problem.kernel[0], problem.kernel[1], problem.kernel[2]};
    for (int axis = 4; axis >= 0; --axis) {
        packed = packed && (extents[axis] == 1 || problem.w_pitch[axis] == expected);
        expected *= extents[axis];
    }
    if (packed) {
        return run_is_finite(weight, problem.k * channels * taps, 1);
    }
    for (int64 k = 0; k < problem.k; ++k) {
        for (int64 tap = 0; tap < taps; ++tap) {
            const Pixel at(problem.kernel, tap);
            const T* run = weight + k * problem.w_pitch[0] + at.offset(problem.w_pitch);
            if (!run_is_finite(run, channels, problem.w_pitch[1])) {
                return false;
            }
        }
    }
    return true;
}

} // namespace

bool weights_are_finite(const ConvProblem& problem, const void* weight) {
    return with_element(problem.dtype, [&]<class T>() {
        if constexpr (std::is_integral_v<T>) {
            return true;
        } else if constexpr (requires(T value) { value.re; }) {
            return false; // nothing that packs them asks
        } else {
            return are_finite(problem, static_cast<const T*>(weight));
        }
    });
}

bool padding_would_show(const ConvProblem& problem, const ConvTensors& tensors) {
    if (problem.padding_mode != PAD_ZEROS) {
        return false;
    }
    bool pads = false;
    for (int axis = 0; axis < 3; ++axis) {
        pads = pads || problem.pad_before[axis] > 0 || problem.pad_after[axis] > 0;
    }
    if (!pads) {
        return false;
    }
    return tensors.packed != nullptr ? !tensors.packed_finite
                                     : !weights_are_finite(problem, tensors.weight);
}

void run_direct_instead(const ConvPlan& plan, const ConvTensors& tensors) {
    ConvTensors given = tensors;
    given.packed = nullptr;
    conv_direct.run(conv_direct.plan(plan.problem, *plan.isa, machine()), given);
}

void run_where_padding_is_zero(
    const ConvPlan& plan, const ConvTensors& tensors, RunConv* single, RunConv* twice) {
    if (padding_would_show(plan.problem, tensors)) {
        run_direct_instead(plan, tensors);
    } else if (plan.problem.dtype == FLOAT32) {
        single(plan, tensors);
    } else {
        twice(plan, tensors);
    }
}

} // namespace pyconv
