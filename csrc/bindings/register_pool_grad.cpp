// Gradients of pooling: algorithms, candidates, plans, and the way to run one.
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

constexpr std::uint64_t OPERATION = 4; // of the call cache's keys

// Positions in a fast call.
enum Argument : std::size_t {
    GRAD = 1,
    INDICES = 2,
    X = 3,
    Y = 4,
    OUT = 16,
    COUNT = 17,
};

py::list candidates(const py::bytes& record, const OtherHost& host) {
    return candidates_of<PoolProblem>(pool_grad_algorithms(), record, host);
}

std::shared_ptr<PoolGradPlan>
plan(const py::bytes& record, const std::string& algorithm) {
    return std::make_shared<PoolGradPlan>(plan_of(
        pool_grad_algorithms(),
        algorithm,
        problem_of<PoolProblem>(record),
        active_isa(),
        machine()));
}

void run(
    const PoolGradPlan& plan,
    const py::object& grad,
    const py::object& indices,
    const py::object& x,
    const py::object& y,
    const py::object& dx) {
    const PoolProblem& problem = plan.problem;
    const int type = type_number_of(problem.dtype);
    const long long inputs = problem.n * problem.c * volume(problem.input);
    const long long outputs = problem.n * problem.c * volume(problem.output);
    const bool indexed = problem.return_indices != 0;
    const bool is_norm = problem.kind == POOL_LP;
    check_array("grad", grad, type, outputs);
    check_array("dx", dx, type, inputs);
    if (indexed) {
        check_array("indices", indices, index_type_number(), outputs);
    }
    if (is_norm) {
        check_array("x", x, type, inputs);
        check_array("y", y, type, outputs);
    }
    const PoolGradTensors tensors{
        .grad = data_of(grad.ptr()),
        .indices = indexed ? static_cast<int64*>(data_of(indices.ptr())) : nullptr,
        .x = is_norm ? data_of(x.ptr()) : nullptr,
        .y = is_norm ? data_of(y.ptr()) : nullptr,
        .dx = data_of(dx.ptr()),
    };
    if (!run_released([&] { plan.algorithm->run(plan, tensors); })) {
        throw py::error_already_set();
    }
}

PyObject* cached(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count("pool_grad_cached", count, COUNT)) {
        return nullptr;
    }
    const Arguments given(values, COUNT);
    const CachedCall* call =
        find_call(OPERATION, given, {given[GRAD], given[INDICES], given[X], given[Y]});
    if (call == nullptr) {
        Py_RETURN_NONE;
    }
    // Our own share of the plan: another thread may evict the entry while we run.
    const auto plan = std::static_pointer_cast<const PoolGradPlan>(call->plan);
    PyObject* result =
        output_of(*call, given[OUT], type_number_of(plan->problem.dtype));
    if (result == nullptr) {
        return nullptr;
    }
    const PoolGradTensors tensors{
        .grad = data_of(given[GRAD]),
        .indices = static_cast<int64*>(data_of(given[INDICES])),
        .x = data_of(given[X]),
        .y = data_of(given[Y]),
        .dx = data_of(result),
    };
    if (!run_released([&] { plan->algorithm->run(*plan, tensors); })) {
        Py_DECREF(result);
        return nullptr;
    }
    return result;
}

PyObject* remember(PyObject*, PyObject* const* values, Py_ssize_t count) {
    return remember_plan<PoolGradPlan>(
        "pool_grad_remember", OPERATION, COUNT, values, count);
}

PyMethodDef fast_functions[] = {
    {"pool_grad_cached",
     as_method(cached),
     METH_FASTCALL,
     "Run a pooling's gradient whose plan is remembered; None when it is not."},
    {"pool_grad_remember",
     as_method(remember),
     METH_FASTCALL,
     "Remember a plan for exactly these arguments."},
    {nullptr, nullptr, 0, nullptr},
};

} // namespace

void register_pool_grad(py::module_& module) {
    py::class_<PoolGradPlan, std::shared_ptr<PoolGradPlan>>(
        module, "PoolGradPlan", "How one pooling's gradient is computed.")
        .def_property_readonly(
            "algorithm", [](const PoolGradPlan& plan) { return plan.algorithm->name; })
        .def_property_readonly(
            "isa", [](const PoolGradPlan& plan) { return plan.isa->name; })
        .def_readonly("workspace_bytes", &PoolGradPlan::workspace_bytes)
        .def_property_readonly("blocking", &blocking_of<PoolGradPlan>)
        .def("__repr__", [](const PoolGradPlan& plan) {
            return describe("PoolGradPlan", plan);
        });
    module.def(
        "pool_grad_algorithms", [] { return algorithm_names(pool_grad_algorithms()); });
    module.def(
        "pool_grad_candidates",
        &candidates,
        py::arg("record"),
        py::arg("host") = py::none());
    module.def("pool_grad_plan", &plan, py::arg("record"), py::arg("algorithm"));
    module.def(
        "pool_grad_run",
        &run,
        py::arg("plan"),
        py::arg("grad"),
        py::arg("indices").none(true),
        py::arg("x").none(true),
        py::arg("y").none(true),
        py::arg("dx"));
    if (PyModule_AddFunctions(module.ptr(), fast_functions) < 0) {
        throw py::error_already_set();
    }
}

} // namespace pyconv::bindings
