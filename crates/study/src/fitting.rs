//! Whether a model folder fits a study: a network sees noise levels as its forward process numbers them, and latents as its
//! autoencoder makes them. With others, its samples would be wrong without a word. A folder that does not say its forward process
//! or its autoencoder is taken to fit.

use std::path::Path;

use diffusion_core::Device;
use diffusion_core::autoencoder::{Autoencoder, folder};
use diffusion_core::pipeline::{autoencoder, forward_process};
use diffusion_core::schedule::NoiseSchedule;

use crate::config::StudyConfig;
use crate::context::Context;
use crate::error::StudyError;

/// Checks a model folder against a study.
///
/// # Errors
/// [`StudyError::OtherForwardProcess`], [`StudyError::OtherAutoencoder`], [`StudyError::NoLatentSpace`]; a scheduler that is not
/// supported, an autoencoder that cannot be read.
pub fn require_fitting(context: &Context, path: &Path) -> Result<(), StudyError> {
    let Context { config, schedule, device, .. } = context;
    require_same_autoencoder(config, context.autoencoder(), device, path)?;
    require_same_forward_process(config, schedule, path)
}

pub(crate) fn require_same_forward_process(
    config: &StudyConfig,
    schedule: &NoiseSchedule,
    path: &Path,
) -> Result<(), StudyError> {
    match forward_process(path)? {
        Some(forward) if forward.build()?.betas() != schedule.betas() => {
            Err(StudyError::OtherForwardProcess {
                path: path.to_owned(),
                model: Box::new(forward),
                study: Box::new(config.diffusion.clone()),
            })
        }
        _ => Ok(()),
    }
}

/// `used` is the autoencoder as the study uses it.
pub(crate) fn require_same_autoencoder(
    config: &StudyConfig,
    used: Option<&Autoencoder>,
    device: &Device,
    path: &Path,
) -> Result<(), StudyError> {
    let Some(own) = autoencoder(path)? else { return Ok(()) };
    let (Some(latent), Some(used)) = (&config.latent, used) else {
        return Err(StudyError::NoLatentSpace { path: path.to_owned(), autoencoder: own });
    };
    let brought = folder::read(&own, device)?;
    if folder::hash(&brought)? == folder::hash(used)? {
        return Ok(());
    }
    let factors = [brought.config().scaling_factor, used.config().scaling_factor];
    let study = latent.model.clone();
    Err(StudyError::OtherAutoencoder { path: path.to_owned(), autoencoder: own, study, factors })
}
