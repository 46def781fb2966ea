//! Training with a condition for each image.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;
use data::ImageBatch;
use serde_json::{Map, Value, json};
use streams::Streams;

use super::batch::NoisyBatch;
use super::task::TrainingTask;
use crate::DiffusionError;
use crate::parameters::module_device;
use crate::schedule::NoiseSchedule;
use crate::unet::ConditionalUNet;

/// To predict the noise in noisy images, each under its condition: the loss of [`NoisePrediction`](super::NoisePrediction),
/// with the same images, noises and timesteps.
#[derive(Debug, Clone)]
pub struct ConditionalNoisePrediction {
    /// The forward process.
    pub schedule: NoiseSchedule,
    /// The condition of every image of the data set, by its number there.
    pub conditions: Arc<[usize]>,
}

impl TrainingTask<ConditionalUNet> for ConditionalNoisePrediction {
    type Batch = (NoisyBatch, Vec<usize>);

    fn draw(
        &self,
        model: &ConditionalUNet,
        images: ImageBatch,
        number: u64,
        streams: &Streams,
    ) -> Result<Self::Batch, DiffusionError> {
        let condition = |&image: &usize| {
            self.conditions.get(image).copied().filter(|&condition| condition < model.len()).ok_or_else(
                || {
                    let reason = format!("lack image {image}: give one of {} for each image", model.len());
                    DiffusionError::setting("conditions", reason)
                },
            )
        };
        let conditions = images.indices.iter().map(condition).collect::<Result<_, _>>()?;
        let batch = NoisyBatch::new(&images, number, model.sample_shape(), &self.schedule, streams)?;
        Ok((batch, conditions))
    }

    fn images(batch: &Self::Batch) -> usize {
        batch.1.len()
    }

    fn loss(
        &self,
        model: &ConditionalUNet,
        (batch, conditions): &Self::Batch,
        slice: Range<usize>,
        _: &Streams,
        _: u64,
    ) -> Result<Tensor<1>, DiffusionError> {
        let of_slice = &conditions[slice.clone()];
        let device = module_device(model)?;
        Ok(batch.error(slice, &device, |noisy, times| model.predict_noise(noisy, times, of_slice)))
    }

    fn config_json(&self, model: &ConditionalUNet) -> Result<Value, DiffusionError> {
        model.config_json()
    }

    fn settings(&self) -> Map<String, Value> {
        Map::from_iter([("schedule".to_owned(), json!(self.schedule.config()))])
    }
}
