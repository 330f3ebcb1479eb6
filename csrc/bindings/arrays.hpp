// Arrays: the only file, with arrays.cpp, that knows NumPy.
//
// The rest of the bindings sees facts (address, type, extents, strides in bytes) and
// asks for new arrays; NumPy's C API stays behind this header. Built with NumPy 2
// headers, which run with NumPy 1.26 as well.
#pragma once

#include <Python.h>

#include <cstddef>
#include <span>

namespace pyconv::bindings {

// NumPy has at most 64 axes, pyconv's arrays at most 5: (n, c, d, h, w).
inline constexpr int MOST_AXES = 5;

struct ArrayFacts {
    char* data;
    int type_number;
    int flags;   // contiguity, alignment, writeability: NPY_ARRAY_*
    bool native; // byte order
    bool aligned;
    std::size_t item_bytes;
    std::span<const Py_ssize_t> shape;
    std::span<const Py_ssize_t> strides; // bytes
};

// The byte range an array touches, [begin, end); empty when it has no element.
struct ByteRange {
    const char* begin;
    const char* end;
};

// Loads NumPy's C API. Throws py::error_already_set when NumPy cannot be imported.
void import_numpy();

// True for numpy.ndarray itself, false for its subclasses and everything else.
bool is_exact_array(PyObject* object);
bool is_array(PyObject* object);

// Precondition: is_array(object).
ArrayFacts facts_of(PyObject* object);
Py_ssize_t element_count(PyObject* object);
ByteRange byte_range(const ArrayFacts& facts);

// NumPy's type number of a pyconv::DataType, and of the indices. bfloat16 is no type of
// NumPy's own: its number has to be set before.
int type_number_of(long long data_type);
void set_bfloat16_type_number(int type_number);
int index_type_number();

// A new uninitialised array, contiguous when its axes are walked in `order` (slowest to
// fastest; empty: as they stand); a new reference, or null with a Python error set.
// Of a megabyte and more its memory comes from the output pool.
PyObject* new_array(
    std::span<const Py_ssize_t> shape, std::span<const int> order, int type_number);

// As NumPy's own dtype conversion: the type number of a built-in dtype in native byte
// order that holds plain bytes; -1 with a Python error set for any other.
int type_number_from(PyObject* dtype);

} // namespace pyconv::bindings
