//! What a model is trained to do.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;
use data::ImageBatch;
use serde_json::{Map, Value, json};
use streams::Streams;

use super::batch::NoisyBatch;
use crate::DiffusionError;
use crate::denoiser::Denoiser;
use crate::schedule::{NoiseSchedule, NoiseScheduleConfig};

/// How a batch of images becomes a loss. The loop, the optimiser, the average and the checkpoints are the same for all tasks.
pub trait TrainingTask<M: Module>: std::fmt::Debug {
    /// A step's batch on the host, drawn whole whatever slices it goes through the network in.
    type Batch;

    /// The batch of these images, with whatever is drawn for them from `streams` under the `number` of the step.
    ///
    /// # Errors
    /// [`DiffusionError::InputShape`] if the images do not fit the model or there are none.
    fn draw(
        &self,
        model: &M,
        images: ImageBatch,
        number: u64,
        streams: &Streams,
    ) -> Result<Self::Batch, DiffusionError>;

    /// Number of images of a batch.
    fn images(batch: &Self::Batch) -> usize;

    /// The mean loss over the images of `slice`, `[1]`, on the model's device. What is random within the network comes from
    /// `streams` under `number`.
    ///
    /// # Errors
    /// A model without parameters, a device that fails.
    fn loss(
        &self,
        model: &M,
        batch: &Self::Batch,
        slice: Range<usize>,
        streams: &Streams,
        number: u64,
    ) -> Result<Tensor<1>, DiffusionError>;

    /// The model's architecture as the JSON object of its `config.json`.
    ///
    /// # Errors
    /// If the architecture cannot be written as JSON.
    fn config_json(&self, model: &M) -> Result<Value, DiffusionError>;

    /// What the learning rate of the parameter with this name is multiplied by.
    fn learning_rate_scale(&self, model: &M, parameter: &str) -> f64 {
        let _ = (model, parameter);
        1.0
    }

    /// The task's own settings by name, which bind its checkpoints.
    fn settings(&self) -> Map<String, Value>;

    /// The forward process, if the model's images are noisy: with it, its checkpoints are pipelines of diffusers.
    fn forward_process(&self) -> Option<&NoiseScheduleConfig> {
        None
    }
}

/// To predict the noise in noisy images: the task of diffusion models (Ho et al. 2020, equation 14).
#[derive(Debug, Clone)]
pub struct NoisePrediction {
    /// The forward process.
    pub schedule: NoiseSchedule,
}

impl<M: Denoiser> TrainingTask<M> for NoisePrediction {
    type Batch = NoisyBatch;

    fn draw(
        &self,
        model: &M,
        images: ImageBatch,
        number: u64,
        streams: &Streams,
    ) -> Result<NoisyBatch, DiffusionError> {
        NoisyBatch::new(&images, number, model.sample_shape(), &self.schedule, streams)
    }

    fn images(batch: &NoisyBatch) -> usize {
        batch.len()
    }

    fn loss(
        &self,
        model: &M,
        batch: &NoisyBatch,
        slice: Range<usize>,
        streams: &Streams,
        number: u64,
    ) -> Result<Tensor<1>, DiffusionError> {
        batch.loss(model, slice, streams, number)
    }

    fn config_json(&self, model: &M) -> Result<Value, DiffusionError> {
        model.config_json()
    }

    fn learning_rate_scale(&self, model: &M, parameter: &str) -> f64 {
        model.learning_rate_scale(parameter)
    }

    fn settings(&self) -> Map<String, Value> {
        Map::from_iter([("schedule".to_owned(), json!(self.schedule.config()))])
    }

    fn forward_process(&self) -> Option<&NoiseScheduleConfig> {
        Some(self.schedule.config())
    }
}
