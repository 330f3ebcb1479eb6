// Shared memory that comes with the launch: more than the 48 KB that code may name.
//
// The host gives its size (Launch.is_dynamic) and asks the driver for it.
#pragma once

namespace pyconv {

template <class T>
__device__ inline T& dynamic_shared() {
#ifdef __CUDACC__
    extern __shared__ __align__(128) unsigned char dynamic_bytes[];
    return *reinterpret_cast<T*>(dynamic_bytes);
#else
    return *static_cast<T*>(emulation::dynamic_shared());
#endif
}

} // namespace pyconv
