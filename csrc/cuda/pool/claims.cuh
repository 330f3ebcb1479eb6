// claims: what maxima hand back, to the places their indices name; and unpooling.
//
// Windows overlap, so several outputs may name one place, and the indices do not tell
// which. One block keeps the sums of a chunk of a plane in shared memory and takes the
// plane's outputs THREADS * PER_THREAD at a time. In rounds, each output that is not
// done claims the entry of its place with its number; the lowest number has the place
// for this round and adds, the others try again. So the sums of a place are added in
// the outputs' order, rounded once, the same on every run: atomics are on integers
// only, and what they return is not used. Unpooling puts instead; the last one stays.
// Places share OWNERS entries; a false claim costs a round.
//
// An index outside the plane is left out, never written: the host has refused it.
//
// Global loads per output: its index once for each chunk of the plane, its gradient
// once. Channels last a block has PLANES neighbouring channels, whose indices fill a
// sector. Rounds: as many as outputs of a batch name one place (4 at most for 3 x 3,
// stride 2; were all indices the same, one for each output).
#pragma once

#include "../index.cuh"

namespace pyconv::pool_claims {

constexpr int NOBODY = 0x7FFFFFFF;

// The plane's part that is a block's, of PLANES channels.
struct Chunk {
    Index n;
    Index channel;
    Index first; // place
};

template <int PLANES, int PLACES>
__device__ inline Chunk chunk_of(const PoolProblem& p, Index elements) {
    const Index chunks = ceil_div(elements, Index(PLACES));
    const Index groups = ceil_div(static_cast<Index>(p.c), Index(PLANES));
    const Index block = static_cast<Index>(blockIdx.x);
    return Chunk{
        block / chunks / groups,
        block / chunks % groups * PLANES,
        block % chunks * PLACES};
}

// The coordinates of a place, or of an output, in its plane.
__device__ inline void split(Index linear, const int64 (&extents)[3], Index (&at)[3]) {
    at[2] = linear % static_cast<Index>(extents[2]);
    linear /= static_cast<Index>(extents[2]);
    at[1] = linear % static_cast<Index>(extents[1]);
    at[0] = linear / static_cast<Index>(extents[1]);
}

template <class T, int THREADS, int PER_THREAD, int PLANES, int PLACES, int OWNERS>
__device__ void
run(const PoolProblem& p,
    const T* __restrict__ grad,
    const int64* __restrict__ indices,
    const T* /* of norms */,
    const T* /* of norms */,
    T* dx) {
    using Sum = typename Element<T>::Sum;
    constexpr int CHUNK = PLANES * PLACES;
    __shared__ Sum sums[CHUNK]; // of a place, its channels side by side
    __shared__ int owner[OWNERS];

    // setup: an empty chunk
    const int mine = static_cast<int>(threadIdx.x);
    const Index elements = static_cast<Index>(p.input[0] * p.input[1] * p.input[2]);
    const Index outputs = static_cast<Index>(p.output[0] * p.output[1] * p.output[2]);
    const Chunk chunk = chunk_of<PLANES, PLACES>(p, elements);
    for (int i = mine; i < CHUNK; i += THREADS)
        sums[i] = Sum{};
    for (int i = mine; i < OWNERS; i += THREADS)
        owner[i] = NOBODY;

    // compute: batches of outputs, channels of an output side by side
    for (Index first = 0; first < outputs * PLANES; first += THREADS * PER_THREAD) {
        int place[PER_THREAD]; // in the chunk; -1: elsewhere, or done
        Sum term[PER_THREAD];
        int is_pending = 0;
#pragma unroll
        for (int i = 0; i < PER_THREAD; ++i) {
            const Index number = first + i * THREADS + mine;
            const int plane = static_cast<int>(number % PLANES);
            OutputCoordinates at;
            at.n = chunk.n;
            at.k = chunk.channel + plane;
            place[i] = -1;
            if (number >= outputs * PLANES || at.k >= static_cast<Index>(p.c))
                continue;
            split(number / PLANES, p.output, at.at);
            const Index from = offset_of(at, p.y_pitch);
            const int64 there = indices[from] - chunk.first;
            if (there < 0 || there >= PLACES)
                continue;
            place[i] = static_cast<int>(there) * PLANES + plane;
            term[i] = term_of(grad[from]);
            is_pending = 1;
        }
        // Here everyone waits for the entries that the last round has given back.
        while (__syncthreads_or(is_pending)) {
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i)
                if (place[i] >= 0)
                    atomicMin(&owner[place[i] % OWNERS], i * THREADS + mine);
            __syncthreads(); // all claims are made
            bool has_won[PER_THREAD];
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i)
                has_won[i] =
                    place[i] >= 0 && owner[place[i] % OWNERS] == i * THREADS + mine;
            // A winner gives its entry back at once: to the others of the entry nobody
            // is as good as somebody else.
            is_pending = 0;
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i) {
                if (has_won[i]) {
                    Sum& sum = sums[place[i]];
                    sum = p.kind == POOL_UNPOOL ? term[i] : sum + term[i];
                    owner[place[i] % OWNERS] = NOBODY;
                    place[i] = -1;
                }
                is_pending = is_pending || place[i] >= 0;
            }
        }
    }

    // store: the chunk, whose sums were whole when the last batch found nobody waiting
    for (int i = mine; i < CHUNK; i += THREADS) {
        const Index to = chunk.first + i / PLANES;
        OutputCoordinates at;
        at.n = chunk.n;
        at.k = chunk.channel + i % PLANES;
        if (to >= elements || at.k >= static_cast<Index>(p.c))
            continue;
        split(to, p.input, at.at);
        dx[offset_of(at, p.x_pitch)] = result_of<T>(sums[i]);
    }
}

} // namespace pyconv::pool_claims
