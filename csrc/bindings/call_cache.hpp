// The call cache: from raw arguments straight to a plan.
//
// A call seen before costs one look-up. The key is what the slow path's decisions
// depend on, taken from the arguments without interpreting them: of an array its type,
// byte order, flags, extents and strides (never its address or contents); of a
// parameter its exact value. Exact types only, so that 1, True and 1.0 stay apart;
// whatever cannot be keyed cheaply misses and takes the slow path, which is always
// right.
//
// Everything here runs under the GIL, which is the cache's lock.
#pragma once

#include <Python.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

namespace pyconv::bindings {

// The key of one call: a short run of 64-bit words on the caller's stack.
class CallKey {
  public:
    // `operation` keeps calls of different functions apart.
    explicit CallKey(std::uint64_t operation) { put(operation); }

    // False when the argument cannot be keyed or the key would be too long.
    bool add(PyObject* argument);

    std::span<const std::uint64_t> words() const { return {words_.data(), count_}; }
    std::uint64_t hash() const;

  private:
    // conv3d with every array and pairs of padding takes 85.
    static constexpr std::size_t MOST_WORDS = 128;

    bool put(std::uint64_t word) {
        if (count_ == MOST_WORDS) {
            return false;
        }
        words_[count_++] = word;
        return true;
    }
    bool add_array(PyObject* array);
    bool add_integer(PyObject* integer);
    bool add_string(PyObject* string);
    bool add_tuple(PyObject* tuple, bool nested);

    std::size_t count_ = 0;
    std::array<std::uint64_t, MOST_WORDS> words_;
};

// What a hit needs: the plan (ConvPlan or PoolPlan, as the operation says) and the
// output array to make when the caller gave none.
struct CachedCall {
    std::uint64_t hash;
    std::vector<std::uint64_t> key;
    std::shared_ptr<const void> plan;
    std::vector<Py_ssize_t> shape;
    std::vector<int> order;
};

struct CacheInfo {
    std::size_t entries;
    std::size_t limit;
    std::size_t hits;
    std::size_t misses;
};

// A bounded map that forgets what was used longest ago.
class CallCache {
  public:
    // Null on a miss. Valid until the next call of any member.
    const CachedCall* find(const CallKey& key);
    void remember(
        const CallKey& key,
        std::shared_ptr<const void> plan,
        std::vector<Py_ssize_t> shape,
        std::vector<int> order);
    void count_miss() { ++misses_; }
    void clear();
    CacheInfo info() const;

  private:
    static constexpr std::size_t LIMIT = 512;

    std::list<CachedCall> calls_; // most recently used first
    // By hash alone: two keys with one 64-bit hash take turns, which costs misses only.
    std::unordered_map<std::uint64_t, std::list<CachedCall>::iterator> places_;
    std::size_t hits_ = 0;
    std::size_t misses_ = 0;
};

CallCache& call_cache();

// Nested: each `false` is undone by one `true`. Off: every look-up misses, nothing is
// remembered.
void set_fast_path(bool enabled);
bool fast_path_enabled();

} // namespace pyconv::bindings
