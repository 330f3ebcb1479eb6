// Where the kernels' shared memory lies.
#pragma once

#include <cstddef>

namespace emulation {

struct Segment {
    unsigned char* begin;
    std::size_t bytes;
};

// This library's and thread's; the loader allocates it when it is first touched.
Segment shared_memory();

} // namespace emulation
