//! Every layer of an autoencoder by name and width, worked out from its configuration.

use super::config::{AutoencoderConfig, Bottleneck, DecoderBlockType, EncoderBlockType};
use crate::DiffusionError;
use crate::unet::layout::{AttentionWidths, Layer, LayerKind, Layout, Site};

/// The layers of an autoencoder, in the order in which data first reaches them. The codebook is no layer.
///
/// # Errors
/// As [`AutoencoderConfig::validate`].
pub fn autoencoder_layout(config: &AutoencoderConfig) -> Result<Layout, DiffusionError> {
    config.check_keys()?;
    let mut walk = Walk { groups: config.norm_num_groups, layers: Vec::new(), attentions: Vec::new() };
    walk.encoder(config)?;
    let coarsest = config.levels() - 1;
    let channels = config.channels();
    match config.bottleneck {
        Bottleneck::Codebook { .. } => {
            walk.conv("quant_conv", config.latent_channels, channels, 1, coarsest);
            walk.conv("post_quant_conv", channels, config.latent_channels, 1, coarsest);
        }
        Bottleneck::Gaussian { quant_conv, post_quant_conv } => {
            if quant_conv {
                walk.conv("quant_conv", 2 * channels, 2 * channels, 1, coarsest);
            }
            if post_quant_conv {
                walk.conv("post_quant_conv", channels, channels, 1, coarsest);
            }
        }
    }
    walk.decoder(config)?;
    Ok(Layout::from_parts(walk.layers, walk.attentions))
}

struct Walk {
    groups: usize,
    layers: Vec<Layer>,
    attentions: Vec<AttentionWidths>,
}

impl Walk {
    fn encoder(&mut self, config: &AutoencoderConfig) -> Result<(), DiffusionError> {
        let widths = &config.block_out_channels;
        let coarsest = config.levels() - 1;
        self.conv("encoder.conv_in", config.in_channels, widths[0], 3, 0);
        let mut x = widths[0];
        for (level, block) in config.down_block_types.iter().enumerate() {
            let prefix = format!("encoder.down_blocks.{level}");
            for i in 0..config.layers_per_block {
                x = self.resnet(&format!("{prefix}.resnets.{i}"), x, widths[level], level)?;
                if *block == EncoderBlockType::AttnDownEncoderBlock2D {
                    self.attention(&format!("{prefix}.attentions.{i}"), x, level)?;
                }
            }
            if level < coarsest {
                let kind = LayerKind::Conv { kernel: 3, stride: 2, padding: 0 };
                self.push(&format!("{prefix}.downsamplers.0.conv"), kind, x, x, level + 1);
            }
        }
        self.middle("encoder", x, coarsest, config.mid_block_add_attention)?;
        self.norm("encoder.conv_norm_out", x, coarsest)?;
        let outputs = match config.bottleneck {
            Bottleneck::Codebook { .. } => config.latent_channels,
            Bottleneck::Gaussian { .. } => 2 * config.latent_channels,
        };
        self.conv("encoder.conv_out", x, outputs, 3, coarsest);
        Ok(())
    }

    fn decoder(&mut self, config: &AutoencoderConfig) -> Result<(), DiffusionError> {
        let widths = &config.block_out_channels;
        let coarsest = config.levels() - 1;
        let mut x = widths[coarsest];
        self.conv("decoder.conv_in", config.latent_channels, x, 3, coarsest);
        self.middle("decoder", x, coarsest, config.mid_block_add_attention)?;
        for (i, block) in config.up_block_types.iter().enumerate() {
            let prefix = format!("decoder.up_blocks.{i}");
            let level = coarsest - i;
            for j in 0..=config.layers_per_block {
                x = self.resnet(&format!("{prefix}.resnets.{j}"), x, widths[level], level)?;
                if *block == DecoderBlockType::AttnUpDecoderBlock2D {
                    self.attention(&format!("{prefix}.attentions.{j}"), x, level)?;
                }
            }
            if level > 0 {
                self.conv(&format!("{prefix}.upsamplers.0.conv"), x, x, 3, level - 1);
            }
        }
        self.norm("decoder.conv_norm_out", x, 0)?;
        self.conv("decoder.conv_out", x, config.out_channels, 3, 0);
        Ok(())
    }

    fn middle(&mut self, part: &str, x: usize, level: usize, attention: bool) -> Result<(), DiffusionError> {
        self.resnet(&format!("{part}.mid_block.resnets.0"), x, x, level)?;
        if attention {
            self.attention(&format!("{part}.mid_block.attentions.0"), x, level)?;
        }
        self.resnet(&format!("{part}.mid_block.resnets.1"), x, x, level)?;
        Ok(())
    }

    /// Two convolutions with a residual connection, and no time.
    fn resnet(
        &mut self,
        prefix: &str,
        inputs: usize,
        outputs: usize,
        level: usize,
    ) -> Result<usize, DiffusionError> {
        self.norm(&format!("{prefix}.norm1"), inputs, level)?;
        self.conv(&format!("{prefix}.conv1"), inputs, outputs, 3, level);
        self.norm(&format!("{prefix}.norm2"), outputs, level)?;
        self.conv(&format!("{prefix}.conv2"), outputs, outputs, 3, level);
        if inputs != outputs {
            self.conv(&format!("{prefix}.conv_shortcut"), inputs, outputs, 1, level);
        }
        Ok(outputs)
    }

    /// Self-attention with one head.
    fn attention(&mut self, prefix: &str, x: usize, level: usize) -> Result<(), DiffusionError> {
        self.norm(&format!("{prefix}.group_norm"), x, level)?;
        for part in ["to_q", "to_k", "to_v", "to_out.0"] {
            self.push(&format!("{prefix}.{part}"), LayerKind::Linear, x, x, level);
        }
        self.attentions.push(AttentionWidths {
            name: prefix.to_owned(),
            heads: 1,
            head_dim: x,
            query: x,
            value: x,
            level,
        });
        Ok(())
    }

    fn norm(&mut self, name: &str, channels: usize, level: usize) -> Result<(), DiffusionError> {
        let groups = self.groups;
        if !channels.is_multiple_of(groups) {
            return Err(DiffusionError::Architecture {
                layer: name.to_owned(),
                reason: format!(
                    "{channels} channels do not divide into {groups} groups; widths must be multiples of {groups}"
                ),
            });
        }
        self.push(name, LayerKind::GroupNorm { groups }, channels, channels, level);
        Ok(())
    }

    fn conv(&mut self, name: &str, inputs: usize, outputs: usize, kernel: usize, level: usize) {
        let kind = LayerKind::Conv { kernel, stride: 1, padding: kernel / 2 };
        self.push(name, kind, inputs, outputs, level);
    }

    fn push(&mut self, name: &str, kind: LayerKind, inputs: usize, outputs: usize, level: usize) {
        self.layers.push(Layer { name: name.to_owned(), kind, inputs, outputs, site: Site::Map { level } });
    }
}
