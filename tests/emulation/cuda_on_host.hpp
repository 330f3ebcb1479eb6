// CUDA's language on the CPU: enough of it for pyconv's device files.
//
// Only names are here; emulate.cpp runs what they stand for. A CUDA thread is a fiber,
// shared memory is thread-local storage of the library, and __syncthreads() gives
// control back to the scheduler.
#pragma once

#include <cmath>
#include <cstring>

struct Uint3 {
    unsigned x = 0;
    unsigned y = 0;
    unsigned z = 0;
};

namespace emulation {

// Where the thread that runs now stands in its launch.
struct Place {
    Uint3 thread;
    Uint3 block;
    Uint3 block_extent;
    Uint3 grid_extent;
};

extern Place place;

// Where in the device code a thread stands.
struct Site {
    const char* file;
    int line;
};

void barrier(Site site);
int barrier_or(int value, Site site);

// The shared memory that comes with a launch.
void* dynamic_shared();

// Several elements at once, from or to a multiple of their size.
void load(void* to, const void* from, unsigned long bytes);
void store(void* to, const void* from, unsigned long bytes);

// Copies that are done some time before the thread has waited for them.
void copy_async(void* to, const void* from, unsigned long bytes, bool exists);
void commit_copies();
void wait_copies(int groups);

} // namespace emulation

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __shared__ static thread_local
#define __constant__
#define PYCONV_HERE (emulation::Site{__FILE__, __LINE__})
#define __syncthreads() emulation::barrier(PYCONV_HERE)
#define __syncthreads_or(value) emulation::barrier_or(value, PYCONV_HERE)
#define threadIdx (emulation::place.thread)
#define blockIdx (emulation::place.block)
#define blockDim (emulation::place.block_extent)
#define gridDim (emulation::place.grid_extent)

// Fibers change at barriers only. Nothing is returned: it would tell who came first.
inline void atomicMin(int* at, int value) {
    if (value < *at)
        *at = value;
}

inline double __longlong_as_double(long long bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
