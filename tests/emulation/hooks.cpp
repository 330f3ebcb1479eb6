// What the compiler calls in a logged build: at every load, store, function and basic
// block (its thread sanitizer's and its coverage's hooks; no sanitizer runs).
#include "hooks.hpp"

#define PYCONV_HOOK(name, bytes, writes)                                               \
    extern "C" void __tsan_##name(void* address) {                                     \
        emulation::touch(address, bytes, writes, __builtin_return_address(0));         \
    }

PYCONV_HOOK(read1, 1, false)
PYCONV_HOOK(read2, 2, false)
PYCONV_HOOK(read4, 4, false)
PYCONV_HOOK(read8, 8, false)
PYCONV_HOOK(read16, 16, false)
PYCONV_HOOK(write1, 1, true)
PYCONV_HOOK(write2, 2, true)
PYCONV_HOOK(write4, 4, true)
PYCONV_HOOK(write8, 8, true)
PYCONV_HOOK(write16, 16, true)

extern "C" void __tsan_read_range(void* address, unsigned long bytes) {
    emulation::touch(
        address, static_cast<unsigned>(bytes), false, __builtin_return_address(0));
}

extern "C" void __tsan_write_range(void* address, unsigned long bytes) {
    emulation::touch(
        address, static_cast<unsigned>(bytes), true, __builtin_return_address(0));
}

extern "C" void __tsan_func_entry(void*) {
    emulation::enter_function();
}

extern "C" void __tsan_func_exit() {
    emulation::leave_function();
}

extern "C" void __tsan_init() {}

extern "C" void __sanitizer_cov_trace_pc() {
    emulation::enter_block(__builtin_return_address(0));
}
