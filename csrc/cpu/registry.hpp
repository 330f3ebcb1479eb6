// The list of CPU algorithms.
#pragma once

#include "cpu/algorithm.hpp"

#include <span>

namespace pyconv {

std::span<const ConvAlgorithm* const> conv_algorithms();
std::span<const PoolAlgorithm* const> pool_algorithms();

} // namespace pyconv
