// Weight gradients: algorithms, candidates, plans, and the way to run one.
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

constexpr std::uint64_t OPERATION = 3; // of the call cache's keys

// Positions in a fast call.
enum Argument : std::size_t { X = 1, GRAD = 3, OUT = 10, COUNT = 11 };

py::list candidates(const py::bytes& record, const OtherHost& host) {
    return candidates_of<ConvProblem>(weight_algorithms(), record, host);
}

std::shared_ptr<WeightPlan>
plan(const py::bytes& record, const std::string& algorithm) {
    return std::make_shared<WeightPlan>(plan_of(
        weight_algorithms(),
        algorithm,
        problem_of<ConvProblem>(record),
        active_isa(),
        machine()));
}

void run(
    const WeightPlan& plan,
    const py::object& x,
    const py::object& grad,
    const py::object& weight) {
    const ConvProblem& problem = plan.problem;
    const int type = type_number_of(problem.dtype);
    check_array("x", x, type, problem.n * problem.c * volume(problem.input));
    check_array("grad", grad, type, problem.n * problem.k * volume(problem.output));
    check_array(
        "weight",
        weight,
        type,
        problem.k * (problem.c / problem.groups) * volume(problem.kernel));
    const WeightTensors tensors{
        .x = data_of(x.ptr()),
        .grad = data_of(grad.ptr()),
        .weight = data_of(weight.ptr()),
    };
    if (!run_released([&] { plan.algorithm->run(plan, tensors); })) {
        throw py::error_already_set();
    }
}

PyObject* cached(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count("weight_cached", count, COUNT)) {
        return nullptr;
    }
    const Arguments given(values, COUNT);
    const CachedCall* call = find_call(OPERATION, given, {given[X], given[GRAD]});
    if (call == nullptr) {
        Py_RETURN_NONE;
    }
    // Our own share of the plan: another thread may evict the entry while we run.
    const auto plan = std::static_pointer_cast<const WeightPlan>(call->plan);
    PyObject* result =
        output_of(*call, given[OUT], type_number_of(plan->problem.dtype));
    if (result == nullptr) {
        return nullptr;
    }
    const WeightTensors tensors{
        .x = data_of(given[X]),
        .grad = data_of(given[GRAD]),
        .weight = data_of(result),
    };
    if (!run_released([&] { plan->algorithm->run(*plan, tensors); })) {
        Py_DECREF(result);
        return nullptr;
    }
    return result;
}

PyObject* remember(PyObject*, PyObject* const* values, Py_ssize_t count) {
    return remember_plan<WeightPlan>(
        "weight_remember", OPERATION, COUNT, values, count);
}

PyMethodDef fast_functions[] = {
    {"weight_cached",
     as_method(cached),
     METH_FASTCALL,
     "Run a weight gradient whose plan is remembered; None when it is not."},
    {"weight_remember",
     as_method(remember),
     METH_FASTCALL,
     "Remember a plan for exactly these arguments."},
    {nullptr, nullptr, 0, nullptr},
};

} // namespace

void register_weight(py::module_& module) {
    py::class_<WeightPlan, std::shared_ptr<WeightPlan>>(
        module, "WeightPlan", "How one weight gradient is computed.")
        .def_property_readonly(
            "algorithm", [](const WeightPlan& plan) { return plan.algorithm->name; })
        .def_property_readonly(
            "isa", [](const WeightPlan& plan) { return plan.isa->name; })
        .def_readonly("workspace_bytes", &WeightPlan::workspace_bytes)
        .def_property_readonly("blocking", &blocking_of<WeightPlan>)
        .def("__repr__", [](const WeightPlan& plan) {
            return describe("WeightPlan", plan);
        });
    module.def(
        "weight_algorithms", [] { return algorithm_names(weight_algorithms()); });
    module.def(
        "weight_candidates",
        &candidates,
        py::arg("record"),
        py::arg("host") = py::none());
    module.def("weight_plan", &plan, py::arg("record"), py::arg("algorithm"));
    module.def(
        "weight_run",
        &run,
        py::arg("plan"),
        py::arg("x"),
        py::arg("grad"),
        py::arg("weight"));
    if (PyModule_AddFunctions(module.ptr(), fast_functions) < 0) {
        throw py::error_already_set();
    }
}

} // namespace pyconv::bindings
