// Measuring: the processor's counters, and the machine's ceilings.
#include "bindings/register.hpp"

#include "core/counters.hpp"
#include "core/machine.hpp"
#include "cpu/ceilings.hpp"
#include "cpu/isa/registry.hpp"

#include <pybind11/stl.h>

#include <utility>
#include <vector>

namespace py = pybind11;
using namespace py::literals;

namespace pyconv::bindings {
namespace {

constexpr double MOST_SECONDS = 60.0;

void check_seconds(double seconds) {
    if (!(seconds > 0.0) || seconds > MOST_SECONDS) {
        throw py::value_error("seconds must be above 0, and 60 at most");
    }
}

double peak_flops_of(int itemsize, double seconds) {
    check_seconds(seconds);
    if (itemsize != 4 && itemsize != 8) {
        throw py::value_error("itemsize must be 4 or 8");
    }
    const py::gil_scoped_release unlocked;
    const IsaTable& isa = active_isa();
    return itemsize == 4 ? peak_flops<float>(isa, seconds)
                         : peak_flops<double>(isa, seconds);
}

double peak_dots_of(const std::string& element, double seconds) {
    check_seconds(seconds);
    DotKind kind;
    if (element == "bfloat16") {
        kind = DOT_BFLOATS;
    } else if (element == "int8") {
        kind = DOT_BYTES_US; // the one that the fewest instruction sets lack
    } else if (element == "int16") {
        kind = DOT_SHORTS;
    } else if (element == "int32") {
        kind = DOT_WORDS;
    } else if (element == "int64") {
        kind = DOT_LONGS;
    } else {
        throw py::value_error(
            "element must be bfloat16, int8, int16, int32 or int64, got " + element);
    }
    const py::gil_scoped_release unlocked;
    return peak_dots(active_isa(), kind, seconds);
}

double bandwidth_of(const std::string& sweep, long long bytes, double seconds) {
    check_seconds(seconds);
    if (bytes < 1) {
        throw py::value_error("bytes must be at least 1");
    }
    Sweep kind;
    if (sweep == "load") {
        kind = Sweep::LOAD;
    } else if (sweep == "store") {
        kind = Sweep::STORE;
    } else if (sweep == "copy") {
        kind = Sweep::COPY;
    } else {
        throw py::value_error("sweep must be load, store or copy, not " + sweep);
    }
    const py::gil_scoped_release unlocked;
    return bandwidth(active_isa(), kind, bytes, seconds);
}

void load_sweep_of(const py::buffer& memory) {
    const py::buffer_info info = memory.request();
    if (info.ndim != 1 || info.itemsize != sizeof(float) ||
        info.strides[0] != info.itemsize) {
        throw py::value_error("memory must be one contiguous axis of float32");
    }
    const py::gil_scoped_release unlocked;
    load_sweep(active_isa(), static_cast<const float*>(info.ptr), info.size);
}

std::unique_ptr<Counters>
open_counters(const std::vector<std::pair<std::uint32_t, std::uint64_t>>& wanted) {
    std::vector<CounterEvent> events;
    events.reserve(wanted.size());
    for (const auto& [type, config] : wanted) {
        events.push_back(CounterEvent{type, config});
    }
    const py::gil_scoped_release unlocked;
    return std::make_unique<Counters>(events);
}

py::tuple reading_of(const Counters& counters) {
    const CounterReading reading = counters.read();
    return py::make_tuple(reading.values, reading.enabled_ns, reading.running_ns);
}

} // namespace

void register_measuring(py::module_& module) {
    py::class_<Counters>(module, "Counters")
        .def(py::init(&open_counters), "events"_a)
        .def("start", &Counters::start)
        .def("stop", &Counters::stop)
        .def("read", &reading_of);
    module.def("peak_flops", &peak_flops_of, "itemsize"_a, "seconds"_a);
    module.def("peak_dots", &peak_dots_of, "element"_a, "seconds"_a);
    module.def("load_sweep", &load_sweep_of, "memory"_a);
    module.def("bandwidth", &bandwidth_of, "sweep"_a, "bytes"_a, "seconds"_a);
}

} // namespace pyconv::bindings
