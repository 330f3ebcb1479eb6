// NumPy's C API, called from one translation unit, so its function table is private.
#include "bindings/arrays.hpp"

#include "core/memory.hpp"
#include "core/problem.hpp"

#include <atomic>
#include <pybind11/pybind11.h>

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/arrayobject.h>

#include <array>

namespace pyconv::bindings {
namespace {

const char* const OUTPUT_CAPSULE = "pyconv.output";

// NumPy has no type of its own for it: known with the first array.
std::atomic<int> bfloat16_number{NPY_NOTYPE};

PyArrayObject* as_array(PyObject* object) {
    return reinterpret_cast<PyArrayObject*>(object);
}

void release_capsule(PyObject* capsule) {
    output_release(PyCapsule_GetPointer(capsule, OUTPUT_CAPSULE));
}

PyObject* array_over(
    PyArray_Descr* dtype, int axes, npy_intp* shape, npy_intp* strides, void* data) {
    const int flags = data == nullptr ? 0 : NPY_ARRAY_WRITEABLE;
    return PyArray_NewFromDescr(
        &PyArray_Type, dtype, axes, shape, strides, data, flags, nullptr);
}

// Steals the reference to dtype, as NumPy does.
PyObject* pooled_array(
    PyArray_Descr* dtype,
    int axes,
    npy_intp* shape,
    npy_intp* strides,
    std::size_t bytes) {
    void* block = nullptr;
    try {
        block = output_allocate(bytes);
    } catch (const std::bad_alloc& error) {
        Py_DECREF(dtype);
        PyErr_SetString(PyExc_MemoryError, error.what());
        return nullptr;
    } catch (const std::exception& error) {
        Py_DECREF(dtype);
        PyErr_SetString(PyExc_ValueError, error.what());
        return nullptr;
    }
    PyObject* base = PyCapsule_New(block, OUTPUT_CAPSULE, release_capsule);
    if (base == nullptr) {
        Py_DECREF(dtype);
        output_release(block);
        return nullptr;
    }
    PyObject* array = array_over(dtype, axes, shape, strides, block);
    if (array == nullptr) {
        Py_DECREF(base);
        return nullptr;
    }
    // Steals base, also when it fails.
    if (PyArray_SetBaseObject(as_array(array), base) < 0) {
        Py_DECREF(array);
        return nullptr;
    }
    return array;
}

} // namespace

void import_numpy() {
    if (PyArray_ImportNumPyAPI() < 0) {
        throw pybind11::error_already_set();
    }
}

bool is_exact_array(PyObject* object) {
    return PyArray_CheckExact(object);
}

bool is_array(PyObject* object) {
    return PyArray_Check(object);
}

ArrayFacts facts_of(PyObject* object) {
    PyArrayObject* array = as_array(object);
    const auto axes = static_cast<std::size_t>(PyArray_NDIM(array));
    return ArrayFacts{
        .data = PyArray_BYTES(array),
        .type_number = PyArray_TYPE(array),
        .flags = PyArray_FLAGS(array),
        .native = PyArray_ISNOTSWAPPED(array),
        .aligned = PyArray_ISALIGNED(array),
        .item_bytes = static_cast<std::size_t>(PyArray_ITEMSIZE(array)),
        .shape = {PyArray_DIMS(array), axes},
        .strides = {PyArray_STRIDES(array), axes},
    };
}

Py_ssize_t element_count(PyObject* object) {
    return PyArray_SIZE(as_array(object));
}

ByteRange byte_range(const ArrayFacts& facts) {
    const char* begin = facts.data;
    const char* end = facts.data + facts.item_bytes;
    for (std::size_t axis = 0; axis < facts.shape.size(); ++axis) {
        if (facts.shape[axis] == 0) {
            return {facts.data, facts.data};
        }
        const Py_ssize_t reach = (facts.shape[axis] - 1) * facts.strides[axis];
        (reach < 0 ? begin : end) += reach;
    }
    return {begin, end};
}

int type_number_of(long long data_type) {
    static constexpr int NUMBERS[] = {
        NPY_FLOAT,
        NPY_DOUBLE,
        NPY_HALF,
        NPY_NOTYPE, // bfloat16: whoever defines it has it numbered at run time
        NPY_INT8,
        NPY_UINT8,
        NPY_INT16,
        NPY_UINT16,
        NPY_INT32,
        NPY_UINT32,
        NPY_INT64,
        NPY_UINT64,
        NPY_CFLOAT,
        NPY_CDOUBLE};
    return data_type == BFLOAT16 ? bfloat16_number.load(std::memory_order_relaxed)
                                 : NUMBERS[data_type];
}

void set_bfloat16_type_number(int type_number) {
    bfloat16_number.store(type_number, std::memory_order_relaxed);
}

int index_type_number() {
    return NPY_INT64;
}

PyObject* new_array(
    std::span<const Py_ssize_t> shape, std::span<const int> order, int type_number) {
    PyArray_Descr* dtype = PyArray_DescrFromType(type_number);
    if (dtype == nullptr) {
        return nullptr;
    }
    std::array<npy_intp, MOST_AXES> extents{};
    std::array<npy_intp, MOST_AXES> strides{};
    const std::size_t axes = shape.size();
    npy_intp step = PyDataType_ELSIZE(dtype);
    bool fits = axes <= extents.size();
    bool empty = false;
    for (std::size_t turn = axes; fits && turn-- > 0;) {
        const std::size_t axis =
            order.empty() ? turn : static_cast<std::size_t>(order[turn]);
        extents[axis] = shape[axis];
        strides[axis] = step;
        empty = empty || shape[axis] == 0;
        const npy_intp extent = shape[axis] == 0 ? 1 : shape[axis];
        fits = extent > 0 && !__builtin_mul_overflow(step, extent, &step);
    }
    if (!fits) {
        Py_DECREF(dtype);
        PyErr_SetString(
            PyExc_ValueError,
            "shape must hold at most 5 extents, none negative, and fewer than 2**63 "
            "bytes in all");
        return nullptr;
    }
    const int count = static_cast<int>(axes);
    const auto bytes = empty ? 0 : static_cast<std::size_t>(step);
    if (bytes < OUTPUT_POOL_MINIMUM_BYTES) {
        return array_over(dtype, count, extents.data(), strides.data(), nullptr);
    }
    return pooled_array(dtype, count, extents.data(), strides.data(), bytes);
}

int type_number_from(PyObject* dtype) {
    PyArray_Descr* found = nullptr;
    if (!PyArray_DescrConverter(dtype, &found)) {
        return -1;
    }
    const int number = found->type_num;
    const bool plain = PyTypeNum_ISNUMBER(number) || PyTypeNum_ISBOOL(number) ||
                       number == bfloat16_number.load(std::memory_order_relaxed);
    const bool native = PyArray_ISNBO(found->byteorder);
    Py_DECREF(found);
    if (!plain || !native) {
        PyErr_Format(
            PyExc_TypeError,
            "dtype must be a number in native byte order, got %R",
            dtype);
        return -1;
    }
    return number;
}

} // namespace pyconv::bindings
