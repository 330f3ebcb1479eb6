// rules: what a pooling makes of a window's elements, given one after the other.
//
// A rule has a state, into which elements are taken in tap order; states of parts of a
// window can be joined. Elements are numbers: halves are widened, sums taken in
// float32.
#pragma once

#include "../index.cuh"

namespace pyconv {

__device__ inline float power(float base, float exponent) {
    return powf(base, exponent);
}
__device__ inline double power(double base, double exponent) {
    return pow(base, exponent);
}
__device__ inline float square_root(float value) {
    return sqrtf(value);
}
__device__ inline double square_root(double value) {
    return sqrt(value);
}

// Less than every number, without <limits>.
template <class Number>
__device__ Number lowest() {
    if constexpr (IS_SAME<Number, float> || IS_SAME<Number, double>) {
        return Number(-1) / Number(0);
    } else if constexpr (Number(-1) > Number(0)) {
        return Number(0);
    } else {
        return static_cast<Number>(uint64(1) << (8 * sizeof(Number) - 1));
    }
}

// How many taps an output's window has inside the input, and inside the padded input.
struct TapCount {
    int64 inside;
    int64 padded;
};

// What a mean is divided by: torch's rules. ceil_mode's overhang never counts.
__device__ inline int64 divisor_of(const PoolProblem& p, TapCount count) {
    if (p.divisor_override != 0)
        return p.divisor_override;
    return p.count_include_pad != 0 ? count.padded : count.inside;
}

// The largest element and its place in the plane, -1 where there is none. NaN wins; of
// equals, and of NaNs, the first stays.
template <class T>
struct Maximum {
    using Number = decltype(number_of(T{}));
    struct State {
        Number best;
        Index place;
    };

    __device__ explicit Maximum(const PoolProblem&) {}
    __device__ State start() const { return {lowest<Number>(), -1}; }
    __device__ void take(State& state, T element, Index place) const {
        const Number value = number_of(element);
        const bool nan = value != value && state.best == state.best;
        if (state.place < 0 || nan || value > state.best)
            state = {value, place};
    }
    // In any order: the places say which element came first.
    __device__ void join(State& state, const State& other) const {
        if (other.place < 0)
            return;
        const bool nan = state.best != state.best;
        const bool other_nan = other.best != other.best;
        const bool equal = nan == other_nan && (nan || state.best == other.best);
        const bool wins = equal ? other.place < state.place
                                : !nan && (other_nan || other.best > state.best);
        if (state.place < 0 || wins)
            state = other;
    }
    __device__ T result(const State& state, TapCount) const {
        return result_of<T>(state.best);
    }
    __device__ static Index place(const State& state) { return state.place; }
};

// The same for whom places are of no use.
template <class T>
struct MaximumAlone {
    using Number = decltype(number_of(T{}));
    struct State {
        Number best;
    };

    __device__ explicit MaximumAlone(const PoolProblem&) {}
    __device__ State start() const { return {lowest<Number>()}; }
    __device__ void take(State& state, T element, Index) const {
        join(state, {number_of(element)});
    }
    __device__ void join(State& state, const State& other) const {
        if (other.best > state.best || other.best != other.best)
            state = other;
    }
    __device__ T result(const State& state, TapCount) const {
        return result_of<T>(state.best);
    }
    __device__ static Index place(const State&) { return -1; }
};

// The mean; 0 of an empty window.
template <class T>
struct Mean {
    using Sum = typename Element<T>::Sum;
    struct State {
        Sum sum;
    };
    const PoolProblem& problem;

    __device__ explicit Mean(const PoolProblem& p) : problem(p) {}
    __device__ State start() const { return {Sum(0)}; }
    __device__ void take(State& state, T element, Index) const {
        state.sum += term_of(element);
    }
    __device__ void join(State& state, const State& other) const {
        state.sum += other.sum;
    }
    __device__ T result(const State& state, TapCount count) const {
        const int64 divisor = divisor_of(problem, count);
        const bool is_empty = count.inside == 0 || divisor == 0;
        return result_of<T>(
            is_empty ? state.sum : state.sum / static_cast<Sum>(divisor));
    }
    __device__ static Index place(const State&) { return -1; }
};

// The norm (sum of |x|^p)^(1/p). ORDER is p where it is 1 or 2, which need no powers,
// and 0 where the problem has it.
template <class T, int ORDER>
struct Norm {
    using Sum = typename Element<T>::Sum;
    struct State {
        Sum sum;
    };
    Sum order;

    __device__ explicit Norm(const PoolProblem& p)
        : order(
              ORDER != 0 ? Sum(ORDER)
                         : static_cast<Sum>(__longlong_as_double(p.norm_bits))) {}
    __device__ State start() const { return {Sum(0)}; }
    __device__ void take(State& state, T element, Index) const {
        const Sum value = term_of(element);
        const Sum size = value < Sum(0) ? -value : value;
        state.sum += order == Sum(1)   ? size
                     : order == Sum(2) ? value * value
                                       : power(size, order);
    }
    __device__ void join(State& state, const State& other) const {
        state.sum += other.sum;
    }
    __device__ T result(const State& state, TapCount) const {
        return result_of<T>(
            order == Sum(1)   ? state.sum
            : order == Sum(2) ? square_root(state.sum)
                              : power(state.sum, Sum(1) / order));
    }
    __device__ static Index place(const State&) { return -1; }
};

} // namespace pyconv
