// The chapters of the module, one register_*.cpp each.
#pragma once

#include "bindings/fast_call.hpp"
#include "core/machine.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/isa/registry.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>

namespace pyconv::bindings {

void register_conv(pybind11::module_& module);
void register_pool(pybind11::module_& module);
void register_pool_grad(pybind11::module_& module);
void register_weight(pybind11::module_& module);
void register_adjoint(pybind11::module_& module);
void register_unary(pybind11::module_& module);
void register_control(pybind11::module_& module);
void register_convert(pybind11::module_& module);
void register_measuring(pybind11::module_& module);

// A problem out of the bytes of its NumPy record.
template <class Problem>
Problem problem_of(const pybind11::bytes& record) {
    const std::string_view bytes(record);
    if (bytes.size() != sizeof(Problem)) {
        throw std::invalid_argument(
            "the record holds " + std::to_string(bytes.size()) + " bytes, expected " +
            std::to_string(sizeof(Problem)));
    }
    Problem problem;
    std::memcpy(&problem, bytes.data(), sizeof(Problem));
    return problem;
}

inline long long volume(const long long (&extents)[3]) {
    return extents[0] * extents[1] * extents[2];
}

// (name, summary) of every registered algorithm, in registry order.
template <class Algorithms>
pybind11::tuple algorithm_names(const Algorithms& algorithms) {
    pybind11::tuple names(algorithms.size());
    for (std::size_t index = 0; index < algorithms.size(); ++index) {
        names[index] =
            pybind11::make_tuple(algorithms[index]->name, algorithms[index]->summary);
    }
    return names;
}

// The algorithm of that name. Throws std::invalid_argument listing all names.
template <class Algorithms>
auto find_algorithm(const Algorithms& algorithms, const std::string& name) {
    std::string known;
    for (const auto* algorithm : algorithms) {
        if (name == algorithm->name) {
            return algorithm;
        }
        known += (known.empty() ? "" : ", ") + std::string(algorithm->name);
    }
    throw std::invalid_argument(
        "no algorithm is called '" + name + "'; there are: " + known);
}

// {"mc": 64, ...}
template <class Plan>
pybind11::dict blocking_of(const Plan& plan) {
    pybind11::dict blocking;
    for (const auto& [name, value] : plan.blocking) {
        blocking[pybind11::str(name)] = value;
    }
    return blocking;
}

template <class Plan>
pybind11::str describe(const char* type, const Plan& plan) {
    return pybind11::str("<{} {} on {}, blocking {}, workspace {} bytes>")
        .format(
            type,
            plan.algorithm->name,
            plan.isa->name,
            blocking_of(plan),
            plan.workspace_bytes);
}

// What explain() shows of one algorithm: its estimates, or why it refuses.
template <class Algorithm, class Problem, class Isa, class Host>
pybind11::dict candidate(
    const Algorithm& algorithm,
    const Problem& problem,
    const Isa& isa,
    const Host& host) {
    using namespace pybind11::literals;
    const std::string reason = refusal(algorithm, problem);
    const char* rounding = "";
    if constexpr (requires { algorithm.rounding; }) {
        rounding = algorithm.rounding;
    }
    if (!reason.empty()) {
        return pybind11::dict(
            "name"_a = algorithm.name,
            "summary"_a = algorithm.summary,
            "rounding"_a = rounding,
            "reason"_a = reason,
            "cost_us"_a = 0.0,
            "pack_us"_a = 0.0,
            "workspace_bytes"_a = 0,
            "flops"_a = 0,
            "bytes"_a = pybind11::dict("l1"_a = 0, "l2"_a = 0, "dram"_a = 0),
            "of_layer"_a = pybind11::none());
    }
    pybind11::object of_layer = pybind11::none();
    if constexpr (requires { algorithm.of_layer; }) {
        if (algorithm.of_layer != nullptr) {
            of_layer = candidate(*algorithm.of_layer, problem, isa, host);
        }
    }
    const auto movement = algorithm.movement(problem, isa, host);
    double pack_us = 0.0;
    if constexpr (requires { algorithm.pack_us; }) {
        pack_us = algorithm.pack_us(problem, isa, host);
    }
    const auto whole = [](double value) {
        return pybind11::int_(pybind11::float_(value));
    };
    return pybind11::dict(
        "name"_a = algorithm.name,
        "summary"_a = algorithm.summary,
        "rounding"_a = rounding,
        "reason"_a = "",
        "cost_us"_a = algorithm.cost_us(problem, isa, host),
        "pack_us"_a = pack_us,
        "workspace_bytes"_a = algorithm.plan(problem, isa, host).workspace_bytes,
        "flops"_a = whole(movement.flops),
        "bytes"_a = pybind11::dict(
            "l1"_a = whole(movement.l1_bytes),
            "l2"_a = whole(movement.l2_bytes),
            "dram"_a = whole(movement.dram_bytes)),
        "of_layer"_a = of_layer);
}

// Another machine than this one: cores, and bytes of L1, L2 and L3.
using OtherHost = std::optional<std::tuple<int, long long, long long, long long>>;

inline Machine host_of(const OtherHost& other) {
    if (!other) {
        return machine();
    }
    const auto& [cores, l1, l2, l3] = *other;
    if (cores < 1 || l1 < 1 || l2 < 1 || l3 < 0) {
        throw std::invalid_argument("a machine has cores, and caches of some bytes");
    }
    return Machine{cores, l1, l2, l3, "another machine"};
}

// What explain() shows of every algorithm, here or on another machine.
template <class Problem, class Algorithms>
pybind11::list candidates_of(
    const Algorithms& algorithms,
    const pybind11::bytes& record,
    const OtherHost& other) {
    const auto problem = problem_of<Problem>(record);
    const Machine host = host_of(other);
    pybind11::list found;
    for (const auto* algorithm : algorithms) {
        found.append(candidate(*algorithm, problem, active_isa(), host));
    }
    return found;
}

// The plan of a named algorithm. Throws std::invalid_argument when it refuses.
template <class Algorithms, class Problem, class Isa, class Host>
auto plan_of(
    const Algorithms& algorithms,
    const std::string& name,
    const Problem& problem,
    const Isa& isa,
    const Host& host) {
    const auto* algorithm = find_algorithm(algorithms, name);
    const std::string reason = refusal(*algorithm, problem);
    if (!reason.empty()) {
        throw std::invalid_argument("algorithm '" + name + "' refuses: " + reason);
    }
    return algorithm->plan(problem, isa, host);
}

// Raises TypeError or ValueError unless `argument` is an aligned array in native byte
// order of this type and element count: the kernel would read past its end.
void check_array(
    const char* name,
    const pybind11::handle& argument,
    int type_number,
    long long count);

// The body of a METH_FASTCALL function that remembers a Plan: plan, shape and order of
// the result, then the `arguments` raw arguments of the call.
template <class Plan>
PyObject* remember_plan(
    const char* name,
    std::uint64_t operation,
    std::size_t arguments,
    PyObject* const* values,
    Py_ssize_t count) {
    if (!check_count(name, count, static_cast<Py_ssize_t>(3 + arguments))) {
        return nullptr;
    }
    try {
        auto plan = pybind11::handle(values[0]).cast<std::shared_ptr<Plan>>();
        const Arguments given(values + 3, arguments);
        if (!remember_call(operation, std::move(plan), values[1], values[2], given)) {
            return nullptr;
        }
    } catch (const pybind11::cast_error&) {
        PyErr_Format(PyExc_TypeError, "%s takes a plan of its own operation", name);
        return nullptr;
    } catch (...) {
        set_python_error(std::current_exception());
        return nullptr;
    }
    Py_RETURN_NONE;
}

} // namespace pyconv::bindings
