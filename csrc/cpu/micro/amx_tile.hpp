// Tiles of AMX: 32 pixels by 32 filters, sixteen groups of each at a time.
//
// The idea: eight tile registers of 16 rows by 64 bytes; four hold sums, two pixels,
// two filters, so that every tile read is used twice. Rows are read sixteen at a time:
// room for them is the caller's. Source: Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 1, chapter 18.
#pragma once

#include "cpu/isa/isa.hpp"

#include <cstdint>
#include <immintrin.h>

namespace pyconv::PYCONV_ISA {
namespace {

inline constexpr int AMX_STEP = 16;

struct alignas(64) TileShapes {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Not on the stack: compilers do not see that the instruction reads all of it.
constexpr TileShapes TILE_SHAPES{};

inline void enter_tiles() {
    _tile_loadconfig(&TILE_SHAPES);
}

inline void leave_tiles() {
    _tile_release();
}

// Registers 0 to 3 hold sums, 4 and 5 pixels, 6 and 7 filters; the instructions take
// their numbers as constants.
#define PYCONV_AMX_DOT(name, instruction)                                              \
    struct name {                                                                      \
        template <int ROWS, int COLUMNS>                                               \
        static inline __attribute__((always_inline)) void add() {                      \
            instruction(0, 4, 6);                                                      \
            if constexpr (COLUMNS == 2) {                                              \
                instruction(1, 4, 7);                                                  \
            }                                                                          \
            if constexpr (ROWS == 2) {                                                 \
                instruction(2, 5, 6);                                                  \
            }                                                                          \
            if constexpr (ROWS == 2 && COLUMNS == 2) {                                 \
                instruction(3, 5, 7);                                                  \
            }                                                                          \
        }                                                                              \
    }

PYCONV_AMX_DOT(AmxBfloats, _tile_dpbf16ps);
PYCONV_AMX_DOT(AmxBytesUU, _tile_dpbuud);
PYCONV_AMX_DOT(AmxBytesUS, _tile_dpbusd);
PYCONV_AMX_DOT(AmxBytesSU, _tile_dpbsud);
PYCONV_AMX_DOT(AmxBytesSS, _tile_dpbssd);

#undef PYCONV_AMX_DOT

// Four tiles of sums in turn, from registers; between enter_tiles and leave_tiles.
template <class Dot>
void amx_peak(int64 rounds) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64 round = 0; round < rounds; ++round) {
        Dot::template add<2, 2>();
    }
}

template <class Dot, int ROWS, int COLUMNS>
void amx_tile(const DotTile& tile) {
    constexpr int64 B_PITCH = 128;
    const auto* b = static_cast<const char*>(tile.b);
    const auto* ahead = static_cast<const char*>(tile.ahead);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64 tap = 0; tap < tile.taps; ++tap) {
        const char* a = static_cast<const char*>(tile.a) + tile.a_tap[tap];
        for (int64 group = 0; group < tile.groups; group += AMX_STEP) {
            _tile_loadd(6, b, B_PITCH);
            _tile_loadd(4, a, tile.a_pitch);
            if constexpr (COLUMNS == 2) {
                _tile_loadd(7, b + 64, B_PITCH);
            }
            if constexpr (ROWS == 2) {
                _tile_loadd(5, a + 16 * tile.a_pitch, tile.a_pitch);
            }
            if (ahead != nullptr) {
                for (int64 row = 0; row < int64{16 * ROWS}; ++row) {
                    __builtin_prefetch(ahead + row * tile.a_pitch + group * 4, 0, 2);
                }
            }
            Dot::template add<ROWS, COLUMNS>();
            a += 64;
            b += AMX_STEP * B_PITCH;
        }
    }
    auto* acc = static_cast<char*>(tile.acc);
    _tile_stored(0, acc, B_PITCH);
    if constexpr (COLUMNS == 2) {
        _tile_stored(1, acc + 64, B_PITCH);
    }
    if constexpr (ROWS == 2) {
        _tile_stored(2, acc + 16 * B_PITCH, B_PITCH);
    }
    if constexpr (ROWS == 2 && COLUMNS == 2) {
        _tile_stored(3, acc + 16 * B_PITCH + 64, B_PITCH);
    }
}

} // namespace
} // namespace pyconv::PYCONV_ISA
