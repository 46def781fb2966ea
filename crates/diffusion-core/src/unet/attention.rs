//! Self-attention between the positions of a feature map.

use burn::module::Module;
use burn::tensor::Tensor;

use super::adapter::{Projection, ProjectionAdapter};
use super::layout::AttentionWidths;
use super::parts::Parts;
use crate::DiffusionError;
use crate::nn::{GroupNorm, Linear, ops};

/// `(x + to_out(attention(to_q(n), to_k(n), to_v(n)))) / rescale` with `n = group_norm(x)`.
///
/// Scores are divided by the square root of a head's width before pruning; see
/// [`UNet2DConfig::head_dim`](super::UNet2DConfig::head_dim).
#[derive(Module, Debug)]
pub struct Attention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Vec<Linear>,
    heads: usize,
    scale: f64,
    rescale: f64,
    #[module(skip)]
    name: String,
}

impl Attention {
    pub(crate) fn build<C>(
        parts: &Parts<'_, C>,
        widths: &AttentionWidths,
        rescale: f64,
    ) -> Result<Self, DiffusionError> {
        let name = &widths.name;
        Ok(Self {
            group_norm: parts.norm(&format!("{name}.group_norm"))?,
            to_q: parts.linear(&format!("{name}.to_q"))?,
            to_k: parts.linear(&format!("{name}.to_k"))?,
            to_v: parts.linear(&format!("{name}.to_v"))?,
            to_out: vec![parts.linear(&format!("{name}.to_out.0"))?],
            heads: widths.heads,
            scale: 1.0 / (widths.head_dim as f64).sqrt(),
            rescale,
            name: name.clone(),
        })
    }

    /// `[batch, channels, height, width]` to the same shape. `adapter` may add to the projections.
    pub fn forward<A: ProjectionAdapter>(&self, x: Tensor<4>, adapter: Option<&A>) -> Tensor<4> {
        let x = ops::branching(x);
        let normed = self.group_norm.forward(x.clone());
        let project = |linear: &Linear, projection| {
            let y = linear.forward_at_positions(normed.clone());
            match adapter.and_then(|adapter| adapter.delta(&self.name, projection, &normed)) {
                Some(delta) => y + delta,
                None => y,
            }
        };
        let query = project(&self.to_q, Projection::Query);
        let key = project(&self.to_k, Projection::Key);
        let value = project(&self.to_v, Projection::Value);
        let attended = ops::attention(query, key, value, self.heads, self.scale);
        let y = self.to_out.iter().fold(attended, |y, linear| linear.forward_at_positions(y)) + x;
        if self.rescale == 1.0 { y } else { y / self.rescale }
    }
}
