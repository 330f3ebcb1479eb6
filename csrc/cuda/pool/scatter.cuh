// scatter: what maxima hand back, to the places their indices name; and unpooling.
//
// One block walks one plane, CHUNK elements of it at a time, whose sums it keeps in
// shared memory. Every thread owns each THREADS-th of them and adds, in the outputs'
// order, what their indices send there: no atomics, no barriers, the same sums on every
// run, rounded once. Unpooling puts instead of adding; the last one stays.
//
// An index outside the plane is left out, never written: the host has refused it.
//
// Global loads per output: one of its index for each chunk of the plane, the same for a
// whole warp, and one of its gradient. Shared memory: CHUNK sums.
#pragma once

#include "../index.cuh"

namespace pyconv::pool_scatter {

template <class T, int THREADS, int CHUNK>
__device__ void
run(const PoolProblem& p,
    const T* __restrict__ grad,
    const int64* __restrict__ indices,
    const T* /* of norms */,
    const T* /* of norms */,
    T* dx) {
    using Sum = typename Element<T>::Sum;
    __shared__ Sum sums[CHUNK];

    // setup: which plane is my block's
    const int mine = static_cast<int>(threadIdx.x);
    const Index channels = static_cast<Index>(p.c);
    OutputCoordinates at;
    at.n = static_cast<Index>(blockIdx.x) / channels;
    at.k = static_cast<Index>(blockIdx.x) % channels;
    const Index height = static_cast<Index>(p.input[1]);
    const Index width = static_cast<Index>(p.input[2]);
    const Index elements = static_cast<Index>(p.input[0]) * height * width;

    for (Index first = 0; first < elements; first += CHUNK) {
        for (int i = mine; i < CHUNK; i += THREADS)
            sums[i] = Sum{};

        // compute: every output, of which I take what falls on my elements
        for (at.at[0] = 0; at.at[0] < static_cast<Index>(p.output[0]); ++at.at[0]) {
            for (at.at[1] = 0; at.at[1] < static_cast<Index>(p.output[1]); ++at.at[1]) {
                for (at.at[2] = 0; at.at[2] < static_cast<Index>(p.output[2]);
                     ++at.at[2]) {
                    const Index from = offset_of(at, p.y_pitch);
                    const int64 place = indices[from] - first;
                    if (place < 0 || place >= CHUNK)
                        continue;
                    if (static_cast<int>(place) % THREADS != mine)
                        continue;
                    const Sum term = term_of(grad[from]);
                    Sum& sum = sums[place];
                    sum = p.kind == POOL_UNPOOL ? term : sum + term;
                }
            }
        }

        // store: my elements of the chunk
        for (int i = mine; i < CHUNK && first + i < elements; i += THREADS) {
            const Index to = first + i;
            OutputCoordinates place = at;
            place.at[2] = to % width;
            place.at[1] = to / width % height;
            place.at[0] = to / width / height;
            dx[offset_of(place, p.x_pitch)] = result_of<T>(sums[i]);
        }
    }
}

} // namespace pyconv::pool_scatter
