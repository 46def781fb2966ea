//! What a run costs, counted rather than timed, so that equal compute means the same on every machine.

use diffusion_core::UNet2DConfig;
use diffusion_core::training::TrainingConfig;
use removal::Coalition;
use sparsify::NetworkSize;
use unlearn::Method;

use crate::context::Context;
use crate::error::StudyError;
use crate::proxy::ProxySettings;

/// Forward and backward through a network, in forward passes: the backward pass computes a gradient for the inputs and one
/// for the weights of every layer, each as dear as the layer itself.
const TRAINING_PASSES: f64 = 3.0;

/// Counts multiply-accumulates of the networks: training and sampling. Measuring is left out, being the same for every run
/// of a study.
pub struct Counter<'a> {
    context: &'a Context,
    full_macs: f64,
}

impl<'a> Counter<'a> {
    /// A counter for a study.
    ///
    /// # Errors
    /// A network whose size cannot be counted.
    pub fn new(context: &'a Context) -> Result<Self, StudyError> {
        Ok(Self { context, full_macs: macs(&context.unet)? })
    }

    /// One run of `method` on a coalition, from a parent of the architecture `parent`: making the model, and sampling.
    ///
    /// # Errors
    /// A network whose size cannot be counted.
    pub fn run(
        &self,
        method: Method,
        parent: &UNet2DConfig,
        coalition: &Coalition,
    ) -> Result<f64, StudyError> {
        let config = &self.context.config;
        let sampled = (config.sample.count * config.sample.num_inference_steps) as f64;
        if coalition.is_empty() {
            return Ok(sampled * self.full_macs);
        }
        let network = if method.starts_from_parent() { macs(parent)? } else { self.full_macs };
        let images = self.training_images(method, coalition)?;
        Ok(network * (TRAINING_PASSES * images + sampled))
    }

    /// Images that go forward and backward through the network while a coalition's model is made.
    fn training_images(&self, method: Method, coalition: &Coalition) -> Result<f64, StudyError> {
        let config = &self.context.config;
        let steps = |steps: u64, training: &TrainingConfig| {
            steps as f64 * (training.batch_size * training.gradient_accumulation_steps) as f64
        };
        let train = &self.context.split.train;
        Ok(match method {
            Method::Retrain => steps(config.train.retrain_steps(), &config.train.optimization),
            Method::PruneFineTune => steps(config.fine_tune.steps, config.fine_tune_optimization()),
            // Adapters save the gradients of frozen weights, but the count stays the same: an upper bound.
            Method::Gd | Method::Lora => steps(config.unlearn.steps, config.unlearn_optimization()),
            Method::Ga if coalition.is_full() => 0.0,
            Method::Ga => {
                let removed = train.restricted_to(&coalition.complement())?.len();
                let ascent = config.unlearn.ascent();
                let training = ascent.training(config.unlearn_optimization());
                steps(ascent.steps(removed, &training), &training)
            }
            // One gradient of every batch, of those who remain and of those who do not.
            Method::Iu if coalition.is_full() => 0.0,
            Method::Iu => train.len() as f64,
            // One network for all coalitions, which is part of the preparation.
            Method::Conditional => 0.0,
        })
    }

    /// Teaching a parent its contributors, for the method that needs it.
    ///
    /// # Errors
    /// A network whose size cannot be counted.
    pub fn proxy(&self, parent: &UNet2DConfig) -> Result<f64, StudyError> {
        let config = &self.context.config;
        let training = config.unlearn_optimization();
        let images = ProxySettings::of(config).steps() as f64
            * (training.batch_size * training.gradient_accumulation_steps) as f64;
        Ok(TRAINING_PASSES * images * macs(parent)?)
    }

    /// Fine-tuning of the pruned model on everybody.
    ///
    /// # Errors
    /// A network whose size cannot be counted.
    pub fn preparation(&self, pruned: &UNet2DConfig) -> Result<f64, StudyError> {
        let config = &self.context.config;
        let training = config.fine_tune_optimization();
        let images = config.fine_tune.steps as f64
            * (training.batch_size * training.gradient_accumulation_steps) as f64;
        Ok(TRAINING_PASSES * images * macs(pruned)?)
    }
}

fn macs(config: &UNet2DConfig) -> Result<f64, StudyError> {
    Ok(NetworkSize::of(config)?.macs as f64)
}
