// THE list of CPU algorithms. A new one is its .cpp and one line here.
#include "cpu/registry.hpp"

namespace pyconv {

extern const ConvAlgorithm conv_reference;
extern const ConvAlgorithm conv_reordered;
extern const ConvAlgorithm conv_cache_tiled;
extern const ConvAlgorithm conv_im2col;
extern const ConvAlgorithm conv_implicit_gemm;
extern const ConvAlgorithm conv_direct;
extern const ConvAlgorithm conv_winograd;
extern const ConvAlgorithm conv_winograd_staged;
extern const ConvAlgorithm conv_depthwise;
extern const ConvAlgorithm conv_grouped;
extern const ConvAlgorithm conv_few_channels;
extern const ConvAlgorithm conv_dot_product;
extern const ConvAlgorithm conv_widened;

extern const InputAlgorithm input_interleaved;
extern const InputAlgorithm input_planes;

extern const WeightAlgorithm weight_reference;
extern const WeightAlgorithm weight_direct;
extern const WeightAlgorithm weight_depthwise;
extern const WeightAlgorithm weight_grouped;

extern const PoolAlgorithm pool_reference;
extern const PoolAlgorithm pool_direct;

extern const PoolGradAlgorithm pool_grad_reference;
extern const PoolGradAlgorithm pool_grad_direct;

extern const UnaryAlgorithm im2col_direct;
extern const UnaryAlgorithm col2im_direct;
extern const UnaryAlgorithm bias_direct;

std::span<const ConvAlgorithm* const> conv_algorithms() {
    static constexpr const ConvAlgorithm* ALL[] = {
        &conv_reference,
        &conv_reordered,
        &conv_cache_tiled,
        &conv_im2col,
        &conv_implicit_gemm,
        &conv_direct,
        &conv_winograd,
        &conv_winograd_staged,
        &conv_depthwise,
        &conv_grouped,
        &conv_few_channels,
        &conv_dot_product,
        &conv_widened,
    };
    return ALL;
}

std::span<const InputAlgorithm* const> input_algorithms() {
    static constexpr const InputAlgorithm* ALL[] = {&input_interleaved, &input_planes};
    return ALL;
}

std::span<const WeightAlgorithm* const> weight_algorithms() {
    static constexpr const WeightAlgorithm* ALL[] = {
        &weight_reference, &weight_direct, &weight_depthwise, &weight_grouped};
    return ALL;
}

std::span<const PoolAlgorithm* const> pool_algorithms() {
    static constexpr const PoolAlgorithm* ALL[] = {&pool_reference, &pool_direct};
    return ALL;
}

std::span<const PoolGradAlgorithm* const> pool_grad_algorithms() {
    static constexpr const PoolGradAlgorithm* ALL[] = {
        &pool_grad_reference, &pool_grad_direct};
    return ALL;
}

std::span<const UnaryAlgorithm* const> unary_algorithms() {
    static constexpr const UnaryAlgorithm* ALL[] = {
        &im2col_direct, &col2im_direct, &bias_direct};
    return ALL;
}

} // namespace pyconv
