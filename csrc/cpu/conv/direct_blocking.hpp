// How direct is cut, and what that costs.
//
// Where a panel of filters fits in half of L2, a sum is taken in one go, and as many
// panels as fit there stay while all pixels pass. A deeper panel would come from beyond
// L2 for every tile: its sum is taken in chunks, over a block of tiles and a number of
// panels at a time, with the accumulators of all of them waiting in L2 (Goto and van de
// Geijn 2008).
#pragma once

#include "cpu/algorithm.hpp"
#include "cpu/conv/filter_panels.hpp"

namespace pyconv {

struct DirectBlocking {
    FilterPanels shape;
    int vectors;           // in a panel's width
    int64 panels;          // of a unit of work, over all groups
    int64 tiles;           // of a unit of work
    int64 taps;            // of a chunk of the sum
    int64 channels;        // of a chunk of the sum
    int64 turned_blocks;   // of tiles whose input is turned together, or 0
    int64 turned_elements; // room that turned input takes
    bool turned_ahead;     // all of the input, before the first tile

    DirectBlocking(
        const ConvProblem& problem, const IsaTable& isa, const Machine& host);

    // The problem as the tiles see it.
    ConvProblem seen(const ConvProblem& problem) const;

    bool in_chunks() const { return taps < shape.taps || channels < shape.channels; }
};

double direct_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
double
direct_pack_us(const ConvProblem& problem, const IsaTable& isa, const Machine& host);
Movement
direct_movement(const ConvProblem& problem, const IsaTable& isa, const Machine& host);

} // namespace pyconv
