// Sixteen bytes at once: the widest load or store of a thread.
//
// The host emulator has its own, so that its log sees one access, not the
// elements that its compiler would make of it.
#pragma once

namespace pyconv {

template <class T>
struct alignas(16) Vector {
    static constexpr int SIZE = 16 / static_cast<int>(sizeof(T));
    T at[SIZE];
};

// Precondition: `from` is a multiple of 16 bytes.
template <class T>
__device__ inline Vector<T> load_vector(const T* from) {
#ifdef __CUDACC__
    return *reinterpret_cast<const Vector<T>*>(from);
#else
    Vector<T> vector;
    emulation::load(&vector, from, sizeof vector);
    return vector;
#endif
}

// Precondition: `to` is a multiple of 16 bytes.
template <class T>
__device__ inline void store_vector(T* to, const Vector<T>& vector) {
#ifdef __CUDACC__
    *reinterpret_cast<Vector<T>*>(to) = vector;
#else
    emulation::store(to, &vector, sizeof vector);
#endif
}

} // namespace pyconv
