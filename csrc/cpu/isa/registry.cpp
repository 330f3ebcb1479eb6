// Which instruction sets there are, in order of preference, and which one is in use.
//
// __builtin_cpu_supports asks cpuid and the operating system (XCR0): a processor whose
// wide registers are not saved over a context switch counts as not having them.
#include "cpu/isa/registry.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace pyconv {

#if defined(__x86_64__)
namespace avx512 {
void fill_table(IsaTable& table);
}
namespace avx2 {
void fill_table(IsaTable& table);
}
#endif
namespace baseline {
void fill_table(IsaTable& table);
}

namespace {

struct Tables {
    IsaTable storage[3] = {};
    std::vector<const IsaTable*> runnable;

    Tables() {
#if defined(__x86_64__)
        // x86-64-v4 and x86-64-v3, the levels the tables are compiled for.
        const bool v3 =
            __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
            __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("movbe") &&
            __builtin_cpu_supports("f16c");
        if (v3 && __builtin_cpu_supports("avx512f") &&
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
            add(avx512::fill_table);
        }
        if (v3) {
            add(avx2::fill_table);
        }
#endif
        add(baseline::fill_table);
    }

    void add(void (*fill)(IsaTable&)) {
        IsaTable& table = storage[runnable.size()];
        fill(table);
        runnable.push_back(&table);
    }
};

const Tables& tables() {
    static const Tables all;
    return all;
}

std::atomic<const IsaTable*> chosen{nullptr};

const IsaTable* find(const std::string& name) {
    for (const IsaTable* table : tables().runnable) {
        if (name == table->name) {
            return table;
        }
    }
    return nullptr;
}

const IsaTable& first_choice() {
    const char* forced = std::getenv("PYCONV_FORCE_ISA");
    if (forced == nullptr || *forced == '\0') {
        return *tables().runnable.front();
    }
    if (const IsaTable* table = find(forced)) {
        return *table;
    }
    std::string names;
    for (const IsaTable* table : tables().runnable) {
        names += (names.empty() ? "" : ", ") + std::string(table->name);
    }
    throw std::invalid_argument(
        "PYCONV_FORCE_ISA is '" + std::string(forced) +
        "', but this machine runs: " + names);
}

} // namespace

std::span<const IsaTable* const> isa_tables() {
    return tables().runnable;
}

const IsaTable& active_isa() {
    const IsaTable* table = chosen.load(std::memory_order_acquire);
    if (table == nullptr) {
        table = &first_choice();
        chosen.store(table, std::memory_order_release);
    }
    return *table;
}

bool set_isa(const std::string& name) {
    const IsaTable* table = find(name);
    if (table != nullptr) {
        chosen.store(table, std::memory_order_release);
    }
    return table != nullptr;
}

} // namespace pyconv
