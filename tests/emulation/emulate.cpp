// The emulator: CUDA threads as fibers, and ways to launch a kernel's entry point.
//
// Blocks run one after another. Inside a block the threads are resumed in a new random
// order after each barrier, so a missing barrier shows. Shared memory is thread-local
// storage of this library, filled with NaN before every block, so a word that was never
// stored shows. A barrier that only part of a block reaches, or another part elsewhere,
// ends the launch with a report, and so does a vector that is not aligned. With the
// address log on, warps run in step instead (address_log.hpp).
//
// It proves index arithmetic and barriers, not memory ordering between them, not speed.
#include "address_log.hpp"
#include "cuda_on_host.hpp"
#include "hooks.hpp"
#include "shared_memory.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include <csetjmp>
#include <ucontext.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace emulation {

// Not thread-local, like all that is the emulator's own: the library's thread-local
// segment holds shared memory and nothing else (but the anchor below), so that it can
// be poisoned whole.
Place place;

namespace {

constexpr std::size_t WARP = 32;

enum class State { READY, WAITING, DONE };

struct Copy {
    void* to;
    const void* from; // null: zeros
    std::size_t bytes;
};

struct Fiber {
    ucontext_t context; // for its start; then it is left and entered by jumps
    std::jmp_buf left_at;
    bool has_started = false;
    Uint3 index;
    State state = State::READY;
    Site waits_at{nullptr, 0};
    std::vector<unsigned char> stack;
    // Groups of copies that have not been waited for; the last one is still open.
    std::vector<std::vector<Copy>> copies;
    // For warps in step: where it stands, and what it touched since its last step.
    int depth = 0;
    const void* code = nullptr;
    std::vector<Access> accesses;
};

Fiber* running = nullptr;
ucontext_t scheduler;
std::jmp_buf scheduler_left_at;
const std::function<void()>* body = nullptr;
int vote = 0;      // of the threads that have come to the barrier
int last_vote = 0; // of all of them, at the last one
bool in_step = false;
std::mt19937 random_order;
std::string report; // what ended the launch, if it did not end well
AddressLog address_log;
alignas(1024) unsigned char dynamic_memory[227 * 1024];

// By jumps, which ask nothing of the system; a sanitizer must see the stacks change.
void yield() {
#ifdef __SANITIZE_ADDRESS__
    swapcontext(&running->context, &scheduler);
#else
    if (_setjmp(running->left_at) == 0)
        _longjmp(scheduler_left_at, 1);
#endif
}

void resume(Fiber& fiber) {
    running = &fiber;
    place.thread = fiber.index;
#ifdef __SANITIZE_ADDRESS__
    swapcontext(&scheduler, &fiber.context);
#else
    if (_setjmp(scheduler_left_at) == 0) {
        if (std::exchange(fiber.has_started, true))
            _longjmp(fiber.left_at, 1);
        setcontext(&fiber.context);
    }
#endif
    running = nullptr;
}

void fiber_main() {
    (*body)();
    running->state = State::DONE;
    yield();
}

void reset(Fiber& fiber, unsigned number) {
    constexpr std::size_t STACK_BYTES = 256 * 1024; // sanitizers widen frames
    if (fiber.stack.empty())
        fiber.stack.resize(STACK_BYTES);
    fiber.index = Uint3{number, 0, 0};
    fiber.state = State::READY;
    fiber.has_started = false;
    fiber.depth = 0;
    fiber.code = nullptr;
    fiber.accesses.clear();
    fiber.copies.assign(1, {});
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &scheduler;
    makecontext(&fiber.context, fiber_main, 0);
}

std::string text_of(Site site) {
    return std::string(site.file) + ":" + std::to_string(site.line);
}

// Says how many threads wait where; those that wait nowhere have returned.
std::string whereabouts(const std::vector<Fiber>& fibers) {
    std::map<std::string, std::size_t> waiting;
    for (const Fiber& fiber : fibers)
        ++waiting
            [fiber.state == State::DONE ? "have returned"
                                        : "wait at " + text_of(fiber.waits_at)];
    std::string text = "block " + std::to_string(place.block.x) + ":";
    for (const auto& [where, threads] : waiting)
        text += " " + std::to_string(threads) + " threads " + where + ";";
    text.pop_back();
    return text;
}

// Ends a barrier interval; false if the block is done, or cannot go on and says so.
bool end_interval(std::vector<Fiber>& fibers) {
    std::size_t done = 0;
    for (const Fiber& fiber : fibers)
        done += fiber.state == State::DONE;
    if (done == fibers.size())
        return false;
    const auto elsewhere = [&](const Fiber& fiber) {
        return fiber.waits_at.line != fibers[0].waits_at.line ||
               std::strcmp(fiber.waits_at.file, fibers[0].waits_at.file) != 0;
    };
    if (done != 0 || std::any_of(fibers.begin(), fibers.end(), elsewhere)) {
        report = "deadlock: " + whereabouts(fibers);
        return false;
    }
    last_vote = std::exchange(vote, 0);
    for (Fiber& fiber : fibers)
        fiber.state = State::READY;
    return true;
}

// Runs every thread to its next barrier, in a random order.
void run_apart(std::vector<Fiber>& fibers) {
    std::vector<Fiber*> order;
    for (Fiber& fiber : fibers)
        order.push_back(&fiber);
    std::shuffle(order.begin(), order.end(), random_order);
    for (Fiber* fiber : order)
        if (fiber->state == State::READY)
            resume(*fiber);
}

// Runs one basic block of the threads of a warp that stand lowest in the innermost
// function; false if all of the warp wait or are done.
bool step(Fiber* warp, std::size_t threads) {
    const auto stands = [](const Fiber& fiber) {
        return std::pair(-fiber.depth, fiber.code);
    };
    const Fiber* lowest = nullptr;
    for (std::size_t i = 0; i < threads; ++i)
        if (warp[i].state == State::READY &&
            (lowest == nullptr || stands(warp[i]) < stands(*lowest)))
            lowest = &warp[i];
    if (lowest == nullptr)
        return false;
    const auto here = stands(*lowest);
    std::vector<const std::vector<Access>*> accesses;
    for (std::size_t i = 0; i < threads; ++i)
        if (warp[i].state == State::READY && stands(warp[i]) == here) {
            resume(warp[i]);
            accesses.push_back(&warp[i].accesses);
        }
    address_log.step(accesses);
    for (std::size_t i = 0; i < threads; ++i)
        warp[i].accesses.clear();
    return true;
}

// Runs every warp to its next barrier, in step.
void run_in_step(std::vector<Fiber>& fibers) {
    std::vector<std::size_t> warps;
    for (std::size_t first = 0; first < fibers.size(); first += WARP)
        warps.push_back(first);
    std::shuffle(warps.begin(), warps.end(), random_order);
    for (std::size_t first : warps)
        while (step(&fibers[first], std::min(WARP, fibers.size() - first)))
            continue;
}

// What lies past the bytes asked for is no memory of the block.
void forbid_past([[maybe_unused]] std::size_t dynamic_bytes) {
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(dynamic_memory, sizeof dynamic_memory);
    ASAN_POISON_MEMORY_REGION(
        dynamic_memory + dynamic_bytes, sizeof dynamic_memory - dynamic_bytes);
#endif
}

void launch(
    unsigned blocks,
    unsigned threads,
    std::size_t dynamic_bytes,
    unsigned seed,
    const std::function<void()>& f) {
    std::vector<Fiber> fibers(threads);
    random_order.seed(seed);
    body = &f;
    place.block_extent = Uint3{threads, 1, 1};
    place.grid_extent = Uint3{blocks, 1, 1};
    const Segment shared = shared_memory();
    report.clear();
    if (dynamic_bytes > sizeof dynamic_memory)
        report = "no block has as much shared memory";
    else
        forbid_past(dynamic_bytes);
    for (unsigned block = 0; block < blocks && report.empty(); ++block) {
        place.block = Uint3{block, 0, 0};
        std::memset(shared.begin, 0xff, shared.bytes);
        std::memset(dynamic_memory, 0xff, dynamic_bytes);
        for (unsigned i = 0; i < threads; ++i)
            reset(fibers[i], i);
        do
            (in_step ? run_in_step : run_apart)(fibers);
        while (report.empty() && end_interval(fibers));
        for (const Fiber& fiber : fibers)
            for (const std::vector<Copy>& group : fiber.copies)
                if (!group.empty() && report.empty())
                    report = "a copy is never waited for";
        address_log.end_block();
    }
}

} // namespace

void* dynamic_shared() {
    return dynamic_memory;
}

void barrier(Site site) {
    running->state = State::WAITING;
    running->waits_at = site;
    yield();
}

int barrier_or(int value, Site site) {
    vote |= value;
    barrier(site);
    return last_vote;
}

void touch(const void* address, unsigned bytes, bool writes, const void* site) {
    if (in_step && running != nullptr)
        running->accesses.push_back(
            {site, reinterpret_cast<std::uintptr_t>(address), bytes, writes});
}

void enter_function() {
    if (running != nullptr)
        ++running->depth;
}

void leave_function() {
    if (running != nullptr)
        --running->depth;
}

void enter_block(const void* code) {
    if (in_step && running != nullptr) {
        running->code = code;
        yield();
    }
}

void check_aligned(const void* address, unsigned long bytes) {
    if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0)
        report = "a vector of " + std::to_string(bytes) + " bytes is not aligned";
}

void load(void* to, const void* from, unsigned long bytes) {
    touch(from, static_cast<unsigned>(bytes), false, __builtin_return_address(0));
    check_aligned(from, bytes);
    std::memcpy(to, from, bytes);
}

void complete(const Copy& copy) {
    if (copy.from != nullptr)
        std::memcpy(copy.to, copy.from, copy.bytes);
    else
        std::memset(copy.to, 0, copy.bytes);
}

// Done at once or when it is waited for, by chance: whoever reads too early finds
// nothing, whoever overwrites too early is found out.
void copy_async(void* to, const void* from, unsigned long bytes, bool exists) {
    const auto* site = static_cast<const char*>(__builtin_return_address(0));
    if (exists) {
        touch(from, static_cast<unsigned>(bytes), false, site);
        check_aligned(from, bytes);
    }
    touch(to, static_cast<unsigned>(bytes), true, site + 1); // a request of its own
    check_aligned(to, bytes);
    const Copy copy{to, exists ? from : nullptr, bytes};
    if (random_order() % 2 == 0)
        complete(copy);
    else
        running->copies.back().push_back(copy);
}

void commit_copies() {
    running->copies.emplace_back();
}

void wait_copies(int groups) {
    auto& copies = running->copies;
    std::vector<Copy> due;
    while (copies.size() > static_cast<std::size_t>(groups) + 1) {
        due.insert(due.end(), copies.front().begin(), copies.front().end());
        copies.erase(copies.begin());
    }
    std::shuffle(due.begin(), due.end(), random_order);
    for (const Copy& copy : due)
        complete(copy);
}

void store(void* to, const void* from, unsigned long bytes) {
    touch(to, static_cast<unsigned>(bytes), true, __builtin_return_address(0));
    check_aligned(to, bytes);
    std::memcpy(to, from, bytes);
}

} // namespace emulation

// ---- the library's functions --------------------------------------------------------

// Logs what the next launches touch of some arrays, and after them of shared memory,
// that of the code and that of the launch; of no array: logs no more.
extern "C" void
emulate_watch(const void* const* begins, const long long* bytes, int arrays) {
    emulation::address_log.clear();
    emulation::in_step = arrays != 0;
    if (arrays == 0)
        return;
    for (int i = 0; i < arrays; ++i) {
        const auto begin = reinterpret_cast<std::uintptr_t>(begins[i]);
        emulation::address_log.watch(
            begin, begin + static_cast<std::uintptr_t>(bytes[i]));
    }
    const emulation::Segment shared = emulation::shared_memory();
    const auto begin = reinterpret_cast<std::uintptr_t>(shared.begin);
    emulation::address_log.watch(begin, begin + shared.bytes);
    const auto dynamic = reinterpret_cast<std::uintptr_t>(emulation::dynamic_memory);
    emulation::address_log.watch(dynamic, dynamic + sizeof emulation::dynamic_memory);
}

extern "C" void emulate_traffic(int region, emulation::Traffic* traffic) {
    *traffic = emulation::address_log.traffic(region);
}

using Entry = void (*)(const void* problem, void* const* pointers);

// Runs a launch; returns what went wrong, or null.
extern "C" const char* emulate(
    Entry entry,
    unsigned blocks,
    unsigned threads,
    unsigned long dynamic_bytes,
    unsigned seed,
    const void* problem,
    void* const* pointers) {
    emulation::launch(
        blocks, threads, dynamic_bytes, seed, [=] { entry(problem, pointers); });
    return emulation::report.empty() ? nullptr : emulation::report.c_str();
}
