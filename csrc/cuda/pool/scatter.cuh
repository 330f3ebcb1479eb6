// scatter: what maxima hand back, to the places their indices name; and unpooling.
//
// One thread walks one plane in order: no atomics, and the same sums on every run. An
// index outside the plane is left out, never written: the host has refused it.
//
// Global loads per output: two, and one more of dx. Threads share no lines in
// channels-first memory; it is the simplest kernel that is right, not a fast one.
#pragma once

#include "../index.cuh"

namespace pyconv::pool_scatter {

template <class T, bool CHANNELS_LAST>
__device__ void
run(const PoolProblem& p,
    const T* __restrict__ grad,
    const int64* __restrict__ indices,
    const T* /* of norms */,
    const T* /* of norms */,
    T* dx) {
    const Index channels = static_cast<Index>(p.c);
    const Index plane = thread_number();
    if (plane >= static_cast<Index>(p.n) * channels)
        return;
    OutputCoordinates at;
    at.n = plane / channels;
    at.k = plane % channels;
    const Index height = static_cast<Index>(p.input[1]);
    const Index width = static_cast<Index>(p.input[2]);
    const Index elements = static_cast<Index>(p.input[0]) * height * width;
    for (Index i = 0; i < elements; ++i) {
        at.at[2] = i % width;
        at.at[1] = i / width % height;
        at.at[0] = i / width / height;
        dx[offset_of(at, p.x_pitch)] = T(0);
    }
    for (Index m = 0; m < static_cast<Index>(p.output[0]); ++m) {
        for (Index r = 0; r < static_cast<Index>(p.output[1]); ++r) {
            for (Index q = 0; q < static_cast<Index>(p.output[2]); ++q) {
                at.at[0] = m;
                at.at[1] = r;
                at.at[2] = q;
                const Index from = offset_of(at, p.y_pitch);
                const int64 index = indices[from];
                if (index < 0 || index >= elements)
                    continue;
                const Index to = static_cast<Index>(index);
                at.at[2] = to % width;
                at.at[1] = to / width % height;
                at.at[0] = to / width / height;
                T& place = dx[offset_of(at, p.x_pitch)];
                place = p.kind == POOL_UNPOOL ? grad[from] : place + grad[from];
            }
        }
    }
}

} // namespace pyconv::pool_scatter
