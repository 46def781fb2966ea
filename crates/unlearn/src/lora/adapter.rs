//! One adapted projection.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::unet::Projection;
use streams::{Streams, uniform};

use super::settings::LoraSettings;

/// A and B of one projection.
#[derive(Module, Debug)]
pub struct LoraAdapter {
    /// A, `[r, in]`.
    pub lora_a: Param<Tensor<2>>,
    /// B, `[out, r]`.
    pub lora_b: Param<Tensor<2>>,
    #[module(skip)]
    pub(super) block: String,
    #[module(skip)]
    pub(super) projection: Projection,
}

impl LoraAdapter {
    /// Fresh matrices for a projection of `inputs` to `outputs` channels: A uniform in +-1/sqrt(in) (PyTorch's
    /// `kaiming_uniform_` with a = sqrt(5)) from stream (`lora_a`, `index`), B zero.
    pub(super) fn new(
        block: &str,
        projection: Projection,
        (inputs, outputs): (usize, usize),
        settings: &LoraSettings,
        (streams, index): (&Streams, u64),
        device: &Device,
    ) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        let mut rng = streams.rng("lora_a", index);
        let a: Vec<f32> =
            (0..settings.rank * inputs).map(|_| ((2.0 * uniform(&mut rng) - 1.0) * bound) as f32).collect();
        Self {
            lora_a: Param::from_data(TensorData::new(a, [settings.rank, inputs]), device),
            lora_b: Param::from_tensor(Tensor::zeros([outputs, settings.rank], device)),
            block: block.to_owned(),
            projection,
        }
    }

    /// B A x at every position: `[batch, in, height, width]` to `[batch, out, height, width]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let at_positions = |x: Tensor<4>, weight: Tensor<2>| {
            let [outputs, inputs] = weight.dims();
            kernels::conv2d(x, weight.reshape([outputs, inputs, 1, 1]), None, 1, 0)
        };
        at_positions(at_positions(x, self.lora_a.val()), self.lora_b.val())
    }

    /// The name of the adapted layer, such as `mid_block.attentions.0.to_q`.
    pub(super) fn layer(&self) -> String {
        format!("{}.{}", self.block, self.projection.layer())
    }
}
