// What a device can do at most: multiply-adds from registers, and bytes from shared
// memory, from L2 and from its memory.
//
// Each kernel does one thing and as little else as possible. Results are used in a way
// the compiler cannot see through, and never written.
#pragma once

namespace pyconv {

constexpr int CEILING_THREADS = 256;
constexpr int CEILING_CHAINS = 8;     // of multiply-adds that wait for nothing
constexpr int CEILING_STEPS = 32;     // of each, unrolled
constexpr int CEILING_VECTORS = 2048; // of 16 bytes in shared memory
constexpr int CEILING_LOADS = 16;     // of each thread, unrolled

template <class T>
__device__ void peak_flops(T* to, int rounds, T factor, T term) {
    T sums[CEILING_CHAINS];
    for (int i = 0; i < CEILING_CHAINS; ++i) {
        sums[i] = T(threadIdx.x + i);
    }
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int step = 0; step < CEILING_STEPS; ++step) {
#pragma unroll
            for (int i = 0; i < CEILING_CHAINS; ++i) {
                sums[i] = sums[i] * factor + term;
            }
        }
    }
    T all = 0;
    for (int i = 0; i < CEILING_CHAINS; ++i) {
        all += sums[i];
    }
    if (all == T(12345)) {
        *to = all;
    }
}

__device__ inline float sum_of(const float4& v) {
    return v.x + v.y + v.z + v.w;
}

// Every thread of a warp reads 16 bytes beside its neighbour's: no bank is asked twice.
__device__ inline void load_shared(float* to, int rounds) {
    __shared__ float4 held[CEILING_VECTORS];
    for (int i = threadIdx.x; i < CEILING_VECTORS; i += CEILING_THREADS) {
        held[i] = make_float4(0.0f, 0.0f, 0.0f, float(i));
    }
    __syncthreads();
    float all = 0.0f;
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int i = 0; i < CEILING_LOADS; ++i) {
            const int at = threadIdx.x + (round + i) * CEILING_THREADS;
            all += sum_of(held[at % CEILING_VECTORS]);
        }
    }
    if (all == 12345.0f) {
        *to = all;
    }
}

// Past L1: what the vectors lie in is L2 or the memory, by how many there are.
__device__ inline void
load_global(const float4* from, float* to, long long vectors, int rounds) {
    const long long step = static_cast<long long>(gridDim.x) * CEILING_THREADS;
    float all = 0.0f;
    for (int round = 0; round < rounds; ++round) {
        long long i =
            static_cast<long long>(blockIdx.x) * CEILING_THREADS + threadIdx.x;
#pragma unroll 8
        for (; i < vectors; i += step) {
            all += sum_of(__ldcg(from + i));
        }
    }
    if (all == 12345.0f) {
        *to = all;
    }
}

__device__ inline void store_global(float4* to, long long vectors) {
    const long long step = static_cast<long long>(gridDim.x) * CEILING_THREADS;
    long long i = static_cast<long long>(blockIdx.x) * CEILING_THREADS + threadIdx.x;
    for (; i < vectors; i += step) {
        to[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
}

__device__ inline void copy_global(const float4* from, float4* to, long long vectors) {
    const long long step = static_cast<long long>(gridDim.x) * CEILING_THREADS;
    long long i = static_cast<long long>(blockIdx.x) * CEILING_THREADS + threadIdx.x;
#pragma unroll 4
    for (; i < vectors; i += step) {
        to[i] = __ldcg(from + i);
    }
}

} // namespace pyconv

extern "C" __global__ void __launch_bounds__(pyconv::CEILING_THREADS)
    pyconv_peak_float32(float* to, int rounds, float factor, float term) {
    pyconv::peak_flops<float>(to, rounds, factor, term);
}

extern "C" __global__ void __launch_bounds__(pyconv::CEILING_THREADS)
    pyconv_peak_float64(double* to, int rounds, double factor, double term) {
    pyconv::peak_flops<double>(to, rounds, factor, term);
}

extern "C" __global__ void __launch_bounds__(pyconv::CEILING_THREADS)
    pyconv_load_shared(float* to, int rounds) {
    pyconv::load_shared(to, rounds);
}

extern "C" __global__ void __launch_bounds__(pyconv::CEILING_THREADS)
    pyconv_load_global(const float4* from, float* to, long long vectors, int rounds) {
    pyconv::load_global(from, to, vectors, rounds);
}

extern "C" __global__ void __launch_bounds__(pyconv::CEILING_THREADS)
    pyconv_store_global(float4* to, long long vectors) {
    pyconv::store_global(to, vectors);
}

extern "C" __global__ void __launch_bounds__(pyconv::CEILING_THREADS)
    pyconv_copy_global(const float4* from, float4* to, long long vectors) {
    pyconv::copy_global(from, to, vectors);
}

// Keeps the device busy while the host queues what is to be timed.
extern "C" __global__ void pyconv_spin(long long cycles) {
    const long long start = clock64();
    while (clock64() - start < cycles) {
    }
}

// Between two calls, where launches are counted.
extern "C" __global__ void pyconv_marker() {}
