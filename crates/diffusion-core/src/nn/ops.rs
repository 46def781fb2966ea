//! The functions that do nearly all the arithmetic, in one place: those of `kernels`, which are fast on the CPU and
//! burn's own elsewhere.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use burn::tensor::ops::PadMode;

use super::precision::{MixedPrecision, precision, rounded};

/// Cross-correlation of `x` `[batch, in, height, width]` with `weight` `[out, in, k, k]`, plus `bias` `[out]`;
/// in training, in its [`MixedPrecision`](super::MixedPrecision).
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: usize, padding: usize) -> Tensor<4> {
    rounded(kernels::conv2d(rounded(x), rounded(weight), Some(rounded(bias)), stride, padding))
}

/// [`conv2d`] plus `added`, of the result's shape.
pub fn conv2d_added(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
    added: Tensor<4>,
) -> Tensor<4> {
    if precision() == MixedPrecision::No {
        kernels::conv2d_added(x, weight, bias, stride, padding, added)
    } else {
        // The convolution is rounded, the sum is not.
        conv2d(x, weight, bias, stride, padding) + added
    }
}

/// `x W^T + b` for `x` `[rows, in]`, `weight` `[out, in]` and `bias` `[out]`; in training, in its
/// [`MixedPrecision`](super::MixedPrecision).
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    rounded(kernels::linear(rounded(x), rounded(weight), Some(rounded(bias))))
}

/// `x / (1 + exp(-x))`
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    kernels::silu(x)
}

/// The affine map of [`linear`] at every position of a feature map: `x` `[batch, in, height, width]` becomes
/// `[batch, out, height, width]`.
pub fn linear_at_positions(x: Tensor<4>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<4> {
    let [outputs, inputs] = weight.dims();
    conv2d(x, weight.reshape([outputs, inputs, 1, 1]), bias, 1, 0)
}

/// Group norm, (x - mean) / sqrt(variance + epsilon) * gamma + beta, with mean and (biased) variance over each of
/// `groups` equal runs of channels of one image; then SiLU if `activate`.
///
/// Source: Wu and He 2018, <https://arxiv.org/abs/1803.08494>.
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
    activate: bool,
) -> Tensor<4> {
    kernels::group_norm(x, gamma, beta, groups, epsilon, activate)
}

/// SiLU of [`group_norm`] of `x + shift`, with `shift` `[batch, channels]` added to all pixels of a channel.
pub fn group_norm_shifted(
    x: Tensor<4>,
    shift: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    kernels::group_norm_shifted(x, shift, gamma, beta, groups, epsilon, true)
}

/// Multi-head attention softmax(scale q^T k) on feature maps.
///
/// `query` and `key` are `[batch, heads * d, height, width]`, `value` `[batch, heads * e, height, width]`; so is the
/// result.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, heads: usize, scale: f64) -> Tensor<4> {
    let [batch, channels, height, width] = query.dims();
    if value.dims()[1] == channels {
        return kernels::pixel_attention(query, key, value, heads, scale);
    }
    let split = |x: Tensor<4>| {
        let channels = x.dims()[1];
        x.reshape([batch, heads, channels / heads, height * width])
    };
    let (query, key, value) = (split(query), split(key), split(value));
    let scores = (query * scale).swap_dims(2, 3).matmul(key);
    let attended = value.matmul(softmax(scores, 3).swap_dims(2, 3));
    let channels = heads * attended.dims()[2];
    attended.reshape([batch, channels, height, width])
}

/// The channels of one feature map and then those of another of the same size.
pub fn concat_channels(first: Tensor<4>, second: Tensor<4>) -> Tensor<4> {
    kernels::concat_channels(first, second)
}

/// A feature map with each pixel doubled in both directions.
pub fn upsample_nearest(x: Tensor<4>) -> Tensor<4> {
    kernels::upsample_nearest_2x(x)
}

/// `x` for several branches: their gradients are added up first, and then to those of what else `x` goes into. So a
/// block's gradients are added in one order whether it is one step of the graph or many.
pub(crate) fn branching<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    // A step of the graph that copies nothing.
    if x.is_autodiff() { x.clone().reshape(x.dims()) } else { x }
}

/// A feature map with a row of zeros below and a column of zeros to the right.
pub fn pad_right_and_bottom(x: Tensor<4>) -> Tensor<4> {
    x.pad((0, 1, 0, 1), PadMode::Constant(0.0))
}
