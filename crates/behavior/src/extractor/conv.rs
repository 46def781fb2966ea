use burn::module::{Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Device, Tensor, TensorData};

use super::weights::{Array, Weights};
use crate::BehaviorError;

/// The epsilon of the batch norms of EfficientNet-Lite and of Inception.
const BATCH_NORM_EPSILON: f64 = 1e-3;

/// What a convolution looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvShape {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    /// One filter a channel (`inputs == outputs`).
    pub depthwise: bool,
}

impl ConvShape {
    /// A 1x1 convolution with stride 1.
    pub fn pointwise(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, kernel: 1, stride: 1, depthwise: false }
    }

    fn weight(&self) -> [usize; 4] {
        let inputs = if self.depthwise { 1 } else { self.inputs };
        [self.outputs, inputs, self.kernel, self.kernel]
    }
}

/// A convolution with bias and TensorFlow's "SAME" padding, for inference.
///
/// Output side `ceil(side / stride)`; the total padding `max(0, (out - 1) stride + kernel - side)` is halved, and an odd
/// pixel goes to the bottom and to the right.
#[derive(Module, Debug)]
pub(super) struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    stride: usize,
    groups: usize,
}

impl Conv {
    /// Reads `weight_key` and `bias_key`.
    pub fn with_bias(
        weights: &mut Weights,
        name: &str,
        shape: ConvShape,
        device: &Device,
    ) -> Result<Self, BehaviorError> {
        let weight = weights.take(&format!("{name}.weight"), &shape.weight())?;
        let bias = weights.take(&format!("{name}.bias"), &[shape.outputs])?;
        Ok(Self::new(shape, weight.data, bias.data, device))
    }

    /// Reads a convolution without bias and the batch norm after it, [folded](folded) into it.
    pub fn with_batch_norm(
        weights: &mut Weights,
        conv: &str,
        norm: &str,
        shape: ConvShape,
        device: &Device,
    ) -> Result<Self, BehaviorError> {
        let (weight, bias) = folded(weights, conv, norm, shape.weight())?;
        Ok(Self::new(shape, weight, bias, device))
    }

    fn new(shape: ConvShape, weight: Vec<f32>, bias: Vec<f32>, device: &Device) -> Self {
        let weight = Tensor::from_data(TensorData::new(weight, shape.weight()), device);
        let bias = Tensor::from_data(TensorData::new(bias, [shape.outputs]), device);
        Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
            stride: shape.stride,
            groups: if shape.depthwise { shape.inputs } else { 1 },
        }
    }

    /// `[batch, inputs, height, width]` to `[batch, outputs, ceil(height / stride), ceil(width / stride)]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let [_, _, kernel, _] = self.weight.dims();
        let vertical = same_padding(height, kernel, self.stride);
        let horizontal = same_padding(width, kernel, self.stride);
        let (x, padding) = if vertical.0 == vertical.1 && horizontal.0 == horizontal.1 {
            (x, [vertical.0, horizontal.0])
        } else {
            (x.pad([vertical, horizontal], PadMode::Constant(0.0)), [0, 0])
        };
        let (weight, bias) = (self.weight.val(), Some(self.bias.val()));
        if self.groups == 1 && padding[0] == padding[1] {
            return kernels::conv2d(x, weight, bias, self.stride, padding[0]);
        }
        conv2d(x, weight, bias, ConvOptions::new([self.stride; 2], padding, [1, 1], self.groups))
    }
}

/// Weight and bias of a convolution without bias, of weight `shape`, and the batch norm after it, in one:
/// `w' = w g / sqrt(var + eps)`, `b' = beta - mean g / sqrt(var + eps)`, computed in float64.
pub(super) fn folded(
    weights: &mut Weights,
    conv: &str,
    norm: &str,
    shape: [usize; 4],
) -> Result<(Vec<f32>, Vec<f32>), BehaviorError> {
    let outputs = shape[0];
    let Array { data: mut weight, .. } = weights.take(&format!("{conv}.weight"), &shape)?;
    let mut take = |part: &str| weights.take(&format!("{norm}.{part}"), &[outputs]);
    let (gain, shift) = (take("weight")?, take("bias")?);
    let (mean, variance) = (take("running_mean")?, take("running_var")?);
    let mut bias = Vec::with_capacity(outputs);
    let filter = weight.len() / outputs;
    for (channel, filter) in weight.chunks_exact_mut(filter).enumerate() {
        let deviation = (f64::from(variance.data[channel]) + BATCH_NORM_EPSILON).sqrt();
        let factor = f64::from(gain.data[channel]) / deviation;
        for value in filter {
            *value = (f64::from(*value) * factor) as f32;
        }
        bias.push((f64::from(shift.data[channel]) - f64::from(mean.data[channel]) * factor) as f32);
    }
    Ok((weight, bias))
}

/// The "SAME" padding of one axis, before and after.
fn same_padding(side: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let total = ((side.div_ceil(stride) - 1) * stride + kernel).saturating_sub(side);
    (total / 2, total - total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_is_uneven_at_stride_two_on_even_sides() {
        assert_eq!(same_padding(224, 3, 2), (0, 1));
        assert_eq!(same_padding(227, 3, 2), (1, 1));
        assert_eq!(same_padding(56, 5, 2), (1, 2));
        assert_eq!(same_padding(7, 5, 1), (2, 2));
        assert_eq!(same_padding(9, 1, 1), (0, 0));
        assert_eq!(same_padding(9, 1, 2), (0, 0));
    }
}
