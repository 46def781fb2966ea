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

impl Operation<3> for GroupNorm {
    /// The inputs and the moments.
    type Saved = ([FlexTensor; 3], Vec<Moments>);

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let [x, gamma, beta] = &inputs;
        let (y, moments) = GroupNorm::forward(self, values(x), values(gamma), values(beta));
        let y = tensor(y, x.layout().shape().clone());
        (y, (inputs, moments))
    }

    fn backward(
        &self,
        ([x, gamma, beta], moments): Self::Saved,
        gradient: FlexTensor,
        needed: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [dx, dgamma, dbeta] =
            GroupNorm::backward(self, values(&x), values(&gamma), values(&beta), &moments, values(&gradient));
        [
            needed[0].then(|| tensor(dx, x.layout().shape().clone())),
            needed[1].then(|| tensor(dgamma, [self.channels])),
            needed[2].then(|| tensor(dbeta, [self.channels])),
        ]
    }
}
