//! Autoencoders on disk, in the layout of diffusers: `config.json` and `diffusion_pytorch_model.safetensors`.

use std::fs;
use std::path::Path;

use burn::tensor::Device;

use super::config::AutoencoderConfig;
use super::layout::autoencoder_layout;
use super::model::Autoencoder;
use crate::DiffusionError;
use crate::model_folder::{CONFIG_FILE, WEIGHTS_STEM, hash_of, write_text};
use crate::training::verify_files;
use crate::weight_files::{WeightFiles, rename_legacy_attention};

/// Reads the architecture.
///
/// # Errors
/// [`DiffusionError::Io`] if the file is missing; [`DiffusionError::InFile`] around what is wrong with its content.
pub fn read_config(dir: &Path) -> Result<AutoencoderConfig, DiffusionError> {
    let path = dir.join(CONFIG_FILE);
    let bytes = fs::read(&path).map_err(DiffusionError::io("read", &path))?;
    let origin = path.display().to_string();
    let text = String::from_utf8(bytes)
        .map_err(|error| DiffusionError::NotAConfig { origin: origin.clone(), reason: error.to_string() })?;
    AutoencoderConfig::from_json(&text, &origin).map_err(DiffusionError::in_file(&path))
}

/// Reads an autoencoder, in any form that [`crate::model_folder::read`] reads a network in.
///
/// # Errors
/// As [`read_config`], weights that are not exactly those of the configuration, and files of a checkpoint without the hashes
/// that its `state.json` gives.
pub fn read(dir: &Path, device: &Device) -> Result<Autoencoder, DiffusionError> {
    let config = read_config(dir)?;
    let files = WeightFiles::find(dir, WEIGHTS_STEM)?;
    let mut weights = files.read()?;
    rename_legacy_attention(&mut weights, &autoencoder_layout(&config)?);
    let model = Autoencoder::from_state_dict(&config, &weights, device)
        .map_err(DiffusionError::in_file(files.path()))?;
    verify_files(dir, &files.names_with(CONFIG_FILE))?;
    Ok(model)
}

/// Writes an autoencoder to the folder `dir`, in place of the one there; as [`crate::model_folder::write`].
///
/// # Errors
/// As [`crate::model_folder::write`].
pub fn write(dir: &Path, model: &Autoencoder) -> Result<(), DiffusionError> {
    write_text(dir, &model.config().to_json(), &model.state_dict()?, Vec::new())
}

/// The identity of an autoencoder: SHA-256, in lower-case hexadecimal, of architecture and weights, as
/// [`crate::model_folder::model_hash`] takes it.
///
/// # Errors
/// [`DiffusionError::Device`] if the device fails to deliver the weights.
pub fn hash(model: &Autoencoder) -> Result<String, DiffusionError> {
    Ok(hash_of(&model.config().to_value(), &model.state_dict()?))
}
