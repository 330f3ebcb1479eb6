// The list of CPU algorithms.
#pragma once

#include "cpu/algorithm.hpp"

#include <span>

namespace pyconv {

std::span<const ConvAlgorithm* const> conv_algorithms();
std::span<const InputAlgorithm* const> input_algorithms();
std::span<const WeightAlgorithm* const> weight_algorithms();
std::span<const PoolAlgorithm* const> pool_algorithms();
std::span<const PoolGradAlgorithm* const> pool_grad_algorithms();
std::span<const UnaryAlgorithm* const> unary_algorithms(); // of all operations

} // namespace pyconv
