// Input gradients and transposed convolutions whose phases are known: the way to run
// them again, with one look-up on the raw arguments.
#include "bindings/register.hpp"

#include "bindings/arrays.hpp"
#include "bindings/fast_call.hpp"
#include "cpu/conv_backward/phases.hpp"

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

std::shared_ptr<PhasesPlan>
plan(const std::vector<Offsets>& phases, const std::optional<Turned>& turned) {
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
    const auto plan = std::static_pointer_cast<const PhasesPlan>(call->plan);
    PyObject* y = output_of(*call, given.back(), type_number_of(plan->dtype));
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
    if (!run_released([&] { run_phases(*plan, tensors); })) {
        Py_DECREF(y);
        return nullptr;
    }
    return y;
}

template <const Operation& OPERATION>
PyObject* remember(PyObject*, PyObject* const* values, Py_ssize_t count) {
    return remember_plan<PhasesPlan>(
        OPERATION.remember, OPERATION.key, OPERATION.count, values, count);
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
    module.def("phases_plan", &plan, py::arg("phases"), py::arg("turned").none(true));
    if (PyModule_AddFunctions(module.ptr(), fast_functions) < 0) {
        throw py::error_already_set();
    }
}

} // namespace pyconv::bindings
