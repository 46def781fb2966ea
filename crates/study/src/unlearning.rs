//! The model of a coalition, by any method.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use data::Batches;
use diffusion_core::model_folder::model_hash;
use diffusion_core::training::{Trainer, TrainingTask, check_destination, checkpoint_exists};
use diffusion_core::{Denoiser, DiffusionError, Module, UNet2DModel};
use removal::Coalition;
use streams::Streams;
use unlearn::influence::{Influence, influence_unlearn};
use unlearn::lora::{LoraUNet, is_adapter_checkpoint};
use unlearn::{Images, Method, Start, UnlearnError};

use crate::context::Context;
use crate::error::StudyError;
use crate::execute::train_to;
use crate::models::{Into, Whole, train_into};
use crate::progress::{Progress, Task, Unit};
use crate::training_log::Metrics;

/// Whose model, and from what.
pub(crate) struct Wanted<'a> {
    /// How it is made.
    pub method: Method,
    /// Who remains.
    pub coalition: &'a Coalition,
    /// Which independent repetition.
    pub repetition: u64,
    /// The trained model to start from.
    pub parent: Option<&'a UNet2DModel>,
    /// What progress is shown under.
    pub label: &'a str,
    /// Where checkpoints are kept, if anywhere.
    pub folder: Option<&'a Path>,
    /// When they are written.
    pub saves: Saves,
}

/// How far a training goes.
pub(crate) struct Goal<'a> {
    /// Where its checkpoints are kept, if anywhere.
    pub folder: Option<&'a Path>,
    /// When they are written.
    pub saves: Saves,
    /// Steps to bring it to.
    pub steps: u64,
    /// Steps in all, for progress and checks.
    pub last: u64,
    /// Whose images it is trained on.
    pub images: &'a Coalition,
    /// Which independent repetition.
    pub repetition: u64,
    /// What progress is shown under.
    pub label: &'a str,
    /// Takes note of each step.
    pub metrics: Option<&'a Metrics>,
}

/// When checkpoints are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saves {
    /// Every so many steps, at the end, and when stopped: the folder holds the model in the end.
    Steps(u64),
    /// When stopped, and so that little work is lost by a sudden end: what takes a short time writes nothing.
    AgainstLoss,
}

/// Brings a trainer to its goal, from the checkpoint in the folder if there is one.
///
/// # Errors
/// [`StudyError::Stopped`] if the user asked to stop (the checkpoint is saved); a checkpoint of something else, or beyond
/// the last step; those of training and of files.
pub(crate) fn advance<M: Module, T: TrainingTask<M>>(
    context: &Context,
    mut trainer: Trainer<M, T>,
    goal: &Goal<'_>,
    progress: &dyn Progress,
) -> Result<Trainer<M, T>, StudyError> {
    if let Some(folder) = goal.folder {
        // A trainer on its way is at its newest checkpoint already.
        if trainer.step() == 0 && checkpoint_exists(folder) {
            trainer = trainer.restore(folder)?;
        }
        if trainer.step() > goal.last {
            return Err(StudyError::Diffusion(DiffusionError::CheckpointMismatch {
                path: folder.to_owned(),
                key: "steps".to_owned(),
                saved: trainer.step().to_string(),
                current: goal.last.to_string(),
            }));
        }
    }
    if trainer.step() < goal.steps {
        if let (Some(folder), Saves::Steps(_)) = (goal.folder, goal.saves) {
            // A folder that cannot be written is found now, not hours later at the first checkpoint.
            check_destination(folder)?;
        }
        let batches = context.batches(goal.images, goal.repetition)?;
        train_to(&mut trainer, &batches, goal, progress)?;
    } else if let Some(folder) =
        goal.folder.filter(|folder| goal.saves != Saves::AgainstLoss && !checkpoint_exists(folder))
    {
        // Nothing to train: the folder holds the start.
        trainer.save(folder)?;
    }
    Ok(trainer)
}

/// The model of a coalition (its averaged weights) and the seconds its making took. With a folder, an unfinished making
/// there continues, and the folder holds the model in the end.
///
/// # Errors
/// As [`advance`]; a method without its parent or without what it needs of the coalition.
pub(crate) fn coalition_model(
    context: &Context,
    wanted: &Wanted<'_>,
    progress: &dyn Progress,
) -> Result<(UNet2DModel, f64), StudyError> {
    let folder = wanted.folder;
    match wanted.method {
        Method::Iu => influence(context, wanted, kept(wanted), progress),
        Method::Lora => adapters(context, wanted, folder, progress),
        Method::Conditional => Err(UnlearnError::NoCoalitionModel.into()),
        Method::Retrain | Method::PruneFineTune | Method::Gd | Method::Ga => {
            let (trainer, steps, images) = trainer_of(context, wanted)?;
            let trainer = if folder.is_some() {
                trainer.with_identity(identity(context, wanted, &[])?)
            } else {
                trainer
            };
            let trainer = train_wanted(context, trainer, wanted, steps, &images, progress)?;
            Ok((trainer.ema_model()?, trainer.elapsed_seconds()))
        }
    }
}

/// Brings the trainer of what is wanted to its last step, from the checkpoint in the folder if there is one. Where the folder is
/// to hold the model, what `[train.log]` says is left beside it.
fn train_wanted<M: Whole + Denoiser>(
    context: &Context,
    trainer: Trainer<M>,
    wanted: &Wanted<'_>,
    steps: u64,
    images: &Coalition,
    progress: &dyn Progress,
) -> Result<Trainer<M>, StudyError> {
    let Wanted { folder, saves, repetition, label, .. } = *wanted;
    let Some(folder) = kept(wanted) else {
        let goal = Goal { folder, saves, steps, last: steps, images, repetition, label, metrics: None };
        return advance(context, trainer, &goal, progress);
    };
    let begun = checkpoint_exists(folder);
    let trainer = if begun { trainer.restore(folder)? } else { trainer };
    let into = Into { folder, steps, images, repetition, label, begun, first_rank: true };
    train_into(context, trainer, &into, progress)
}

/// The folder, if it is to hold the model in the end.
fn kept<'a>(wanted: &Wanted<'a>) -> Option<&'a Path> {
    wanted.folder.filter(|_| wanted.saves != Saves::AgainstLoss)
}

/// The trainer of a method that is nothing but training, its number of steps, and whose images it sees.
fn trainer_of(
    context: &Context,
    wanted: &Wanted<'_>,
) -> Result<(Trainer<UNet2DModel>, u64, Coalition), StudyError> {
    let config = &context.config;
    let images = match wanted.method.images() {
        Images::Remaining => wanted.coalition.clone(),
        Images::Removed => wanted.coalition.complement(),
        Images::All => Coalition::full(context.contributors()),
    };
    let (steps, training) = match wanted.method {
        Method::Retrain => (config.train.retrain_steps(), config.train.optimization.clone()),
        Method::PruneFineTune if !wanted.coalition.is_full() => {
            return Err(UnlearnError::NotEverybody.into());
        }
        Method::PruneFineTune => (config.fine_tune.steps, config.fine_tune_optimization().clone()),
        Method::Ga => {
            let settings = config.unlearn.ascent();
            let removed = context.split.train.restricted_to(&images)?.len();
            let training = settings.training(config.unlearn_optimization());
            (settings.steps(removed, &training), training)
        }
        Method::Conditional => return Err(UnlearnError::NoCoalitionModel.into()),
        Method::Gd | Method::Iu | Method::Lora => {
            (config.unlearn.steps, config.unlearn_optimization().clone())
        }
    };
    let streams = match wanted.method {
        Method::PruneFineTune => context.training_streams(0).child("fine-tuning", 0),
        _ => training_streams(context, wanted),
    };
    context.can_train([&training])?;
    let fresh = || Ok(context.fresh_model(wanted.repetition)?);
    let start = Start { fresh: &fresh, parent: wanted.parent };
    let trainer = unlearn::prepare(wanted.method, &start, &training, context.schedule.clone(), streams)?;
    Ok((trainer.with_autoencoder(context.autoencoder().cloned()), steps, images))
}

fn training_streams(context: &Context, wanted: &Wanted<'_>) -> Streams {
    context.training_streams(wanted.repetition).child("training", 0)
}

/// One jump; an interrupted one begins anew.
fn influence(
    context: &Context,
    wanted: &Wanted<'_>,
    folder: Option<&Path>,
    progress: &dyn Progress,
) -> Result<(UNet2DModel, f64), StudyError> {
    let config = &context.config;
    let (parent, settings) = (parent_of(wanted)?, config.unlearn.influence());
    let batch_size = config.unlearn_optimization().batch_size;
    let facts = [("iu", json(&settings)?), ("batch_size", batch_size.to_string())];
    if let Some(finished) = finished(context, wanted, folder, &facts)? {
        return Ok(finished);
    }
    let start = Instant::now();
    let batches = |who: &Coalition| -> Result<Option<Batches>, StudyError> {
        if who.is_empty() { Ok(None) } else { context.batches(who, wanted.repetition).map(Some) }
    };
    let (remaining, removed) = (batches(wanted.coalition)?, batches(&wanted.coalition.complement())?);
    let streams = context.streams(wanted.repetition).child("influence", 0);
    let images = Influence {
        remaining: remaining.as_ref(),
        removed: removed.as_ref(),
        batch_size,
        schedule: &context.schedule,
        streams: &streams,
    };
    let gradients =
        [&remaining, &removed].into_iter().flatten().map(|b| b.per_pass(batch_size)).sum::<usize>();
    let label = format!("{}: gradients", wanted.label);
    let mut bar = progress.begin(Task { label, total: gradients as u64, unit: Unit::Steps });
    let model = influence_unlearn(parent, &images, &settings, &mut |done, _| {
        bar.advance(done as u64, "");
        if progress.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let model = match model {
        Err(UnlearnError::Stopped) => return Err(StudyError::Stopped),
        other => other?,
    };
    let seconds = start.elapsed().as_secs_f64();
    if let Some(folder) = folder {
        result_holder(context, wanted, &model, &facts)?.after_seconds(seconds).save(folder)?;
    }
    Ok((model, seconds))
}

/// Adapters, trained and merged. While they train, the folder is a checkpoint of them; in the end it is the merged model,
/// with the adapters in PEFT's layout in the folder `adapter` inside.
fn adapters(
    context: &Context,
    wanted: &Wanted<'_>,
    folder: Option<&Path>,
    progress: &dyn Progress,
) -> Result<(UNet2DModel, f64), StudyError> {
    let config = &context.config;
    let (parent, settings) = (parent_of(wanted)?, config.unlearn.lora());
    let facts = [("lora", json(&settings)?), ("steps", config.unlearn.steps.to_string())];
    if let Some(finished) = finished(context, wanted, kept(wanted), &facts)? {
        return Ok(finished);
    }
    let streams = training_streams(context, wanted);
    let network = LoraUNet::new(parent, &settings, &streams.child("adapters", 0))?;
    let optimization = config.unlearn_optimization().clone();
    context.can_train([&optimization])?;
    let mut trainer = Trainer::new(network, optimization, context.schedule.clone(), streams)?;
    if folder.is_some() {
        trainer = trainer.with_identity(identity(context, wanted, &[])?);
    }
    let steps = config.unlearn.steps;
    let trainer = train_wanted(context, trainer, wanted, steps, wanted.coalition, progress)?;
    let (averaged, seconds) = (trainer.ema_model()?, trainer.elapsed_seconds());
    let merged = averaged.merged()?;
    if let Some(folder) = kept(wanted) {
        let [settings, weights] = averaged.adapter_files()?;
        let named = [settings, weights].map(|(name, bytes)| (format!("adapter/{name}"), bytes));
        let files: Vec<(&str, Vec<u8>)> =
            named.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        result_holder(context, wanted, &merged, &facts)?.after_seconds(seconds).save_with(folder, &files)?;
    }
    Ok((merged, seconds))
}

/// The result of a method without a training of the whole network, if the folder holds it.
fn finished(
    context: &Context,
    wanted: &Wanted<'_>,
    folder: Option<&Path>,
    facts: &[(&str, String)],
) -> Result<Option<(UNet2DModel, f64)>, StudyError> {
    let Some(folder) = folder.filter(|folder| checkpoint_exists(folder) && !is_adapter_checkpoint(folder))
    else {
        return Ok(None);
    };
    let holder = result_holder(context, wanted, parent_of(wanted)?, facts)?.restore(folder)?;
    Ok(Some((holder.ema_model()?, holder.elapsed_seconds())))
}

/// Weights as a training that has not begun, whose average is the weights themselves: what puts them into a folder like any
/// other model's. `facts` are what else they depend on.
fn result_holder(
    context: &Context,
    wanted: &Wanted<'_>,
    model: &UNet2DModel,
    facts: &[(&str, String)],
) -> Result<Trainer<UNet2DModel>, StudyError> {
    let optimization = context.config.unlearn_optimization().clone();
    let streams = training_streams(context, wanted);
    let trainer = Trainer::new(model.clone(), optimization, context.schedule.clone(), streams)?;
    let trainer = trainer.with_autoencoder(context.autoencoder().cloned());
    Ok(trainer.with_identity(identity(context, wanted, facts)?))
}

/// What a folder is bound to, besides the settings of the training.
fn identity(
    context: &Context,
    wanted: &Wanted<'_>,
    facts: &[(&str, String)],
) -> Result<BTreeMap<String, String>, StudyError> {
    let mut identity = BTreeMap::from([
        ("data".to_owned(), context.data_hash.clone()),
        ("coalition".to_owned(), wanted.coalition.to_string()),
    ]);
    if let Some(parent) = wanted.parent.filter(|_| wanted.method.starts_from_parent()) {
        identity.insert("parent".to_owned(), model_hash(parent.config(), &parent.state_dict()?));
    }
    if matches!(wanted.method, Method::Ga | Method::Iu | Method::Lora) {
        identity.insert("method".to_owned(), wanted.method.to_string());
    }
    identity.extend(facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Ok(identity)
}

fn parent_of<'a>(wanted: &Wanted<'a>) -> Result<&'a UNet2DModel, StudyError> {
    let missing = || UnlearnError::NoParent { method: wanted.method.to_string() };
    Ok(wanted.parent.ok_or_else(missing)?)
}

fn json(settings: &impl serde::Serialize) -> Result<String, StudyError> {
    serde_json::to_string(settings).map_err(|source| StudyError::NotJson { source })
}
