// Conversion: halves and integers as floats, and back.
#include "bindings/register.hpp"

#include "bindings/arrays.hpp"
#include "core/element.hpp"
#include "cpu/convert.hpp"
#include "cpu/isa/registry.hpp"

#include <stdexcept>

namespace py = pybind11;

namespace pyconv::bindings {
namespace {

// Both arrays of `shape`, of the types named; throws what Python is to see.
ConvertedArray
pair_of(const py::object& from, int64 from_type, const py::object& to, int64 to_type) {
    check_array("source", from, type_number_of(from_type), element_count(from.ptr()));
    check_array("target", to, type_number_of(to_type), element_count(from.ptr()));
    const ArrayFacts source = facts_of(from.ptr());
    const ArrayFacts target = facts_of(to.ptr());
    ConvertedArray array{};
    array.from = source.data;
    array.to = target.data;
    array.axes = static_cast<int>(source.shape.size());
    if (source.shape.size() != target.shape.size() ||
        array.axes > MOST_CONVERTED_AXES) {
        throw std::invalid_argument("source and target need one shape, at most 5 axes");
    }
    for (std::size_t axis = 0; axis < source.shape.size(); ++axis) {
        const auto from_step = source.strides[axis];
        const auto to_step = target.strides[axis];
        const auto from_bytes = static_cast<Py_ssize_t>(source.item_bytes);
        const auto to_bytes = static_cast<Py_ssize_t>(target.item_bytes);
        if (source.shape[axis] != target.shape[axis] || from_step % from_bytes != 0 ||
            to_step % to_bytes != 0) {
            throw std::invalid_argument("source and target need one shape");
        }
        array.extent[axis] = source.shape[axis];
        array.from_pitch[axis] = from_step / from_bytes;
        array.to_pitch[axis] = to_step / to_bytes;
    }
    return array;
}

void check_type(int64 dtype) {
    if (dtype < 0 || dtype >= DATA_TYPES || widened_type(dtype) == dtype) {
        throw std::invalid_argument("dtype is no code of a type that can be widened");
    }
}

void widen_array(int64 dtype, const py::object& source, const py::object& target) {
    check_type(dtype);
    const ConvertedArray array = pair_of(source, dtype, target, widened_type(dtype));
    if (!run_released([&] { widen(active_isa(), dtype, array); })) {
        throw py::error_already_set();
    }
}

void narrow_array(int64 dtype, const py::object& source, const py::object& target) {
    check_type(dtype);
    const ConvertedArray array = pair_of(source, widened_type(dtype), target, dtype);
    if (!run_released([&] { narrow(active_isa(), dtype, array); })) {
        throw py::error_already_set();
    }
}

// Of every code: bytes of an element, code of a result, code of a sum and a bias.
py::list element_types() {
    py::list types;
    for (int64 dtype = 0; dtype < DATA_TYPES; ++dtype) {
        types.append(
            py::make_tuple(element_bytes(dtype), result_type(dtype), sum_type(dtype)));
    }
    return types;
}

} // namespace

void register_convert(py::module_& module) {
    module.def("element_types", &element_types);
    module.def(
        "widen", &widen_array, py::arg("dtype"), py::arg("source"), py::arg("target"));
    module.def(
        "narrow",
        &narrow_array,
        py::arg("dtype"),
        py::arg("source"),
        py::arg("target"));
}

} // namespace pyconv::bindings
