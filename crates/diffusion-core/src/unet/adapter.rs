//! What can be added to the projections of attention blocks without changing the network.

use burn::module::Module;
use burn::tensor::Tensor;

/// One of the three projections that an attention block makes of its normalised input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// `to_q`
    Query,
    /// `to_k`
    Key,
    /// `to_v`
    Value,
}

impl Projection {
    /// All three, in the order in which a block computes them.
    pub const ALL: [Self; 3] = [Self::Query, Self::Key, Self::Value];

    /// The name of its layer within the block, as diffusers has it.
    pub fn layer(self) -> &'static str {
        match self {
            Self::Query => "to_q",
            Self::Key => "to_k",
            Self::Value => "to_v",
        }
    }
}

/// Adds to the output of attention projections, as low-rank adaptation (LoRA) does. Its trained numbers are parameters of the
/// module.
pub trait ProjectionAdapter: Module + 'static {
    /// What is added to the output of `projection` of the attention block `block` (its diffusers name, such as
    /// `mid_block.attentions.0`); `None` for nothing.
    ///
    /// `input` is the projection's input, `[batch, in, height, width]`; the result is `[batch, out, height, width]`.
    fn delta(&self, block: &str, projection: Projection, input: &Tensor<4>) -> Option<Tensor<4>>;
}

/// Adds nothing: the adapter of a network that has none.
#[derive(Module, Debug)]
pub struct NoAdapter;

impl ProjectionAdapter for NoAdapter {
    fn delta(&self, _: &str, _: Projection, _: &Tensor<4>) -> Option<Tensor<4>> {
        None
    }
}
