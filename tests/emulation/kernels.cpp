// The flattened kernels with their entry points, as the host compiles them.
// PYCONV_KERNELS names the generated text. Compiled apart from the scheduler, so that
// its memory accesses alone can be logged (address_log.hpp).
#include "cuda_on_host.hpp"

#include PYCONV_KERNELS
