// Every word group of a key opens with a tag word that fixes how many words follow, so
// two different argument lists never write the same words.
#include "bindings/call_cache.hpp"

#include "bindings/arrays.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace pyconv::bindings {
namespace {

enum Tag : std::uint64_t {
    TAG_NONE = 1,
    TAG_FALSE,
    TAG_TRUE,
    TAG_INTEGER,
    TAG_FLOAT,
    TAG_STRING,
    TAG_TUPLE,
    TAG_ARRAY,
};

constexpr unsigned TAG_BITS = 8;
constexpr Py_ssize_t LONGEST_STRING = 64;

int switched_off = 0;

} // namespace

bool CallKey::add(PyObject* argument) {
    if (argument == Py_None) {
        return put(TAG_NONE);
    }
    if (is_exact_array(argument)) {
        return add_array(argument);
    }
    if (PyLong_CheckExact(argument)) {
        return add_integer(argument);
    }
    if (PyUnicode_CheckExact(argument)) {
        return add_string(argument);
    }
    if (PyFloat_CheckExact(argument)) {
        const auto bits = std::bit_cast<std::uint64_t>(PyFloat_AS_DOUBLE(argument));
        return put(TAG_FLOAT) && put(bits);
    }
    if (PyTuple_CheckExact(argument)) {
        return add_tuple(argument, false);
    }
    if (PyBool_Check(argument)) {
        return put(argument == Py_True ? TAG_TRUE : TAG_FALSE);
    }
    return false;
}

bool CallKey::add_array(PyObject* array) {
    const ArrayFacts facts = facts_of(array);
    const std::size_t axes = facts.shape.size();
    if (count_ + 1 + 2 * axes > MOST_WORDS) {
        return false;
    }
    // Flags stay below 2**15, type numbers below 2**16, axes below 2**7.
    put(TAG_ARRAY | axes << TAG_BITS | static_cast<std::uint64_t>(facts.native) << 15 |
        static_cast<std::uint64_t>(facts.type_number & 0xffff) << 16 |
        static_cast<std::uint64_t>(facts.flags) << 32);
    for (std::size_t axis = 0; axis < axes; ++axis) {
        put(static_cast<std::uint64_t>(facts.shape[axis]));
        put(static_cast<std::uint64_t>(facts.strides[axis]));
    }
    return true;
}

bool CallKey::add_integer(PyObject* integer) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(integer, &overflow);
    return overflow == 0 && put(TAG_INTEGER) && put(static_cast<std::uint64_t>(value));
}

bool CallKey::add_string(PyObject* string) {
    const Py_ssize_t length = PyUnicode_GET_LENGTH(string);
    if (!PyUnicode_IS_COMPACT_ASCII(string) || length > LONGEST_STRING) {
        return false;
    }
    const auto bytes = static_cast<std::size_t>(length);
    const std::size_t words = (bytes + 7) / 8;
    if (count_ + 1 + words > MOST_WORDS) {
        return false;
    }
    put(TAG_STRING | bytes << TAG_BITS);
    if (words > 0) {
        words_[count_ + words - 1] = 0; // the end of the last word
        std::memcpy(&words_[count_], PyUnicode_1BYTE_DATA(string), bytes);
        count_ += words;
    }
    return true;
}

bool CallKey::add_tuple(PyObject* tuple, bool nested) {
    const Py_ssize_t size = PyTuple_GET_SIZE(tuple);
    if (!put(TAG_TUPLE | static_cast<std::uint64_t>(size) << TAG_BITS)) {
        return false;
    }
    for (Py_ssize_t index = 0; index < size; ++index) {
        PyObject* item = PyTuple_GET_ITEM(tuple, index);
        if (PyLong_CheckExact(item)) {
            if (!add_integer(item)) {
                return false;
            }
        } else if (nested || !PyTuple_CheckExact(item) || !add_tuple(item, true)) {
            return false;
        }
    }
    return true;
}

std::uint64_t CallKey::hash() const {
    // Multiply and fold (wyhash's step); equality is checked word by word afterwards.
    __extension__ using Wide = unsigned __int128;
    std::uint64_t state = 0x9e3779b97f4a7c15U;
    for (std::size_t index = 0; index < count_; ++index) {
        const Wide product =
            static_cast<Wide>(state ^ words_[index]) * 0xd6e8feb86659fd93U;
        state = static_cast<std::uint64_t>(product >> 64) ^
                static_cast<std::uint64_t>(product);
    }
    return state;
}

const CachedCall* CallCache::find(const CallKey& key) {
    const auto place = places_.find(key.hash());
    if (place == places_.end() ||
        !std::ranges::equal(place->second->key, key.words())) {
        ++misses_;
        return nullptr;
    }
    ++hits_;
    calls_.splice(calls_.begin(), calls_, place->second);
    return &*place->second;
}

void CallCache::remember(
    const CallKey& key,
    std::shared_ptr<const void> plan,
    std::vector<Py_ssize_t> shape,
    std::vector<int> order) {
    const std::uint64_t hash = key.hash();
    if (const auto place = places_.find(hash); place != places_.end()) {
        calls_.erase(place->second);
        places_.erase(place);
    }
    if (calls_.size() == LIMIT) {
        places_.erase(calls_.back().hash);
        calls_.pop_back();
    }
    const auto words = key.words();
    calls_.push_front(
        CachedCall{
            .hash = hash,
            .key = {words.begin(), words.end()},
            .plan = std::move(plan),
            .shape = std::move(shape),
            .order = std::move(order),
        });
    places_[hash] = calls_.begin();
}

void CallCache::clear() {
    places_.clear();
    calls_.clear();
    hits_ = 0;
    misses_ = 0;
}

CacheInfo CallCache::info() const {
    return CacheInfo{
        .entries = calls_.size(),
        .limit = LIMIT,
        .hits = hits_,
        .misses = misses_,
    };
}

CallCache& call_cache() {
    static CallCache* const cache = new CallCache; // outlives the interpreter
    return *cache;
}

void set_fast_path(bool enabled) {
    switched_off = std::max(0, switched_off + (enabled ? -1 : 1));
}

bool fast_path_enabled() {
    return switched_off == 0;
}

} // namespace pyconv::bindings
