// Control: instruction set, machine, threads, output memory, the fast path.
#include "bindings/register.hpp"

#include "bindings/arrays.hpp"
#include "bindings/call_cache.hpp"
#include "core/machine.hpp"
#include "core/memory.hpp"
#include "core/threads.hpp"
#include "cpu/isa/registry.hpp"

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

namespace py = pybind11;
using namespace py::literals;

namespace pyconv::bindings {
namespace {

py::tuple isa_names() {
    const auto tables = isa_tables();
    py::tuple names(tables.size());
    for (std::size_t index = 0; index < tables.size(); ++index) {
        names[index] = tables[index]->name;
    }
    return names;
}

void choose_isa(const std::string& name) {
    if (!set_isa(name.c_str())) {
        throw py::value_error(
            py::str("this machine runs {}, not {!r}").format(isa_names(), name));
    }
    // Remembered plans hold the old table.
    call_cache().clear();
}

py::dict machine_facts() {
    const Machine& host = machine();
    const IsaTable& isa = active_isa();
    return py::dict(
        "cores"_a = host.cores,
        "l1_bytes"_a = host.l1_bytes,
        "l2_bytes"_a = host.l2_bytes,
        "l3_bytes"_a = host.l3_bytes,
        "isa"_a = isa.name,
        "vector_bytes"_a = isa.vector_bytes,
        "model"_a = host.model);
}

py::object empty(
    const std::vector<Py_ssize_t>& shape,
    const std::optional<std::vector<int>>& order,
    const py::object& dtype) {
    const int type_number = type_number_from(dtype.ptr());
    if (type_number < 0) {
        throw py::error_already_set();
    }
    const std::vector<int> axes = order.value_or(std::vector<int>{});
    std::vector<bool> seen(shape.size(), false);
    for (const int axis : axes) {
        if (axis >= 0 && static_cast<std::size_t>(axis) < shape.size()) {
            seen[static_cast<std::size_t>(axis)] = true;
        }
    }
    for (const bool found : seen) {
        if (order && (!found || axes.size() != shape.size())) {
            throw py::value_error("order must be a permutation of the axes");
        }
    }
    PyObject* array = new_array(shape, axes, type_number);
    if (array == nullptr) {
        throw py::error_already_set();
    }
    return py::reinterpret_steal<py::object>(array);
}

py::dict output_pool_facts() {
    const OutputPoolState state = output_pool_state();
    return py::dict(
        "held_bytes"_a = state.held_bytes,
        "in_use_bytes"_a = state.in_use_bytes,
        "limit_bytes"_a = state.limit_bytes,
        "hits"_a = state.hits,
        "misses"_a = state.misses);
}

py::dict fast_path_facts() {
    const CacheInfo info = call_cache().info();
    return py::dict(
        "entries"_a = info.entries,
        "limit"_a = info.limit,
        "hits"_a = info.hits,
        "misses"_a = info.misses);
}

} // namespace

void check_array(
    const char* name, const py::handle& argument, int type_number, long long count) {
    if (!is_array(argument.ptr())) {
        throw py::type_error(std::string(name) + " must be a numpy.ndarray");
    }
    const ArrayFacts facts = facts_of(argument.ptr());
    if (facts.type_number != type_number || !facts.native || !facts.aligned) {
        throw py::type_error(
            std::string(name) +
            " must be aligned, in native byte order and of the plan's dtype");
    }
    const long long given = element_count(argument.ptr());
    if (given != count) {
        throw py::value_error(
            std::string(name) + " holds " + std::to_string(given) +
            " elements, the plan expects " + std::to_string(count));
    }
}

void register_control(py::module_& module) {
    module.def("isa_names", &isa_names);
    module.def("active_isa", [] { return active_isa().name; });
    module.def("set_isa", &choose_isa, py::arg("name"));
    module.def("machine", &machine_facts);
    module.def("get_num_threads", &num_threads);
    module.def("set_num_threads", &set_num_threads, py::arg("count"));
    module.def("empty", &empty, py::arg("shape"), py::arg("order"), py::arg("dtype"));
    module.def("set_bfloat16", &set_bfloat16_type_number, py::arg("type_number"));
    module.def("output_pool", &output_pool_facts);
    module.def("empty_output_pool", &empty_output_pool);
    module.def("set_output_pool_limit", &set_output_pool_limit, py::arg("limit_bytes"));
    module.def("set_fast_path", &set_fast_path, py::arg("enabled"));
    module.def("fast_path_info", &fast_path_facts);
    module.def("clear_fast_path", [] { call_cache().clear(); });
}

} // namespace pyconv::bindings
