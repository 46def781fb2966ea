//! Encoder and decoder.

use burn::module::Module;
use burn::tensor::Tensor;

use super::config::AutoencoderConfig;
use crate::DiffusionError;
use crate::nn::{Conv2d, GroupNorm, SegmentInput};
use crate::unet::blocks::residual_and_attention;
use crate::unet::parts::Parts;
use crate::unet::refinement::refine;
use crate::unet::{Attention, Downsample2D, NoAdapter, ResnetBlock2D, Upsample2D};

type AutoencoderParts<'a> = Parts<'a, AutoencoderConfig>;

/// Through residual blocks, each followed by its attention if there are attentions.
fn refine_all(resnets: &[ResnetBlock2D], attentions: &[Attention], mut x: Tensor<4>) -> Tensor<4> {
    for (i, resnet) in resnets.iter().enumerate() {
        x = refine(resnet, attentions.get(i), None::<&NoAdapter>, SegmentInput::of(x));
    }
    x
}

/// A level of the encoder: diffusers' `DownEncoderBlock2D`, or `AttnDownEncoderBlock2D` where there are attentions.
#[derive(Module, Debug)]
struct EncoderBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Attention>,
    downsamplers: Vec<Downsample2D>,
}

impl EncoderBlock {
    fn build(parts: &AutoencoderParts<'_>, index: usize) -> Result<Self, DiffusionError> {
        let prefix = format!("encoder.down_blocks.{index}");
        let (resnets, attentions) = residual_and_attention(parts, &prefix, parts.config.layers_per_block)?;
        let name = format!("{prefix}.downsamplers.0.conv");
        let mut downsamplers = Vec::new();
        if parts.has(&name) {
            downsamplers.push(Downsample2D::new(parts.conv(&name)?, true));
        }
        Ok(Self { resnets, attentions, downsamplers })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = refine_all(&self.resnets, &self.attentions, x);
        self.downsamplers.iter().fold(x, |x, downsampler| downsampler.forward(x))
    }
}

/// A level of the decoder: diffusers' `UpDecoderBlock2D`, or `AttnUpDecoderBlock2D` where there are attentions.
#[derive(Module, Debug)]
struct DecoderBlock {
    resnets: Vec<ResnetBlock2D>,
    attentions: Vec<Attention>,
    upsamplers: Vec<Upsample2D>,
}

impl DecoderBlock {
    fn build(parts: &AutoencoderParts<'_>, index: usize) -> Result<Self, DiffusionError> {
        let prefix = format!("decoder.up_blocks.{index}");
        let (resnets, attentions) =
            residual_and_attention(parts, &prefix, parts.config.layers_per_block + 1)?;
        let name = format!("{prefix}.upsamplers.0.conv");
        let mut upsamplers = Vec::new();
        if parts.has(&name) {
            upsamplers.push(Upsample2D::new(parts.conv(&name)?));
        }
        Ok(Self { resnets, attentions, upsamplers })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = refine_all(&self.resnets, &self.attentions, x);
        self.upsamplers.iter().fold(x, |x, upsampler| upsampler.forward(x))
    }
}

/// The middle of encoder or decoder: a residual block, attention if configured, a residual block.
#[derive(Module, Debug)]
struct Middle {
    attentions: Vec<Attention>,
    resnets: Vec<ResnetBlock2D>,
}

impl Middle {
    fn build(parts: &AutoencoderParts<'_>, part: &str) -> Result<Self, DiffusionError> {
        let attention = parts.attention(&format!("{part}.mid_block.attentions.0"));
        Ok(Self {
            attentions: attention
                .map(|widths| Attention::build(parts, widths, 1.0))
                .into_iter()
                .collect::<Result<_, _>>()?,
            resnets: (0..2)
                .map(|i| ResnetBlock2D::build(parts, &format!("{part}.mid_block.resnets.{i}"), 1.0))
                .collect::<Result<_, _>>()?,
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        refine_all(&self.resnets, &self.attentions, x)
    }
}

/// From an image to latents: levels of residual blocks with halved sizes between them, and a middle.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<EncoderBlock>,
    mid_block: Middle,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    pub(super) fn build(parts: &AutoencoderParts<'_>) -> Result<Self, DiffusionError> {
        Ok(Self {
            conv_in: parts.conv("encoder.conv_in")?,
            down_blocks: (0..parts.config.levels())
                .map(|i| EncoderBlock::build(parts, i))
                .collect::<Result<_, _>>()?,
            mid_block: Middle::build(parts, "encoder")?,
            conv_norm_out: parts.norm("encoder.conv_norm_out")?,
            conv_out: parts.conv("encoder.conv_out")?,
        })
    }

    /// `[batch, in, height, width]` to `[batch, latent or 2 latent, height / factor, width / factor]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.down_blocks.iter().fold(self.conv_in.forward(x), |x, block| block.forward(x));
        self.conv_out.forward(self.conv_norm_out.forward_silu(self.mid_block.forward(x)))
    }
}

/// From latents to an image: a middle, and levels of residual blocks with doubled sizes between them.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: Middle,
    up_blocks: Vec<DecoderBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn build(parts: &AutoencoderParts<'_>) -> Result<Self, DiffusionError> {
        Ok(Self {
            conv_in: parts.conv("decoder.conv_in")?,
            mid_block: Middle::build(parts, "decoder")?,
            up_blocks: (0..parts.config.levels())
                .map(|i| DecoderBlock::build(parts, i))
                .collect::<Result<_, _>>()?,
            conv_norm_out: parts.norm("decoder.conv_norm_out")?,
            conv_out: parts.conv("decoder.conv_out")?,
        })
    }

    /// `[batch, latent, height, width]` to `[batch, out, factor height, factor width]`.
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.mid_block.forward(self.conv_in.forward(x));
        let x = self.up_blocks.iter().fold(x, |x, block| block.forward(x));
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}
