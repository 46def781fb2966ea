//! Autoencoders on disk, in the layout of diffusers: `config.json` and `diffusion_pytorch_model.safetensors`.

use std::fs;
use std::path::Path;

use burn::tensor::Device;

use super::config::AutoencoderConfig;
use super::layout::autoencoder_layout;
use super::model::Autoencoder;
use crate::model_folder::{CONFIG_FILE, WEIGHTS_FILE, hash_of, write_text};
use crate::{DiffusionError, StateDict};

/// What older releases of diffusers called the projections of attention blocks, and what they are called now.
const OLD_PROJECTIONS: [(&str, &str); 4] =
    [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

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

/// Reads an autoencoder; weights under the names of older releases of diffusers are renamed.
///
/// # Errors
/// As [`read_config`], and weights that are not exactly those of the configuration.
pub fn read(dir: &Path, device: &Device) -> Result<Autoencoder, DiffusionError> {
    let config = read_config(dir)?;
    let path = dir.join(WEIGHTS_FILE);
    let weights = with_new_names(&config, StateDict::read(&path)?)?;
    Autoencoder::from_state_dict(&config, &weights, device).map_err(DiffusionError::in_file(&path))
}

/// Writes an autoencoder to the folder `dir`, in place of the one there; as [`crate::model_folder::write`].
///
/// # Errors
/// As [`crate::model_folder::write`].
pub fn write(dir: &Path, model: &Autoencoder) -> Result<(), DiffusionError> {
    write_text(dir, &model.config().to_json(), &model.state_dict()?)
}

/// The identity of an autoencoder: SHA-256, in lower-case hexadecimal, of architecture and weights, as
/// [`crate::model_folder::model_hash`] takes it.
///
/// # Errors
/// [`DiffusionError::Device`] if the device fails to deliver the weights.
pub fn hash(model: &Autoencoder) -> Result<String, DiffusionError> {
    Ok(hash_of(&model.config().to_value(), &model.state_dict()?))
}

fn with_new_names(config: &AutoencoderConfig, mut weights: StateDict) -> Result<StateDict, DiffusionError> {
    for block in autoencoder_layout(config)?.attentions() {
        for (old, new) in OLD_PROJECTIONS {
            for kind in ["weight", "bias"] {
                if let Some(tensor) = weights.remove(&format!("{}.{old}.{kind}", block.name)) {
                    weights.insert(format!("{}.{new}.{kind}", block.name), tensor);
                }
            }
        }
    }
    Ok(weights)
}
