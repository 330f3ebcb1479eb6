// Operations that make one array of one other: their algorithms, candidates and plans
// by the operation's name, and the way to run one.
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
#include <vector>

namespace py = pybind11;

namespace pyconv::bindings {
namespace {

constexpr std::uint64_t OPERATION = 7; // of the call cache's keys

// Positions in a fast call: the public function's name, its array, five parameters.
enum Argument : std::size_t { FROM = 1, OUT = 7, COUNT = 8 };

// Throws std::invalid_argument for an operation that nothing is registered for.
std::vector<const UnaryAlgorithm*> algorithms_of(const std::string& operation) {
    std::vector<const UnaryAlgorithm*> found;
    for (const UnaryAlgorithm* algorithm : unary_algorithms()) {
        if (operation == algorithm->operation) {
            found.push_back(algorithm);
        }
    }
    if (found.empty()) {
        throw std::invalid_argument("no operation is called '" + operation + "'");
    }
    return found;
}

py::list candidates(
    const std::string& operation, const py::bytes& record, const OtherHost& host) {
    return candidates_of<ConvProblem>(algorithms_of(operation), record, host);
}

std::shared_ptr<UnaryPlan> plan(
    const std::string& operation,
    const py::bytes& record,
    const std::string& algorithm) {
    return std::make_shared<UnaryPlan>(plan_of(
        algorithms_of(operation),
        algorithm,
        problem_of<ConvProblem>(record),
        active_isa(),
        machine()));
}

void run(const UnaryPlan& plan, const py::object& from, const py::object& to) {
    const int type = type_number_of(plan.problem.dtype);
    check_array("from", from, type, plan.algorithm->from_elements(plan.problem));
    check_array("to", to, type, plan.algorithm->to_elements(plan.problem));
    const UnaryTensors tensors{.from = data_of(from.ptr()), .to = data_of(to.ptr())};
    if (!run_released([&] { plan.algorithm->run(plan, tensors); })) {
        throw py::error_already_set();
    }
}

PyObject* cached(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count("unary_cached", count, COUNT)) {
        return nullptr;
    }
    const Arguments given(values, COUNT);
    const CachedCall* call = find_call(OPERATION, given, {given[FROM]});
    if (call == nullptr) {
        Py_RETURN_NONE;
    }
    // Our own share of the plan: another thread may evict the entry while we run.
    const auto plan = std::static_pointer_cast<const UnaryPlan>(call->plan);
    PyObject* result =
        output_of(*call, given[OUT], type_number_of(plan->problem.dtype));
    if (result == nullptr) {
        return nullptr;
    }
    const UnaryTensors tensors{.from = data_of(given[FROM]), .to = data_of(result)};
    if (!run_released([&] { plan->algorithm->run(*plan, tensors); })) {
        Py_DECREF(result);
        return nullptr;
    }
    return result;
}

PyObject* remember(PyObject*, PyObject* const* values, Py_ssize_t count) {
    return remember_plan<UnaryPlan>("unary_remember", OPERATION, COUNT, values, count);
}

PyMethodDef fast_functions[] = {
    {"unary_cached",
     as_method(cached),
     METH_FASTCALL,
     "Run an operation whose plan is remembered; None when it is not."},
    {"unary_remember",
     as_method(remember),
     METH_FASTCALL,
     "Remember a plan for exactly these arguments."},
    {nullptr, nullptr, 0, nullptr},
};

} // namespace

void register_unary(py::module_& module) {
    py::class_<UnaryPlan, std::shared_ptr<UnaryPlan>>(
        module, "UnaryPlan", "How one array is made of one other.")
        .def_property_readonly(
            "algorithm", [](const UnaryPlan& plan) { return plan.algorithm->name; })
        .def_property_readonly(
            "isa", [](const UnaryPlan& plan) { return plan.isa->name; })
        .def_readonly("workspace_bytes", &UnaryPlan::workspace_bytes)
        .def_property_readonly("blocking", &blocking_of<UnaryPlan>)
        .def("__repr__", [](const UnaryPlan& plan) {
            return describe("UnaryPlan", plan);
        });
    module.def(
        "unary_algorithms",
        [](const std::string& operation) {
            return algorithm_names(algorithms_of(operation));
        },
        py::arg("operation"));
    module.def(
        "unary_candidates",
        &candidates,
        py::arg("operation"),
        py::arg("record"),
        py::arg("host") = py::none());
    module.def(
        "unary_plan",
        &plan,
        py::arg("operation"),
        py::arg("record"),
        py::arg("algorithm"));
    module.def(
        "unary_run", &run, py::arg("plan"), py::arg("source"), py::arg("target"));
    if (PyModule_AddFunctions(module.ptr(), fast_functions) < 0) {
        throw py::error_already_set();
    }
}

} // namespace pyconv::bindings
