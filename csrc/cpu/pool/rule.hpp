// How one kind of pooling reduces a window: down its rows, along what that gives, and a
// last step. The order of the additions is part of the rule: both memory orders and
// every form of the algorithm keep to it.
#pragma once

#include "cpu/isa/registry.hpp"

#include <bit>
#include <limits>

namespace pyconv {

inline double norm_of(const PoolProblem& problem) {
    return std::bit_cast<double>(problem.norm_bits);
}

template <class T>
class PoolRule {
  public:
    using Reduce = void (*)(const T* const* rows, int64 count, T* out, int64 n);

    PoolRule(const PoolProblem& problem, const IsaTable& isa)
        : kernels_(&kernels_of<T>(isa)), kind_(problem.kind),
          squares_(kind_ == POOL_LP && norm_of(problem) == 2.0),
          nothing_(kind_ == POOL_MAX ? -std::numeric_limits<T>::infinity() : T(0)),
          down_(kernels_->reduce[first_of()]),
          along_(kernels_->reduce[kind_ == POOL_MAX ? REDUCE_MAX : REDUCE_SUM]) {}

    // What a window of nothing but padding reduces to.
    T nothing() const { return nothing_; }
    bool divides() const { return kind_ == POOL_AVERAGE; }
    bool roots() const { return squares_; }

    void down(const T* const* rows, int64 count, T* out, int64 n) const {
        down_(rows, count, out, n);
    }
    void along(const T* const* rows, int64 count, T* out, int64 n) const {
        along_(rows, count, out, n);
    }
    void divide(T* y, const T* divisors, int64 n) const {
        kernels_->divide(y, divisors, n);
    }
    void divide_all(T* y, T divisor, int64 n) const {
        kernels_->divide_all(y, divisor, n);
    }
    void root(T* y, int64 n) const { kernels_->square_roots(y, n); }

  private:
    Reduction first_of() const {
        switch (kind_) {
        case POOL_MAX:
            return REDUCE_MAX;
        case POOL_AVERAGE:
            return REDUCE_SUM;
        default:
            return squares_ ? REDUCE_SQUARES : REDUCE_ABSOLUTES;
        }
    }

    const Kernels<T>* kernels_;
    int64 kind_;
    bool squares_;
    T nothing_;
    Reduce down_;
    Reduce along_;
};

} // namespace pyconv
