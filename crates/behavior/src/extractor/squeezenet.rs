//! SqueezeNet 1.1: "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", Iandola et al. 2016, arXiv 1602.07360.

use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor};

use super::conv::{Conv, ConvShape};
use super::weights::Weights;
use crate::BehaviorError;

/// Inputs, squeezed channels and channels of each expansion, of `fire2` to `fire9`.
const FIRES: [(usize, usize, usize); 8] = [
    (64, 16, 64),
    (128, 16, 64),
    (128, 32, 128),
    (256, 32, 128),
    (256, 48, 192),
    (384, 48, 192),
    (384, 64, 256),
    (512, 64, 256),
];

/// A 1x1 squeeze, then a 1x1 and a 3x3 expansion side by side; ReLU after each.
#[derive(Module, Debug)]
struct Fire {
    squeeze: Conv,
    expand1x1: Conv,
    expand3x3: Conv,
}

impl Fire {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let squeezed = relu(self.squeeze.forward(x));
        let expanded = vec![self.expand1x1.forward(squeezed.clone()), self.expand3x3.forward(squeezed)];
        relu(Tensor::cat(expanded, 1))
    }
}

/// The network, for inference.
#[derive(Module, Debug)]
pub(super) struct SqueezeNet {
    conv1: Conv,
    fires: Vec<Fire>,
    conv10: Conv,
}

impl SqueezeNet {
    pub fn load(weights: &mut Weights, device: &Device) -> Result<Self, BehaviorError> {
        let first = ConvShape { inputs: 3, outputs: 64, kernel: 3, stride: 2, depthwise: false };
        let conv1 = Conv::with_bias(weights, "conv1", first, device)?;
        let mut fires = Vec::with_capacity(FIRES.len());
        for (index, (inputs, squeezed, expanded)) in FIRES.into_iter().enumerate() {
            let mut part = |name: &str, shape| {
                Conv::with_bias(weights, &format!("fire{}.{name}", index + 2), shape, device)
            };
            let wide = ConvShape { kernel: 3, ..ConvShape::pointwise(squeezed, expanded) };
            fires.push(Fire {
                squeeze: part("squeeze1x1", ConvShape::pointwise(inputs, squeezed))?,
                expand1x1: part("expand1x1", ConvShape::pointwise(squeezed, expanded))?,
                expand3x3: part("expand3x3", wide)?,
            });
        }
        let conv10 = Conv::with_bias(weights, "conv10", ConvShape::pointwise(512, 1000), device)?;
        Ok(Self { conv1, fires, conv10 })
    }

    /// `[batch, 3, height, width]` (B, G, R minus their means) to features `[batch, 512]` and logits `[batch, 1000]`.
    pub fn forward(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        // ReLU and the maximum commute, and there are fewer values after the pool.
        let mut x = relu(max_pool(self.conv1.forward(x)));
        for (index, fire) in self.fires.iter().enumerate() {
            x = fire.forward(x);
            if index == 1 || index == 3 {
                x = max_pool(x);
            }
        }
        let features = spatial_mean(x);
        // The mean of a 1x1 convolution without activation is the convolution of the mean.
        let [batch, channels] = features.dims();
        let logits = self.conv10.forward(features.clone().reshape([batch, channels, 1, 1]));
        (features, spatial_mean(logits))
    }
}

fn max_pool(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([3, 3]).with_stride([2, 2]))
}

/// `[batch, channels, height, width]` to `[batch, channels]`.
pub(super) fn spatial_mean(x: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height * width]).mean_dim(2).reshape([batch, channels])
}
