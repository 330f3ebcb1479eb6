#include "address_log.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace emulation {
namespace {

constexpr std::uintptr_t SECTOR = 32;
constexpr std::uintptr_t WORD = 4;
constexpr std::uintptr_t BANKS = 32;
constexpr unsigned PASS_BYTES = BANKS * WORD;
constexpr std::size_t WARP = 32;

// The passes that a part of a warp needs: the most words one bank must give.
long long passes_of(
    std::vector<Access>::const_iterator first,
    std::vector<Access>::const_iterator last,
    std::uintptr_t begin) {
    std::map<std::uintptr_t, std::set<std::uintptr_t>> words;
    for (auto access = first; access != last; ++access) {
        const std::uintptr_t from = (access->address - begin) / WORD;
        const std::uintptr_t to = (access->address + access->bytes - 1 - begin) / WORD;
        for (std::uintptr_t word = from; word <= to; ++word) {
            words[word % BANKS].insert(word);
        }
    }
    std::size_t most = 0;
    for (const auto& [bank, held] : words) {
        most = std::max(most, held.size());
    }
    return static_cast<long long>(most);
}

// Whether neighbours, or threads two apart, ask for the same: then the two parts of a
// warp that vectors are served to come in one pass (measured by others on Volta and
// later; Nsight Compute's count of passes on an H200 fits it).
bool come_together(
    std::vector<Access>::const_iterator first, std::size_t count) {
    for (const std::size_t apart : {1U, 2U}) {
        bool same = true;
        for (std::size_t i = 0; i < count && same; ++i) {
            same = first[static_cast<std::ptrdiff_t>(i)].address ==
                   first[static_cast<std::ptrdiff_t>(i ^ apart)].address;
        }
        if (same) {
            return true;
        }
    }
    return false;
}

} // namespace

AddressLog::Region* AddressLog::region_of(std::uintptr_t address) {
    for (Region& region : regions_) {
        if (address >= region.begin && address < region.end) {
            return &region;
        }
    }
    return nullptr;
}

void AddressLog::request(Region& region, const std::vector<Access>& accesses) {
    Traffic& traffic = region.traffic;
    std::set<std::uintptr_t> sectors;
    for (const Access& access : accesses) {
        traffic.bytes += access.bytes;
        const std::uintptr_t last = (access.address + access.bytes - 1) / SECTOR;
        for (std::uintptr_t at = access.address / SECTOR; at <= last; ++at) {
            sectors.insert(at);
        }
    }
    ++traffic.requests;
    traffic.sectors += static_cast<long long>(sectors.size());
    region.of_block.insert(sectors.begin(), sectors.end());
    region.of_launch.insert(sectors.begin(), sectors.end());
    // Eight bytes a thread are served by halves of a warp, sixteen by quarters, two of
    // them together where threads share what they load.
    const unsigned bytes = std::max(accesses[0].bytes, 4U);
    const std::size_t part = std::max<std::size_t>(PASS_BYTES / bytes, 1);
    const bool may_join = accesses.size() == WARP && bytes > 4 && !accesses[0].writes;
    for (std::size_t i = 0; i < accesses.size();) {
        const auto first = accesses.begin() + static_cast<std::ptrdiff_t>(i);
        const bool joined =
            may_join && i % (2 * part) == 0 && come_together(first, 2 * part);
        const std::size_t count =
            std::min(joined ? 2 * part : part, accesses.size() - i);
        traffic.passes += passes_of(
            first, first + static_cast<std::ptrdiff_t>(count), region.begin);
        ++traffic.least_passes;
        i += count;
    }
}

void AddressLog::step(const std::vector<const std::vector<Access>*>& threads) {
    std::map<const void*, std::vector<Access>> sites;
    for (const std::vector<Access>* accesses : threads) {
        for (const Access& access : *accesses) {
            sites[access.site].push_back(access);
        }
    }
    for (const auto& [site, accesses] : sites) {
        if (Region* region = region_of(accesses[0].address)) {
            request(*region, accesses);
        }
    }
}

void AddressLog::end_block() {
    for (Region& region : regions_) {
        region.traffic.block_sectors += static_cast<long long>(region.of_block.size());
        region.traffic.launch_sectors = static_cast<long long>(region.of_launch.size());
        region.of_block.clear();
    }
}

} // namespace emulation
