// Pooling: algorithms, candidates, plans, and the two ways to run one.
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

constexpr std::uint64_t OPERATION = 2; // of the call cache's keys

// Positions in a fast call.
enum Argument : std::size_t { X = 1, OUT = 13, COUNT = 14 };

py::list candidates(const py::bytes& record, const OtherHost& host) {
    return candidates_of<PoolProblem>(pool_algorithms(), record, host);
}

std::shared_ptr<PoolPlan> plan(const py::bytes& record, const std::string& algorithm) {
    return std::make_shared<PoolPlan>(plan_of(
        pool_algorithms(),
        algorithm,
        problem_of<PoolProblem>(record),
        active_isa(),
        machine()));
}

void run(
    const PoolPlan& plan,
    const py::object& x,
    const py::object& y,
    const py::object& indices) {
    const PoolProblem& problem = plan.problem;
    const int type = type_number_of(problem.dtype);
    const long long outputs = problem.n * problem.c * volume(problem.output);
    check_array("x", x, type, problem.n * problem.c * volume(problem.input));
    check_array("y", y, type, outputs);
    const bool indexed = problem.return_indices != 0;
    if (indexed) {
        check_array("indices", indices, index_type_number(), outputs);
    }
    const PoolTensors tensors{
        .x = data_of(x.ptr()),
        .y = data_of(y.ptr()),
        .indices = indexed ? static_cast<int64*>(data_of(indices.ptr())) : nullptr,
    };
    if (!run_released([&] { plan.algorithm->run(plan, tensors); })) {
        throw py::error_already_set();
    }
}

PyObject* cached(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count("pool_cached", count, COUNT)) {
        return nullptr;
    }
    const Arguments given(values, COUNT);
    const CachedCall* call = find_call(OPERATION, given, {given[X]});
    if (call == nullptr) {
        Py_RETURN_NONE;
    }
    // Our own share of the plan: another thread may evict the entry while we run.
    const auto plan = std::static_pointer_cast<const PoolPlan>(call->plan);
    const bool indexed = plan->problem.return_indices != 0;
    PyObject* y = output_of(*call, given[OUT], type_number_of(plan->problem.dtype));
    PyObject* indices = indexed && y != nullptr
                            ? output_of(*call, Py_None, index_type_number())
                            : nullptr;
    if (y == nullptr || (indexed && indices == nullptr)) {
        Py_XDECREF(y);
        return nullptr;
    }
    const PoolTensors tensors{
        .x = data_of(given[X]),
        .y = data_of(y),
        .indices = indexed ? static_cast<int64*>(data_of(indices)) : nullptr,
    };
    PyObject* result = nullptr;
    if (run_released([&] { plan->algorithm->run(*plan, tensors); })) {
        result = indexed ? PyTuple_Pack(2, y, indices) : Py_NewRef(y);
    }
    Py_DECREF(y);
    Py_XDECREF(indices);
    return result;
}

PyObject* remember(PyObject*, PyObject* const* values, Py_ssize_t count) {
    return remember_plan<PoolPlan>("pool_remember", OPERATION, COUNT, values, count);
}

PyMethodDef fast_functions[] = {
    {"pool_cached",
     as_method(cached),
     METH_FASTCALL,
     "Run a pooling whose plan is remembered; None when it is not."},
    {"pool_remember",
     as_method(remember),
     METH_FASTCALL,
     "Remember a plan for exactly these arguments."},
    {nullptr, nullptr, 0, nullptr},
};

} // namespace

void register_pool(py::module_& module) {
    py::class_<PoolPlan, std::shared_ptr<PoolPlan>>(
        module, "PoolPlan", "How one pooling problem is computed.")
        .def_property_readonly(
            "algorithm", [](const PoolPlan& plan) { return plan.algorithm->name; })
        .def_property_readonly(
            "isa", [](const PoolPlan& plan) { return plan.isa->name; })
        .def_readonly("workspace_bytes", &PoolPlan::workspace_bytes)
        .def_property_readonly("blocking", &blocking_of<PoolPlan>)
        .def("__repr__", [](const PoolPlan& plan) {
            return describe("PoolPlan", plan);
        });
    module.def("pool_algorithms", [] { return algorithm_names(pool_algorithms()); });
    module.def(
        "pool_candidates",
        &candidates,
        py::arg("record"),
        py::arg("host") = py::none());
    module.def("pool_plan", &plan, py::arg("record"), py::arg("algorithm"));
    module.def(
        "pool_run",
        &run,
        py::arg("plan"),
        py::arg("x"),
        py::arg("y"),
        py::arg("indices").none(true));
    if (PyModule_AddFunctions(module.ptr(), fast_functions) < 0) {
        throw py::error_already_set();
    }
}

} // namespace pyconv::bindings
