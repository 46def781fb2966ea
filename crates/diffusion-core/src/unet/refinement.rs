//! A residual block with what stands around it at its level: the part of a network that gradient checkpointing computes again.

use burn::tensor::Tensor;

use super::adapter::ProjectionAdapter;
use super::attention::Attention;
use super::resnet::ResnetBlock2D;
use crate::nn::{Segment, SegmentInput, checkpointed, checkpoints, ops};

/// `attention(resnet(concat(x, skip), shift))`, without what is not there. With gradient checkpointing, its inputs are all that
/// is kept for the backward pass: of the maps of a level, those that the other path needs anyway.
pub(crate) fn refine<A: ProjectionAdapter>(
    resnet: &ResnetBlock2D,
    attention: Option<&Attention>,
    adapter: Option<&A>,
    input: SegmentInput,
) -> Tensor<4> {
    if checkpoints(&input.x) {
        let adapter = attention.and(adapter);
        return checkpointed(&(resnet.clone(), attention.cloned(), adapter.cloned()), input);
    }
    let SegmentInput { x, skip, shift } = input;
    let x = match skip {
        Some(skip) => ops::concat_channels(x, skip),
        None => x,
    };
    let x = resnet.forward_shifted(x, shift);
    match attention {
        Some(attention) => attention.forward(x, adapter),
        None => x,
    }
}

impl<A: ProjectionAdapter> Segment for (ResnetBlock2D, Option<Attention>, Option<A>) {
    fn run(&self, input: SegmentInput) -> Tensor<4> {
        refine(&self.0, self.1.as_ref(), self.2.as_ref(), input)
    }
}
