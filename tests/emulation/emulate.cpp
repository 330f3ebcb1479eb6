// The emulator's library: the flattened kernels with their entry points, and two ways
// to launch an entry. PYCONV_KERNELS names the generated text.
#include "cuda_on_host.hpp"

#include PYCONV_KERNELS

using ConvEntry = void (*)(
    pyconv::ConvProblem, const void*, const void*, const void*, const void*, void*);
using PoolEntry = void (*)(pyconv::PoolProblem, const void*, void*, void*);

extern "C" int emulate_conv(
    ConvEntry entry,
    unsigned blocks,
    unsigned threads,
    unsigned seed,
    const pyconv::ConvProblem* problem,
    const void* x,
    const void* weight,
    const void* bias,
    const void* residual,
    void* y) {
    return emulation::launch(
        blocks, threads, seed, [=] { entry(*problem, x, weight, bias, residual, y); });
}

extern "C" int emulate_pool(
    PoolEntry entry,
    unsigned blocks,
    unsigned threads,
    unsigned seed,
    const pyconv::PoolProblem* problem,
    const void* x,
    void* y,
    void* indices) {
    return emulation::launch(
        blocks, threads, seed, [=] { entry(*problem, x, y, indices); });
}
