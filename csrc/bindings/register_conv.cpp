// Convolution: algorithms, candidates, plans, and the two ways to run one.
#include "bindings/register.hpp"

#include "bindings/arrays.hpp"
#include "bindings/fast_call.hpp"
#include "core/machine.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/isa/registry.hpp"
#include "cpu/plan.hpp"
#include "cpu/registry.hpp"

#include <memory>
#include <string>

namespace py = pybind11;

namespace pyconv::bindings {
namespace {

constexpr std::uint64_t OPERATION = 1; // of the call cache's keys

// Positions in a fast call.
enum Argument : std::size_t {
    X = 1,
    WEIGHT = 2,
    BIAS = 3,
    RESIDUAL = 11,
    OUT = 14,
    COUNT = 15,
};

py::list candidates(const py::bytes& record) {
    const auto problem = problem_of<ConvProblem>(record);
    py::list found;
    for (const ConvAlgorithm* algorithm : conv_algorithms()) {
        found.append(candidate(*algorithm, problem, active_isa(), machine()));
    }
    return found;
}

std::shared_ptr<ConvPlan> plan(const py::bytes& record, const std::string& algorithm) {
    return std::make_shared<ConvPlan>(plan_of(
        conv_algorithms(),
        algorithm,
        problem_of<ConvProblem>(record),
        active_isa(),
        machine()));
}

void run(
    const ConvPlan& plan,
    const py::object& x,
    const py::object& weight,
    const py::object& bias,
    const py::object& residual,
    const py::object& y) {
    const ConvProblem& problem = plan.problem;
    const int type = type_number_of(problem.dtype);
    const long long outputs = problem.n * problem.k * volume(problem.output);
    check_array("x", x, type, problem.n * problem.c * volume(problem.input));
    check_array(
        "weight",
        weight,
        type,
        problem.k * (problem.c / problem.groups) * volume(problem.kernel));
    check_array("y", y, type, outputs);
    if (problem.has_bias != 0) {
        check_array("bias", bias, type, problem.k);
    }
    if (problem.has_residual != 0) {
        check_array("residual", residual, type, outputs);
    }
    const ConvTensors tensors{
        .x = data_of(x.ptr()),
        .weight = data_of(weight.ptr()),
        .bias = problem.has_bias != 0 ? data_of(bias.ptr()) : nullptr,
        .residual = problem.has_residual != 0 ? data_of(residual.ptr()) : nullptr,
        .y = data_of(y.ptr()),
    };
    if (!run_released([&] { plan.algorithm->run(plan, tensors); })) {
        throw py::error_already_set();
    }
}

PyObject* cached(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count("conv_cached", count, COUNT)) {
        return nullptr;
    }
    const Arguments given(values, COUNT);
    const CachedCall* call = find_call(
        OPERATION, given, {given[X], given[WEIGHT], given[BIAS], given[RESIDUAL]});
    if (call == nullptr) {
        Py_RETURN_NONE;
    }
    // Our own share of the plan: another thread may evict the entry while we run.
    const auto plan = std::static_pointer_cast<const ConvPlan>(call->plan);
    PyObject* y = output_of(*call, given[OUT], type_number_of(plan->problem.dtype));
    if (y == nullptr) {
        return nullptr;
    }
    const ConvTensors tensors{
        .x = data_of(given[X]),
        .weight = data_of(given[WEIGHT]),
        .bias = data_of(given[BIAS]),
        .residual = data_of(given[RESIDUAL]),
        .y = data_of(y),
    };
    if (!run_released([&] { plan->algorithm->run(*plan, tensors); })) {
        Py_DECREF(y);
        return nullptr;
    }
    return y;
}

PyObject* remember(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count("conv_remember", count, 3 + COUNT)) {
        return nullptr;
    }
    try {
        auto plan = py::handle(values[0]).cast<std::shared_ptr<ConvPlan>>();
        const Arguments given(values + 3, COUNT);
        if (!remember_call(OPERATION, std::move(plan), values[1], values[2], given)) {
            return nullptr;
        }
    } catch (const py::cast_error&) {
        PyErr_SetString(PyExc_TypeError, "plan must be a ConvPlan");
        return nullptr;
    } catch (...) {
        set_python_error(std::current_exception());
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyMethodDef fast_functions[] = {
    {"conv_cached",
     as_method(cached),
     METH_FASTCALL,
     "Run a convolution whose plan is remembered; None when it is not."},
    {"conv_remember",
     as_method(remember),
     METH_FASTCALL,
     "Remember a plan for exactly these arguments."},
    {nullptr, nullptr, 0, nullptr},
};

} // namespace

void register_conv(py::module_& module) {
    py::class_<ConvPlan, std::shared_ptr<ConvPlan>>(
        module, "ConvPlan", "How one convolution problem is computed.")
        .def_property_readonly(
            "algorithm", [](const ConvPlan& plan) { return plan.algorithm->name; })
        .def_property_readonly(
            "isa", [](const ConvPlan& plan) { return plan.isa->name; })
        .def_readonly("workspace_bytes", &ConvPlan::workspace_bytes)
        .def_property_readonly("blocking", &blocking_of<ConvPlan>)
        .def("__repr__", [](const ConvPlan& plan) {
            return describe("ConvPlan", plan);
        });
    module.def("conv_algorithms", [] { return algorithm_names(conv_algorithms()); });
    module.def("conv_candidates", &candidates, py::arg("record"));
    module.def("conv_plan", &plan, py::arg("record"), py::arg("algorithm"));
    module.def(
        "conv_run",
        &run,
        py::arg("plan"),
        py::arg("x"),
        py::arg("weight"),
        py::arg("bias").none(true),
        py::arg("residual").none(true),
        py::arg("y"));
    if (PyModule_AddFunctions(module.ptr(), fast_functions) < 0) {
        throw py::error_already_set();
    }
}

} // namespace pyconv::bindings
