// How one kind of pooling reduces a window: down its rows, along what that gives, and a
// last step. The order of the additions is part of the rule: both memory orders and
// every form of the algorithm keep to it. A norm's powers are taken going down, its
// root at the end.
#pragma once

#include "cpu/isa/registry.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace pyconv {

inline double norm_of(const PoolProblem& problem) {
    return std::bit_cast<double>(problem.norm_bits);
}

// `exponent` + `rest`; multiples of 1/2 of up to this are products (micro/power.hpp).
inline constexpr double MOST_MULTIPLIED = 8;

inline Exponent exponent_of(double exponent, double rest = 0.0) {
    constexpr int LOW_BITS = 12; // of the 53
    const auto bits = std::bit_cast<std::uint64_t>(exponent);
    const auto high = std::bit_cast<double>(bits >> LOW_BITS << LOW_BITS);
    const double halves = 2.0 * exponent;
    const bool multiplied = rest == 0.0 && exponent > 0.0 &&
                            exponent <= MOST_MULTIPLIED && halves == std::floor(halves);
    return {high, exponent - high + rest, multiplied ? static_cast<int64>(halves) : 0};
}

// 1 / norm, to more digits than a double has.
inline Exponent inverse_exponent(double norm) {
    const double inverse = 1.0 / norm;
    return exponent_of(inverse, std::fma(-inverse, norm, 1.0) / norm);
}

// Neither the norm 1, a sum, nor 2, whose root is a square root.
inline bool takes_powers(const PoolProblem& problem) {
    return problem.kind == POOL_LP && norm_of(problem) != 1.0 &&
           norm_of(problem) != 2.0;
}

template <class T>
class PoolRule {
  public:
    using Reduce = void (*)(const T* const* rows, int64 count, T* out, int64 n);

    PoolRule(const PoolProblem& problem, const IsaTable& isa)
        : kernels_(&kernels_of<T>(isa)), kind_(problem.kind),
          squares_(kind_ == POOL_LP && norm_of(problem) == 2.0),
          powers_(takes_powers(problem)),
          nothing_(kind_ == POOL_MAX ? -std::numeric_limits<T>::infinity() : T(0)),
          first_(first_of()), down_(kernels_->reduce[first_]),
          along_(kernels_->reduce[kind_ == POOL_MAX ? REDUCE_MAX : REDUCE_SUM]) {
        if (powers_) {
            exponent_ = exponent_of(norm_of(problem));
            inverse_ = inverse_exponent(norm_of(problem));
        }
    }

    Reduction reduction() const { return first_; }
    // What a window of nothing but padding reduces to.
    T nothing() const { return nothing_; }
    bool divides() const { return kind_ == POOL_AVERAGE; }
    bool roots() const { return squares_ || powers_; }

    void down(const T* const* rows, int64 count, T* out, int64 n) const {
        if (powers_) {
            kernels_->reduce_powers(rows, count, exponent_, out, n);
        } else {
            down_(rows, count, out, n);
        }
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
    void root(T* y, int64 n) const {
        if (powers_) {
            kernels_->powers(y, inverse_, n);
        } else {
            kernels_->square_roots(y, n);
        }
    }

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
    bool powers_;
    Exponent exponent_{};
    Exponent inverse_{};
    T nothing_;
    Reduction first_; // going down, where it takes no powers
    Reduce down_;
    Reduce along_;
};

} // namespace pyconv
