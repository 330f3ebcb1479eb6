// What the hooks tell the scheduler of the thread that runs.
#pragma once

namespace emulation {

// A load or store; `site` names the place in the code.
void touch(const void* address, unsigned bytes, bool writes, const void* site);

// A basic block begins: the warp decides whose turn it is.
void enter_block(const void* code);

void enter_function();
void leave_function();

} // namespace emulation
