// Fast calls: what conv_cached and pool_cached share.
//
// Both are METH_FASTCALL functions: no argument parsing, no temporary objects. Key,
// look up, make the output, run with the GIL released, return; None sends the caller
// down the slow path.
#pragma once

#include "bindings/call_cache.hpp"

#include <Python.h>

#include <exception>
#include <initializer_list>
#include <span>

namespace pyconv::bindings {

using Arguments = std::span<PyObject* const>;

// The cast CPython prescribes for functions that take an argument vector.
template <class Function>
PyCFunction as_method(Function* function) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// Sets the Python error that belongs to a C++ exception: MemoryError, ValueError for
// std::invalid_argument and std::out_of_range, RuntimeError for the rest.
void set_python_error(const std::exception_ptr& error) noexcept;

// Runs with the GIL released; false with a Python error set when it throws.
template <class Run>
bool run_released(const Run& run) {
    std::exception_ptr error;
    PyThreadState* state = PyEval_SaveThread();
    try {
        run();
    } catch (...) {
        error = std::current_exception();
    }
    PyEval_RestoreThread(state);
    if (error) {
        set_python_error(error);
        return false;
    }
    return true;
}

// False with TypeError set when the count of arguments is wrong.
bool check_count(const char* name, Py_ssize_t given, Py_ssize_t expected);

// The cached call of these arguments; null on a miss, or when `out` (the last argument)
// may share memory with one of `inputs`, which the slow path reports.
const CachedCall* find_call(
    std::uint64_t operation,
    Arguments arguments,
    std::initializer_list<PyObject*> inputs);

// A new reference: `out` itself, or a new array when it is None. Null on an error.
PyObject* output_of(const CachedCall& call, PyObject* out, int type_number);

// Remembers a plan for these arguments unless they cannot be keyed. The shape is a
// tuple of ints, the order one too or None. False with a Python error set on bad
// values.
bool remember_call(
    std::uint64_t operation,
    std::shared_ptr<const void> plan,
    PyObject* shape,
    PyObject* order,
    Arguments arguments);

// The data of an array argument; null for None.
void* data_of(PyObject* argument);

} // namespace pyconv::bindings
