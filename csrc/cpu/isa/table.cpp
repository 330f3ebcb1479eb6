// One instruction set's table of kernels. The only file compiled once per instruction
// set: PYCONV_ISA names it, PYCONV_VECTOR_BYTES is its vector width.
//
// Everything but the table is in an unnamed namespace and nothing of the standard
// library is used: an inline function compiled here could become the copy the linker
// keeps for all, and fault on an older processor (numpy#25274). A test holds this at
// -O0.
#include "cpu/isa/isa.hpp"
#include "cpu/micro/copy_lines.hpp"
#include "cpu/micro/gemm_tile.hpp"
#include "cpu/micro/pool_row.hpp"
#include "cpu/micro/store_tile.hpp"
#include "cpu/micro/transpose.hpp"
#include "cpu/micro/winograd.hpp"

#define PYCONV_STRING_OF(name) #name
#define PYCONV_STRING(name) PYCONV_STRING_OF(name)

namespace pyconv {

namespace PYCONV_ISA {
namespace {

// 32 registers hold 14 x 2 accumulators, 16 hold 6 x 2.
constexpr int ROWS = PYCONV_VECTOR_BYTES == 64 ? 14 : 6;

template <class T, int VECTORS, int LAST>
void fill_tiles(void (**tiles)(const GemmTile<T>&)) {
    tiles[LAST - 1] = gemm_tile<T, LAST, VECTORS>;
    if constexpr (LAST > 1) {
        fill_tiles<T, VECTORS, LAST - 1>(tiles);
    }
}

template <class T>
void fill(Kernels<T>& kernels) {
    kernels.lanes = Simd<T>::LANES;
    kernels.rows = ROWS;
    fill_tiles<T, 1, ROWS>(kernels.gemm_tile[0]);
    fill_tiles<T, 2, ROWS>(kernels.gemm_tile[1]);
    kernels.store_tile = store_tile<T>;
    kernels.reduce_max = reduce_rows<T, true>;
    kernels.reduce_sum = reduce_rows<T, false>;
    kernels.deinterleave = deinterleave<T>;
    kernels.divide = divide<T>;
    kernels.transpose = transpose<T>;
    kernels.copy_lines = copy_lines<T>;
    fill_winograd(kernels.winograd);
}

} // namespace

// Declared in isa/registry.cpp, which calls it only where this code can run.
void fill_table(IsaTable& table);
void fill_table(IsaTable& table) {
    table.name = PYCONV_STRING(PYCONV_ISA);
    table.vector_bytes = PYCONV_VECTOR_BYTES;
    fill(table.f32);
    fill(table.f64);
}

} // namespace PYCONV_ISA
} // namespace pyconv
