// Input gradients and transposed convolutions: algorithms for the whole and their
// plans, phases whose plans are known, and the way to run either again, with one
// look-up on the raw arguments.
#include "bindings/register.hpp"

#include "bindings/arrays.hpp"
#include "bindings/fast_call.hpp"
#include "core/machine.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv_backward/phases.hpp"
#include "cpu/isa/registry.hpp"
#include "cpu/plan.hpp"
#include "cpu/registry.hpp"

#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace py = pybind11;

namespace pyconv::bindings {
namespace {

// One of the two public operations: its positions in a fast call; 0: no such argument.
struct Operation {
    std::uint64_t key; // of the call cache
    const char* cached;
    const char* remember;
    std::size_t x;
    std::size_t weight;
    std::size_t bias;
    std::size_t residual;
    std::size_t count; // `out` is the last
};

constexpr Operation INPUT{5, "input_cached", "input_remember", 3, 2, 0, 0, 12};
constexpr Operation TRANSPOSED{
    6, "transposed_cached", "transposed_remember", 1, 2, 3, 11, 15};

using Offsets = std::tuple<std::shared_ptr<ConvPlan>, int64, int64, int64, bool>;
using Turned =
    std::tuple<int64, int64, int64, std::array<int64, 3>, std::array<int64, 5>>;

py::list candidates(const py::bytes& record, const OtherHost& host) {
    return candidates_of<ConvProblem>(input_algorithms(), record, host);
}

std::shared_ptr<InputPlan> plan(const py::bytes& record, const std::string& algorithm) {
    return std::make_shared<InputPlan>(plan_of(
        input_algorithms(),
        algorithm,
        problem_of<ConvProblem>(record),
        active_isa(),
        machine()));
}

void run(
    const InputPlan& plan,
    const py::object& grad,
    const py::object& weight,
    const py::object& bias,
    const py::object& residual,
    const py::object& x) {
    const ConvProblem& problem = plan.problem;
    const int type = type_number_of(problem.dtype);
    const long long inputs = problem.n * problem.c * volume(problem.input);
    check_array("grad", grad, type, problem.n * problem.k * volume(problem.output));
    check_array(
        "weight",
        weight,
        type,
        problem.k * (problem.c / problem.groups) * volume(problem.kernel));
    check_array("x", x, type, inputs);
    if (problem.has_bias != 0) {
        check_array("bias", bias, type, problem.c);
    }
    if (problem.has_residual != 0) {
        check_array("residual", residual, type, inputs);
    }
    const InputTensors tensors{
        .grad = data_of(grad.ptr()),
        .weight = data_of(weight.ptr()),
        .bias = problem.has_bias != 0 ? data_of(bias.ptr()) : nullptr,
        .residual = problem.has_residual != 0 ? data_of(residual.ptr()) : nullptr,
        .x = data_of(x.ptr()),
    };
    if (!run_released([&] { plan.algorithm->run(plan, tensors); })) {
        throw py::error_already_set();
    }
}

// What the call cache keeps of an adjoint: a plan of the whole, or of its phases.
struct CachedAdjoint {
    std::shared_ptr<const InputPlan> whole;
    std::shared_ptr<const PhasesPlan> phases;

    int64 dtype() const { return whole ? whole->problem.dtype : phases->dtype; }

    void run(const ConvTensors& tensors) const {
        if (!whole) {
            run_phases(*phases, tensors);
            return;
        }
        whole->algorithm->run(
            *whole,
            {.grad = tensors.x,
             .weight = tensors.weight,
             .bias = tensors.bias,
             .residual = tensors.residual,
             .x = tensors.y});
    }
};

std::shared_ptr<PhasesPlan>
phases_plan(const std::vector<Offsets>& phases, const std::optional<Turned>& turned) {
    if (phases.empty()) {
        throw std::invalid_argument("there must be at least one phase");
    }
    auto made = std::make_shared<PhasesPlan>();
    for (const auto& [plan, x, weight, y, is_empty] : phases) {
        made->phases.push_back({plan, x, weight, y, is_empty});
    }
    made->dtype = made->phases.front().plan->problem.dtype;
    if (turned) {
        const auto& [groups, filters, channels, kernel, pitch] = *turned;
        made->turned = TurnedGroups{
            .groups = groups,
            .filters = filters,
            .channels = channels,
            .kernel = {kernel[0], kernel[1], kernel[2]},
            .pitch = {pitch[0], pitch[1], pitch[2], pitch[3], pitch[4]}};
    }
    return made;
}

template <const Operation& OPERATION>
PyObject* cached(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count(
            OPERATION.cached, count, static_cast<Py_ssize_t>(OPERATION.count))) {
        return nullptr;
    }
    const Arguments given(values, OPERATION.count);
    const auto argument = [&](std::size_t at) { return at == 0 ? Py_None : given[at]; };
    const CachedCall* call = find_call(
        OPERATION.key,
        given,
        {given[OPERATION.x],
         given[OPERATION.weight],
         argument(OPERATION.bias),
         argument(OPERATION.residual)});
    if (call == nullptr) {
        Py_RETURN_NONE;
    }
    // Our own share of the plan: another thread may evict the entry while we run.
    const auto plan = std::static_pointer_cast<const CachedAdjoint>(call->plan);
    PyObject* y =
        output_of(*call, given.back(), type_number_of(result_type(plan->dtype())));
    if (y == nullptr) {
        return nullptr;
    }
    const ConvTensors tensors{
        .x = data_of(given[OPERATION.x]),
        .weight = data_of(given[OPERATION.weight]),
        .packed = nullptr,
        .packed_finite = false,
        .bias = data_of(argument(OPERATION.bias)),
        .residual = data_of(argument(OPERATION.residual)),
        .y = data_of(y),
    };
    if (!run_released([&] { plan->run(tensors); })) {
        Py_DECREF(y);
        return nullptr;
    }
    return y;
}

template <const Operation& OPERATION>
PyObject* remember(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count(
            OPERATION.remember, count, static_cast<Py_ssize_t>(3 + OPERATION.count))) {
        return nullptr;
    }
    try {
        auto call = std::make_shared<CachedAdjoint>();
        if (py::isinstance<InputPlan>(values[0])) {
            call->whole = py::handle(values[0]).cast<std::shared_ptr<InputPlan>>();
        } else {
            call->phases = py::handle(values[0]).cast<std::shared_ptr<PhasesPlan>>();
        }
        const Arguments given(values + 3, OPERATION.count);
        if (!remember_call(
                OPERATION.key, std::move(call), values[1], values[2], given)) {
            return nullptr;
        }
    } catch (const py::cast_error&) {
        PyErr_Format(
            PyExc_TypeError, "%s takes an InputPlan or PhasesPlan", OPERATION.remember);
        return nullptr;
    } catch (...) {
        set_python_error(std::current_exception());
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyMethodDef fast_functions[] = {
    {INPUT.cached,
     as_method(cached<INPUT>),
     METH_FASTCALL,
     "Run an input gradient whose phases are remembered; None when they are not."},
    {INPUT.remember,
     as_method(remember<INPUT>),
     METH_FASTCALL,
     "Remember the phases for exactly these arguments."},
    {TRANSPOSED.cached,
     as_method(cached<TRANSPOSED>),
     METH_FASTCALL,
     "Run a transposed convolution whose phases are remembered; None when they are "
     "not."},
    {TRANSPOSED.remember,
     as_method(remember<TRANSPOSED>),
     METH_FASTCALL,
     "Remember the phases for exactly these arguments."},
    {nullptr, nullptr, 0, nullptr},
};

} // namespace

void register_adjoint(py::module_& module) {
    py::class_<PhasesPlan, std::shared_ptr<PhasesPlan>>(
        module, "PhasesPlan", "The convolutions that make one adjoint.")
        .def_property_readonly("algorithms", [](const PhasesPlan& plan) {
            py::tuple names(plan.phases.size());
            for (std::size_t i = 0; i < plan.phases.size(); ++i) {
                names[i] = plan.phases[i].plan->algorithm->name;
            }
            return names;
        });
    py::class_<InputPlan, std::shared_ptr<InputPlan>>(
        module, "InputPlan", "How one input gradient is computed in one piece.")
        .def_property_readonly(
            "algorithm", [](const InputPlan& plan) { return plan.algorithm->name; })
        .def_property_readonly(
            "isa", [](const InputPlan& plan) { return plan.isa->name; })
        .def_readonly("workspace_bytes", &InputPlan::workspace_bytes)
        .def_property_readonly("blocking", &blocking_of<InputPlan>)
        .def("__repr__", [](const InputPlan& plan) {
            return describe("InputPlan", plan);
        });
    module.def("input_algorithms", [] { return algorithm_names(input_algorithms()); });
    module.def(
        "input_candidates",
        &candidates,
        py::arg("record"),
        py::arg("host") = py::none());
    module.def("input_plan", &plan, py::arg("record"), py::arg("algorithm"));
    module.def(
        "input_run",
        &run,
        py::arg("plan"),
        py::arg("grad"),
        py::arg("weight"),
        py::arg("bias").none(true),
        py::arg("residual").none(true),
        py::arg("x"));
    module.def(
        "phases_plan", &phases_plan, py::arg("phases"), py::arg("turned").none(true));
    if (PyModule_AddFunctions(module.ptr(), fast_functions) < 0) {
        throw py::error_already_set();
    }
}

} // namespace pyconv::bindings
