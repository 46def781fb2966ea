//! Exponential moving average of a model's parameters, as diffusers' `EMAModel` with `use_ema_warmup`.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::DiffusionError;
use crate::parameters::{
    ParameterInfo, flat_tensors, flat_values, map_flat_values, module_device, named_tensors, parameter_infos,
};
use crate::state_dict::StateDict;

/// Settings of the average, with the names and defaults of the reference's command line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaConfig {
    /// Inverse rate of the warm-up.
    pub inv_gamma: f64,
    /// Exponent of the warm-up.
    pub power: f64,
    /// The decay that is never exceeded, in [0, 1].
    pub max_decay: f64,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { inv_gamma: 1.0, power: 0.75, max_decay: 0.9999 }
    }
}

impl EmaConfig {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the key.
    pub fn validate(&self) -> Result<(), DiffusionError> {
        for (key, value) in [("ema.inv_gamma", self.inv_gamma), ("ema.power", self.power)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(DiffusionError::setting(
                    key,
                    format!("is {value}, but must be a positive number"),
                ));
            }
        }
        if !(0.0..=1.0).contains(&self.max_decay) {
            return Err(DiffusionError::setting(
                "ema.max_decay",
                format!("is {}, but must lie in [0, 1] (usually 0.9999)", self.max_decay),
            ));
        }
        Ok(())
    }

    /// The decay of update k = 0, 1, ...: min(max_decay, 1 - (1 + k / inv_gamma)^(-power)). The first update has
    /// decay 0, so it takes the parameters as they are.
    pub fn decay(&self, update: u64) -> f64 {
        let warm = 1.0 - (1.0 + update as f64 / self.inv_gamma).powf(-self.power);
        warm.clamp(0.0, self.max_decay)
    }
}

/// average - (1 - decay) (average - value)
pub(crate) fn follow(average: Tensor<1>, value: Tensor<1>, decay: f64) -> Tensor<1> {
    let weight = 1.0 - decay;
    if weight == 1.0 {
        // The subtraction could leave a rounding error where the parameter itself is meant.
        return value;
    }
    let change = (average.clone() - value).mul_scalar(weight);
    average - change
}

/// The average of a model's parameters over the updates. It lives without autodiff.
#[derive(Debug)]
pub struct Ema {
    config: EmaConfig,
    infos: Vec<ParameterInfo>,
    averages: Vec<Tensor<1>>,
    updates: u64,
}

impl Ema {
    /// An average that starts at the parameters of `module`.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for settings out of range.
    pub fn new<M: Module>(config: EmaConfig, module: &M) -> Result<Self, DiffusionError> {
        config.validate()?;
        Ok(Self { config, infos: parameter_infos(module), averages: flat_values(module), updates: 0 })
    }

    /// Updates made so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// average <- average - (1 - decay) (average - parameter), decay by the number of updates so far.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if `module` has another number of parameters than the model it was made for.
    pub fn update<M: Module>(&mut self, module: &M) -> Result<(), DiffusionError> {
        let values = flat_values(module);
        self.check_count(values.len())?;
        let decay = self.config.decay(self.updates);
        self.updates += 1;
        let averages = std::mem::take(&mut self.averages);
        self.averages =
            averages.into_iter().zip(values).map(|(average, value)| follow(average, value, decay)).collect();
        Ok(())
    }

    /// Counts an update that an optimiser makes in its own pass over the parameters, and gives its decay and the averages
    /// to be replaced, in the order of the parameters.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for another number of parameters than the average was made for.
    pub(crate) fn begin_update(
        &mut self,
        parameters: usize,
    ) -> Result<(f64, &mut [Tensor<1>]), DiffusionError> {
        self.check_count(parameters)?;
        let decay = self.config.decay(self.updates);
        self.updates += 1;
        Ok((decay, &mut self.averages))
    }

    /// `module`, a model with the same parameters, holding the averages in place of its own values, for sampling: it
    /// has no autodiff.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if `module` has another number of parameters than the model it was made for.
    pub fn apply_to<M: Module>(&self, module: &M) -> Result<M, DiffusionError> {
        self.check_count(parameter_infos(module).len())?;
        let mut averages = self.averages.iter();
        Ok(map_flat_values(module.valid(), |_, own| averages.next().cloned().unwrap_or(own)))
    }

    fn check_count(&self, given: usize) -> Result<(), DiffusionError> {
        if given == self.infos.len() {
            return Ok(());
        }
        Err(DiffusionError::setting(
            "model",
            format!("has {given} parameters, but the average was made for one with {}", self.infos.len()),
        ))
    }

    /// The averages under the parameters' names.
    ///
    /// # Errors
    /// [`DiffusionError::Device`] if the device fails to deliver them.
    pub fn state_dict(&self) -> Result<StateDict, DiffusionError> {
        named_tensors(&self.infos, &self.averages)
    }

    /// The average after `updates` updates, from a [`state_dict`](Self::state_dict).
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`], [`DiffusionError::ShapeMismatch`] or [`DiffusionError::UnexpectedTensor`] if
    /// the state is of another model, [`DiffusionError::Setting`] for settings out of range.
    pub fn from_state_dict<M: Module>(
        config: EmaConfig,
        module: &M,
        state: &StateDict,
        updates: u64,
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        let infos = parameter_infos(module);
        let averages = flat_tensors(&infos, state, &module_device(module)?.without_autodiff())?;
        Ok(Self { config, infos, averages, updates })
    }
}
