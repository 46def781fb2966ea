//! Single stages on folders of the caller's choice, for the stage binaries.

use std::path::Path;

use diffusion_core::UNet2DModel;
use diffusion_core::model_folder;
use removal::Coalition;
use streams::Streams;

use crate::context::Context;
use crate::error::StudyError;

/// Loads a model folder: averaged weights if it has them, else the trained ones.
///
/// # Errors
/// If a file is missing, damaged, or does not fit the configuration.
pub fn load_model(context: &Context, folder: &Path) -> Result<UNet2DModel, StudyError> {
    let (config, weights) = model_folder::read_averaged_or_trained(folder)?;
    Ok(UNet2DModel::from_state_dict(&config, &weights, &context.device)?)
}

/// Training draw `k` of the study's distribution, as the study itself draws it.
///
/// # Errors
/// If the distribution does not fit the number of contributors.
pub fn training_draw(context: &Context, k: u64) -> Result<Coalition, StudyError> {
    let streams = Streams::new(context.config.seed).child(crate::plan::TRAINING_DRAWS, 0);
    Ok(context.config.coalitions.distribution.draw(context.contributors(), &streams, k)?.coalition)
}
