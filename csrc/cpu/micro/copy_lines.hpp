// Packing's inner loop: the same short run of every one of many lines.
//
// The idea: a panel of patches takes a run of pixels from each channel's plane. The
// runs are a few vectors long, too short for a call to memcpy each.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

template <class T>
void copy_lines(const CopyLines<T>& job) {
    constexpr int LANES = Simd<T>::LANES;
    using Unaligned = typename Simd<T>::Unaligned;
    if (job.from_step != 1) {
        for (int64 line = 0; line < job.lines; ++line) {
            const T* from = job.from + line * job.from_pitch;
            T* to = job.to + line * job.to_pitch;
            PYCONV_UNROLL
            for (int64 i = 0; i < job.count; ++i) {
                to[i] = from[i * job.from_step];
            }
        }
        return;
    }
    const int64 whole = job.count - job.count % LANES;
    for (int64 line = 0; line < job.lines; ++line) {
        const T* from = job.from + line * job.from_pitch;
        T* to = job.to + line * job.to_pitch;
        for (int64 i = 0; i < whole; i += LANES) {
            *reinterpret_cast<Unaligned*>(to + i) =
                *reinterpret_cast<const Unaligned*>(from + i);
        }
        if (whole < job.count) {
            store_partial(
                to + whole,
                load_partial(from + whole, job.count - whole),
                job.count - whole);
        }
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
