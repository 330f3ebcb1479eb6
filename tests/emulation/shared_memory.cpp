// Shared memory is thread-local storage: found through the dynamic loader.
#include "shared_memory.hpp"

#include <dlfcn.h>
#include <link.h>

#include <cstdint>
#include <utility>

namespace emulation {
namespace {

int find_segment(dl_phdr_info* info, std::size_t, void* wanted) {
    auto& [base, segment] = *static_cast<std::pair<std::uintptr_t, Segment>*>(wanted);
    if (info->dlpi_addr != base)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; ++i)
        if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_data != nullptr)
            segment = {
                static_cast<unsigned char*>(info->dlpi_tls_data),
                info->dlpi_phdr[i].p_memsz};
    return 1;
}

} // namespace

Segment shared_memory() {
    static thread_local volatile char anchor = 0;
    anchor = 0;
    Dl_info library;
    std::pair<std::uintptr_t, Segment> found{0, {nullptr, 0}};
    if (dladdr(reinterpret_cast<void*>(&find_segment), &library) != 0) {
        found.first = reinterpret_cast<std::uintptr_t>(library.dli_fbase);
        dl_iterate_phdr(find_segment, &found);
    }
    return found.second;
}

} // namespace emulation
