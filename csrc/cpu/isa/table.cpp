// One instruction set's table of kernels. The only file compiled once per instruction
// set: PYCONV_ISA names it, PYCONV_VECTOR_BYTES is its vector width.
//
// Everything but the table is in an unnamed namespace and nothing of the standard
// library is used: an inline function compiled here could become the copy the linker
// keeps for all, and fault on an older processor (numpy#25274). A test holds this at
// -O0.
#include "cpu/isa/isa.hpp"
#include "cpu/micro/ceilings.hpp"
#include "cpu/micro/convert.hpp"
#include "cpu/micro/copy_lines.hpp"
#include "cpu/micro/gemm_tile.hpp"
#include "cpu/micro/indexed_row.hpp"
#include "cpu/micro/lane_sums.hpp"
#include "cpu/micro/lane_tile.hpp"
#include "cpu/micro/lane_window.hpp"
#include "cpu/micro/outer_tile.hpp"
#include "cpu/micro/picked_row.hpp"
#include "cpu/micro/pixel_sums.hpp"
#include "cpu/micro/plane_tile.hpp"
#include "cpu/micro/pool_grad_row.hpp"
#include "cpu/micro/pool_row.hpp"
#include "cpu/micro/power.hpp"
#include "cpu/micro/row_window.hpp"
#include "cpu/micro/spread_lanes.hpp"
#include "cpu/micro/store_tile.hpp"
#include "cpu/micro/transpose.hpp"
#include "cpu/micro/winograd.hpp"

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

template <class T, int VECTORS, int LAST>
void fill_outer_tiles(void (**tiles)(const OuterTile<T>&)) {
    tiles[LAST - 1] = outer_tile<T, LAST, VECTORS>;
    if constexpr (LAST > 1) {
        fill_outer_tiles<T, VECTORS, LAST - 1>(tiles);
    }
}

// Of 32 registers 24 hold sums, of 16 twelve.
constexpr int PLANE_SUMS = PYCONV_VECTOR_BYTES == 64 ? 24 : 12;

template <class T, int ROWS, int VECTORS>
void fill_planes(Kernels<T>& kernels) {
    if constexpr (ROWS * VECTORS <= PLANE_SUMS) {
        kernels.filter_tile[ROWS - 1][VECTORS - 1] = filter_tile<T, ROWS, VECTORS>;
        kernels.row_tile[ROWS - 1][VECTORS - 1] = row_tile<T, ROWS, VECTORS>;
        kernels.slide_tile[ROWS - 1][VECTORS - 1] = slide_tile<T, ROWS, VECTORS>;
    } else {
        kernels.filter_tile[ROWS - 1][VECTORS - 1] = nullptr;
        kernels.row_tile[ROWS - 1][VECTORS - 1] = nullptr;
        kernels.slide_tile[ROWS - 1][VECTORS - 1] = nullptr;
    }
    if constexpr (VECTORS > 1) {
        fill_planes<T, ROWS, VECTORS - 1>(kernels);
    } else if constexpr (ROWS > 1) {
        fill_planes<T, ROWS - 1, MAX_PLANE_VECTORS>(kernels);
    }
}

// Two vectors a pixel.
constexpr int LANE_PIXELS = PYCONV_VECTOR_BYTES == 64 ? 8 : 4;

template <class T, int PIXELS>
void fill_lanes(Kernels<T>& kernels) {
    kernels.lane_tile[PIXELS - 1] = lane_tile<T, PIXELS>;
    if constexpr (PIXELS > 1) {
        fill_lanes<T, PIXELS - 1>(kernels);
    }
}

template <class T, int TAPS>
void fill_lane_rows(Kernels<T>& kernels) {
    auto& rows = kernels.lane_row[(TAPS - 3) / 2];
    auto& groups = kernels.group_row[(TAPS - 3) / 2];
    groups[0][0] = group_row<T, TAPS, 1, LANE_ROW_PIXELS>;
    groups[1][0] = group_row<T, TAPS, 2, LANE_ROW_PIXELS>;
    groups[0][1] = nullptr;
    groups[1][1] = nullptr;
    rows[0][0] = lane_row<T, TAPS, 1, LANE_ROW_PIXELS>;
    rows[1][0] = lane_row<T, TAPS, 2, LANE_ROW_PIXELS>;
    rows[0][1] = nullptr;
    rows[1][1] = nullptr;
    if constexpr (PYCONV_VECTOR_BYTES == 64) {
        groups[0][1] = group_row<T, TAPS, 1, 2 * LANE_ROW_PIXELS>;
        groups[1][1] = group_row<T, TAPS, 2, 2 * LANE_ROW_PIXELS>;
        rows[0][1] = lane_row<T, TAPS, 1, 2 * LANE_ROW_PIXELS>;
        rows[1][1] = lane_row<T, TAPS, 2, 2 * LANE_ROW_PIXELS>;
    }
    if constexpr (TAPS > 3) {
        fill_lane_rows<T, TAPS - 2>(kernels);
    }
}

template <class T, int TAPS>
void fill_lane_sums(Kernels<T>& kernels) {
    kernels.lane_sums[0][TAPS - 1] = lane_sums<T, TAPS, 1>;
    kernels.lane_sums[1][TAPS - 1] = lane_sums<T, TAPS, 2>;
    if constexpr (TAPS > 1) {
        fill_lane_sums<T, TAPS - 1>(kernels);
    }
}

template <class T>
void fill(Kernels<T>& kernels) {
    kernels.lanes = Simd<T>::LANES;
    kernels.rows = ROWS;
    fill_tiles<T, 1, ROWS>(kernels.gemm_tile[0]);
    fill_tiles<T, 2, ROWS>(kernels.gemm_tile[1]);
    fill_outer_tiles<T, 1, ROWS>(kernels.outer_tile[0]);
    fill_outer_tiles<T, 2, ROWS>(kernels.outer_tile[1]);
    fill_planes<T, MAX_PLANE_ROWS, MAX_PLANE_VECTORS>(kernels);
    kernels.lane_pixels = LANE_PIXELS;
    fill_lanes<T, LANE_PIXELS>(kernels);
    fill_lane_rows<T, 7>(kernels);
    fill_lane_sums<T, MAX_SUM_TAPS>(kernels);
    kernels.store_tile = store_tile<T>;
    kernels.pixel_sums = pixel_sums<T>;
    kernels.spread_lanes = spread_lanes<T>;
    kernels.reduce[REDUCE_MAX] = reduce_rows<T, REDUCE_MAX>;
    kernels.reduce[REDUCE_SUM] = reduce_rows<T, REDUCE_SUM>;
    kernels.reduce[REDUCE_ABSOLUTES] = reduce_rows<T, REDUCE_ABSOLUTES>;
    kernels.reduce[REDUCE_SQUARES] = reduce_rows<T, REDUCE_SQUARES>;
    kernels.lane_windows[REDUCE_MAX] = lane_windows<T, REDUCE_MAX>;
    kernels.lane_windows[REDUCE_SUM] = lane_windows<T, REDUCE_SUM>;
    kernels.lane_windows[REDUCE_ABSOLUTES] = lane_windows<T, REDUCE_ABSOLUTES>;
    kernels.lane_windows[REDUCE_SQUARES] = lane_windows<T, REDUCE_SQUARES>;
    kernels.row_windows[REDUCE_MAX] = row_windows<T, REDUCE_MAX>;
    kernels.row_windows[REDUCE_SUM] = row_windows<T, REDUCE_SUM>;
    kernels.row_windows[REDUCE_ABSOLUTES] = row_windows<T, REDUCE_ABSOLUTES>;
    kernels.row_windows[REDUCE_SQUARES] = row_windows<T, REDUCE_SQUARES>;
    kernels.reduce_planes[REDUCE_MAX] = reduce_planes<T, REDUCE_MAX>;
    kernels.reduce_planes[REDUCE_SUM] = reduce_planes<T, REDUCE_SUM>;
    kernels.reduce_planes[REDUCE_ABSOLUTES] = reduce_planes<T, REDUCE_ABSOLUTES>;
    kernels.reduce_planes[REDUCE_SQUARES] = reduce_planes<T, REDUCE_SQUARES>;
    kernels.reduce_indexed = reduce_indexed<T>;
    kernels.picked_rows[REDUCE_MAX] = picked_rows<T, REDUCE_MAX>;
    kernels.picked_rows[REDUCE_SUM] = picked_rows<T, REDUCE_SUM>;
    kernels.picked_rows[REDUCE_ABSOLUTES] = picked_rows<T, REDUCE_ABSOLUTES>;
    kernels.picked_rows[REDUCE_SQUARES] = picked_rows<T, REDUCE_SQUARES>;
    kernels.picked_rows_indexed = picked_rows_indexed<T>;
    kernels.reduce_powers = reduce_powers<T>;
    kernels.powers = powers<T>;
    kernels.add_shares = add_shares<T>;
    kernels.reduce_weighted = reduce_weighted<T>;
    kernels.interleave = interleave<T>;
    kernels.multiply = multiply<T>;
    kernels.take_signs = take_signs<T>;
    kernels.ratios = ratios<T>;
    kernels.deinterleave = deinterleave<T>;
    kernels.divide = divide<T>;
    kernels.divide_all = divide_all<T>;
    kernels.square_roots = square_roots<T>;
    kernels.transpose = transpose<T>;
    kernels.copy_lines = copy_lines<T>;
    fill_winograd(kernels.winograd);
    fill_ceilings(kernels.ceilings);
}

void fill_conversions(Conversions& convert) {
    convert = {};
    convert.widen[FLOAT16] = widen_halves;
    convert.narrow[FLOAT16] = narrow_halves;
    convert.widen[BFLOAT16] = widen_bfloats;
    convert.narrow[BFLOAT16] = narrow_bfloats;
    convert.widen[INT8] = widen_integers<std::int8_t, float>;
    convert.narrow[INT8] = narrow_integers<float, std::int8_t, -128, 127>;
    convert.widen[UINT8] = widen_integers<std::uint8_t, float>;
    convert.narrow[UINT8] = narrow_integers<float, std::uint8_t, 0, 255>;
    convert.widen[INT16] = widen_integers<std::int16_t, float>;
    convert.narrow[INT16] = narrow_integers<float, std::int16_t, -32768, 32767>;
    convert.widen[UINT16] = widen_integers<std::uint16_t, float>;
    convert.narrow[UINT16] = narrow_integers<float, std::uint16_t, 0, 65535>;
    convert.widen[INT32] = widen_integers<std::int32_t, double>;
    convert.narrow[INT32] =
        narrow_integers<double, std::int32_t, -2147483648LL, 2147483647LL>;
    convert.widen[UINT32] = widen_integers<std::uint32_t, double>;
    convert.narrow[UINT32] = narrow_integers<double, std::uint32_t, 0, 4294967295LL>;
}

} // namespace

// Declared in isa/registry.cpp, which calls it only where this code can run.
void fill_table(IsaTable& table);
void fill_table(IsaTable& table) {
    table.vector_bytes = PYCONV_VECTOR_BYTES;
    fill(table.f32);
    fill(table.f64);
    fill_conversions(table.convert);
}

} // namespace PYCONV_ISA
} // namespace pyconv
