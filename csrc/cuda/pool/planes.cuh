// planes: one output a plane, by threads that share the plane.
//
// One thread a window would walk the whole plane alone, few threads in all, and
// channels first a cache line each for every load. Here TEAM threads share a plane:
// channels first, they take its pieces of WIDTH elements in turns, neighbours in
// memory; channels last, each takes every TEAM-th pixel of WIDTH channels, and
// neighbouring teams lie along the channels, so that a warp reads a line.
//
// Then the states of a team are halved onto each other in shared memory, the upper half
// onto the lower. Order of a sum: the pieces of a thread, then the halves. It depends
// on the plane, not on how many planes there are or where an array begins.
//
// Global loads: each element once, in pieces of sixteen bytes where the plane, or the
// channels, are whole pieces of them and aligned. Shared memory: a state for each
// thread and channel, without conflicts. Limits: one window, the whole plane, dense.
#pragma once

#include "../memory/vector.cuh"
#include "rules.cuh"
#include "window.cuh"

namespace pyconv::pool_planes {

// An element's offset in its plane, by its number there.
template <bool DENSE>
__device__ inline Index offset_in_plane(const PoolProblem& p, Index number) {
    if constexpr (DENSE)
        return number * static_cast<Index>(p.x_pitch[4]);
    const Index width = static_cast<Index>(p.input[2]);
    const Index height = static_cast<Index>(p.input[1]);
    return number % width * static_cast<Index>(p.x_pitch[4]) +
           number / width % height * static_cast<Index>(p.x_pitch[3]) +
           number / width / height * static_cast<Index>(p.x_pitch[2]);
}

// WIDTH elements: of as many channels, or one after the other.
template <bool LAST, bool DENSE, class T, int WIDTH>
__device__ inline void load_piece(
    const PoolProblem& p, const T* plane, Index first, bool aligned, T (&to)[WIDTH]) {
    const T* from = plane + offset_in_plane<DENSE>(p, first);
    if (WIDTH > 1 && aligned) {
        const Vector<T> vector = load_vector(from);
#pragma unroll
        for (int e = 0; e < WIDTH; ++e)
            to[e] = vector.at[e % Vector<T>::SIZE];
        return;
    }
#pragma unroll
    for (int e = 0; e < WIDTH; ++e)
        to[e] = LAST ? from[e] : plane[offset_in_plane<DENSE>(p, first + e)];
}

// VECTORS: pieces are aligned where x is. DENSE: a plane's pixels are evenly apart.
template <
    class Rule,
    class T,
    int THREADS,
    int TEAM,
    int WIDTH,
    bool LAST,
    bool VECTORS,
    bool DENSE>
__device__ void
run(const PoolProblem& p, const T* __restrict__ x, T* y, int64* indices) {
    using State = typename Rule::State;
    constexpr int LANES = LAST ? WIDTH : 1;
    constexpr int TEAMS = THREADS / TEAM;
    __shared__ State states[LANES][THREADS];

    // setup: which plane, and which part of it, is mine
    const int thread = static_cast<int>(threadIdx.x);
    const int rank = LAST ? thread / TEAMS : thread % TEAM;
    const int team = LAST ? thread % TEAMS : thread / TEAM;
    const Index number =
        (static_cast<Index>(blockIdx.x) * TEAMS + static_cast<Index>(team)) * LANES;
    const Index channels = static_cast<Index>(p.c);
    const OutputCoordinates at{number / channels, number % channels, {0, 0, 0}};
    const bool exists = at.n < static_cast<Index>(p.n);
    const Index elements = static_cast<Index>(p.input[0] * p.input[1] * p.input[2]);
    const T* plane = x + at.n * static_cast<Index>(p.x_pitch[0]) +
                     at.k * static_cast<Index>(p.x_pitch[1]);
    const bool aligned = VECTORS && is_aligned(x);
    const Rule rule(p);
    State state[LANES];
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane)
        state[lane] = rule.start();

    // compute: my pieces, in order
    constexpr int ALONG = LAST ? 1 : WIDTH;
    if (exists) {
#pragma unroll 4
        for (Index i = static_cast<Index>(rank) * ALONG; i < elements;
             i += TEAM * ALONG) {
            T piece[WIDTH];
            load_piece<LAST, DENSE>(p, plane, i, aligned, piece);
#pragma unroll
            for (int e = 0; e < WIDTH; ++e)
                rule.take(state[LAST ? e : 0], piece[e], LAST ? i : i + e);
        }
    }

    // compute: the upper half onto the lower half, until one state is left
    constexpr int APART = LAST ? TEAMS : 1;
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane)
        states[lane][thread] = state[lane];
    for (int half = TEAM / 2; half > 0; half /= 2) {
        __syncthreads();
        if (rank < half) {
#pragma unroll
            for (int lane = 0; lane < LANES; ++lane)
                rule.join(states[lane][thread], states[lane][thread + half * APART]);
        }
    }

    // store
    if (!exists || rank != 0)
        return;
    const TapCount taps =
        count_taps(pool_axis(p, 0, 0), pool_axis(p, 1, 0), pool_axis(p, 2, 0));
    const Index to = offset_of(at, p.y_pitch);
    T result[LANES];
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) {
        result[lane] = rule.result(states[lane][thread], taps);
        if (indices != nullptr)
            indices[to + lane * static_cast<Index>(p.y_pitch[1])] =
                static_cast<int64>(Rule::place(states[lane][thread]));
    }
    store_elements(y + to, result, static_cast<Index>(p.y_pitch[1]), LANES);
}

} // namespace pyconv::pool_planes
