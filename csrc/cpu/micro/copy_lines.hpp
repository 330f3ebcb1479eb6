// Packing's inner loop: the same short run of every one of many lines.
//
// The idea: a panel of patches takes a run of pixels from each channel's plane, a plane
// of scratch the rows of an image. Runs are a few vectors long, too short for a call to
// memcpy each; the last vector of a run overlaps the one before it, so that nothing
// past the run is touched.
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
            for (int64 i = 0; i < job.count; ++i) {
                to[i] = from[i * job.from_step];
            }
        }
        return;
    }
    for (int64 line = 0; line < job.lines; ++line) {
        const T* from = job.from + line * job.from_pitch;
        T* to = job.to + line * job.to_pitch;
        if (job.count < LANES) {
            store_partial<T>(to, load_partial(from, job.count), job.count);
            continue;
        }
        for (int64 i = 0; i + LANES < job.count; i += LANES) {
            *reinterpret_cast<Unaligned*>(to + i) =
                *reinterpret_cast<const Unaligned*>(from + i);
        }
        *reinterpret_cast<Unaligned*>(to + job.count - LANES) =
            *reinterpret_cast<const Unaligned*>(from + job.count - LANES);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
