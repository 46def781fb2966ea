//! The architecture of an autoencoder as data.

use serde::Serialize;

use super::layout::autoencoder_layout;
use crate::DiffusionError;
use crate::config_keys::{check_layers, check_levels, check_positive, refuse};

/// A level of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum EncoderBlockType {
    /// Residual blocks only.
    DownEncoderBlock2D,
    /// Each residual block is followed by self-attention.
    AttnDownEncoderBlock2D,
}

/// A level of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum DecoderBlockType {
    /// Residual blocks only.
    UpDecoderBlock2D,
    /// Each residual block is followed by self-attention.
    AttnUpDecoderBlock2D,
}

/// What lies between encoder and decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bottleneck {
    /// Each latent is replaced by the nearest entry of a codebook: diffusers' `VQModel`.
    Codebook {
        /// Entries of the codebook.
        entries: usize,
        /// Numbers in an entry; `None` is the encoder's `latent_channels`.
        dimension: Option<usize>,
    },
    /// Each latent is drawn from a normal distribution: diffusers' `AutoencoderKL`.
    Gaussian {
        /// Whether a 1 x 1 convolution follows the encoder.
        quant_conv: bool,
        /// Whether a 1 x 1 convolution precedes the decoder.
        post_quant_conv: bool,
    },
}

/// The architecture of an [`Autoencoder`](super::Autoencoder): what diffusers keeps in the `config.json` of a `VQModel` or an
/// `AutoencoderKL`. Fields have diffusers' names and meanings.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderConfig {
    /// Channels of the images that are encoded.
    pub in_channels: usize,
    /// Channels of the images that are decoded.
    pub out_channels: usize,
    /// The encoder, finest level first.
    pub down_block_types: Vec<EncoderBlockType>,
    /// The decoder, coarsest level first.
    pub up_block_types: Vec<DecoderBlockType>,
    /// Width of each level, finest first. Each level after the first halves height and width.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of each level of the encoder; the decoder's have one more.
    pub layers_per_block: usize,
    /// Channels between encoder and decoder.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Height and width of the images that it was made for; the size of a tile.
    pub sample_size: usize,
    /// Latents are multiplied by this before they are diffused.
    pub scaling_factor: f64,
    /// Subtracted from latents before they are multiplied.
    pub shift_factor: Option<f64>,
    /// Whether the middles of encoder and decoder have attention.
    pub mid_block_add_attention: bool,
    /// diffusers' note that 16 bits are too few for this network. It is kept, and means nothing here.
    pub force_upcast: bool,
    /// What lies between encoder and decoder.
    pub bottleneck: Bottleneck,
}

impl AutoencoderConfig {
    /// The autoencoder of CompVis/ldm-celebahq-256: 256 x 256 colour images to 3 x 64 x 64 latents through 8192 codes.
    pub fn celeba() -> Self {
        Self {
            scaling_factor: 1.0,
            sample_size: 256,
            layers_per_block: 2,
            norm_num_groups: 32,
            ..Self::vq(&[128, 256, 512], 3, 8192)
        }
    }

    /// An autoencoder with a codebook, for colour images: levels of the given widths, one residual block a level, attention in
    /// the middles only, four groups to a norm, and codes of `latent_channels` numbers.
    pub fn vq(block_out_channels: &[usize], latent_channels: usize, entries: usize) -> Self {
        let levels = block_out_channels.len();
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![EncoderBlockType::DownEncoderBlock2D; levels],
            up_block_types: vec![DecoderBlockType::UpDecoderBlock2D; levels],
            block_out_channels: block_out_channels.to_vec(),
            layers_per_block: 1,
            latent_channels,
            norm_num_groups: 4,
            sample_size: 32,
            scaling_factor: 1.0,
            shift_factor: None,
            mid_block_add_attention: true,
            force_upcast: false,
            bottleneck: Bottleneck::Codebook { entries, dimension: None },
        }
    }

    /// Number of resolutions.
    pub fn levels(&self) -> usize {
        self.block_out_channels.len()
    }

    /// How many times smaller than the image its latents are, in each direction.
    pub fn factor(&self) -> usize {
        1 << (self.levels() - 1)
    }

    /// Channels of the latents.
    pub fn channels(&self) -> usize {
        match self.bottleneck {
            Bottleneck::Codebook { dimension, .. } => dimension.unwrap_or(self.latent_channels),
            Bottleneck::Gaussian { .. } => self.latent_channels,
        }
    }

    /// The name of diffusers' class.
    pub fn class_name(&self) -> &'static str {
        match self.bottleneck {
            Bottleneck::Codebook { .. } => "VQModel",
            Bottleneck::Gaussian { .. } => "AutoencoderKL",
        }
    }

    /// Side of the latents of square images of `side` pixels.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if the side is not a multiple of [`factor`](Self::factor).
    pub fn latent_side(&self, side: usize) -> Result<usize, DiffusionError> {
        let factor = self.factor();
        if side == 0 || !side.is_multiple_of(factor) {
            return Err(DiffusionError::setting(
                "resolution",
                format!(
                    "is {side}, but the autoencoder halves images {} times: give a multiple of {factor}",
                    self.levels() - 1
                ),
            ));
        }
        Ok(side / factor)
    }

    /// Checks every value, and that all widths fit together.
    ///
    /// # Errors
    /// [`DiffusionError::ConfigKey`] for a value out of range, [`DiffusionError::Architecture`] for the first layer whose width
    /// does not fit.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        autoencoder_layout(self).map(drop)
    }

    /// The checks that concern single keys.
    pub(super) fn check_keys(&self) -> Result<(), DiffusionError> {
        let levels = self.levels();
        check_levels(levels, self.down_block_types.len(), self.up_block_types.len())?;
        check_layers(self.layers_per_block)?;
        let (entries, dimension) = match self.bottleneck {
            Bottleneck::Codebook { entries, dimension } => (entries, dimension.unwrap_or(1)),
            Bottleneck::Gaussian { .. } => (1, 1),
        };
        check_positive(&[
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("latent_channels", self.latent_channels),
            ("norm_num_groups", self.norm_num_groups),
            ("sample_size", self.sample_size),
            ("num_vq_embeddings", entries),
            ("vq_embed_dim", dimension),
            ("block_out_channels", self.block_out_channels.iter().copied().min().unwrap_or(0)),
        ])?;
        if !(self.scaling_factor.is_finite() && self.scaling_factor != 0.0) {
            return refuse(
                "scaling_factor",
                format!("{} must be a number other than 0", self.scaling_factor),
            );
        }
        if self.shift_factor.is_some_and(|shift| !shift.is_finite()) {
            return refuse("shift_factor", "must be a finite number".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_refused_by_key() {
        let good = AutoencoderConfig::vq(&[8, 16], 3, 32);
        good.validate().unwrap();
        let codes = |entries, dimension| Bottleneck::Codebook { entries, dimension };
        let bad: [(&str, AutoencoderConfig); 7] = [
            ("block_out_channels", AutoencoderConfig { block_out_channels: vec![], ..good.clone() }),
            ("down_block_types", AutoencoderConfig { down_block_types: vec![], ..good.clone() }),
            ("latent_channels", AutoencoderConfig { latent_channels: 0, ..good.clone() }),
            ("num_vq_embeddings", AutoencoderConfig { bottleneck: codes(0, None), ..good.clone() }),
            ("vq_embed_dim", AutoencoderConfig { bottleneck: codes(4, Some(0)), ..good.clone() }),
            ("scaling_factor", AutoencoderConfig { scaling_factor: 0.0, ..good.clone() }),
            ("shift_factor", AutoencoderConfig { shift_factor: Some(f64::NAN), ..good.clone() }),
        ];
        for (key, config) in bad {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("config key `{key}`")), "{key}: {error}");
        }
        let error =
            AutoencoderConfig { norm_num_groups: 5, ..good.clone() }.validate().unwrap_err().to_string();
        assert!(
            error.contains("encoder.down_blocks.0.resnets.0.norm1") && error.contains("5 groups"),
            "{error}"
        );
        assert_eq!(good.latent_side(64).unwrap(), 32);
        assert!(good.latent_side(63).unwrap_err().to_string().contains("multiple of 2"));
    }
}
