//! The two models that every study trains before its coalitions: the full one, and the pruned one.

use std::collections::BTreeMap;
use std::path::Path;

use diffusion_core::UNet2DModel;
use diffusion_core::model_folder::{model_hash, read_config};
use diffusion_core::training::{CheckpointState, Trainer, checkpoint_exists};
use removal::Coalition;
use streams::Streams;
use unlearn::Method;

use crate::context::Context;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::progress::Progress;
use crate::pruning::prune_weights;
use crate::runs::{Run, pruned_key};
use crate::unlearning::{Goal, Wanted, advance, coalition_model};

/// A finished model with its averaged weights.
#[derive(Debug, Clone)]
pub struct TrainedModel {
    /// The averaged weights, without autodiff.
    pub model: UNet2DModel,
    /// Hash of configuration and averaged weights, by which runs name their parent.
    pub hash: String,
    /// Seconds its training took, over all its starts.
    pub seconds: f64,
}

/// The model trained on everybody's images: loaded if finished, else trained, from its newest checkpoint if there is one.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop (the checkpoint is saved); those of training and of files.
pub fn full_model(
    context: &Context,
    dir: &StudyDir,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let run = Run::retrained(Coalition::full(context.contributors()), 0);
    let folder = dir.model(&run.id(&context.run_settings())?);
    train_full_model(context, &folder, progress)
}

/// As [`full_model`], in a folder of the caller's choice.
///
/// # Errors
/// As [`full_model`].
pub fn train_full_model(
    context: &Context,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let config = &context.config.train;
    let trainer = Trainer::new(
        context.fresh_model(0)?,
        config.optimization.clone(),
        context.schedule.clone(),
        context.streams(0).child("training", 0),
    )?;
    let trainer = trainer.with_identity(BTreeMap::from([("data".to_owned(), context.data_hash.clone())]));
    finish(context, trainer, folder, config.steps, "train the full model", progress)
}

/// The pruned full model, fine-tuned on everybody's images; loaded if finished.
///
/// # Errors
/// As [`full_model`], and those of pruning.
pub fn pruned_model(
    context: &Context,
    dir: &StudyDir,
    full: &TrainedModel,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let key = pruned_key(&full.hash, &context.run_settings(), context.contributors())?;
    let folder = dir.model(&key.id()?);
    let pruned = match context.config.prune.pruner.needs_gradients() && checkpoint_exists(&folder) {
        // Its weights will be those of the checkpoint: ranking channels again, on images, would be for nothing.
        true => {
            let streams = context.streams(0).child("initial weights", 0);
            UNet2DModel::new(&read_config(&folder)?, &context.device, &streams)?
        }
        false => prune(context, &full.model, progress)?,
    };
    fine_tune_pruned(context, pruned, &full.hash, &folder, progress)
}

/// Whether the training in `folder` has done its steps.
pub(crate) fn is_finished(folder: &Path, steps: u64) -> bool {
    // A folder that holds something else is told about by whoever trains in it.
    std::fs::read(folder.join("state.json"))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<CheckpointState>(&bytes).ok())
        .is_some_and(|state| state.step >= steps)
}

/// Removes channels from a model as the study says.
///
/// # Errors
/// As [`prune_weights`].
fn prune(context: &Context, model: &UNet2DModel, progress: &dyn Progress) -> Result<UNet2DModel, StudyError> {
    let made = prune_weights(context, model.config(), &model.state_dict()?, progress)?;
    Ok(UNet2DModel::from_state_dict(&made.pruned.config, &made.pruned.weights, &context.device)?)
}

/// Fine-tunes a pruned model on everybody's images into `folder`; loaded if finished. `parent` is the hash of the model
/// that was pruned.
///
/// # Errors
/// As [`full_model`].
pub fn fine_tune_pruned(
    context: &Context,
    pruned: UNet2DModel,
    parent: &str,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let streams: Streams = context.streams(0).child("fine-tuning", 0);
    let settings = context.config.fine_tune_optimization().clone();
    let trainer = Trainer::new(pruned, settings, context.schedule.clone(), streams)?;
    let trainer = trainer.with_identity(BTreeMap::from([
        ("data".to_owned(), context.data_hash.clone()),
        ("parent".to_owned(), parent.to_owned()),
    ]));
    let steps = context.config.fine_tune.steps;
    finish(context, trainer, folder, steps, "fine-tune the pruned model", progress)
}

/// The model of a coalition by a method, in `folder`; an unfinished training there continues. A method that starts from a
/// trained model needs `parent`. A model by `lora` also has its adapters, in PEFT's layout, in the folder `adapter` inside.
///
/// # Errors
/// As [`full_model`]; a method without its parent or without what it needs of the coalition.
pub fn unlearned_model(
    context: &Context,
    method: Method,
    coalition: &Coalition,
    repetition: u64,
    parent: Option<&UNet2DModel>,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let label = method.to_string();
    let wanted = Wanted { method, coalition, repetition, parent, label: &label };
    let (model, seconds) = coalition_model(context, &wanted, Some(folder), progress)?;
    let hash = model_hash(model.config(), &model.state_dict()?);
    Ok(TrainedModel { model, hash, seconds })
}

/// Brings a trainer on everybody's images to its last step, from the checkpoint in `folder` if there is one.
fn finish(
    context: &Context,
    trainer: Trainer<UNet2DModel>,
    folder: &Path,
    steps: u64,
    label: &str,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let everybody = Coalition::full(context.contributors());
    let goal = Goal { folder: Some(folder), steps, images: &everybody, repetition: 0, label };
    let trainer = advance(context, trainer, &goal, progress)?;
    let model = trainer.ema_model()?;
    let hash = model_hash(model.config(), &model.state_dict()?);
    Ok(TrainedModel { model, hash, seconds: trainer.elapsed_seconds() })
}
