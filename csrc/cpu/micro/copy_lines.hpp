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

// A line is often a page from the one before it, where no hardware prefetcher follows.
template <class T>
inline __attribute__((always_inline)) void
prefetch_line(const CopyLines<T>& job, int64 line) {
    constexpr int64 AHEAD = 8;
    if (line + AHEAD < job.lines) {
        const T* from = job.from + (line + AHEAD) * job.from_pitch;
        __builtin_prefetch(from);
        __builtin_prefetch(from + (job.count - 1) * job.from_step);
    }
}

template <class T>
void copy_lines(const CopyLines<T>& job) {
    constexpr int LANES = Simd<T>::LANES;
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    if (job.from_step != 1) {
        for (int64 line = 0; line < job.lines; ++line) {
            const T* from = job.from + line * job.from_pitch;
            T* to = job.to + line * job.to_pitch;
            prefetch_line(job, line);
            for (int64 i = 0; i < job.count; ++i) {
                to[i] = from[i * job.from_step];
            }
        }
        return;
    }
    if (job.count == 2 * LANES) { // a panel's width
        for (int64 line = 0; line < job.lines; ++line) {
            const T* from = job.from + line * job.from_pitch;
            T* to = job.to + line * job.to_pitch;
            prefetch_line(job, line);
            const Vector low = *reinterpret_cast<const Unaligned*>(from);
            const Vector high = *reinterpret_cast<const Unaligned*>(from + LANES);
            *reinterpret_cast<Unaligned*>(to) = low;
            *reinterpret_cast<Unaligned*>(to + LANES) = high;
        }
        return;
    }
    int64 line = 0;
    if (!MASKS_ARE_FREE && job.count > 0 && job.count < LANES &&
        job.to_pitch == job.count && job.from_pitch + job.count >= LANES) {
        // What is copied too much lies before the last line's end, and the next line
        // goes over it.
        for (; line + LANES / job.count + 1 < job.lines; ++line) {
            *reinterpret_cast<Unaligned*>(job.to + line * job.to_pitch) =
                *reinterpret_cast<const Unaligned*>(job.from + line * job.from_pitch);
        }
    }
    for (; line < job.lines; ++line) {
        const T* from = job.from + line * job.from_pitch;
        T* to = job.to + line * job.to_pitch;
        prefetch_line(job, line);
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
