// Convolution: algorithms, candidates, plans, and the two ways to run one.
#include "bindings/register.hpp"

#include "bindings/arrays.hpp"
#include "bindings/fast_call.hpp"
#include "core/machine.hpp"
#include "core/memory.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/conv/finite.hpp"
#include "cpu/isa/registry.hpp"
#include "cpu/plan.hpp"
#include "cpu/registry.hpp"

#include <memory>
#include <string>
#include <utility>

namespace py = pybind11;

namespace pyconv::bindings {
namespace {

constexpr std::uint64_t OPERATION = 1; // of the call cache's keys

// Packed weights that a layer keeps.
class PackedWeight {
  public:
    PackedWeight(const ConvPlan& plan, const void* weight)
        : data_(
              output_allocate(static_cast<std::size_t>(plan.packed_bytes)),
              &output_release),
          packing_(plan.packing), bytes_(plan.packed_bytes),
          finite_(weights_are_finite(plan.problem, weight)) {
        plan.algorithm->pack(plan, weight, data_.get());
    }

    const void* data() const { return data_.get(); }
    bool finite() const { return finite_; }
    long long bytes() const { return bytes_; }
    bool fits(const ConvPlan& plan) const {
        return packing_ == plan.packing && bytes_ == plan.packed_bytes;
    }

  private:
    std::unique_ptr<void, void (*)(void*)> data_;
    std::string packing_;
    long long bytes_;
    bool finite_;
};

// Throws std::invalid_argument unless the packed weights were made for such a plan.
void check_packed(const ConvPlan& plan, const std::shared_ptr<PackedWeight>& packed) {
    if (packed && !packed->fits(plan)) {
        throw std::invalid_argument("the packed weights were made for another plan");
    }
}

// What the call cache keeps of a convolution. Packed weights are their layer's: the
// cache must not keep them alive.
struct CachedConv {
    std::shared_ptr<const ConvPlan> plan;
    bool is_packed;
    std::weak_ptr<const PackedWeight> packed;
};

// Positions in a fast call.
enum Argument : std::size_t {
    X = 1,
    WEIGHT = 2,
    BIAS = 3,
    RESIDUAL = 11,
    OUT = 14,
    COUNT = 15,
};

py::list candidates(const py::bytes& record, const OtherHost& host) {
    return candidates_of<ConvProblem>(conv_algorithms(), record, host);
}

std::shared_ptr<ConvPlan> plan(const py::bytes& record, const std::string& algorithm) {
    return std::make_shared<ConvPlan>(plan_of(
        conv_algorithms(),
        algorithm,
        problem_of<ConvProblem>(record),
        active_isa(),
        machine()));
}

std::shared_ptr<PackedWeight> pack(const ConvPlan& plan, const py::object& weight) {
    const ConvProblem& problem = plan.problem;
    if (plan.packed_bytes == 0) {
        return nullptr;
    }
    check_array(
        "weight",
        weight,
        type_number_of(problem.weight_dtype),
        problem.k * (problem.c / problem.groups) * volume(problem.kernel));
    const void* data = data_of(weight.ptr());
    std::shared_ptr<PackedWeight> packed;
    if (!run_released([&] { packed = std::make_shared<PackedWeight>(plan, data); })) {
        throw py::error_already_set();
    }
    return packed;
}

void run(
    const ConvPlan& plan,
    const py::object& x,
    const py::object& weight,
    const py::object& bias,
    const py::object& residual,
    const py::object& y,
    const std::shared_ptr<PackedWeight>& packed) {
    check_packed(plan, packed);
    const ConvProblem& problem = plan.problem;
    const int result = type_number_of(result_type(problem.dtype));
    const long long outputs = problem.n * problem.k * volume(problem.output);
    check_array(
        "x",
        x,
        type_number_of(problem.dtype),
        problem.n * problem.c * volume(problem.input));
    check_array(
        "weight",
        weight,
        type_number_of(problem.weight_dtype),
        problem.k * (problem.c / problem.groups) * volume(problem.kernel));
    check_array("y", y, result, outputs);
    if (problem.has_bias != 0) {
        check_array("bias", bias, type_number_of(sum_type(problem.dtype)), problem.k);
    }
    if (problem.has_residual != 0) {
        check_array("residual", residual, result, outputs);
    }
    const ConvTensors tensors{
        .x = data_of(x.ptr()),
        .weight = data_of(weight.ptr()),
        .packed = packed ? packed->data() : nullptr,
        .packed_finite = packed && packed->finite(),
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
    const auto conv = std::static_pointer_cast<const CachedConv>(call->plan);
    const ConvPlan& plan = *conv->plan;
    const auto packed = conv->packed.lock();
    if (conv->is_packed && !packed) {
        Py_RETURN_NONE;
    }
    PyObject* y =
        output_of(*call, given[OUT], type_number_of(result_type(plan.problem.dtype)));
    if (y == nullptr) {
        return nullptr;
    }
    const ConvTensors tensors{
        .x = data_of(given[X]),
        .weight = data_of(given[WEIGHT]),
        .packed = packed ? packed->data() : nullptr,
        .packed_finite = packed && packed->finite(),
        .bias = data_of(given[BIAS]),
        .residual = data_of(given[RESIDUAL]),
        .y = data_of(y),
    };
    if (!run_released([&] { plan.algorithm->run(plan, tensors); })) {
        Py_DECREF(y);
        return nullptr;
    }
    return y;
}

PyObject* remember(PyObject*, PyObject* const* values, Py_ssize_t count) {
    if (!check_count("conv_remember", count, 4 + COUNT)) {
        return nullptr;
    }
    try {
        const auto plan = py::handle(values[0]).cast<std::shared_ptr<ConvPlan>>();
        const auto packed = py::handle(values[1]).cast<std::shared_ptr<PackedWeight>>();
        check_packed(*plan, packed);
        auto call = std::make_shared<CachedConv>(plan, packed != nullptr, packed);
        const Arguments given(values + 4, COUNT);
        if (!remember_call(OPERATION, std::move(call), values[2], values[3], given)) {
            return nullptr;
        }
    } catch (const py::cast_error&) {
        PyErr_SetString(
            PyExc_TypeError, "plan must be a ConvPlan, packed a PackedWeight or None");
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
        .def_readonly("packed_bytes", &ConvPlan::packed_bytes)
        .def_readonly("packing", &ConvPlan::packing)
        .def_property_readonly("blocking", &blocking_of<ConvPlan>)
        .def("__repr__", [](const ConvPlan& plan) {
            return describe("ConvPlan", plan);
        });
    py::class_<PackedWeight, std::shared_ptr<PackedWeight>>(
        module, "PackedWeight", "Weights in the order that one kind of plan reads.")
        .def_property_readonly("nbytes", &PackedWeight::bytes);
    module.def("conv_pack", &pack, py::arg("plan"), py::arg("weight"));
    module.def("conv_algorithms", [] { return algorithm_names(conv_algorithms()); });
    module.def(
        "conv_candidates",
        &candidates,
        py::arg("record"),
        py::arg("host") = py::none());
    module.def("conv_plan", &plan, py::arg("record"), py::arg("algorithm"));
    module.def(
        "conv_run",
        &run,
        py::arg("plan"),
        py::arg("x"),
        py::arg("weight"),
        py::arg("bias").none(true),
        py::arg("residual").none(true),
        py::arg("y"),
        py::arg("packed").none(true) = py::none());
    if (PyModule_AddFunctions(module.ptr(), fast_functions) < 0) {
        throw py::error_already_set();
    }
}

} // namespace pyconv::bindings
