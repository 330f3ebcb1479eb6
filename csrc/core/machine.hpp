// What this machine offers: processors that may be used and the sizes of its caches.
//
// Read once, at first use, never at import. Cost and movement models take it as an
// argument, so that a test can ask what they would choose on another machine.
#pragma once

#include "core/problem.hpp"

#include <string>

namespace pyconv {

struct Machine {
    int cores; // processors this process may use: affinity and cgroup quota applied
    int64 l1_bytes; // data cache of one core
    int64 l2_bytes;
    int64 l3_bytes; // shared; 0 when there is none
    std::string model;
};

const Machine& machine();

} // namespace pyconv
