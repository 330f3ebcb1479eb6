// Weights of the input gradient with pixels in the lanes: of each phase of a group in
// the order of its sums, taps in reverse, then filters, then the channels of a register
// tile.
#pragma once

#include "core/memory.hpp"
#include "cpu/conv_backward/input_planes.hpp"

namespace pyconv {

template <class T>
class PhaseWeights {
  public:
    // All must outlive this.
    PhaseWeights(
        const ConvProblem& problem,
        const InputPlanes& cut,
        const T* weight,
        ScratchFrame& frame)
        : problem_(problem), cut_(cut),
          packed_(frame.take<T>(cut.weight_elements(problem))),
          before_(frame.take<int64>(cut_.phases())) {
        int64 taps = 0;
        for (const PhaseAxis& t : cut_.axes[0]) {
            for (const PhaseAxis& r : cut_.axes[1]) {
                for (const PhaseAxis& s : cut_.axes[2]) {
                    before_[number(t, r, s)] = taps;
                    taps += t.taps * r.taps * s.taps;
                }
            }
        }
        pack(weight);
    }

    // Of a phase of a group, its channels from `first` on: in the order of the sums.
    T*
    of(int64 group,
       const PhaseAxis& t,
       const PhaseAxis& r,
       const PhaseAxis& s,
       int64 first) const {
        const int64 window = cut_.filters * cut_.channels;
        return packed_ +
               (group * volume(problem_.kernel) + before_[number(t, r, s)]) * window +
               first * t.taps * r.taps * s.taps * cut_.filters;
    }

  private:
    // Of a phase among all.
    int64 number(const PhaseAxis& t, const PhaseAxis& r, const PhaseAxis& s) const {
        const auto along = [&](int axis) {
            return static_cast<int64>(cut_.axes[axis].size());
        };
        return (t.first * along(1) + r.first) * along(2) + s.first;
    }

    void pack(const T* weight) const {
        for (int64 group = 0; group < problem_.groups; ++group) {
            for (const PhaseAxis& t : cut_.axes[0]) {
                for (const PhaseAxis& r : cut_.axes[1]) {
                    for (const PhaseAxis& s : cut_.axes[2]) {
                        pack_phase(weight, group, t, r, s);
                    }
                }
            }
        }
    }

    void pack_phase(
        const T* weight,
        int64 group,
        const PhaseAxis& t,
        const PhaseAxis& r,
        const PhaseAxis& s) const {
        const int64(&pitch)[5] = problem_.w_pitch;
        const int64 step = cut_.channels == 1 ? 1 : cut_.tile;
        T* to = of(group, t, r, s, 0);
        for (int64 first = 0; first < cut_.channels; first += step) {
            const int64 last = std::min(first + step, cut_.channels);
            const int64 taps[3] = {t.taps, r.taps, s.taps};
            Pixel at(taps, 0);
            for (int64 i = 0; i < volume(taps); ++i, at.advance(taps)) {
                const T* window = weight + group * cut_.filters * pitch[0] +
                                  t.tap(at.at[0]) * pitch[2] +
                                  r.tap(at.at[1]) * pitch[3] +
                                  s.tap(at.at[2]) * pitch[4];
                for (int64 k = 0; k < cut_.filters; ++k) {
                    for (int64 c = first; c < last; ++c) {
                        *to++ = window[k * pitch[0] + c * pitch[1]];
                    }
                }
            }
        }
    }

    const ConvProblem& problem_;
    const InputPlanes& cut_;
    T* packed_;     // [group][phase][tile of channels][tap][filter][channel]
    int64* before_; // taps of the phases before each
};

} // namespace pyconv
