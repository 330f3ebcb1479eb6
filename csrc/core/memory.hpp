// Memory: scratch for kernels, and the pool that large output arrays come from.
//
// Scratch is a per-thread arena that only grows, used in frames: a kernel opens a
// frame, takes what it needs, and the frame's end gives it all back without a free().
// Outputs of a megabyte and more come from a bounded pool of blocks kept warm: a fresh
// block costs a page fault every 4 KiB, often more than the convolution that fills it.
#pragma once

#include "core/problem.hpp"

#include <cstddef>
#include <limits>
#include <new>
#include <string>

namespace pyconv {

// std::bad_alloc that names how much was asked for and what for.
class AllocationError : public std::bad_alloc {
  public:
    AllocationError(std::size_t bytes, const char* purpose);
    const char* what() const noexcept override { return message_.c_str(); }

  private:
    std::string message_;
};

// A stretch of this thread's scratch arena. Frames nest like scopes; what is taken
// lives until its frame ends and starts on a 64-byte boundary.
class ScratchFrame {
  public:
    ScratchFrame();
    ~ScratchFrame();
    ScratchFrame(const ScratchFrame&) = delete;
    ScratchFrame& operator=(const ScratchFrame&) = delete;

    // Uninitialised room for `count` elements. Throws AllocationError.
    template <class T>
    T* take(int64 count) {
        const auto items = static_cast<std::size_t>(count);
        if (count < 0 || items > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
            throw AllocationError(std::numeric_limits<std::size_t>::max(), "scratch");
        }
        return static_cast<T*>(take_bytes(items * sizeof(T)));
    }

  private:
    void* take_bytes(std::size_t bytes);

    std::size_t block_;
    std::size_t used_;
};

// Outputs of at least this many bytes come from the pool.
inline constexpr std::size_t OUTPUT_POOL_MINIMUM_BYTES = std::size_t{1} << 20;

struct OutputPoolState {
    std::size_t held_bytes; // free blocks kept for the next output
    std::size_t in_use_bytes;
    std::size_t limit_bytes; // of held_bytes; PYCONV_OUTPUT_POOL_BYTES
    std::size_t hits;
    std::size_t misses;
};

// Must not be called from a parallel_for body. Throws AllocationError.
void* output_allocate(std::size_t bytes);
void output_release(void* block) noexcept;
OutputPoolState output_pool_state();
std::size_t empty_output_pool();
void set_output_pool_limit(std::size_t bytes);

} // namespace pyconv
