"""Every primitive that the emulator stands in for, in one kernel, against NumPy.

The emulator runs it without a GPU; benchmarks/gpu.py and the device tests run it on one,
so that what the emulator takes for granted is what the hardware does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyconv.cuda import source
from pyconv.cuda.kernel import Constant
from tests.emulation.elements import dtype_of

Array = np.ndarray[Any, Any]

__all__ = [
    "CONSTANT",
    "DYNAMIC_BYTES",
    "ENTRY",
    "THREADS",
    "arrays",
    "check",
    "text",
]

ENTRY = "pyconv_primitives"
THREADS = 128
DYNAMIC_BYTES = 64 * 1024  # more than code may name
CONSTANT = Constant("pyconv_primitive_constants", "constants", 4, 4 * THREADS)

_HEADERS = ("memory/async_copy.cuh", "memory/dynamic.cuh", "memory/vector.cuh")
_KERNEL = """
extern "C" {
__constant__ alignas(16) unsigned char pyconv_primitive_constants[512];
}

namespace pyconv {

struct Far {
    float first[128];
    float second[128];
    double third[128];
    int least[8];
    float far[15000 - 520];
};

__device__ void primitives(
    const float* floats,
    const double* doubles,
    const Half* halves,
    float* results,
    double* wide,
    float* widened_halves,
    Half* to_halves,
    BFloat16* to_bfloats) {
    Far& shared = dynamic_shared<Far>();
    const int t = static_cast<int>(threadIdx.x);
    copy_async(shared.first + t, floats + t, t % 3 != 0);
    commit_copies();
    copy_async(shared.second + t, floats + 128 + t, true);
    copy_async(shared.third + t, doubles + t, t != 5);
    commit_copies();
    shared.far[14000 + t] = floats[t];
    if (t < 8)
        shared.least[t] = 1000;
    wait_copies<1>();
    __syncthreads();
    results[t] = shared.first[(t + 1) % 128];
    atomicMin(&shared.least[t % 8], (t * 37 + 5) % 128);
    wait_copies<0>();
    const int some = __syncthreads_or(t == 77);
    const int none = __syncthreads_or(0);
    results[128 + t] = shared.second[127 - t];
    wide[t] = shared.third[127 - t];
    results[256 + t] = shared.far[14000 + (t ^ 5)];
    results[384 + t] = static_cast<float>((some != 0) + 2 * (none != 0));
    if (t < 32)
        store_vector(results + 512 + 4 * t, load_vector(floats + 4 * (31 - t)));
    results[768 + t] = static_cast<float>(shared.least[t % 8]);
    const float* constants = reinterpret_cast<const float*>(pyconv_primitive_constants);
    results[640 + t] = constants[127 - t];
    for (int i = t; i < 65536; i += 128)
        widened_halves[i] = widened(halves[i]);
    for (int i = t; i < 4096; i += 128) {
        to_halves[i] = to_half(floats[i]);
        to_bfloats[i] = to_bfloat16(floats[i]);
    }
}

} // namespace pyconv

extern "C" __global__ void pyconv_primitives(
    const float* floats,
    const double* doubles,
    const pyconv::Half* halves,
    float* results,
    double* wide,
    float* widened_halves,
    pyconv::Half* to_halves,
    pyconv::BFloat16* to_bfloats) {
    pyconv::primitives(
        floats, doubles, halves, results, wide, widened_halves, to_halves, to_bfloats);
}

#ifndef __CUDACC__
extern "C" void pyconv_primitives_from(const void*, void* const* a) {
    pyconv_primitives(
        static_cast<const float*>(a[0]),
        static_cast<const double*>(a[1]),
        static_cast<const pyconv::Half*>(a[2]),
        static_cast<float*>(a[3]),
        static_cast<double*>(a[4]),
        static_cast<float*>(a[5]),
        static_cast<pyconv::Half*>(a[6]),
        static_cast<pyconv::BFloat16*>(a[7]));
}
#endif
"""


def text() -> str:
    """Flatten the headers and the kernel."""
    return source.flatten(_HEADERS) + _KERNEL


def _floats() -> Array:
    """Draw floats of every size a half has, and beyond; ties, infinities and NaN."""
    random = np.random.default_rng(3)
    drawn = random.standard_normal(4096) * 2.0 ** random.integers(-30, 20, 4096)
    values = drawn.astype(np.float32)
    # Between two halves, and between two bfloat16: ties go to the even one.
    values[512:768] = (np.arange(256) + 2048.5).astype(np.float32)
    values[768:1024] = (1 + (2 * np.arange(256) + 1) * 2.0**-8).astype(np.float32)
    values[1024:1032] = [np.inf, -np.inf, np.nan, 0.0, -0.0, 65519.9, 65520.0, 3e38]
    return values


def arrays() -> dict[str, Array]:
    """Make what the kernel reads and what it writes, in its order; then constants."""
    random = np.random.default_rng(4)
    return {
        "floats": _floats(),
        "doubles": random.standard_normal(THREADS),
        "halves": np.arange(65536, dtype=np.uint16).view(np.float16),
        "results": np.full(7 * THREADS, np.nan, np.float32),
        "wide": np.full(THREADS, np.nan),
        "widened": np.full(65536, np.nan, np.float32),
        "to_halves": np.zeros(4096, np.float16),
        "to_bfloats": np.zeros(4096, dtype_of("bfloat16")),
        "constants": random.standard_normal(THREADS + 1).astype(np.float32),
    }


def check(made: dict[str, Array]) -> None:
    """Compare with what the primitives are defined to do; AssertionError names which."""
    equal = np.testing.assert_array_equal
    floats, results = made["floats"], made["results"].reshape(7, THREADS)
    t = np.arange(THREADS)
    taken = (t + 1) % THREADS
    equal(results[0], np.where(taken % 3, floats[taken], 0), "copies with zero fill")
    equal(results[1], floats[128 + 127 - t], "copies of a later group")
    doubles = np.where(t == 5, 0, made["doubles"])
    equal(made["wide"], doubles[127 - t], "copies of eight bytes")
    equal(results[2], floats[t ^ 5], "dynamic shared memory")
    equal(results[3], np.ones(THREADS), "votes at a barrier")
    vectors = floats[:THREADS].reshape(32, 4)[::-1].ravel()
    equal(results[4], vectors, "vectors of sixteen bytes")
    equal(results[5], made["constants"][1:][127 - t], "constant memory")
    claims = ((t * 37 + 5) % THREADS).reshape(-1, 8).min(axis=0)
    equal(results[6], claims[t % 8], "least of claims in shared memory")
    halves = made["halves"].astype(np.float32)
    equal(made["widened"], halves, "halves widened")
    with np.errstate(over="ignore", invalid="ignore"):
        equal(made["to_halves"], floats.astype(np.float16), "floats rounded to halves")
        rounded = floats.astype(dtype_of("bfloat16"))
    equal(
        made["to_bfloats"].astype(np.float32),
        rounded.astype(np.float32),
        "floats rounded to bfloat16",
    )
