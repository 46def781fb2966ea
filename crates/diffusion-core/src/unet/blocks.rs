//! The levels of the contracting and expanding paths, and the middle between them.

use burn::module::Module;
use burn::tensor::Tensor;

use super::adapter::ProjectionAdapter;
use super::attention::Attention;
use super::parts::Parts;
use super::refinement::refine;
use super::resnet::ResnetBlock2D;
use crate::DiffusionError;
use crate::nn::{Conv2d, Segment, SegmentInput, checkpointed, checkpoints, ops};

/// Halves height and width by a convolution of stride 2 (with padding 0, after a row and a column of zeros).
#[derive(Module, Debug)]
pub struct Downsample2D {
    conv: Conv2d,
    pad_first: bool,
}

impl Downsample2D {
    pub(crate) fn new(conv: Conv2d, pad_first: bool) -> Self {
        Self { conv, pad_first }
    }

    /// `[batch, channels, height, width]` to `[batch, out, height / 2, width / 2]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(if self.pad_first { ops::pad_right_and_bottom(x) } else { x })
    }
}

/// Doubles height and width by repetition, then convolves.
#[derive(Module, Debug)]
pub struct Upsample2D {
    conv: Conv2d,
}

impl Upsample2D {
    pub(crate) fn new(conv: Conv2d) -> Self {
        Self { conv }
    }

    /// `[batch, channels, height, width]` to `[batch, out, 2 height, 2 width]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        if checkpoints(&x) {
            return checkpointed(self, SegmentInput::of(x));
        }
        self.conv.forward(ops::upsample_nearest(x))
    }
}

/// Of its maps, the doubled one is the largest.
impl Segment for Upsample2D {
    fn run(&self, input: SegmentInput) -> Tensor<4> {
        self.forward(input.x)
    }
}

/// Residual blocks, each followed by attention where the level has it.
pub(crate) fn residual_and_attention<C>(
    parts: &Parts<'_, C>,
    prefix: &str,
    count: usize,
) -> Result<(Vec<ResnetBlock2D>, Vec<Attention>), DiffusionError> {
    let resnets = (0..count)
        .map(|i| ResnetBlock2D::build(parts, &format!("{prefix}.resnets.{i}"), 1.0))
        .collect::<Result<_, _>>()?;
    let attentions = (0..count)
        .filter_map(|i| parts.attention(&format!("{prefix}.attentions.{i}")))
        .map(|widths| Attention::build(parts, widths, 1.0))
        .collect::<Result<_, _>>()?;
    Ok((resnets, attentions))
}

/// A level of the contracting path: diffusers' `DownBlock2D`, or `AttnDownBlock2D` where there are attentions.
#[derive(Module, Debug)]
pub struct DownBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Attention>,
    downsamplers: Vec<Downsample2D>,
}

impl DownBlock {
    pub(super) fn build(parts: &Parts<'_>, index: usize) -> Result<Self, DiffusionError> {
        let prefix = format!("down_blocks.{index}");
        let (resnets, attentions) = residual_and_attention(parts, &prefix, parts.config.layers_per_block)?;
        let name = format!("{prefix}.downsamplers.0.conv");
        let mut downsamplers = Vec::new();
        if parts.has(&name) {
            let pad_first = parts.config.downsample_padding == 0;
            downsamplers.push(Downsample2D::new(parts.conv(&name)?, pad_first));
        }
        Ok(Self { resnets, attentions, downsamplers })
    }

    /// The map for the next level; every map on the way is appended to `skips`.
    pub fn forward<A: ProjectionAdapter>(
        &self,
        mut x: Tensor<4>,
        activated_time: &mut Tensor<2>,
        skips: &mut Vec<Tensor<4>>,
        adapter: Option<&A>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let input = SegmentInput { shift: resnet.shift(activated_time), ..SegmentInput::of(x) };
            x = refine(resnet, self.attentions.get(i), adapter, input);
            skips.push(x.clone());
        }
        for downsampler in &self.downsamplers {
            x = downsampler.forward(x);
            skips.push(x.clone());
        }
        x
    }
}

/// A level of the expanding path: diffusers' `UpBlock2D`, or `AttnUpBlock2D` where there are attentions.
#[derive(Module, Debug)]
pub struct UpBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Attention>,
    upsamplers: Vec<Upsample2D>,
}

impl UpBlock {
    pub(super) fn build(parts: &Parts<'_>, index: usize) -> Result<Self, DiffusionError> {
        let prefix = format!("up_blocks.{index}");
        let (resnets, attentions) =
            residual_and_attention(parts, &prefix, parts.config.layers_per_block + 1)?;
        let name = format!("{prefix}.upsamplers.0.conv");
        let mut upsamplers = Vec::new();
        if parts.has(&name) {
            upsamplers.push(Upsample2D::new(parts.conv(&name)?));
        }
        Ok(Self { resnets, attentions, upsamplers })
    }

    /// The map for the next level; each residual block takes the last of `skips` beside its input.
    pub fn forward<A: ProjectionAdapter>(
        &self,
        mut x: Tensor<4>,
        activated_time: &mut Tensor<2>,
        skips: &mut Vec<Tensor<4>>,
        adapter: Option<&A>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            // The layout gives every expanding block a skip; a network cannot be built otherwise.
            let input = SegmentInput { x, skip: skips.pop(), shift: resnet.shift(activated_time) };
            x = refine(resnet, self.attentions.get(i), adapter, input);
        }
        for upsampler in &self.upsamplers {
            x = upsampler.forward(x);
        }
        x
    }
}

/// The middle of the network, at the coarsest level: a residual block, attention if configured, a residual block.
#[derive(Module, Debug)]
pub struct UNetMidBlock2D {
    attentions: Vec<Attention>,
    resnets: Vec<ResnetBlock2D>,
}

impl UNetMidBlock2D {
    pub(super) fn build(parts: &Parts<'_>) -> Result<Self, DiffusionError> {
        let rescale = parts.config.mid_block_scale_factor;
        let attention = parts.attention("mid_block.attentions.0");
        Ok(Self {
            attentions: attention
                .map(|widths| Attention::build(parts, widths, rescale))
                .into_iter()
                .collect::<Result<_, _>>()?,
            resnets: (0..2)
                .map(|i| ResnetBlock2D::build(parts, &format!("mid_block.resnets.{i}"), rescale))
                .collect::<Result<_, _>>()?,
        })
    }

    /// `[batch, channels, height, width]` to the same shape.
    pub fn forward<A: ProjectionAdapter>(
        &self,
        mut x: Tensor<4>,
        activated_time: &mut Tensor<2>,
        adapter: Option<&A>,
    ) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let input = SegmentInput { shift: resnet.shift(activated_time), ..SegmentInput::of(x) };
            x = refine(resnet, self.attentions.get(i), adapter, input);
        }
        x
    }
}
