// The address log: what a warp's loads and stores ask of the memory system.
//
// The kernels are compiled with the hooks of GCC's thread sanitizer and of its coverage
// (no sanitizer runs: the hooks are ours), so every load, every store and every basic
// block of a CUDA thread calls here. The scheduler runs a warp in step: of its threads,
// those that stand at the lowest block of the innermost function run it, the others
// wait for them to come by. So branches part a warp and meet again as on a GPU, and
// what the threads of one step touch at one place of the code is one request.
//
// Counted are requests, bytes, and sectors of 32 bytes, for each array; the sectors
// that are new to a block and to the launch; and, for shared memory, the passes its 32
// banks of 4 bytes need, beside the fewest that would do.
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

namespace emulation {

struct Access {
    const void* site; // the instruction after the load or store
    std::uintptr_t address;
    unsigned bytes;
    bool writes;
};

// Of one array, or of shared memory.
struct Traffic {
    long long requests = 0;
    long long bytes = 0;          // that threads asked for
    long long sectors = 0;        // of all requests: between L1 and registers
    long long block_sectors = 0;  // each block's, once: what an endless L1 would load
    long long launch_sectors = 0; // the launch's, once: what an endless L2 would load
    long long passes = 0;         // of shared memory's banks
    long long least_passes = 0;   // without conflicts
};

class AddressLog {
  public:
    // Names the memory that is watched: the arrays, and then shared memory.
    void watch(std::uintptr_t begin, std::uintptr_t end) {
        regions_.push_back({begin, end, {}, {}, {}});
    }

    void clear() { regions_.clear(); }

    // Takes the accesses of one step of a warp, whichever threads made them.
    void step(const std::vector<const std::vector<Access>*>& threads);

    void end_block();

    const Traffic& traffic(int region) const {
        return regions_[static_cast<std::size_t>(region)].traffic;
    }

  private:
    struct Region {
        std::uintptr_t begin;
        std::uintptr_t end;
        Traffic traffic;
        std::unordered_set<std::uintptr_t> of_block;
        std::unordered_set<std::uintptr_t> of_launch;
    };

    Region* region_of(std::uintptr_t address);
    void request(Region& region, const std::vector<Access>& accesses);

    std::vector<Region> regions_;
};

} // namespace emulation
