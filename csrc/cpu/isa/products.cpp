// One instruction set's short dot products. Compiled once per instruction set, under
// the same rules as isa/table.cpp; those above AVX-512 add nothing but these.
#include "cpu/isa/isa.hpp"
#include "cpu/micro/dot_tile.hpp"

#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
#include "cpu/micro/amx_tile.hpp"
#endif

namespace pyconv {

namespace PYCONV_ISA {
namespace {

constexpr int ROWS = PYCONV_VECTOR_BYTES == 64 ? 14 : 6;

template <class Dot, int VECTORS, int LAST>
void fill_rows(void (**tiles)(const DotTile&)) {
    tiles[LAST - 1] = dot_tile<Dot, LAST, VECTORS>;
    if constexpr (LAST > 1) {
        fill_rows<Dot, VECTORS, LAST - 1>(tiles);
    }
}

// `cycles`: of one instruction's product with two vectors; `group`: elements of one.
template <class Dot>
DotKernel vectors_of(
    double cycles,
    int group,
    void (*store)(const DotOut&),
    void (*store_turned)(const DotOut&) = nullptr) {
    DotKernel kernel{};
    kernel.rows = ROWS;
    kernel.row_unit = 1;
    kernel.step = 1;
    kernel.width = 2 * PYCONV_VECTOR_BYTES / int{sizeof(typename Dot::Group)};
    kernel.row_cycles = cycles;
    fill_rows<Dot, 1, ROWS>(kernel.tile[0]);
    fill_rows<Dot, 2, ROWS>(kernel.tile[1]);
    kernel.store = store;
    kernel.store_turned = store_turned;
    kernel.peak = dot_peak<Dot>;
    kernel.peak_operations = int64{2} * FUSED_CHAINS * (kernel.width / 2) * group;
    return kernel;
}

#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
template <class Dot>
DotKernel tiles_of(
    int group,
    void (*store)(const DotOut&),
    void (*store_turned)(const DotOut&) = nullptr) {
    DotKernel kernel{};
    kernel.rows = 32;
    kernel.row_unit = 16;
    kernel.step = AMX_STEP;
    kernel.width = 32;
    kernel.row_cycles = 0.17;
    for (int rows = 1; rows <= 32; ++rows) {
        const bool is_large = rows > 16;
        kernel.tile[0][rows - 1] = is_large ? amx_tile<Dot, 2, 1> : amx_tile<Dot, 1, 1>;
        kernel.tile[1][rows - 1] = is_large ? amx_tile<Dot, 2, 2> : amx_tile<Dot, 1, 2>;
    }
    kernel.store = store;
    kernel.store_turned = store_turned;
    kernel.enter = enter_tiles;
    kernel.leave = leave_tiles;
    kernel.peak = amx_peak<Dot>;
    kernel.peak_operations = int64{2} * 4 * 16 * 16 * AMX_STEP * group;
    return kernel;
}
#endif

} // namespace

// Declared in isa/registry.cpp, which calls it only where this code can run.
void fill_dots(DotKernel (&kernels)[DOT_KINDS]);
void fill_dots(DotKernel (&kernels)[DOT_KINDS]) {
    kernels[DOT_WORDS] = vectors_of<WordDot>(4.0, 1, store_integers<WordDot>);
    kernels[DOT_LONGS] = vectors_of<LongDot>(8.0, 1, store_integers<LongDot>);
#if defined(__SSE2__)
    kernels[DOT_SHORTS] = vectors_of<ShortDot>(2.0, 2, store_integers<ShortDot>);
#endif
#if defined(__AVX512VNNI__)
    kernels[DOT_BYTES_US] = vectors_of<ByteDot>(1.1, 4, store_integers<ByteDot>);
#endif
#if defined(__AVX512BF16__)
    kernels[DOT_BFLOATS] =
        vectors_of<BfloatDot>(1.1, 2, store_bfloats, store_bfloats_turned);
#endif
#if defined(__AMX_BF16__) && defined(__AMX_INT8__)
    kernels[DOT_BFLOATS] = tiles_of<AmxBfloats>(2, store_bfloats, store_bfloats_turned);
    kernels[DOT_BYTES_UU] = tiles_of<AmxBytesUU>(4, store_integers<WordDot>);
    kernels[DOT_BYTES_US] = tiles_of<AmxBytesUS>(4, store_integers<WordDot>);
    kernels[DOT_BYTES_SU] = tiles_of<AmxBytesSU>(4, store_integers<WordDot>);
    kernels[DOT_BYTES_SS] = tiles_of<AmxBytesSS>(4, store_integers<WordDot>);
#endif
}

} // namespace PYCONV_ISA
} // namespace pyconv
