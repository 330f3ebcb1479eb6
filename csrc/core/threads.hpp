// Threads: one pool, and parallel_for over a static contiguous partition.
//
// The partition depends on the item count and the thread count only, and a body writes
// its own outputs only, so results never depend on how many threads ran. The pool is
// made at first use (never at import), survives fork(), and is left to the operating
// system at exit. A call made while the pool is busy, or from inside a body, runs
// serially in its own thread: no second pool, no oversubscription, no deadlock.
#pragma once

#include "core/problem.hpp"

#include <memory>
#include <type_traits>
#include <utility>

namespace pyconv {

template <class Signature>
class FunctionRef;

// A callable seen through two pointers: nothing is owned, copied or allocated.
template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
  public:
    template <class Callable>
        requires(!std::is_same_v<std::remove_cvref_t<Callable>, FunctionRef>)
    FunctionRef(Callable&& callable)
        : object_(
              const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
          call_([](void* object, Arguments... arguments) -> Result {
              using Target = std::remove_reference_t<Callable>;
              return (*static_cast<Target*>(object))(
                  std::forward<Arguments>(arguments)...);
          }) {}

    Result operator()(Arguments... arguments) const {
        return call_(object_, std::forward<Arguments>(arguments)...);
    }

  private:
    void* object_;
    Result (*call_)(void*, Arguments...);
};

using RangeBody = FunctionRef<void(int64 begin, int64 end, int worker)>;

// Threads a parallel_for may use, the caller included. Until set: PYCONV_NUM_THREADS,
// else OMP_NUM_THREADS, else the processors this process may use.
// Throws std::invalid_argument when PYCONV_NUM_THREADS is not a positive integer.
int num_threads();

// Throws std::invalid_argument unless 1 <= count <= 4095. May exceed the core count.
void set_num_threads(int count);

// Runs body(begin, end, worker) over [0, items) cut into equal contiguous ranges, at
// most one per thread; worker is the range's number. Rethrows the first exception.
void parallel_for(int64 items, bool parallel, RangeBody body);

} // namespace pyconv

// For threadpoolctl, which finds the library by these names and calls through ctypes.
extern "C" {
__attribute__((visibility("default"))) int pyconv_get_num_threads();
__attribute__((visibility("default"))) void pyconv_set_num_threads(int count);
}
