//! Single stages on folders of the caller's choice, for the stage binaries.

use std::path::Path;

use diffusion_core::model_folder::{self, model_hash};
use diffusion_core::samplers::SampledImages;
use diffusion_core::{UNet2DConfig, UNet2DModel};
use ledger::Record;
use removal::{Coalition, RemovalDistribution};
use serde_json::Value;
use streams::Streams;
use unlearn::{Method, UnlearnError};

use crate::context::Context;
use crate::error::StudyError;
use crate::execute::{measured_record, proxy_record};
use crate::fitting::require_fitting;
use crate::local::local_behaviors;
use crate::plan::{Sequence, TRAINING_DRAWS};
use crate::progress::Progress;
use crate::runs::{Recipe, Run, measuring_settings, pruned_key};

/// Loads a model folder: averaged weights if it has them, else the trained ones.
///
/// # Errors
/// If a file is missing, damaged, or does not fit the configuration; a forward process, channels or an autoencoder other than the study's.
pub fn load_model(context: &Context, folder: &Path) -> Result<UNet2DModel, StudyError> {
    require_fitting(context, folder)?;
    let (config, weights) = model_folder::read_averaged_or_trained(folder)?;
    require_same_channels(context, folder, &config)?;
    Ok(UNet2DModel::from_state_dict(&config, &weights, &context.device)?)
}

/// Loads the trained weights of a model folder, not their average.
///
/// # Errors
/// As [`load_model`].
pub fn load_trained_model(context: &Context, folder: &Path) -> Result<UNet2DModel, StudyError> {
    require_fitting(context, folder)?;
    let (config, weights) = model_folder::read(folder)?;
    require_same_channels(context, folder, &config)?;
    Ok(UNet2DModel::from_state_dict(&config, &weights, &context.device)?)
}

/// Models of pixels must have the channels of the study's images.
fn require_same_channels(context: &Context, folder: &Path, config: &UNet2DConfig) -> Result<(), StudyError> {
    let (model, study) = (config.in_channels, context.config.data.channels.count());
    if context.config.latent.is_none() && model != study {
        return Err(StudyError::OtherChannels { path: folder.to_owned(), model, study });
    }
    Ok(())
}

/// Draw `k` of a distribution; of the study's own, as the study itself draws it.
///
/// # Errors
/// If the distribution does not fit the number of contributors, or has no such draw.
pub fn training_draw(
    context: &Context,
    distribution: Option<&RemovalDistribution>,
    k: u64,
) -> Result<Coalition, StudyError> {
    let (config, n) = (&context.config, context.contributors());
    let Some(distribution) = distribution else {
        let own = config.coalitions.distribution;
        let mut sequence = Sequence::new(config, n, TRAINING_DRAWS, own)?;
        return match sequence {
            // Draws that come as they are need none of those before.
            Sequence::Drawn { ref mut next, .. } => {
                *next = k;
                sequence.next_coalition()
            }
            Sequence::Active(_) => {
                for _ in 0..k {
                    sequence.next_coalition()?;
                }
                sequence.next_coalition()
            }
        };
    };
    let streams = Streams::new(config.seed).child(TRAINING_DRAWS, 0);
    Ok(distribution.draw(n, &streams, k)?.coalition)
}

/// A model of a coalition that is to be recorded.
pub struct Recordable<'a> {
    /// The weights that are sampled and measured.
    pub model: &'a UNet2DModel,
    /// How it was made; for methods on a parent, with the settings of the study's `[unlearn]`, whose method it is.
    pub method: Method,
    /// Who remains.
    pub coalition: &'a Coalition,
    /// Which independent repetition.
    pub repetition: u64,
    /// What it was made from.
    pub parent: Option<&'a UNet2DModel>,
    /// Seconds that took.
    pub seconds: f64,
    /// The full model, if local behaviours are measured: what became of each of its pictures, in place of the study's
    /// behaviours.
    pub local: Option<&'a UNet2DModel>,
    /// The full model, for local ones among the study's behaviours.
    pub full: Option<&'a UNet2DModel>,
    /// Settings beside those of the study.
    pub settings: &'a [(&'a str, Value)],
}

/// Samples from a model (by `conditional`: from the network that [`crate::unlearned_model`] made), measures it, and gives its record and
/// the samples. Without settings beside the study's, it is the
/// record that a study makes of that run.
///
/// # Errors
/// A method without its parent; those of sampling and measuring.
pub fn record_model(
    context: &Context,
    what: &Recordable<'_>,
    progress: &dyn Progress,
) -> Result<(Record, SampledImages), StudyError> {
    let parent = || match what.parent {
        Some(parent) => Ok(model_hash(parent.config(), &parent.state_dict()?)),
        None => Err(StudyError::from(UnlearnError::NoParent { method: what.method.to_string() })),
    };
    let (settings, n) = (context.run_settings(), context.contributors());
    let loaded = context.loaded_hash();
    let is_loaded =
        what.coalition.is_full() && loaded.is_some() && what.parent.is_some() && loaded == Some(&parent()?);
    let mut key = match what.method {
        Method::Retrain if is_loaded => context.full_run().key(&settings)?,
        Method::Retrain => Run::retrained(what.coalition.clone(), what.repetition).key(&settings)?,
        Method::PruneFineTune => measuring_settings(&settings, pruned_key(&parent()?, &settings, n)?)?,
        _ => {
            let recipe = Recipe::Unlearn { parent: parent()? };
            let run = Run { coalition: what.coalition.clone(), recipe };
            run.key(&settings)?.seed("repetition", what.repetition)
        }
    };
    if let Some(full) = what.local {
        let hash = model_hash(full.config(), &full.state_dict()?);
        let noises = context.config.measures.noises;
        key = key.setting("measure", &serde_json::json!({ "local": { "full": hash, "noises": noises } }))?;
    }
    for (name, value) in what.settings {
        key = key.setting(*name, value)?;
    }
    let label = what.method.to_string();
    let measure = |samples: &SampledImages| match what.local {
        None => {
            let full = || what.full.cloned().ok_or_else(|| context.no_full_model());
            context.measure(what.model, samples, what.repetition, &full, progress)
        }
        Some(full) => {
            let of_full = context.sample(full, what.repetition, "full model", progress)?;
            local_behaviors(context, what.model, samples, &of_full)
        }
    };
    if what.method == Method::Conditional {
        return proxy_record(context, key, what.coalition, &label, progress, &measure);
    }
    measured_record(context, key, what.model, what.repetition, what.seconds, &label, progress, &measure)
}
