//! Group normalisation, alone or followed by SiLU.

pub(crate) mod kernel;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, activation};

use crate::dispatch::{Operation, apply};
use crate::flex::{tensor, values};
use kernel::{GroupNorm, Moments};

/// Group normalisation as PyTorch's `group_norm`, followed by `SiLU` if `silu` is set.
///
/// With the channels cut into `groups` equal runs, `mean` and the biased `variance` over the
/// channels and pixels of one run of one image:
/// `z = (x - mean) / sqrt(variance + epsilon) * gamma + beta`, and `silu(z) = z / (1 + e^-z)`.
/// `x` is `[batch, channels, ..]`, `gamma` and `beta` are `[channels]`. For the backward pass only
/// the moments are kept besides the inputs.
/// (Y. Wu and K. He, "Group Normalization", ECCV 2018.)
///
/// # Panics
/// If `groups` does not divide the channels, or `gamma` or `beta` is of another length.
pub fn group_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
    silu: bool,
) -> Tensor<D> {
    let shape = x.dims();
    let (batch, channels) = (shape[0], shape[1]);
    let size = shape[2..].iter().product();
    assert!(
        groups > 0 && channels % groups == 0,
        "group norm: {channels} channels cannot be cut into {groups} equal groups; choose a number of groups that divides the channels"
    );
    assert!(
        gamma.dims() == [channels] && beta.dims() == [channels],
        "group norm: {channels} channels need as many scales and shifts, not {} and {}",
        gamma.dims()[0],
        beta.dims()[0]
    );
    let norm = GroupNorm { batch, channels, size, groups, epsilon: epsilon as f32, silu };
    if batch * channels * size == 0 {
        return plain(x, gamma, beta, norm, epsilon);
    }
    let inputs = [x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch()];
    match apply(norm, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, gamma, beta]) => plain(
            Tensor::from_dispatch(x),
            Tensor::from_dispatch(gamma),
            Tensor::from_dispatch(beta),
            norm,
            epsilon,
        ),
    }
}

/// The same by burn's own operations.
pub(crate) fn plain<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    norm: GroupNorm,
    epsilon: f64,
) -> Tensor<D> {
    let shape = x.dims();
    let block = norm.channels / norm.groups * norm.size;
    let grouped = x.reshape([norm.batch, norm.groups, block]);
    let centred = grouped.clone() - grouped.mean_dim(2);
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    let normal = (centred / (variance + epsilon).sqrt()).reshape([norm.batch, norm.channels, norm.size]);
    let per_channel = [1, norm.channels, 1];
    let z = normal * gamma.reshape(per_channel) + beta.reshape(per_channel);
    let y = if norm.silu { activation::silu(z) } else { z };
    y.reshape(shape)
}

/// As [`group_norm`] of `x + shift`, for `x` `[batch, channels, height, width]` and `shift` `[batch, channels]`: a residual
/// block adds its time embedding so. The sum itself is nowhere kept.
///
/// # Panics
/// As [`group_norm`], and if `shift` is of another shape.
pub fn group_norm_shifted(
    x: Tensor<4>,
    shift: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    epsilon: f64,
    silu: bool,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    assert!(
        shift.dims() == [batch, channels],
        "group norm: {batch} images of {channels} channels need a shift for each, not {:?}",
        shift.dims()
    );
    let sum = |x: Tensor<4>, shift: Tensor<2>| x + shift.reshape([batch, channels, 1, 1]);
    let fits = groups > 0
        && channels % groups == 0
        && gamma.dims() == [channels]
        && beta.dims() == [channels]
        && batch * channels * height * width > 0;
    if !fits {
        return group_norm(sum(x, shift), gamma, beta, groups, epsilon, silu);
    }
    let norm = GroupNorm { batch, channels, size: height * width, groups, epsilon: epsilon as f32, silu };
    let inputs = [x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch(), shift.into_dispatch()];
    match apply(norm, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, gamma, beta, shift]) => plain(
            sum(Tensor::from_dispatch(x), Tensor::from_dispatch(shift)),
            Tensor::from_dispatch(gamma),
            Tensor::from_dispatch(beta),
            norm,
            epsilon,
        ),
    }
}

/// On `x`, `gamma`, `beta`, and the shift if there are four.
impl<const N: usize> Operation<N> for GroupNorm {
    /// The inputs and the moments.
    type Saved = ([FlexTensor; N], Vec<Moments>);

    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved) {
        let [x, gamma, beta] = [0, 1, 2].map(|i| values(&inputs[i]));
        let (y, moments) = GroupNorm::forward(self, x, inputs.get(3).map(values), gamma, beta);
        let y = tensor(y, inputs[0].layout().shape().clone());
        (y, (inputs, moments))
    }

    fn backward(
        &self,
        (inputs, moments): Self::Saved,
        gradient: FlexTensor,
        needed: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let [x, gamma, beta] = [0, 1, 2].map(|i| values(&inputs[i]));
        let shift = inputs.get(3).map(values);
        let gradients = GroupNorm::backward(self, x, shift, gamma, beta, &moments, values(&gradient));
        let mut gradients = gradients.into_iter();
        std::array::from_fn(|i| {
            let gradient = gradients.next().unwrap_or_default();
            needed[i].then(|| tensor(gradient, inputs[i].layout().shape().clone()))
        })
    }
}
