//! The residual block.

use burn::module::Module;
use burn::tensor::Tensor;

use super::parts::Parts;
use crate::DiffusionError;
use crate::nn::{Conv2d, GroupNorm, Linear, ops};

/// Two convolutions, shifted between by the time embedding, beside a shortcut:
///
/// ```text
/// h = conv1(silu(norm1(x))) + time_emb_proj(silu(time))
/// y = (conv2(silu(norm2(h))) + shortcut(x)) / rescale
/// ```
///
/// The shortcut is a 1 x 1 convolution where the block changes the width, else the identity. The blocks of autoencoders know
/// no time and have no `time_emb_proj`.
#[derive(Module, Debug)]
pub struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    rescale: f64,
}

impl ResnetBlock2D {
    pub(crate) fn build<C>(parts: &Parts<'_, C>, name: &str, rescale: f64) -> Result<Self, DiffusionError> {
        let time = format!("{name}.time_emb_proj");
        let shortcut = format!("{name}.conv_shortcut");
        Ok(Self {
            norm1: parts.norm(&format!("{name}.norm1"))?,
            conv1: parts.conv(&format!("{name}.conv1"))?,
            time_emb_proj: if parts.has(&time) { Some(parts.linear(&time)?) } else { None },
            norm2: parts.norm(&format!("{name}.norm2"))?,
            conv2: parts.conv(&format!("{name}.conv2"))?,
            conv_shortcut: if parts.has(&shortcut) { Some(parts.conv(&shortcut)?) } else { None },
            rescale,
        })
    }

    /// `x` is `[batch, in, height, width]`, `activated_time` the time embedding after SiLU, `[batch, time]`.
    pub fn forward(&self, x: Tensor<4>, mut activated_time: Tensor<2>) -> Tensor<4> {
        let shift = self.shift(&mut activated_time);
        self.forward_shifted(x, shift)
    }

    /// The shift that the time makes between the convolutions, `[batch, width]`, if the block knows a time. What is left of the
    /// time is for the next block: so the blocks' gradients are added up from the last block to the first, in whatever order
    /// the steps of the graph run.
    pub(crate) fn shift(&self, activated_time: &mut Tensor<2>) -> Option<Tensor<2>> {
        let linear = self.time_emb_proj.as_ref()?;
        *activated_time = ops::branching(activated_time.clone());
        Some(linear.forward(activated_time.clone()))
    }

    /// The block with its shift already made.
    pub(crate) fn forward_shifted(&self, x: Tensor<4>, shift: Option<Tensor<2>>) -> Tensor<4> {
        let x = ops::branching(x);
        // First, while `x` is in the cache.
        let beside = match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x.clone()),
            None => x.clone(),
        };
        let hidden = self.conv1.forward(self.norm1.forward_silu(x));
        let hidden = match shift {
            Some(shift) => self.norm2.forward_silu_shifted(hidden, shift),
            None => self.norm2.forward_silu(hidden),
        };
        let y = self.conv2.forward_added(hidden, beside);
        if self.rescale == 1.0 { y } else { y / self.rescale }
    }
}
