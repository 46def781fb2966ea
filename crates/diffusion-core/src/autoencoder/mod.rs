//! Autoencoders of latent diffusion models: diffusers' `VQModel` and `AutoencoderKL`.
//!
//! An [`Autoencoder`] maps images to latents, feature maps of a fraction of their size on which a diffusion model is trained,
//! and latents back to images. Its bottleneck is a codebook (van den Oord et al. 2017, <https://arxiv.org/abs/1711.00937>) or a
//! Gaussian for each latent (Kingma and Welling 2014, <https://arxiv.org/abs/1312.6114>), in the form of Rombach et al. 2022,
//! <https://arxiv.org/abs/2112.10752>.
//!
//! Images go through it whole, or in overlapping tiles where they are large: [`Autoencoder::decode_tiled`]. It is trained by
//! the one training loop with the task [`Reconstruction`].

mod blocks;
mod codec;
mod config;
mod config_json;
pub mod folder;
mod gaussian;
mod layout;
mod model;
mod quantizer;
pub mod store;
mod tiling;
mod training;

pub use config::{AutoencoderConfig, Bottleneck, DecoderBlockType, EncoderBlockType};
pub use gaussian::DiagonalGaussian;
pub use layout::autoencoder_layout;
pub use model::Autoencoder;
pub use quantizer::{Quantized, VectorQuantizer};
pub use training::{Reconstruction, ReconstructionError, ReconstructionTerms};
