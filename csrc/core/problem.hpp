// The problem: what is to be computed, as plain integers.
//
// Layout: every field is a 64-bit integer and nothing is included, so that C++, NVRTC
// and a NumPy structured dtype (pyconv/problem.py) share one struct, byte for byte. A
// test holds the three together.
//
// Rank 1 and 2 are rank 3 with extents of 1: spatial triples are (depth, height,
// width). Pitches count elements, may be negative or zero, and follow the logical axes:
// x (n, c, d, h, w), weight (k, c, t, r, s), y (n, k, m, p, q). A group has c / groups
// input channels; pitches of the weight's channel axis step inside one group.
#pragma once

namespace pyconv {

using int64 = long long;

enum DataType : int64 {
    FLOAT32 = 0,
    FLOAT64 = 1,
    FLOAT16 = 2,
    BFLOAT16 = 3,
    INT8 = 4,
    UINT8 = 5,
    INT16 = 6,
    UINT16 = 7,
    INT32 = 8,
    UINT32 = 9,
    INT64 = 10,
    UINT64 = 11,
    COMPLEX64 = 12,
    COMPLEX128 = 13,
    DATA_TYPES = 14
};

enum PaddingMode : int64 {
    PAD_ZEROS = 0,
    PAD_REFLECT = 1,
    PAD_REPLICATE = 2,
    PAD_CIRCULAR = 3
};

enum Activation : int64 {
    ACT_NONE = 0,
    ACT_RELU = 1,
    ACT_RELU6 = 2,
    ACT_LEAKY_RELU = 3, // negative slope 0.01
    ACT_SIGMOID = 4,
    ACT_TANH = 5,
    ACT_GELU = 6, // exact, with erf
    ACT_SILU = 7
};

// How far a result may lie from the direct sum's rounding.
enum Accuracy : int64 { ACCURACY_STRICT = 0, ACCURACY_DEFAULT = 1, ACCURACY_FAST = 2 };

enum PoolKind : int64 {
    POOL_MAX = 0,
    POOL_AVERAGE = 1,
    POOL_LP = 2,
    POOL_UNPOOL = 3 // of gradients only: what max scatters, put instead of added
};

struct ConvProblem {
    int64 dtype;        // of x; y's and the sum's follow from it (core/element.hpp)
    int64 weight_dtype; // dtype, but for bytes, of which one may have a sign
    int64 n;
    int64 c;
    int64 k;
    int64 groups;
    int64 input[3];
    int64 kernel[3];
    int64 stride[3];
    int64 dilation[3];
    int64 pad_before[3];
    int64 pad_after[3];
    int64 output[3];
    int64 padding_mode;
    int64 activation;
    int64 accuracy;
    int64 has_bias;
    int64 has_residual; // the residual has y's pitches
    int64 x_pitch[5];
    int64 w_pitch[5];
    int64 y_pitch[5];
};

struct PoolProblem {
    int64 dtype;
    int64 kind;
    int64 n;
    int64 c;
    int64 input[3];
    int64 kernel[3];
    int64 stride[3];
    int64 dilation[3];
    int64 pad_before[3];
    int64 pad_after[3];
    int64 output[3];
    int64 adaptive; // window o is [floor(o in / out), ceil((o + 1) in / out))
    int64 count_include_pad;
    int64 divisor_override; // 0: none
    int64 norm_bits;        // Lp only: the order p of the norm, a double's bits
    int64 return_indices; // max only: y's twin of int64, plane offsets d*H*W + h*W + w
    int64 x_pitch[5];
    int64 y_pitch[5];
};

} // namespace pyconv
