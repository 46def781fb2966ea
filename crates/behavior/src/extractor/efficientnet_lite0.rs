//! EfficientNet-Lite0: "EfficientNet: rethinking model scaling for convolutional neural networks", Tan & Le 2019, arXiv
//! 1905.11946, in the "Lite" variant: ReLU6 and no squeeze-and-excitation.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::conv::{Conv, ConvShape};
use super::squeezenet::spatial_mean;
use super::weights::Weights;
use crate::BehaviorError;

/// One stage: `repeat` blocks of which the first has the stride and the input width.
struct Stage {
    repeat: usize,
    kernel: usize,
    stride: usize,
    expand: usize,
    inputs: usize,
    outputs: usize,
}

const fn stage(
    repeat: usize,
    kernel: usize,
    stride: usize,
    expand: usize,
    inputs: usize,
    outputs: usize,
) -> Stage {
    Stage { repeat, kernel, stride, expand, inputs, outputs }
}

const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 32, 16),
    stage(2, 3, 2, 6, 16, 24),
    stage(2, 5, 2, 6, 24, 40),
    stage(3, 3, 2, 6, 40, 80),
    stage(3, 5, 1, 6, 80, 112),
    stage(4, 5, 2, 6, 112, 192),
    stage(1, 3, 1, 6, 192, 320),
];

/// An inverted residual (Sandler et al. 2018, arXiv 1801.04381): 1x1 expansion, depthwise convolution, 1x1 projection.
#[derive(Module, Debug)]
struct Block {
    expand: Option<Conv>,
    depthwise: Conv,
    project: Conv,
    residual: bool,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let input = self.residual.then(|| x.clone());
        let x = match &self.expand {
            Some(expand) => relu6(expand.forward(x)),
            None => x,
        };
        let x = self.project.forward(relu6(self.depthwise.forward(x)));
        match input {
            Some(input) => x + input,
            None => x,
        }
    }
}

/// The network, for inference, its batch norms folded into the convolutions.
#[derive(Module, Debug)]
pub(super) struct EfficientNetLite0 {
    stem: Conv,
    blocks: Vec<Block>,
    head: Conv,
    classes: Param<Tensor<2>>,
    classes_bias: Param<Tensor<1>>,
}

impl EfficientNetLite0 {
    pub fn load(weights: &mut Weights, device: &Device) -> Result<Self, BehaviorError> {
        let first = ConvShape { inputs: 3, outputs: 32, kernel: 3, stride: 2, depthwise: false };
        let stem = Conv::with_batch_norm(weights, "_conv_stem", "_bn0", first, device)?;
        let mut blocks = Vec::new();
        for stage in STAGES {
            for repeat in 0..stage.repeat {
                let (stride, inputs) =
                    if repeat == 0 { (stage.stride, stage.inputs) } else { (1, stage.outputs) };
                let hidden = inputs * stage.expand;
                let path = format!("_blocks.{}", blocks.len());
                let mut part = |conv: &str, norm: &str, shape| {
                    Conv::with_batch_norm(
                        weights,
                        &format!("{path}.{conv}"),
                        &format!("{path}.{norm}"),
                        shape,
                        device,
                    )
                };
                let spread = ConvShape {
                    inputs: hidden,
                    outputs: hidden,
                    kernel: stage.kernel,
                    stride,
                    depthwise: true,
                };
                blocks.push(Block {
                    expand: match stage.expand {
                        1 => None,
                        _ => Some(part("_expand_conv", "_bn0", ConvShape::pointwise(inputs, hidden))?),
                    },
                    depthwise: part("_depthwise_conv", "_bn1", spread)?,
                    project: part("_project_conv", "_bn2", ConvShape::pointwise(hidden, stage.outputs))?,
                    residual: stride == 1 && inputs == stage.outputs,
                });
            }
        }
        let head =
            Conv::with_batch_norm(weights, "_conv_head", "_bn1", ConvShape::pointwise(320, 1280), device)?;
        let classes = weights.take("_fc.weight", &[1000, 1280])?;
        let classes_bias = weights.take("_fc.bias", &[1000])?;
        let classes = Tensor::<2>::from_data(TensorData::new(classes.data, [1000, 1280]), device);
        let classes_bias = Tensor::from_data(TensorData::new(classes_bias.data, [1000]), device);
        Ok(Self {
            stem,
            blocks,
            head,
            classes: Param::from_tensor(classes.transpose()),
            classes_bias: Param::from_tensor(classes_bias),
        })
    }

    /// `[batch, 3, height, width]` (R, G, B as `(x - 127) / 128`) to features `[batch, 1280]` and logits `[batch, 1000]`.
    pub fn forward(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let x = relu6(self.stem.forward(x));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let features = spatial_mean(relu6(self.head.forward(x)));
        let logits = features.clone().matmul(self.classes.val()) + self.classes_bias.val().unsqueeze();
        (features, logits)
    }
}

/// `min(max(x, 0), 6)`.
fn relu6(x: Tensor<4>) -> Tensor<4> {
    x.clamp(0.0, 6.0)
}
