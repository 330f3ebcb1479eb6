// Sums of parts, which blocks left in the workspace, added in one order.
//
// An element's parts lie `elements` apart. ROWS threads an element take turns at them,
// then halve their sums, the upper half onto the lower: one order for every run and
// grid.
#pragma once

#include "../index.cuh"

namespace pyconv {

// store() takes an element's number and its sum.
template <int THREADS, int ROWS, class Sum, class Store>
__device__ inline void
add_parts(const Sum* from, Index elements, Index parts, Store store) {
    constexpr int COLUMNS = THREADS / ROWS;
    const int thread = static_cast<int>(threadIdx.x);
    const int row = thread / COLUMNS;
    const Index element = static_cast<Index>(blockIdx.x) * COLUMNS + thread % COLUMNS;
    Sum sum{};
    if (element < elements) {
#pragma unroll 4
        for (Index part = row; part < parts; part += ROWS)
            add(sum, from[part * elements + element]);
    }
    if constexpr (ROWS > 1) {
        __shared__ Sum sums[THREADS];
        sums[thread] = sum;
        for (int half = ROWS / 2; half > 0; half /= 2) {
            __syncthreads();
            if (row < half)
                add(sums[thread], sums[thread + half * COLUMNS]);
        }
        sum = sums[thread];
    }
    if (row == 0 && element < elements)
        store(element, sum);
}

} // namespace pyconv
