// Sixteen bytes at once: the widest load or store of a thread.
//
// The host answers for the pitches of what is loaded so, the device for the pointer: an
// array may begin anywhere.
//
// The host emulator has its own, so that its log sees one access, not the
// elements that its compiler would make of it.
#pragma once

#include "../index.cuh"

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

template <class T>
__device__ inline bool is_aligned(const T* pointer) {
    return reinterpret_cast<unsigned long long>(pointer) % 16 == 0;
}

// Loads neighbours, zeros where they do not exist; in one piece where they are sixteen
// bytes that begin so.
template <class T, int COUNT>
__device__ inline void
load_elements(const T* from, bool exist, bool aligned, T (&to)[COUNT]) {
    if (COUNT * sizeof(T) == 16 && aligned && exist) {
        const Vector<T> vector = load_vector(from);
#pragma unroll
        for (int e = 0; e < COUNT; ++e)
            to[e] = vector.at[e % Vector<T>::SIZE];
        return;
    }
#pragma unroll
    for (int e = 0; e < COUNT; ++e)
        to[e] = exist ? from[e] : T{};
}

// The same as terms of sums.
template <class T, class Sum, int COUNT>
__device__ inline void
load_terms(const T* from, bool exist, bool aligned, Sum (&to)[COUNT]) {
    T loaded[COUNT];
    load_elements(from, exist, aligned, loaded);
#pragma unroll
    for (int e = 0; e < COUNT; ++e)
        to[e] = term_of(loaded[e]);
}

// Stores the first `count` elements, `step` apart; in one piece where they are sixteen
// bytes that lie so.
template <class T, class Offset, int COUNT>
__device__ inline void
store_elements(T* to, const T (&from)[COUNT], Offset step, int count) {
    if (COUNT * sizeof(T) == 16 && count == COUNT && step == 1 && is_aligned(to)) {
        Vector<T> vector;
#pragma unroll
        for (int e = 0; e < COUNT; ++e)
            vector.at[e % Vector<T>::SIZE] = from[e];
        store_vector(to, vector);
        return;
    }
#pragma unroll
    for (int e = 0; e < COUNT; ++e)
        if (e < count)
            to[e * step] = from[e];
}

} // namespace pyconv
