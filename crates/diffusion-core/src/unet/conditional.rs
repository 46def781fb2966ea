//! A network that is told what kind of image it makes.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value;

use super::{NoAdapter, UNet2DModel};
use crate::parameters::module_device;
use crate::{Denoiser, DiffusionError};

/// The layer whose bias takes a condition.
const TIME_BIAS: &str = "time_embedding.linear_2.bias";

/// A [`UNet2DModel`] with a vector for each of n conditions, added to the embedding of the timestep, as diffusers'
/// `num_class_embeds` does (Nichol & Dhariwal 2021, <https://arxiv.org/abs/2102.09672>, section 2, for class conditions).
///
/// At a fixed condition it is an ordinary [`UNet2DModel`] whose last time bias has the vector added: [`Self::at`]. So
/// samplers and measures need not know of conditions.
#[derive(Module, Debug)]
pub struct ConditionalUNet {
    unet: UNet2DModel,
    /// `[conditions, width of the time embedding]`
    conditions: Param<Tensor<2>>,
}

impl ConditionalUNet {
    /// Starts from the weights of `start`, all conditions alike: at first, the same function for each.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for no conditions; a device that fails.
    pub fn new(start: &UNet2DModel, conditions: usize) -> Result<Self, DiffusionError> {
        if conditions == 0 {
            return Err(DiffusionError::setting("conditions", "is 0, must be at least 1".to_owned()));
        }
        let width = start.state_dict()?.get(TIME_BIAS)?.data().len();
        let device = module_device(start)?;
        let zeros =
            Tensor::from_data(TensorData::new(vec![0f32; conditions * width], [conditions, width]), &device);
        Ok(Self { unet: start.clone(), conditions: Param::from_tensor(zeros) })
    }

    /// Number of conditions.
    pub fn len(&self) -> usize {
        self.conditions.dims()[0]
    }

    /// Whether there are no conditions, which [`Self::new`] refuses.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape `[channels, height, width]` of the images that it makes.
    pub fn sample_shape(&self) -> [usize; 3] {
        self.unet.sample_shape()
    }

    /// The predicted noise of `x` `[batch, channels, height, width]` at `timesteps` `[batch]`, image i under condition
    /// `conditions[i]`.
    ///
    /// # Panics
    /// As [`UNet2DModel::forward`]; a condition that does not exist counts as none.
    pub fn predict_noise(&self, x: Tensor<4>, timesteps: Tensor<1, Int>, conditions: &[usize]) -> Tensor<4> {
        let mut chosen = vec![0f32; conditions.len() * self.len()];
        for (row, &condition) in chosen.chunks_exact_mut(self.len()).zip(conditions) {
            if let Some(entry) = row.get_mut(condition) {
                *entry = 1.0;
            }
        }
        let chosen = TensorData::new(chosen, [conditions.len(), self.len()]);
        let chosen = Tensor::<2>::from_data(chosen, &x.device());
        let condition = chosen.matmul(self.conditions.val());
        self.unet.forward_conditioned(x, timesteps, Some(condition), None::<&NoAdapter>)
    }

    /// The network under the mean of the conditions, weighted by `weights` (one for each, not all 0): with one weight, under that
    /// condition. Without autodiff.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for weights that are fewer or more, negative, or all 0; a device that fails.
    pub fn at(&self, weights: &[f64]) -> Result<UNet2DModel, DiffusionError> {
        let total: f64 = weights.iter().sum();
        let sound = total > 0.0 && total.is_finite() && weights.iter().all(|weight| *weight >= 0.0);
        if weights.len() != self.len() || !sound {
            let reason = format!("are {}, must be {} of at least 0 and not all 0", weights.len(), self.len());
            return Err(DiffusionError::setting("weights of conditions", reason));
        }
        let vectors = self
            .conditions
            .val()
            .without_autodiff()
            .try_into_vec_as::<f32>()
            .map_err(|error| DiffusionError::Device { reason: error.to_string() })?;
        let mut state = self.unet.state_dict()?;
        let bias = state.get_mut(TIME_BIAS)?.data_mut();
        let width = bias.len();
        for (place, value) in bias.iter_mut().enumerate() {
            let mean: f64 = weights
                .iter()
                .enumerate()
                .map(|(condition, weight)| weight / total * f64::from(vectors[condition * width + place]))
                .sum();
            *value = (f64::from(*value) + mean) as f32;
        }
        let device = module_device(&self.unet)?.without_autodiff();
        UNet2DModel::from_state_dict(self.unet.config(), &state, &device)
    }

    /// The network's `config.json`, with the key `conditions`.
    ///
    /// # Errors
    /// As [`Denoiser::config_json`].
    pub fn config_json(&self) -> Result<Value, DiffusionError> {
        let mut config = self.unet.config_json()?;
        config["conditions"] = self.len().into();
        Ok(config)
    }
}
