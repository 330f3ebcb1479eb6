// Input whose channels lie apart, turned: a pixel's channels side by side.
//
// The idea: sums run over channels. Where these lie a plane apart (NCHW), each is a
// cache line, often a page, of its own, for every tile, kernel row and group of filters
// anew. Where all filters stay in L2, the part of the input that a window of output
// pixels meets is turned into scratch and stays in L2 as well; filters that pass one
// part after the other would each have to turn it again, so then all of it is turned
// ahead.
#pragma once

#include "core/memory.hpp"
#include "cpu/algorithm.hpp"
#include "cpu/geometry.hpp"
#include "cpu/isa/registry.hpp"

#include <optional>

namespace pyconv {

// A part of an input along (d, h, w).
struct InputBox {
    int64 first[3];
    int64 extent[3];
};

// The box around what a run of output pixels meets; empty where that is padding alone.
InputBox met_by(const ConvProblem& problem, int64 first_pixel, int64 count);

// Cycles that turning a box of one group takes, from L3 into L2. Strides leave out
// lines.
double turning_cycles(const ConvProblem& problem, const InputBox& box);

// Cycles that turning all of the input takes, through L3.
double turning_ahead_cycles(const ConvProblem& problem);

// Columns of the input are neighbours in memory and channels are not.
bool can_turn(const ConvProblem& problem);

// The problem to one that reads a turned box of a group, or the turned input.
ConvProblem turned_problem(const ConvProblem& problem, const InputBox& box);
ConvProblem turned_problem(const ConvProblem& problem);

// Turns the whole input into room for as many elements.
template <class T>
void turn_input(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* x,
    bool parallel,
    T* turned);

// Turns `channels` channels of a sample: `from` is the first one's first element, and a
// pixel's channels come to lie side by side, pixel after pixel.
template <class T>
void turn_sample(
    const ConvProblem& problem,
    const Kernels<T>& kernels,
    const T* from,
    int64 channels,
    T* turned);

// Calls run(plan, tensors) as they are, or for the input turned ahead.
template <class T, class Run>
void run_turned(const ConvPlan& plan, const ConvTensors& tensors, Run run) {
    if (!plan.turned_ahead) {
        run(plan, tensors);
        return;
    }
    ConvPlan seen = plan;
    seen.problem = turned_problem(plan.problem);
    ScratchFrame frame;
    T* turned = frame.take<T>(seen.problem.n * seen.problem.x_pitch[0]);
    turn_input(
        plan.problem,
        kernels_of<T>(*plan.isa),
        static_cast<const T*>(tensors.x),
        plan.parallel,
        turned);
    ConvTensors given = tensors;
    given.x = turned;
    run(seen, given);
}

template <class T>
class TurnedWindow {
  public:
    TurnedWindow(const ConvProblem& problem, const Kernels<T>& kernels)
        : problem_(problem), kernels_(kernels),
          seen_(turned_problem(problem, InputBox{})) {}

    // What it says about x holds for the latest window.
    const ConvProblem& problem() const { return seen_; }

    // Turns what `count` output pixels from `first` meet of x, a sample's and group's
    // first element. Returns where that element would lie. Valid until the next window;
    // scratch taken meanwhile must be given back before that.
    const T* turn(const T* x, int64 first, int64 count);

  private:
    const ConvProblem& problem_;
    const Kernels<T>& kernels_;
    ConvProblem seen_;
    std::optional<ScratchFrame> frame_;
};

} // namespace pyconv
