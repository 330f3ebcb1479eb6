// Winograd's transforms, a vector of channels or filters at a time.
//
// The idea: F(m, r) computes m outputs of an r-tap filter from n = m + r - 1 products,
// one at each of n points: 0, some pairs +-p, and infinity. With the pairs' structure
// used (the rows of +p and -p share their even and odd halves) every transform is a
// few multiply-adds; in two dimensions it is applied along columns, then rows. Points
// {0, +-3/4, +-3/2} cost what {0, +-1, +-2} cost and round three times better.
// Source: Lavin and Gray 2016 (arXiv 1509.09308); Barabasz et al. 2020 (arXiv
// 1803.10986) for points other than integers.
#pragma once

#include "cpu/isa/isa.hpp"
#include "cpu/micro/simd.hpp"

namespace pyconv::PYCONV_ISA {
namespace {

// Positive halves of the pairs, by the number of points.
template <int POINTS>
struct WinogradPoints;
template <>
struct WinogradPoints<4> {
    static constexpr double PAIR[1] = {1.0};
};
template <>
struct WinogradPoints<6> {
    static constexpr double PAIR[2] = {0.75, 1.5};
};
template <>
struct WinogradPoints<8> {
    static constexpr double PAIR[3] = {0.5, 1.0, 2.0};
};

// Coefficients of the polynomials that interpolate, all in powers of x squared.
template <int POINTS>
struct WinogradBasis {
    static constexpr int PAIRS = (POINTS - 2) / 2;
    double all[PAIRS + 1]{};       // prod over pairs of (x^2 - p^2)
    double others[PAIRS][PAIRS]{}; // the same without pair j
    double norm[PAIRS]{};          // prod of (p_j - q) over the other finite points

    constexpr WinogradBasis() {
        multiply_out(-1, all);
        for (int j = 0; j < PAIRS; ++j) {
            multiply_out(j, others[j]);
            const double square = pair(j) * pair(j);
            norm[j] = 2.0 * square;
            for (int i = 0; i < PAIRS; ++i) {
                norm[j] *= i == j ? 1.0 : square - pair(i) * pair(i);
            }
        }
    }

    static constexpr double pair(int j) { return WinogradPoints<POINTS>::PAIR[j]; }

  private:
    static constexpr void multiply_out(int skip, double* coefficients) {
        int degree = 0;
        coefficients[0] = 1.0;
        for (int i = 0; i < PAIRS; ++i) {
            if (i == skip) {
                continue;
            }
            ++degree;
            coefficients[degree] = coefficients[degree - 1];
            for (int k = degree - 1; k >= 0; --k) {
                coefficients[k] = (k > 0 ? coefficients[k - 1] : 0.0) -
                                  pair(i) * pair(i) * coefficients[k];
            }
        }
    }
};

template <int POINTS>
inline constexpr WinogradBasis<POINTS> WINOGRAD{};

// Order of points: 0, then p and -p of each pair, then infinity.
template <class T, int POINTS, class V>
inline __attribute__((always_inline)) void
winograd_input_line(const V (&d)[POINTS], V (&out)[POINTS]) {
    constexpr int PAIRS = (POINTS - 2) / 2;
    constexpr const auto& basis = WINOGRAD<POINTS>;
    V zero = d[2 * PAIRS];
    V infinity = d[2 * PAIRS + 1];
    PYCONV_UNROLL
    for (int k = 0; k < PAIRS; ++k) {
        zero += d[2 * k] * T(basis.all[k]);
        infinity += d[2 * k + 1] * T(basis.all[k]);
    }
    out[0] = zero;
    out[POINTS - 1] = infinity;
    PYCONV_UNROLL
    for (int j = 0; j < PAIRS; ++j) {
        V even = d[2 * PAIRS];
        V odd = d[2 * PAIRS - 1];
        PYCONV_UNROLL
        for (int k = 0; k + 1 < PAIRS; ++k) {
            even += d[2 * k + 2] * T(basis.others[j][k]);
            odd += d[2 * k + 1] * T(basis.others[j][k]);
        }
        const T p = T(basis.pair(j));
        out[1 + 2 * j] = even + odd * p;
        out[2 + 2 * j] = even - odd * p;
    }
}

template <class T, int POINTS, int M, class V>
inline __attribute__((always_inline)) void
winograd_output_line(const V (&m)[POINTS], V (&out)[M]) {
    constexpr int PAIRS = (POINTS - 2) / 2;
    V sum[PAIRS];
    V difference[PAIRS];
    PYCONV_UNROLL
    for (int j = 0; j < PAIRS; ++j) {
        sum[j] = m[1 + 2 * j] + m[2 + 2 * j];
        difference[j] = m[1 + 2 * j] - m[2 + 2 * j];
    }
    double power[PAIRS];
    for (int j = 0; j < PAIRS; ++j) {
        power[j] = 1.0;
    }
    PYCONV_UNROLL
    for (int i = 0; i < M; ++i) {
        V value = i == 0 ? m[0] : V{};
        PYCONV_UNROLL
        for (int j = 0; j < PAIRS; ++j) {
            value += (i % 2 == 0 ? sum[j] : difference[j]) * T(power[j]);
            power[j] *= WINOGRAD<POINTS>.pair(j);
        }
        out[i] = i == M - 1 ? value + m[POINTS - 1] : value;
    }
}

// The filter at every point, divided by the interpolation's norm.
template <int POINTS, int TAPS, class V>
inline __attribute__((always_inline)) void
winograd_filter_line(const V (&g)[TAPS], V (&out)[POINTS]) {
    constexpr int PAIRS = (POINTS - 2) / 2;
    constexpr const auto& basis = WINOGRAD<POINTS>;
    out[0] = g[0] * (1.0 / basis.all[0]);
    out[POINTS - 1] = g[TAPS - 1];
    PYCONV_UNROLL
    for (int j = 0; j < PAIRS; ++j) {
        V even{};
        V odd{};
        double power = 1.0 / basis.norm[j];
        PYCONV_UNROLL
        for (int k = 0; k < TAPS; ++k) {
            (k % 2 == 0 ? even : odd) += g[k] * power;
            power *= basis.pair(j);
        }
        out[1 + 2 * j] = even + odd;
        out[2 + 2 * j] = even - odd;
    }
}

// Vectors that what is written or read next is fetched ahead of: V, M and U are as many
// streams as there are points, more than the hardware follows.
constexpr int AHEAD_VECTORS = 4;

// One vector of channels of one tile: a column at a time, then a row at a time.
template <class T, int PH, int PW, class Load>
inline __attribute__((always_inline)) void
winograd_input_vector(const Load& load, T* v, int64 v_pitch) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    Vector half[PH][PW];
    PYCONV_UNROLL
    for (int j = 0; j < PW; ++j) {
        Vector column[PH];
        PYCONV_UNROLL
        for (int i = 0; i < PH; ++i) {
            column[i] = load(i * PW + j);
        }
        if constexpr (PH > 1) {
            Vector out[PH];
            winograd_input_line<T, PH>(column, out);
            PYCONV_UNROLL
            for (int i = 0; i < PH; ++i) {
                half[i][j] = out[i];
            }
        } else {
            half[0][j] = column[0];
        }
    }
    PYCONV_UNROLL
    for (int i = 0; i < PH; ++i) {
        Vector out[PW];
        winograd_input_line<T, PW>(half[i], out);
        PYCONV_UNROLL
        for (int j = 0; j < PW; ++j) {
            T* to = v + (i * PW + j) * v_pitch;
            __builtin_prefetch(to + AHEAD_VECTORS * Simd<T>::LANES, 1);
            *reinterpret_cast<Unaligned*>(to) = out[j];
        }
    }
}

template <class T, int PH, int PW>
void winograd_input(const WinogradInput<T>& tile) {
    using Vector = typename Simd<T>::Vector;
    using Unaligned = typename Simd<T>::Unaligned;
    constexpr int LANES = Simd<T>::LANES;
    int64 c = 0;
    for (; c + LANES <= tile.channels; c += LANES) {
        winograd_input_vector<T, PH, PW>(
            [&](int point) -> Vector {
                return *reinterpret_cast<const Unaligned*>(tile.pixel[point] + c);
            },
            tile.v + c,
            tile.v_pitch);
    }
    if (c < tile.channels) {
        winograd_input_vector<T, PH, PW>(
            [&](int point) -> Vector {
                return load_partial(tile.pixel[point] + c, tile.channels - c);
            },
            tile.v + c,
            tile.v_pitch);
    }
}

template <class T, int PH, int PW, int MH, int MW>
void winograd_output(const WinogradOutput<T>& tile) {
    using Vector = typename Simd<T>::Vector;
    constexpr int LANES = Simd<T>::LANES;
    auto* check = reinterpret_cast<Vector*>(tile.check);
    for (int64 lane = 0; lane < tile.width; lane += LANES) {
        Vector half[MH][PW];
        PYCONV_UNROLL
        for (int j = 0; j < PW; ++j) {
            Vector column[PH];
            PYCONV_UNROLL
            for (int i = 0; i < PH; ++i) {
                const T* from = tile.m + (i * PW + j) * tile.m_pitch + lane;
                __builtin_prefetch(from + AHEAD_VECTORS / 2 * tile.width);
                column[i] = *reinterpret_cast<const Vector*>(from);
            }
            if constexpr (PH > 1) {
                Vector out[MH];
                winograd_output_line<T, PH, MH>(column, out);
                PYCONV_UNROLL
                for (int i = 0; i < MH; ++i) {
                    half[i][j] = out[i];
                }
            } else {
                half[0][j] = column[0];
            }
        }
        PYCONV_UNROLL
        for (int i = 0; i < MH; ++i) {
            Vector out[MW];
            winograd_output_line<T, PW, MW>(half[i], out);
            PYCONV_UNROLL
            for (int j = 0; j < MW; ++j) {
                *reinterpret_cast<Vector*>(
                    tile.o + i * tile.row_pitch + j * tile.column_pitch + lane) =
                    out[j];
                *check += out[j] * T(0); // NaN once anything is not finite
            }
        }
    }
}

// As many elements as a vector of double has.
template <class T>
inline __attribute__((always_inline)) Simd<double>::Vector load_double(const T* from) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4) {
        // GCC's own conversion takes four steps.
        return _mm512_maskz_cvtps_pd(static_cast<__mmask8>(-1), _mm256_loadu_ps(from));
    }
#endif
    constexpr int LANES = Simd<double>::LANES;
    typedef T Narrow __attribute__((vector_size(LANES * sizeof(T))));
    Narrow value;
    __builtin_memcpy(&value, from, sizeof(value));
    return __builtin_convertvector(value, Simd<double>::Vector);
}

// A vector of filters at each point, in double between the two conversions.
template <class T, int PH, int PW, int TAPS_H, int TAPS_W>
void winograd_filter(const WinogradFilter<T>& panel) {
    using Vector = typename Simd<double>::Vector;
    constexpr int LANES = Simd<double>::LANES;
    typedef T Narrow __attribute__((vector_size(LANES * sizeof(T))));
    const int64 width = panel.width;
    const int64 u_pitch = panel.u_pitch;
    for (int64 lane = 0; lane < width; lane += LANES) {
        Vector half[PH][TAPS_W];
        PYCONV_UNROLL
        for (int j = 0; j < TAPS_W; ++j) {
            Vector column[TAPS_H];
            PYCONV_UNROLL
            for (int i = 0; i < TAPS_H; ++i) {
                column[i] = load_double(
                    panel.g + i * panel.row_pitch + j * panel.column_pitch + lane);
            }
            if constexpr (PH > 1) {
                Vector out[PH];
                winograd_filter_line<PH, TAPS_H>(column, out);
                PYCONV_UNROLL
                for (int i = 0; i < PH; ++i) {
                    half[i][j] = out[i];
                }
            } else {
                half[0][j] = column[0];
            }
        }
        T* u = panel.u + lane;
        for (int i = 0; i < PH; ++i) {
            Vector out[PW];
            winograd_filter_line<PW, TAPS_W>(half[i], out);
            PYCONV_UNROLL
            for (int j = 0; j < PW; ++j, u += u_pitch) {
                __builtin_prefetch(u + AHEAD_VECTORS * width, 1);
                const Narrow rounded = __builtin_convertvector(out[j], Narrow);
                __builtin_memcpy(u, &rounded, sizeof(rounded));
            }
        }
    }
}

template <class T>
void fill_winograd(WinogradKernels<T> (&kernels)[WINOGRAD_FORMS]) {
    // The order of WINOGRAD_SHAPES.
    kernels[0] = {
        winograd_input<T, 4, 4>,
        winograd_output<T, 4, 4, 2, 2>,
        winograd_filter<T, 4, 4, 3, 3>};
    kernels[1] = {
        winograd_input<T, 6, 6>,
        winograd_output<T, 6, 6, 4, 4>,
        winograd_filter<T, 6, 6, 3, 3>};
    kernels[2] = {
        winograd_input<T, 8, 8>,
        winograd_output<T, 8, 8, 6, 6>,
        winograd_filter<T, 8, 8, 3, 3>};
    kernels[3] = {
        winograd_input<T, 1, 6>,
        winograd_output<T, 1, 6, 1, 4>,
        winograd_filter<T, 1, 6, 1, 3>};
    kernels[4] = {
        winograd_input<T, 1, 8>,
        winograd_output<T, 1, 8, 1, 4>,
        winograd_filter<T, 1, 8, 1, 5>};
    kernels[5] = {
        winograd_input<T, 1, 8>,
        winograd_output<T, 1, 8, 1, 2>,
        winograd_filter<T, 1, 8, 1, 7>};
}

} // namespace
} // namespace pyconv::PYCONV_ISA
