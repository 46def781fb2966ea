//! A model that was trained elsewhere, from which a study's full model starts: `train.load`.

use std::path::Path;

use diffusion_core::model_folder::{model_hash, read_averaged_or_trained};
use diffusion_core::{Device, UNet2DConfig, UNet2DModel};

use crate::config::StudyConfig;
use crate::error::StudyError;

/// The loaded model.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    /// Its averaged weights if it has them, else the trained ones.
    pub model: UNet2DModel,
    /// Hash of configuration and these weights.
    pub hash: String,
}

impl LoadedModel {
    /// Reads the model in folder `path` for a study of images, or latents, of this `shape`, `[channels, height, width]`.
    ///
    /// # Errors
    /// [`StudyError::Loaded`] for a folder that cannot be read; [`StudyError::OtherSize`] and [`StudyError::OtherNetwork`] for a
    /// network that is not the study's.
    pub fn read(
        path: &Path,
        config: &StudyConfig,
        shape: [usize; 3],
        device: &Device,
    ) -> Result<Self, StudyError> {
        let (network, weights) = read_averaged_or_trained(path)
            .map_err(|source| StudyError::Loaded { path: path.to_owned(), source: Box::new(source) })?;
        let words = |[channels, height, width]: [usize; 3]| format!("{channels} x {height} x {width}");
        let own = [network.in_channels, network.sample_size, network.sample_size];
        if own != shape || network.out_channels != network.in_channels {
            return Err(StudyError::OtherSize {
                path: path.to_owned(),
                loaded: words(own),
                what: if config.latent.is_some() { "latents" } else { "images" },
                study: words(shape),
            });
        }
        if !config.model.is_left_out() {
            let [channels, side, _] = shape;
            require_same_network(path, &network, &config.model.unet(channels, side)?)?;
        }
        let hash = model_hash(&network, &weights);
        Ok(Self { model: UNet2DModel::from_state_dict(&network, &weights, device)?, hash })
    }
}

fn require_same_network(path: &Path, loaded: &UNet2DConfig, study: &UNet2DConfig) -> Result<(), StudyError> {
    let json =
        |config: &UNet2DConfig| serde_json::to_value(config).map_err(|source| StudyError::NotJson { source });
    let (loaded, study) = (json(loaded)?, json(study)?);
    let keys = loaded.as_object().into_iter().chain(study.as_object()).flat_map(|keys| keys.keys());
    match keys.filter(|key| !key.starts_with('_')).find(|key| loaded[*key] != study[*key]) {
        None => Ok(()),
        Some(key) => Err(StudyError::OtherNetwork {
            path: path.to_owned(),
            key: key.clone(),
            loaded: loaded[key].to_string(),
            study: study[key].to_string(),
        }),
    }
}
