// Copies from global to shared memory that pass by the registers, and are waited for.
//
// A thread issues copies, closes a group of them, and waits until all but its last
// groups are there; a barrier then shows them to the block. Source: PTX ISA, cp.async
// (sm_80 and later). Before that, a copy is a load and a store, done when it is issued.
#pragma once

#include "../index.cuh"

namespace pyconv {

template <int BYTES>
struct CopyUnit;
template <>
struct CopyUnit<4> {
    using Type = unsigned;
};
template <>
struct CopyUnit<8> {
    using Type = uint64;
};

// Copies one element of 4 or 8 bytes; zero where it does not exist, `from` is not read.
template <class T>
__device__ inline void copy_async(T* to, const T* from, bool exists) {
#ifndef __CUDACC__
    emulation::copy_async(to, from, sizeof(T), exists);
#elif __CUDA_ARCH__ >= 800
    const unsigned place = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(place),
                 "l"(from),
                 "n"(sizeof(T)),
                 "r"(exists ? static_cast<int>(sizeof(T)) : 0)
                 : "memory");
#else
    using Unit = typename CopyUnit<sizeof(T)>::Type;
    *reinterpret_cast<Unit*>(to) =
        exists ? *reinterpret_cast<const Unit*>(from) : Unit(0);
#endif
}

// Closes the group of the copies issued since the last one.
__device__ inline void commit_copies() {
#ifndef __CUDACC__
    emulation::commit_copies();
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for all groups of this thread but the last `GROUPS`.
template <int GROUPS>
__device__ inline void wait_copies() {
#ifndef __CUDACC__
    emulation::wait_copies(GROUPS);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}

} // namespace pyconv
