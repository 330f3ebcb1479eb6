// The scratch arena is a list of blocks: growing adds one, so pointers already taken
// stay valid; when the last frame ends, several blocks are merged into one of their
// total size. The output pool keeps released blocks in order of release: the newest of
// the right size class is taken first (its lines may still be cached), the oldest is
// freed.
#include "core/memory.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include <pthread.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pyconv {
namespace {

constexpr std::size_t LINE_BYTES = 64;
constexpr std::size_t HUGE_PAGE_BYTES = std::size_t{2} << 20;
constexpr std::size_t SCRATCH_FIRST_BYTES = std::size_t{64} << 10;
// An idle thread keeps no more than this; one large workspace must not stay for good.
constexpr std::size_t SCRATCH_KEPT_BYTES = std::size_t{128} << 20;
// Room for one output of a batch of large images: a fresh one of 0.7 GB took longer to
// be given by the system than to be filled.
constexpr std::size_t OUTPUT_POOL_DEFAULT_BYTES = std::size_t{1} << 30;
constexpr std::size_t MOST_BYTES = std::size_t{1} << 62;

std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// 2 MiB and more: on a 2 MiB boundary and asked to be in huge pages, for one page fault
// and one TLB entry where there would be 512.
void* allocate_block(std::size_t bytes, const char* purpose) {
    if (bytes > MOST_BYTES) {
        throw AllocationError(bytes, purpose);
    }
    const bool huge = bytes >= HUGE_PAGE_BYTES;
    const std::size_t alignment = huge ? HUGE_PAGE_BYTES : LINE_BYTES;
    void* block = nullptr;
    if (posix_memalign(&block, alignment, bytes) != 0) {
        throw AllocationError(bytes, purpose);
    }
#if defined(MADV_HUGEPAGE)
    if (huge) {
        // Advice only: a kernel without huge pages refuses, and nothing is lost.
        static_cast<void>(madvise(block, bytes, MADV_HUGEPAGE));
    }
#endif
    return block;
}

class Arena {
  public:
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    ~Arena() { free_all(); }

    void* take(std::size_t bytes) {
        if (bytes > MOST_BYTES) {
            throw AllocationError(bytes, "scratch");
        }
        const std::size_t size = round_up(std::max<std::size_t>(bytes, 1), LINE_BYTES);
        if (blocks_.empty() || blocks_[block].size - used < size) {
            next_block(size);
        }
        void* place = blocks_[block].data + used;
        used += size;
        return place;
    }

    void last_frame_ended() {
        const std::size_t total = held_bytes();
        if (total > SCRATCH_KEPT_BYTES) {
            free_all();
        } else if (blocks_.size() > 1) {
            free_all();
            first_bytes_ = total;
        }
    }

    std::size_t block = 0;
    std::size_t used = 0;
    int depth = 0;

  private:
    struct Block {
        char* data;
        std::size_t size;
    };

    std::size_t held_bytes() const {
        std::size_t total = 0;
        for (const Block& each : blocks_) {
            total += each.size;
        }
        return total;
    }

    void next_block(std::size_t size) {
        // Blocks after the current one belong to frames that have ended: a loop of
        // frames finds its block again.
        used = 0;
        if (blocks_.size() > block + 1 && blocks_[block + 1].size >= size) {
            ++block;
            return;
        }
        while (blocks_.size() > block + 1) {
            std::free(blocks_.back().data);
            blocks_.pop_back();
        }
        const std::size_t wanted =
            blocks_.empty() ? first_bytes_ : 2 * blocks_.back().size;
        // Doubling stops where the kept size is reached: what is more than that is
        // given back after the call, and must be what was asked for.
        const std::size_t held = held_bytes();
        const std::size_t room =
            held < SCRATCH_KEPT_BYTES ? SCRATCH_KEPT_BYTES - held : 0;
        const std::size_t bytes = std::max(size, std::min(wanted, room));
        blocks_.reserve(blocks_.size() + 1);
        blocks_.push_back(
            {static_cast<char*>(allocate_block(bytes, "scratch")), bytes});
        block = blocks_.size() - 1;
    }

    void free_all() {
        for (const Block& each : blocks_) {
            std::free(each.data);
        }
        blocks_.clear();
        first_bytes_ = SCRATCH_FIRST_BYTES;
        block = 0;
        used = 0;
    }

    std::vector<Block> blocks_;
    std::size_t first_bytes_ = SCRATCH_FIRST_BYTES;
};

Arena& arena() {
    thread_local Arena value;
    return value;
}

// Eight classes to each power of two: at most an eighth of a block is never used.
std::size_t size_class(std::size_t bytes) {
    std::size_t power = OUTPUT_POOL_MINIMUM_BYTES;
    while (power < bytes / 2) {
        power *= 2;
    }
    return round_up(std::max(bytes, OUTPUT_POOL_MINIMUM_BYTES), power / 8);
}

std::size_t limit_from_environment() {
    const char* text = std::getenv("PYCONV_OUTPUT_POOL_BYTES");
    if (text == nullptr || *text == '\0') {
        return OUTPUT_POOL_DEFAULT_BYTES;
    }
    std::size_t value = 0;
    const char* end = text + std::strlen(text);
    const auto parsed = std::from_chars(text, end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end) {
        throw std::invalid_argument(
            std::string("PYCONV_OUTPUT_POOL_BYTES must be a count of bytes, got '") +
            text + "'");
    }
    return value;
}

struct Held {
    void* data;
    std::size_t size;
};

struct OutputPool {
    std::mutex mutex;
    std::vector<Held> held; // oldest first
    std::unordered_map<void*, std::size_t> in_use;
    OutputPoolState state{
        .held_bytes = 0,
        .in_use_bytes = 0,
        .limit_bytes = limit_from_environment(),
        .hits = 0,
        .misses = 0,
    };

    std::size_t shrink_to(std::size_t bytes) noexcept {
        const std::size_t before = state.held_bytes;
        std::size_t count = 0;
        while (state.held_bytes > bytes) {
            std::free(held[count].data);
            state.held_bytes -= held[count].size;
            ++count;
        }
        held.erase(held.begin(), held.begin() + static_cast<std::ptrdiff_t>(count));
        return before - state.held_bytes;
    }
};

OutputPool& output_pool();

void before_fork() {
    output_pool().mutex.lock();
}

void after_fork() {
    output_pool().mutex.unlock();
}

// Never destroyed: arrays may be released while the process is ending.
OutputPool& output_pool() {
    static OutputPool* const value = new OutputPool;
    static const int once = pthread_atfork(before_fork, after_fork, after_fork);
    static_cast<void>(once);
    return *value;
}

} // namespace

AllocationError::AllocationError(std::size_t bytes, const char* purpose)
    : message_(
          "cannot allocate " + std::to_string(bytes) + " bytes of " + purpose +
          " memory") {}

ScratchFrame::ScratchFrame() : block_(arena().block), used_(arena().used) {
    ++arena().depth;
}

ScratchFrame::~ScratchFrame() {
    Arena& own = arena();
    own.block = block_;
    own.used = used_;
    if (--own.depth == 0) {
        own.last_frame_ended();
    }
}

void* ScratchFrame::take_bytes(std::size_t bytes) {
    return arena().take(bytes);
}

void* output_allocate(std::size_t bytes) {
    if (bytes > MOST_BYTES) {
        throw AllocationError(bytes, "output");
    }
    const std::size_t size = size_class(bytes);
    OutputPool& pool = output_pool();
    const std::lock_guard lock(pool.mutex);
    const auto found =
        std::find_if(pool.held.rbegin(), pool.held.rend(), [size](const Held& each) {
            return each.size == size;
        });
    void* block = nullptr;
    if (found != pool.held.rend()) {
        block = found->data;
        pool.in_use.emplace(block, size);
        pool.held.erase(std::next(found).base());
        pool.state.held_bytes -= size;
        ++pool.state.hits;
    } else {
        // Room for the later release first, so that releasing can never fail.
        pool.held.reserve(pool.held.size() + pool.in_use.size() + 1);
        block = allocate_block(size, "output");
        try {
            pool.in_use.emplace(block, size);
        } catch (...) {
            std::free(block);
            throw;
        }
        ++pool.state.misses;
    }
    pool.state.in_use_bytes += size;
    return block;
}

void output_release(void* block) noexcept {
    OutputPool& pool = output_pool();
    const std::lock_guard lock(pool.mutex);
    const auto found = pool.in_use.find(block);
    const std::size_t size = found->second;
    pool.in_use.erase(found);
    pool.state.in_use_bytes -= size;
    pool.held.push_back({block, size});
    pool.state.held_bytes += size;
    pool.shrink_to(pool.state.limit_bytes);
}

OutputPoolState output_pool_state() {
    OutputPool& pool = output_pool();
    const std::lock_guard lock(pool.mutex);
    return pool.state;
}

std::size_t empty_output_pool() {
    OutputPool& pool = output_pool();
    const std::lock_guard lock(pool.mutex);
    return pool.shrink_to(0);
}

void set_output_pool_limit(std::size_t bytes) {
    OutputPool& pool = output_pool();
    const std::lock_guard lock(pool.mutex);
    pool.state.limit_bytes = bytes;
    pool.shrink_to(bytes);
}

} // namespace pyconv
