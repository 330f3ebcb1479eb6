// pyconv._core: a table of contents. Nothing here starts a thread, reads the
// environment or touches a device; that waits for first use.
#include "bindings/arrays.hpp"
#include "bindings/register.hpp"

PYBIND11_MODULE(_core, module) {
    module.doc() = "pyconv's CPU kernels: plans in, arrays out.";
    module.attr("version") = PYCONV_VERSION;
    pyconv::bindings::import_numpy();
    pyconv::bindings::register_conv(module);
    pyconv::bindings::register_pool(module);
    pyconv::bindings::register_pool_grad(module);
    pyconv::bindings::register_weight(module);
    pyconv::bindings::register_adjoint(module);
    pyconv::bindings::register_unary(module);
    pyconv::bindings::register_control(module);
    pyconv::bindings::register_convert(module);
    pyconv::bindings::register_measuring(module);
}
