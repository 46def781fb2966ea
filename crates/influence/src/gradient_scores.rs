//! The methods that work on gradients, from a model, training images and samples to scores.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;
use std::time::Instant;

use diffusion_core::samplers::{SampleConfig, predicted_originals};
use diffusion_core::{Denoiser, DiffusionError, NoiseSchedule};
use ndarray::Array2;
use streams::Streams;

use crate::features::{CleanImages, even_timesteps, gradient_features};
use crate::{
    GradientModel, InfluenceConfig, InfluenceError, InfluenceMethod, Kernel, Projection, Target,
    gradient_similarity,
};

/// What the methods that work on gradients start from.
pub struct GradientScorer<'a, M: Denoiser> {
    /// The model, with the weights that its samples were made with.
    pub model: &'a M,
    /// The forward process it was trained with.
    pub schedule: &'a NoiseSchedule,
    /// Settings.
    pub config: &'a InfluenceConfig,
    /// The images it was trained on.
    pub train: &'a CleanImages,
    /// Its samples.
    pub samples: &'a CleanImages,
    /// How the samples were made, for [`InfluenceMethod::JourneyTrak`], which makes them again.
    pub sampling: &'a SampleConfig,
    /// The streams that the samples were made with; sample k's number is its index there.
    pub sampling_streams: &'a Streams,
    /// Streams of noises and projection.
    pub streams: Streams,
}

/// The scores of training images by one method.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageScores {
    /// The method.
    pub method: InfluenceMethod,
    /// The score of each training image, in their order.
    pub scores: Vec<f64>,
    /// Seconds that the method takes alone; methods share gradients, so that several take less than the sum.
    pub seconds: f64,
    /// The part of them behind gradients that another of the methods uses, too.
    pub shared_seconds: f64,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GradientProgress {
    /// What is being computed, for a person.
    pub part: &'static str,
    /// Finished units of this part (noisy images, or for journeys samples).
    pub done: usize,
    /// All units of this part.
    pub total: usize,
}

/// A set of projected gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Train(Target),
    Samples(Target),
    Journey,
}

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::Train(Target::Loss) => "gradients of training images",
            Self::Train(Target::SquaredOutput) => "output gradients of training images",
            Self::Samples(Target::Loss) => "gradients of samples",
            Self::Samples(Target::SquaredOutput) => "output gradients of samples",
            Self::Journey => "gradients along the samples' journeys",
        }
    }
}

/// The gradients of training images and of samples that a method needs.
fn parts(method: InfluenceMethod) -> [Part; 2] {
    match method {
        InfluenceMethod::DTrak => [Part::Train(Target::SquaredOutput), Part::Samples(Target::SquaredOutput)],
        InfluenceMethod::JourneyTrak => [Part::Train(Target::Loss), Part::Journey],
        _ => [Part::Train(Target::Loss), Part::Samples(Target::Loss)],
    }
}

impl<M: Denoiser> GradientScorer<'_, M> {
    /// The scores of the training images by each of `methods`, in their order; those that do not work on gradients are
    /// left out. `progress` may break off.
    ///
    /// # Errors
    /// Settings out of range; no images; NaN among gradients; [`InfluenceError::Stopped`].
    pub fn scores(
        &self,
        methods: &[InfluenceMethod],
        progress: &mut dyn FnMut(GradientProgress) -> ControlFlow<()>,
    ) -> Result<Vec<ImageScores>, InfluenceError> {
        self.config.validate(self.schedule.timesteps())?;
        let model = GradientModel::new(self.model)?;
        let tensors = model.parameters().iter().map(|info| (info.name.as_str(), info.len()));
        let projection = Projection::new(
            self.config.projection,
            self.config.dimension,
            tensors,
            &self.streams.child("projection", 0),
        )?;
        let mut made: BTreeMap<Part, (Array2<f64>, f64)> = BTreeMap::new();
        let mut scores = Vec::new();
        let wanted = || methods.iter().copied().filter(|m| m.evidence() == crate::Evidence::Gradients);
        for method in wanted() {
            let [train, targets] = parts(method);
            for part in [train, targets] {
                if let Entry::Vacant(place) = made.entry(part) {
                    let start = Instant::now();
                    let features = self.features(part, &model, &projection, progress)?;
                    place.insert((features, start.elapsed().as_secs_f64()));
                }
            }
            let start = Instant::now();
            let ((train, train_seconds), (targets, target_seconds)) = (&made[&train], &made[&targets]);
            let of_images = self.score(method, train, targets)?;
            let seconds = train_seconds + target_seconds + start.elapsed().as_secs_f64();
            let users = |part: Part| wanted().filter(|&method| parts(method).contains(&part)).count();
            let of_part = |part: Part, seconds: f64| if users(part) > 1 { seconds } else { 0.0 };
            let shared_seconds =
                of_part(parts(method)[0], *train_seconds) + of_part(parts(method)[1], *target_seconds);
            scores.push(ImageScores { method, scores: of_images, seconds, shared_seconds });
        }
        Ok(scores)
    }

    fn score(
        &self,
        method: InfluenceMethod,
        train: &Array2<f64>,
        targets: &Array2<f64>,
    ) -> Result<Vec<f64>, InfluenceError> {
        if method == InfluenceMethod::GradientSimilarity {
            return gradient_similarity(train, targets);
        }
        let kernel = Kernel::new(train, self.config.damping)?;
        match method {
            InfluenceMethod::RelativeInfluence => kernel.relative_influence(targets),
            InfluenceMethod::RenormalisedInfluence => kernel.renormalised_influence(targets),
            _ => kernel.trak(targets),
        }
    }

    fn features(
        &self,
        part: Part,
        model: &GradientModel<M>,
        projection: &Projection,
        progress: &mut dyn FnMut(GradientProgress) -> ControlFlow<()>,
    ) -> Result<Array2<f64>, InfluenceError> {
        let even = even_timesteps(self.schedule.timesteps(), self.config.timesteps);
        let (journey, timesteps);
        let (images, timesteps, target, name) = match part {
            Part::Train(target) => (self.train, &even, target, "training images"),
            Part::Samples(target) => (self.samples, &even, target, "samples"),
            Part::Journey => {
                (journey, timesteps) = self.journey(progress)?;
                (&journey, &timesteps, Target::Loss, "samples")
            }
        };
        let total = images.len() * timesteps.len();
        gradient_features(
            model,
            projection,
            images,
            target,
            timesteps,
            self.config.batch_size,
            self.schedule,
            &self.streams.child(name, 0),
            &mut |done| progress(GradientProgress { part: part.title(), done, total }),
        )
    }

    /// The clean images that the model predicts at K of the timesteps on each sample's way, and those timesteps.
    fn journey(
        &self,
        progress: &mut dyn FnMut(GradientProgress) -> ControlFlow<()>,
    ) -> Result<(CleanImages, Vec<usize>), InfluenceError> {
        let mut visited = self.sampling.spacing.timesteps(self.schedule.timesteps(), self.sampling.steps)?;
        visited.sort_unstable();
        visited.dedup();
        let count = self.config.timesteps.min(visited.len());
        let kept: Vec<usize> = (0..count).map(|k| visited[k * visited.len() / count]).collect();
        let pixels = predicted_originals(
            self.model,
            self.schedule,
            self.sampling,
            &self.samples.numbers,
            self.sampling_streams,
            &kept,
            &mut |state| {
                progress(GradientProgress {
                    part: "journeys of samples",
                    done: state.images_done,
                    total: state.images,
                })
            },
        );
        match pixels {
            Err(DiffusionError::Stopped { .. }) => Err(InfluenceError::Stopped),
            Err(error) => Err(error.into()),
            Ok(pixels) => {
                let numbers = self.samples.numbers.clone();
                Ok((CleanImages { pixels, versions: kept.len(), numbers }, kept))
            }
        }
    }
}
