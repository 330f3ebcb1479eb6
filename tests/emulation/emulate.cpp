// The emulator's library: the flattened kernels with their entry points, and two ways
// to launch an entry. PYCONV_KERNELS names the generated text.
#include "cuda_on_host.hpp"

#include PYCONV_KERNELS

using ConvEntry = void (*)(
    pyconv::ConvProblem, const void*, const void*, const void*, const void*, void*);
using WeightEntry =
    void (*)(pyconv::ConvProblem, const void*, const void*, void*);
using UnaryEntry = void (*)(pyconv::ConvProblem, const void*, void*);
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

extern "C" int emulate_conv_weight(
    WeightEntry entry,
    unsigned blocks,
    unsigned threads,
    unsigned seed,
    const pyconv::ConvProblem* problem,
    const void* x,
    const void* grad,
    void* weight) {
    return emulation::launch(
        blocks, threads, seed, [=] { entry(*problem, x, grad, weight); });
}

extern "C" int emulate_unary(
    UnaryEntry entry,
    unsigned blocks,
    unsigned threads,
    unsigned seed,
    const pyconv::ConvProblem* problem,
    const void* from,
    void* to) {
    return emulation::launch(
        blocks, threads, seed, [=] { entry(*problem, from, to); });
}

using PoolGradEntry = void (*)(
    pyconv::PoolProblem, const void*, const void*, const void*, const void*, void*);

extern "C" int emulate_pool_grad(
    PoolGradEntry entry,
    unsigned blocks,
    unsigned threads,
    unsigned seed,
    const pyconv::PoolProblem* problem,
    const void* grad,
    const void* indices,
    const void* x,
    const void* y,
    void* dx) {
    return emulation::launch(
        blocks, threads, seed, [=] { entry(*problem, grad, indices, x, y, dx); });
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
