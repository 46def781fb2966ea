//! The two models that every study trains before its coalitions: the full one, and the pruned one.

use std::collections::BTreeMap;
use std::path::Path;

use diffusion_core::model_folder::{self, model_hash, read_config};
use diffusion_core::training::{CheckpointState, GradientExchange, Trainer, TrainingTask, checkpoint_exists};
use diffusion_core::unet::ConditionalUNet;
use diffusion_core::{DiffusionError, Module, UNet2DModel};
use removal::Coalition;
use streams::Streams;
use unlearn::lora::LoraUNet;
use unlearn::{Method, UnlearnError};

use crate::config::TrainConfig;
use crate::context::Context;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::progress::Progress;
use crate::pruning::prune_weights;
use crate::runs::pruned_key;
use crate::samples::write_sheet;
use crate::training_log::{Metrics, log_folder};
use crate::unlearning::{Goal, Saves, Wanted, advance, coalition_model};

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

impl TrainedModel {
    /// What a finished training made.
    fn of(trainer: &Trainer<UNet2DModel>) -> Result<Self, StudyError> {
        let model = trainer.ema_model()?;
        let hash = model_hash(model.config(), &model.state_dict()?);
        Ok(Self { model, hash, seconds: trainer.elapsed_seconds() })
    }
}

/// The model trained on everybody's images, from fresh weights or those of `train.load`: read if finished, else trained, from its
/// newest checkpoint if there is one.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop (the checkpoint is saved); those of training and of files.
pub fn full_model(
    context: &Context,
    dir: &StudyDir,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let folder = dir.model(&context.full_run().id(&context.run_settings())?);
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
    let everybody = Coalition::full(context.contributors());
    let start = context.loaded().map(|loaded| &loaded.model);
    train_from(context, &everybody, start, folder, None, progress)
}

/// Starts or meets the other ranks of a data-parallel training.
pub type Connect<'a> = &'a dyn Fn() -> Result<Box<dyn GradientExchange>, DiffusionError>;

/// Trains on a coalition's images by the study's `[train]`, from fresh weights for as many steps as retrained models have, or from
/// those of `start`, and leaves what `[train.log]` says beside the model.
///
/// With `connect`, this process is one rank of a data-parallel training: it is called once the trainer is where the folder's
/// checkpoint is, if there are steps to do. Only the first rank writes files.
///
/// # Errors
/// As [`full_model`]; a coalition without images; a start of another architecture; ranks that are lost.
pub fn train_from(
    context: &Context,
    images: &Coalition,
    start: Option<&UNet2DModel>,
    folder: &Path,
    connect: Option<Connect<'_>>,
    progress: &dyn Progress,
) -> Result<TrainedModel, StudyError> {
    let config = &context.config.train;
    context.can_train([&config.optimization])?;
    let mut identity = BTreeMap::from([("data".to_owned(), context.data_hash.clone())]);
    if !images.is_full() {
        identity.insert("coalition".to_owned(), images.to_string());
    }
    let model = match start {
        None => context.fresh_model(0)?,
        Some(start) => {
            identity.insert("parent".to_owned(), model_hash(start.config(), &start.state_dict()?));
            start.clone()
        }
    };
    let mut trainer = Trainer::new(
        model,
        config.optimization.clone(),
        context.schedule.clone(),
        context.training_streams(0).child("training", 0),
    )?
    .with_identity(identity)
    .with_autoencoder(context.autoencoder().cloned());
    let steps = if start.is_some() { config.steps } else { config.retrain_steps() };
    let begun = checkpoint_exists(folder);
    if begun {
        trainer = trainer.restore(folder)?;
    }
    let mut first_rank = true;
    if let Some(connect) = connect.filter(|_| trainer.step() < steps) {
        let exchange = connect()?;
        first_rank = exchange.rank() == 0;
        trainer = trainer.with_exchange(exchange)?;
    }
    let label = "train the full model";
    let into = Into { folder, steps, images, repetition: 0, label, begun, first_rank };
    TrainedModel::of(&train_into(context, trainer, &into, progress)?)
}

/// A training into a folder.
pub(crate) struct Into<'a> {
    /// Where the model and its checkpoints are kept.
    pub folder: &'a Path,
    /// Steps in all.
    pub steps: u64,
    /// Whose images it is trained on.
    pub images: &'a Coalition,
    /// Which independent repetition.
    pub repetition: u64,
    /// What progress is shown under.
    pub label: &'a str,
    /// Whether the trainer was restored from the folder.
    pub begun: bool,
    /// Whether this process writes files: with other ranks of a data-parallel training, only the first does.
    pub first_rank: bool,
}

/// What is trained, and the network that it stands for: what is sampled on the way and kept as the null model.
pub(crate) trait Whole: Module {
    /// The network, without autodiff.
    ///
    /// # Errors
    /// If the device fails.
    fn whole(&self) -> Result<UNet2DModel, StudyError>;
}

impl Whole for UNet2DModel {
    fn whole(&self) -> Result<UNet2DModel, StudyError> {
        Ok(self.clone())
    }
}

impl Whole for LoraUNet {
    fn whole(&self) -> Result<UNet2DModel, StudyError> {
        Ok(self.merged()?)
    }
}

impl Whole for ConditionalUNet {
    /// Under the mean of all conditions.
    fn whole(&self) -> Result<UNet2DModel, StudyError> {
        Ok(self.at(&vec![1.0; self.len()])?)
    }
}

/// Brings a trainer to its last step, and leaves what `[train.log]` says beside the model.
///
/// # Errors
/// As [`full_model`]; ranks that are lost.
pub(crate) fn train_into<M: Whole, T: TrainingTask<M>>(
    context: &Context,
    mut trainer: Trainer<M, T>,
    into: &Into<'_>,
    progress: &dyn Progress,
) -> Result<Trainer<M, T>, StudyError> {
    let config = &context.config.train;
    let Into { folder, steps, first_rank, .. } = *into;
    let kept = log_folder(folder);
    if !into.begun && first_rank && config.log.null_model {
        let fresh = trainer.ema_model()?.whole()?;
        let companions = Some(context.companions());
        model_folder::write(&kept.join("null"), fresh.config(), &fresh.state_dict()?, companions)?;
    }
    let metrics = (config.log.every > 0 && first_rank)
        .then(|| Metrics::open(&kept, config.log.every, trainer.step()))
        .transpose()?;
    // What the end of an earlier process, or a full disk, came in between.
    if into.begun && first_rank {
        keep(context, &trainer, into, &kept, progress)?;
    }
    loop {
        let goal = Goal {
            folder: first_rank.then_some(folder),
            saves: Saves::Steps(config.checkpoint_every),
            steps: next_pause(config, trainer.step(), steps),
            last: steps,
            images: into.images,
            repetition: into.repetition,
            label: into.label,
            metrics: metrics.as_ref(),
        };
        trainer = advance(context, trainer, &goal, progress)?;
        if first_rank {
            keep(context, &trainer, into, &kept, progress)?;
        }
        if trainer.step() >= steps {
            return Ok(trainer);
        }
    }
}

/// The step after `step` at which something is kept: the end, or a multiple of a cadence.
fn next_pause(config: &TrainConfig, step: u64, last: u64) -> u64 {
    let checkpoints = if config.log.keep_checkpoints { config.checkpoint_every } else { 0 };
    let cadences = [config.log.sample_every, checkpoints].into_iter().filter(|&every| every > 0);
    cadences.map(|every| (step / every + 1) * every).chain([last]).min().unwrap_or(last)
}

/// Keeps pictures and checkpoints whose time has come.
fn keep<M: Whole, T: TrainingTask<M>>(
    context: &Context,
    trainer: &Trainer<M, T>,
    into: &Into<'_>,
    kept: &Path,
    progress: &dyn Progress,
) -> Result<(), StudyError> {
    let config = &context.config.train;
    let step = trainer.step();
    let due = |every: u64| every > 0 && (step.is_multiple_of(every) || step == into.steps);
    if due(config.log.sample_every) {
        let path = kept.join("samples").join(format!("{step:07}.png"));
        if !path.is_file() {
            let samples =
                context.sample(&trainer.ema_model()?.whole()?, into.repetition, into.label, progress)?;
            let parent = kept.join("samples");
            std::fs::create_dir_all(&parent).map_err(StudyError::io("create", &parent))?;
            write_sheet(&path, &samples)?;
        }
    }
    if config.log.keep_checkpoints && due(config.checkpoint_every) {
        let path = kept.join("checkpoints").join(format!("{step:07}"));
        if !checkpoint_exists(&path) && checkpoint_exists(into.folder) {
            trainer.save(&path)?;
        }
    }
    Ok(())
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
    let streams: Streams = context.training_streams(0).child("fine-tuning", 0);
    let settings = context.config.fine_tune_optimization().clone();
    context.can_train([&settings])?;
    let trainer = Trainer::new(pruned, settings, context.schedule.clone(), streams)?;
    let trainer = trainer.with_autoencoder(context.autoencoder().cloned()).with_identity(BTreeMap::from([
        ("data".to_owned(), context.data_hash.clone()),
        ("parent".to_owned(), parent.to_owned()),
    ]));
    let (steps, label) = (context.config.fine_tune.steps, "fine-tune the pruned model");
    let begun = checkpoint_exists(folder);
    let trainer = if begun { trainer.restore(folder)? } else { trainer };
    let everybody = Coalition::full(context.contributors());
    let images = &everybody;
    let into = Into { folder, steps, images, repetition: 0, label, begun, first_rank: true };
    TrainedModel::of(&train_into(context, trainer, &into, progress)?)
}

/// The model of a coalition by a method, in `folder`; an unfinished training there continues. A method that starts from a
/// trained model needs `parent`. A model by `lora` also has its adapters, in PEFT's layout, in the folder `adapter` inside.
/// By `conditional`, the folder holds the one network of all coalitions, and the model is that network under the mean of the
/// coalition's conditions.
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
    if method == Method::Conditional {
        let missing = || UnlearnError::NoParent { method: method.to_string() };
        if coalition.is_empty() {
            return Err(UnlearnError::NothingRemains { method: method.to_string() }.into());
        }
        let parent = parent.ok_or_else(missing)?;
        let hash = model_hash(parent.config(), &parent.state_dict()?);
        let proxy = context.proxy_in(folder, parent, &hash, progress)?;
        let model = proxy.at_mean(coalition)?;
        let hash = model_hash(model.config(), &model.state_dict()?);
        return Ok(TrainedModel { model, hash, seconds: proxy.seconds });
    }
    let label = method.to_string();
    let wanted = Wanted {
        method,
        coalition,
        repetition,
        parent,
        label: &label,
        folder: Some(folder),
        saves: Saves::Steps(context.config.train.checkpoint_every),
    };
    let (model, seconds) = coalition_model(context, &wanted, progress)?;
    let hash = model_hash(model.config(), &model.state_dict()?);
    Ok(TrainedModel { model, hash, seconds })
}
