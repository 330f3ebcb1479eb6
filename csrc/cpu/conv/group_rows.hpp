// Grouped convolution with filters in the lanes, straight from x: tap rows of 3, 5
// and 7.
//
// The idea: a column of x is loaded once, shuffled once for each channel of a group,
// and each shuffled vector feeds all pixels of a tile that have the column in their
// window (micro/spread_lanes.hpp). Padding is a range of columns that is left out;
// nothing is copied. Weights lie as [vector of filters][tap][channel][lane].
#pragma once

#include "cpu/algorithm.hpp"

namespace pyconv {

bool suits_group_rows(const ConvProblem& problem);
void group_rows_pack(const ConvPlan& plan, const void* weight, void* packed);
void group_rows_run(
    const ConvPlan& plan, const ConvTensors& tensors, const void* packed);

// Where the channels of the filters k, k + 1, ... of a vector begin, and the index of
// each lane's channel c from there: index[c * lanes + lane].
template <class Index>
int64 aim_lanes(const ConvProblem& problem, int64 k, int64 lanes, Index* index) {
    const int64 channels = problem.c / problem.groups;
    const int64 filters = problem.k / problem.groups;
    const int64 first = k / filters * channels;
    const int64 begin = first < problem.c - lanes ? first : problem.c - lanes;
    for (int64 c = 0; c < channels; ++c) {
        for (int64 i = 0; i < lanes; ++i) {
            *index++ = static_cast<Index>((k + i) / filters * channels + c - begin);
        }
    }
    return begin;
}

} // namespace pyconv
