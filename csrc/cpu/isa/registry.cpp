// Which instruction sets there are, in order of preference, and which one is in use.
//
// __builtin_cpu_supports asks cpuid and the operating system (XCR0): a processor whose
// wide registers are not saved over a context switch counts as not having them.
#include "cpu/isa/registry.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pyconv {

#if defined(__x86_64__)
namespace avx512_amx {
void fill_dots(DotKernel (&kernels)[DOT_KINDS]);
}
namespace avx512_bf16 {
void fill_dots(DotKernel (&kernels)[DOT_KINDS]);
}
namespace avx512_vnni {
void fill_dots(DotKernel (&kernels)[DOT_KINDS]);
}
namespace avx512 {
void fill_table(IsaTable& table);
void fill_dots(DotKernel (&kernels)[DOT_KINDS]);
} // namespace avx512
namespace avx2 {
void fill_table(IsaTable& table);
void fill_dots(DotKernel (&kernels)[DOT_KINDS]);
} // namespace avx2
#endif
namespace baseline {
void fill_table(IsaTable& table);
void fill_dots(DotKernel (&kernels)[DOT_KINDS]);
} // namespace baseline

namespace {

#if defined(__x86_64__)
// Whether AMX multiplies both types, and Linux lets this process use its registers,
// which it must be asked for.
bool may_use_amx() {
#if defined(__linux__)
    constexpr unsigned AMX_BF16 = 1U << 22;
    constexpr unsigned AMX_TILE = 1U << 24;
    constexpr unsigned AMX_INT8 = 1U << 25;
    constexpr unsigned ALL = AMX_BF16 | AMX_TILE | AMX_INT8;
    constexpr long ARCH_REQ_XCOMP_PERM = 0x1023;
    constexpr long XFEATURE_XTILEDATA = 18;
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & ALL) != ALL) {
        return false;
    }
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}
#endif

struct Tables {
    IsaTable storage[6] = {};
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
            const bool vnni = __builtin_cpu_supports("avx512vnni");
            const bool bf16 = vnni && __builtin_cpu_supports("avx512bf16");
            if (bf16 && may_use_amx()) {
                add(avx512::fill_table, avx512_amx::fill_dots, "avx512_amx");
            }
            if (bf16) {
                add(avx512::fill_table, avx512_bf16::fill_dots, "avx512_bf16");
            }
            if (vnni) {
                add(avx512::fill_table, avx512_vnni::fill_dots, "avx512_vnni");
            }
            add(avx512::fill_table, avx512::fill_dots, "avx512");
        }
        if (v3) {
            add(avx2::fill_table, avx2::fill_dots, "avx2");
        }
#endif
        add(baseline::fill_table, baseline::fill_dots, "baseline");
    }

    void
    add(void (*fill)(IsaTable&),
        void (*fill_dots)(DotKernel (&)[DOT_KINDS]),
        const char* name) {
        IsaTable& table = storage[runnable.size()];
        fill(table);
        fill_dots(table.dots);
        table.name = name;
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
