// The tile of a matrix product: a block's operands in shared memory, a thread's sums in
// registers, and the sums' way out.
//
// A block computes BLOCK_M x BLOCK_N sums, BLOCK_K products deep at a time; two buffers
// of operands take turns, so that one step costs one barrier. Every operand lies with
// its rows, or columns, side by side: a thread loads vectors of them, a stride of all
// threads' vectors apart, so that a warp's vectors are neighbours. Sums leave by way of
// shared memory in passes of a vector of rows each: there, neighbouring threads take
// neighbours in the result, and one piece of code finishes all of them (64 epilogues in
// a row, one for each sum in registers, took NVRTC 13.5 2.1 s instead of 0.6 and made a
// cubin three times as large).
#pragma once

#include "../index.cuh"
#include "vector.cuh"

namespace pyconv {

template <int M, int N, int THREAD_M_, int THREAD_N_>
struct GemmTile {
    static constexpr int BLOCK_M = M;
    static constexpr int BLOCK_N = N;
    static constexpr int BLOCK_K = 8; // a sector of channels-last float32
    static constexpr int THREAD_M = THREAD_M_;
    static constexpr int THREAD_N = THREAD_N_;
    static constexpr int ALONG_M = M / THREAD_M;
    static constexpr int ALONG_N = N / THREAD_N;
    static constexpr int THREADS = ALONG_M * ALONG_N;
    static_assert(M % THREAD_M == 0 && N % THREAD_N == 0, "whole threads");
    static_assert(THREADS <= 1024, "a block has at most 1024 threads");
};

// + one vector: stores run across rows where channels are neighbours, and would meet in
// one bank; whole vectors stay aligned.
template <class Sum, class Tile>
struct GemmOperands {
    static constexpr int VECTOR = Vector<Sum>::SIZE;
    static constexpr int M_PITCH = Tile::BLOCK_M + VECTOR;
    static constexpr int N_PITCH = Tile::BLOCK_N + VECTOR;

    alignas(16) Sum m[2][Tile::BLOCK_K * M_PITCH];
    alignas(16) Sum n[2][Tile::BLOCK_K * N_PITCH];
};

// A part of the block's sums on their way out, as many rows as a vector of each thread
// has. N_FAST: columns are neighbours in the result, else rows. + one vector: as above.
template <class Sum, class Tile, bool N_FAST>
struct GemmStaging {
    static constexpr bool IS_N_FAST = N_FAST;
    static constexpr int VECTOR = Vector<Sum>::SIZE;
    static constexpr int PASSES = Tile::THREAD_M / VECTOR;
    static constexpr int ROWS = Tile::ALONG_M * VECTOR;
    static constexpr int FAST = N_FAST ? Tile::BLOCK_N : ROWS;
    static constexpr int SLOW = N_FAST ? ROWS : Tile::BLOCK_N;
    static constexpr int PITCH = FAST + VECTOR;
    static_assert(Tile::THREAD_M % VECTOR == 0, "whole vectors of rows");
    static_assert(Tile::THREAD_N % VECTOR == 0, "whole vectors of filters");

    alignas(16) Sum sum[SLOW * PITCH];
};

// The place in an operand's tile of a thread's load number i. INNER_FAST: neighbouring
// threads take neighbours along the inner axis, where these are neighbours in memory,
// else neighbouring rows.
template <int ROWS, int THREADS, int BLOCK_K, bool INNER_FAST>
struct GemmLoad {
    int k;
    int row;

    __device__ explicit GemmLoad(int i) {
        const int linear = static_cast<int>(threadIdx.x) + i * THREADS;
        k = INNER_FAST ? linear % BLOCK_K : linear / ROWS;
        row = INNER_FAST ? linear / BLOCK_K : linear % ROWS;
    }
};

// Whether any of many values is not finite, at one multiply-add each.
template <class Sum>
struct Finite {
    bool is_bad = false;

    __device__ void see(Sum value) { is_bad = is_bad || !is_finite(value); }
    __device__ bool met_another() const { return is_bad; }
};

template <>
struct Finite<float> {
    float zero = 0; // zero times what is not finite is NaN, and stays so

    __device__ void see(float value) { add_product(zero, value, 0.0F); }
    __device__ bool met_another() const { return zero != 0.0F; }
};

// A thread's place along a tile's rows and columns.
struct GemmThread {
    int m;
    int n;
};

// Threads along the side whose neighbours are neighbours in the result (N_FAST:
// columns) follow each other. PAIRED: a warp is eight of them, by four along the other
// side, or as many as there are. Vectors of 16 bytes reach a quarter of a warp in a
// pass of shared memory, and a half where each thread shares its vector with the next
// one, or with the next but one: so the lowest bit of the number counts the other side,
// the next ones this side, and both operands come in two passes instead of four (Gray,
// "SGEMM", maxas wiki, 2014). On an H200 tiles with few sums a thread gained by it, and
// those with 64, in convolutions and weight gradients, lost.
template <class Tile, bool N_FAST, bool PAIRED = (Tile::THREAD_M * Tile::THREAD_N < 64)>
__device__ inline GemmThread gemm_thread(int number) {
    constexpr int FAST = N_FAST ? Tile::ALONG_N : Tile::ALONG_M;
    constexpr int SLOW = N_FAST ? Tile::ALONG_M : Tile::ALONG_N;
    int fast = number % FAST;
    int slow = number / FAST;
    if constexpr (PAIRED) {
        constexpr int WARP_FAST = FAST < 8 ? FAST : 8;
        constexpr int WARP_SLOW = 32 / WARP_FAST < SLOW ? 32 / WARP_FAST : SLOW;
        constexpr int WARP = WARP_FAST * WARP_SLOW;
        static_assert(WARP_FAST >= 2 && WARP_SLOW >= 2, "each side has a bit");
        static_assert(FAST % WARP_FAST == 0 && SLOW % WARP_SLOW == 0, "whole warps");
        const int lane = number % WARP;
        const int warp = number / WARP;
        const int lane_slow = lane % 2 + lane / (2 * WARP_FAST) * 2;
        fast = warp % (FAST / WARP_FAST) * WARP_FAST + lane / 2 % WARP_FAST;
        slow = warp / (FAST / WARP_FAST) * WARP_SLOW + lane_slow;
    }
    return N_FAST ? GemmThread{slow, fast} : GemmThread{fast, slow};
}

// The place in a tile of a thread's row or column number i: whole vectors, a stride of
// all threads' vectors apart, so that a warp's vectors are neighbours.
template <class Sum, int ALONG>
__device__ inline int place_of(int thread, int i) {
    constexpr int VECTOR = Vector<Sum>::SIZE;
    return (i / VECTOR * ALONG + thread) * VECTOR + i % VECTOR;
}

// BLOCK_K products deep, one chain for each sum. UNROLL: 64 sums and the operands of
// two products are more than the 128 registers that let two blocks of 256 threads share
// a multiprocessor, unless little else is held.
template <
    class Sum,
    class Tile,
    int UNROLL = Tile::THREAD_M * Tile::THREAD_N * sizeof(Sum) >= 256 &&
                         Tile::THREADS >= 256
                     ? 1
                     : Tile::BLOCK_K>
__device__ inline void accumulate(
    const Sum* m,
    const Sum* n,
    int thread_m,
    int thread_n,
    Sum (&sum)[Tile::THREAD_M][Tile::THREAD_N]) {
    using Memory = GemmOperands<Sum, Tile>;
    constexpr int VECTOR = Memory::VECTOR;
#pragma unroll(UNROLL)
    for (int k = 0; k < Tile::BLOCK_K; ++k) {
        Sum a[Tile::THREAD_M];
        Sum b[Tile::THREAD_N];
#pragma unroll
        for (int i = 0; i < Tile::THREAD_M; i += VECTOR) {
            const auto vector = load_vector(
                m + k * Memory::M_PITCH + place_of<Sum, Tile::ALONG_M>(thread_m, i));
#pragma unroll
            for (int e = 0; e < VECTOR; ++e)
                a[i + e] = vector.at[e];
        }
#pragma unroll
        for (int j = 0; j < Tile::THREAD_N; j += VECTOR) {
            const auto vector = load_vector(
                n + k * Memory::N_PITCH + place_of<Sum, Tile::ALONG_N>(thread_n, j));
#pragma unroll
            for (int e = 0; e < VECTOR; ++e)
                b[j + e] = vector.at[e];
        }
#pragma unroll
        for (int i = 0; i < Tile::THREAD_M; ++i)
#pragma unroll
            for (int j = 0; j < Tile::THREAD_N; ++j)
                add_product(sum[i][j], a[i], b[j]);
    }
}

// Puts the rows of one pass where neighbours in the result are neighbours.
template <class Sum, class Tile, bool N_FAST>
__device__ inline void stage(
    GemmStaging<Sum, Tile, N_FAST>& staging,
    int thread_m,
    int thread_n,
    int pass,
    const Sum (&sum)[Tile::THREAD_M][Tile::THREAD_N]) {
    using To = GemmStaging<Sum, Tile, N_FAST>;
    constexpr int VECTOR = To::VECTOR;
#pragma unroll
    for (int j = 0; j < Tile::THREAD_N; j += VECTOR)
#pragma unroll
        for (int slow = 0; slow < VECTOR; ++slow) {
            Vector<Sum> vector;
#pragma unroll
            for (int fast = 0; fast < VECTOR; ++fast)
                vector.at[fast] = N_FAST ? sum[pass * VECTOR + slow][j + fast]
                                         : sum[pass * VECTOR + fast][j + slow];
            const int row = thread_m * VECTOR + (N_FAST ? slow : 0);
            const int column =
                place_of<Sum, Tile::ALONG_N>(thread_n, j) + (N_FAST ? 0 : slow);
            const int place =
                N_FAST ? row * To::PITCH + column : column * To::PITCH + row;
            store_vector(staging.sum + place, vector);
        }
}

// Calls what(row, column, place) for a thread's share of the sums of one pass: rows and
// columns of the tile, and where in the staging their sum lies.
template <class Staging, int THREADS, class What>
__device__ inline void for_staged(int thread, int pass, What what) {
#pragma unroll 1
    for (int e = thread; e < Staging::FAST * Staging::SLOW; e += THREADS) {
        const int fast = e % Staging::FAST;
        const int slow = e / Staging::FAST;
        const int row = Staging::IS_N_FAST ? slow : fast;
        const int column = Staging::IS_N_FAST ? fast : slow;
        what(pass * Staging::ROWS + row, column, slow * Staging::PITCH + fast);
    }
}

} // namespace pyconv
