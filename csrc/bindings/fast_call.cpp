// Keying, overlap test and output of a fast call.
#include "bindings/fast_call.hpp"

#include "bindings/arrays.hpp"

#include <new>
#include <optional>
#include <stdexcept>
#include <utility>

namespace pyconv::bindings {
namespace {

// Ranges, not elements: a false alarm costs a slow call, which decides exactly.
bool may_overlap(PyObject* out, std::initializer_list<PyObject*> inputs) {
    const ByteRange written = byte_range(facts_of(out));
    for (PyObject* input : inputs) {
        if (input == Py_None) {
            continue;
        }
        const ByteRange read = byte_range(facts_of(input));
        if (read.begin < written.end && written.begin < read.end) {
            return true;
        }
    }
    return false;
}

template <class Integer>
std::optional<std::vector<Integer>> integers_of(PyObject* tuple) {
    std::vector<Integer> values;
    if (tuple == Py_None) {
        return values;
    }
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "expected a tuple of ints");
        return std::nullopt;
    }
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(tuple); ++index) {
        const Py_ssize_t value = PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, index));
        if (value == -1 && PyErr_Occurred() != nullptr) {
            return std::nullopt;
        }
        values.push_back(static_cast<Integer>(value));
    }
    return values;
}

bool is_permutation(const std::vector<int>& order, std::size_t axes) {
    unsigned seen = 0;
    for (const int axis : order) {
        if (axis < 0 || static_cast<std::size_t>(axis) >= axes) {
            return false;
        }
        seen |= 1U << axis;
    }
    return order.size() == axes && seen == (1U << axes) - 1;
}

} // namespace

void set_python_error(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const std::bad_alloc& failure) {
        PyErr_SetString(PyExc_MemoryError, failure.what());
    } catch (const std::invalid_argument& failure) {
        PyErr_SetString(PyExc_ValueError, failure.what());
    } catch (const std::out_of_range& failure) {
        PyErr_SetString(PyExc_ValueError, failure.what());
    } catch (const std::exception& failure) {
        PyErr_SetString(PyExc_RuntimeError, failure.what());
    } catch (...) {
        PyErr_SetString(PyExc_RuntimeError, "unknown C++ exception");
    }
}

bool check_count(const char* name, Py_ssize_t given, Py_ssize_t expected) {
    if (given == expected) {
        return true;
    }
    PyErr_Format(
        PyExc_TypeError,
        "%s takes exactly %zd arguments, got %zd",
        name,
        expected,
        given);
    return false;
}

const CachedCall* find_call(
    std::uint64_t operation,
    Arguments arguments,
    std::initializer_list<PyObject*> inputs) {
    CallCache& cache = call_cache();
    if (!fast_path_enabled()) {
        cache.count_miss();
        return nullptr;
    }
    CallKey key(operation);
    for (PyObject* argument : arguments) {
        if (!key.add(argument)) {
            cache.count_miss();
            return nullptr;
        }
    }
    const CachedCall* call = cache.find(key);
    PyObject* out = arguments.back();
    if (call != nullptr && out != Py_None && may_overlap(out, inputs)) {
        return nullptr;
    }
    return call;
}

PyObject* output_of(const CachedCall& call, PyObject* out, int type_number) {
    if (out != Py_None) {
        Py_INCREF(out);
        return out;
    }
    return new_array(call.shape, call.order, type_number);
}

bool remember_call(
    std::uint64_t operation,
    std::shared_ptr<const void> plan,
    PyObject* shape,
    PyObject* order,
    Arguments arguments) {
    auto extents = integers_of<Py_ssize_t>(shape);
    auto axes = integers_of<int>(order);
    if (!extents || !axes) {
        return false;
    }
    const std::size_t count = extents->size();
    if (count > MOST_AXES || (!axes->empty() && !is_permutation(*axes, count))) {
        PyErr_SetString(
            PyExc_ValueError,
            "out_order must be a permutation of the axes of out_shape, at most 5");
        return false;
    }
    CallKey key(operation);
    for (PyObject* argument : arguments) {
        if (!key.add(argument)) {
            return true;
        }
    }
    if (fast_path_enabled()) {
        call_cache().remember(
            key, std::move(plan), std::move(*extents), std::move(*axes));
    }
    return true;
}

void* data_of(PyObject* argument) {
    return argument == Py_None ? nullptr : facts_of(argument).data;
}

} // namespace pyconv::bindings
