// What an algorithm is: a name, and functions of the problem.
//
// supports, cost_us, movement and plan are pure functions of problem, instruction set
// and machine; the same ones choose the algorithm, fill explain(), and are tested.
#pragma once

#include "core/element.hpp"
#include "core/machine.hpp"
#include "core/problem.hpp"
#include "cpu/isa/isa.hpp"
#include "cpu/plan.hpp"

#include <string>

namespace pyconv {

// Predicted traffic: bytes that cross into each level from the one below it.
struct Movement {
    double flops;      // executed, a multiply-add counts two
    double l1_bytes;   // L2 to L1 and back
    double l2_bytes;   // L3 to L2 and back
    double dram_bytes; // memory to the last cache and back
};

// Which element types an algorithm takes.
enum class Elements { FLOATS, ALL };

// bias is of the sums' type, residual and y of the result's (core/element.hpp).
struct ConvTensors {
    const void* x;
    const void* weight;
    const void* packed;   // what pack() made of weight; null: run() packs for itself
    bool packed_finite;   // no weight of `packed` is Inf or NaN
    const void* bias;     // contiguous, or null
    const void* residual; // y's pitches, or null
    void* y;
};

// Of an input gradient: the problem is the convolution's, with x the result and y grad;
// bias, residual and activation end the gradient.
struct InputTensors {
    const void* grad;
    const void* weight;
    const void* bias;     // contiguous, one for every channel, or null
    const void* residual; // x's pitches, or null
    void* x;
};

// Of a weight gradient: the problem is the convolution's, y_pitch that of grad.
struct WeightTensors {
    const void* x;
    const void* grad;
    void* weight; // the gradient, with the weight's pitches
};

struct PoolTensors {
    const void* x;
    void* y;
    int64* indices; // y's pitches, or null
};

// Of a pooling's gradient: the problem is the pooling's, y_pitch that of grad.
struct PoolGradTensors {
    const void* grad;
    const int64* indices; // of a maximum, grad's pitches
    const void* x;        // of a norm: what was pooled, dx's pitches
    const void* y;        // of a norm: the result, grad's pitches
    void* dx;
};

// Of an operation that makes one array of one other.
struct UnaryTensors {
    const void* from;
    void* to;
};

struct ConvAlgorithm {
    const char* name;
    const char* summary;
    const char* rounding; // algorithms that agree here return the same bits
    Elements elements = Elements::FLOATS;
    std::string (*supports)(const ConvProblem&); // "" or the reason why not
    double (*cost_us)(const ConvProblem&, const IsaTable&, const Machine&);
    Movement (*movement)(const ConvProblem&, const IsaTable&, const Machine&);
    // Rearranging the weights, which cost_us leaves out: a layer does it once.
    double (*pack_us)(const ConvProblem&, const IsaTable&, const Machine&);
    ConvPlan (*plan)(const ConvProblem&, const IsaTable&, const Machine&);
    // Fills plan.packed_bytes bytes, aligned to a line, with the weights as run() reads
    // them; null where they are read as they are.
    void (*pack)(const ConvPlan&, const void* weight, void* packed);
    void (*run)(const ConvPlan&, const ConvTensors&);
    // Predicts for a layer, whose weights are packed already, where that is more than
    // leaving pack_us out; null elsewhere.
    const ConvAlgorithm* of_layer = nullptr;
};

// Rounds as direct convolutions of the phases do, bit for bit.
struct InputAlgorithm {
    const char* name;
    const char* summary;
    std::string (*supports)(const ConvProblem&);
    double (*cost_us)(const ConvProblem&, const IsaTable&, const Machine&);
    Movement (*movement)(const ConvProblem&, const IsaTable&, const Machine&);
    InputPlan (*plan)(const ConvProblem&, const IsaTable&, const Machine&);
    void (*run)(const InputPlan&, const InputTensors&);
};

struct WeightAlgorithm {
    const char* name;
    const char* summary;
    std::string (*supports)(const ConvProblem&);
    double (*cost_us)(const ConvProblem&, const IsaTable&, const Machine&);
    Movement (*movement)(const ConvProblem&, const IsaTable&, const Machine&);
    WeightPlan (*plan)(const ConvProblem&, const IsaTable&, const Machine&);
    void (*run)(const WeightPlan&, const WeightTensors&);
};

struct PoolAlgorithm {
    const char* name;
    const char* summary;
    Elements elements = Elements::FLOATS;
    std::string (*supports)(const PoolProblem&);
    double (*cost_us)(const PoolProblem&, const IsaTable&, const Machine&);
    Movement (*movement)(const PoolProblem&, const IsaTable&, const Machine&);
    PoolPlan (*plan)(const PoolProblem&, const IsaTable&, const Machine&);
    void (*run)(const PoolPlan&, const PoolTensors&);
};

struct PoolGradAlgorithm {
    const char* name;
    const char* summary;
    std::string (*supports)(const PoolProblem&);
    double (*cost_us)(const PoolProblem&, const IsaTable&, const Machine&);
    Movement (*movement)(const PoolProblem&, const IsaTable&, const Machine&);
    PoolGradPlan (*plan)(const PoolProblem&, const IsaTable&, const Machine&);
    // Throws std::out_of_range where an index lies outside its plane.
    void (*run)(const PoolGradPlan&, const PoolGradTensors&);
};

// Several operations share this form: patches to columns and back, and the gradient of
// a bias. The problem is that of the convolution they belong to.
struct UnaryAlgorithm {
    const char* operation;
    const char* name;
    const char* summary;
    int64 (*from_elements)(const ConvProblem&);
    int64 (*to_elements)(const ConvProblem&);
    std::string (*supports)(const ConvProblem&);
    double (*cost_us)(const ConvProblem&, const IsaTable&, const Machine&);
    Movement (*movement)(const ConvProblem&, const IsaTable&, const Machine&);
    UnaryPlan (*plan)(const ConvProblem&, const IsaTable&, const Machine&);
    void (*run)(const UnaryPlan&, const UnaryTensors&);
};
// "" or the reason why an algorithm cannot do a problem: its element type first.
template <class Algorithm, class Problem>
std::string refusal(const Algorithm& algorithm, const Problem& problem) {
    bool takes_all = false;
    if constexpr (requires { algorithm.elements; }) {
        takes_all = algorithm.elements == Elements::ALL;
    }
    if (!takes_all && !is_real_float(problem.dtype)) {
        return "float32 and float64 only";
    }
    return algorithm.supports(problem);
}

} // namespace pyconv
