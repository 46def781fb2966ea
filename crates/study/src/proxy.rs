//! Utilities by a network that knows whose picture it makes: no model is made for any coalition.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use diffusion_core::samplers::{SampledImages, sample_values};
use diffusion_core::training::{ConditionalNoisePrediction, Trainer, checkpoint_exists};
use diffusion_core::unet::ConditionalUNet;
use diffusion_core::{DiffusionError, UNet2DModel};
use ledger::{RunId, RunKey};
use removal::Coalition;
use serde::Serialize;
use streams::uniform;

use crate::config::StudyConfig;
use crate::context::Context;
use crate::error::StudyError;
use crate::layout::StudyDir;
use crate::models::{Into, train_into};
use crate::progress::{Progress, Task, Unit};

/// One network for all coalitions, conditioned on contributors.
///
/// The utility of a coalition S is measured on pictures that this network makes under conditions of members of S alone: picture k
/// under the member that stream (`conditions`, k) draws, with probability in proportion to training images. So it samples from
/// `sum over S of w_i p(x | contributor i)`, w_i being i's share of the images of S. Losses, which know no picture, are those of
/// the network under the mean of the members' vectors, with the same weights.
///
/// Source: Lu et al. 2026, SurrogateSHAP, <https://arxiv.org/abs/2601.22276>, section 3: a proxy game by inference with a
/// conditional model in place of retraining. The published models were conditional from the start; this one starts from the
/// study's parent, with vectors of 0, and learns the conditions in `unlearn.conditional_steps` steps on everybody's images.
pub(crate) struct Proxy {
    model: ConditionalUNet,
    /// Training images of each contributor.
    images: Vec<usize>,
    /// Seconds its training took.
    pub seconds: f64,
}

/// What a proxy's training depends on, besides its parent and what all runs share.
#[derive(Debug, Serialize)]
pub(crate) struct ProxySettings<'a> {
    steps: u64,
    #[serde(serialize_with = "crate::runs::of_results")]
    optimization: &'a diffusion_core::training::TrainingConfig,
    /// That samples are decoded, which they once were not; left out where models are of pixels.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    decoded: bool,
}

impl<'a> ProxySettings<'a> {
    /// Those of a study.
    pub fn of(config: &'a StudyConfig) -> Self {
        let steps = config.unlearn.conditional_steps.unwrap_or(config.train.retrain_steps());
        Self { steps, optimization: config.unlearn_optimization(), decoded: config.latent.is_some() }
    }

    /// Steps of the training.
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

impl Proxy {
    /// Where a study's network is kept, made from the parent of this hash.
    ///
    /// # Errors
    /// Settings that cannot be written as JSON.
    pub fn folder(context: &Context, dir: &StudyDir, parent: &str) -> Result<PathBuf, StudyError> {
        Ok(dir.model(&Self::id(context, parent)?))
    }

    /// The name of a study's network, made from the parent of this hash: of its folder, and of its claim.
    ///
    /// # Errors
    /// Settings that cannot be written as JSON.
    pub fn id(context: &Context, parent: &str) -> Result<RunId, StudyError> {
        Ok(key(context, parent, context.contributors())?.id()?)
    }

    /// Trains the network in `folder` from the parent of this hash; loaded if finished. What `[train.log]` says is left beside it.
    ///
    /// # Errors
    /// [`StudyError::Stopped`] if the user asked to stop (the checkpoint is saved); those of training and of files.
    pub fn make(
        context: &Context,
        folder: &Path,
        parent: &UNet2DModel,
        hash: &str,
        progress: &dyn Progress,
    ) -> Result<Self, StudyError> {
        let n = context.contributors();
        let settings = ProxySettings::of(&context.config);
        context.can_train([settings.optimization])?;
        let owner = |image: usize| context.dataset.owner(image).unwrap_or(usize::MAX);
        let conditions: Vec<usize> = (0..context.dataset.len()).map(owner).collect();
        let task =
            ConditionalNoisePrediction { schedule: context.schedule.clone(), conditions: conditions.into() };
        let streams = context.training_streams(0).child("conditional", 0);
        let start = ConditionalUNet::new(parent, n)?;
        let trainer = Trainer::for_task(start, settings.optimization.clone(), task, streams)?.with_identity(
            [("data", context.data_hash.as_str()), ("parent", hash)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        );
        let begun = checkpoint_exists(folder);
        let trainer = if begun { trainer.restore(folder)? } else { trainer };
        let (everybody, label) = (Coalition::full(n), "teach the model its contributors");
        let (steps, images) = (settings.steps, &everybody);
        let into = Into { folder, steps, images, repetition: 0, label, begun, first_rank: true };
        let trainer = train_into(context, trainer, &into, progress)?;
        Ok(Self {
            model: trainer.ema_model()?,
            images: context.training_images(),
            seconds: trainer.elapsed_seconds(),
        })
    }

    /// The share of each contributor in the images of a coalition.
    fn weights(&self, coalition: &Coalition) -> Vec<f64> {
        let images = self.images.iter().enumerate();
        images.map(|(i, &count)| if coalition.contains(i) { count as f64 } else { 0.0 }).collect()
    }

    /// The network under the mean of a coalition's conditions.
    ///
    /// # Errors
    /// A coalition without images; a device that fails.
    pub fn at_mean(&self, coalition: &Coalition) -> Result<UNet2DModel, StudyError> {
        Ok(self.model.at(&self.weights(coalition))?)
    }

    /// The study's samples of a coalition: picture k from the noise of picture k of every model, under the condition of a
    /// member.
    ///
    /// # Errors
    /// [`StudyError::Stopped`] if the user asked to stop; a coalition without images; a model that gives NaN.
    pub fn sample(
        &self,
        context: &Context,
        coalition: &Coalition,
        label: &str,
        progress: &dyn Progress,
    ) -> Result<SampledImages, StudyError> {
        let count = context.config.sample.count;
        let weights = self.weights(coalition);
        let streams = context.streams(0);
        let mut of_member: Vec<Vec<u64>> = vec![Vec::new(); weights.len()];
        for k in 0..count as u64 {
            of_member[member(&weights, uniform(&mut streams.rng("conditions", k)))].push(k);
        }
        let task = Task { label: format!("{label}: sample"), total: count as u64, unit: Unit::Images };
        let mut bar = progress.begin(task);
        let shape = self.model.sample_shape();
        let size: usize = shape.iter().product();
        let mut values = vec![0f32; count * size];
        let mut done = 0;
        for (i, indices) in of_member.iter().enumerate().filter(|(_, indices)| !indices.is_empty()) {
            let mut alone = vec![0.0; weights.len()];
            alone[i] = 1.0;
            let model = self.model.at(&alone)?;
            let process = context.config.sample.process();
            let noises = streams.child("samples", 0);
            let made = sample_values(&model, &context.schedule, &process, indices, &noises, &mut |state| {
                bar.advance(done + state.images_done as u64, "");
                if progress.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let made = match made {
                Err(DiffusionError::Stopped { .. }) => return Err(StudyError::Stopped),
                other => other?,
            };
            for (image, &k) in made.chunks_exact(size).zip(indices) {
                values[k as usize * size..][..size].copy_from_slice(image);
            }
            done += indices.len() as u64;
        }
        drop(bar);
        context.pictures(values, shape, label, progress)
    }
}

/// The member whose share of the unit interval holds `point`.
fn member(weights: &[f64], point: f64) -> usize {
    let total: f64 = weights.iter().sum();
    let mut below = 0.0;
    let mut last = 0;
    for (place, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        below += weight / total;
        last = place;
        if point < below {
            break;
        }
    }
    last
}

/// The key of a proxy; it has no record, the key names its folder.
fn key(context: &Context, parent: &str, n: usize) -> Result<RunKey, StudyError> {
    let config = &context.config;
    let mut key = RunKey::new("conditional", Coalition::full(n)).seed("study", config.seed);
    if let Some(seed) = config.train.seed {
        key = key.seed("training", seed);
    }
    Ok(key
        .parent(parent)
        .setting("data", &context.data_hash)?
        .setting("diffusion", &config.diffusion)?
        .setting("conditional", &ProxySettings::of(config))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_drawn_by_their_images() {
        let weights = [0.0, 3.0, 0.0, 1.0];
        assert_eq!([0.0, 0.74, 0.76, 0.999].map(|point| member(&weights, point)), [1, 1, 3, 3]);
        assert_eq!(member(&[0.0, 1.0, 0.0], 1.0), 1);
    }
}
