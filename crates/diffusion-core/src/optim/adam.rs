//! Adam and AdamW.
//!
//! With gradient g_t (to which Adam adds the weight decay times the parameter, while AdamW first multiplies the
//! parameter by 1 - lr decay):
//!
//! ```text
//! m_t = m_{t-1} + (1 - beta1) (g_t - m_{t-1})
//! v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
//! p_t = p_{t-1} - lr / (1 - beta1^t) m_t / (sqrt(v_t) / sqrt(1 - beta2^t) + epsilon)
//! ```
//!
//! in PyTorch's order of operations (`torch.optim.adam._single_tensor_adam`), by [`kernels::adam_step`].

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use kernels::{AdamStep, AdamTensors, adam_step};

use super::config::{OptimizerConfig, OptimizerKind};
use super::quantized::State;
use crate::DiffusionError;
use crate::ema::{Ema, follow};
use crate::parameters::{
    ParameterInfo, flat_tensors, flat_values, map_flat_values, module_device, named_tensors, parameter_infos,
};
use crate::state_dict::{StateDict, TensorF32};

/// Running means of one parameter's gradients, each `[values]`.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Of the gradients: m, PyTorch's `exp_avg`.
    pub first: Tensor<1>,
    /// Of their squares: v, PyTorch's `exp_avg_sq`.
    pub second: Tensor<1>,
}

/// Adam or AdamW with its state.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    infos: Vec<ParameterInfo>,
    states: Vec<Option<State>>,
    /// Of each parameter's learning rate; empty if all are 1.
    learning_rate_scales: Vec<f64>,
    steps: u64,
}

/// Names in the state dict: `exp_avg.{parameter}`, `exp_avg_sq.{parameter}`, `step`.
pub(super) const FIRST: &str = "exp_avg.";
pub(super) const SECOND: &str = "exp_avg_sq.";
pub(super) const STEP: &str = "step";

impl Optimizer {
    /// An optimiser without history for the parameters of `module`.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] for settings out of range.
    pub fn new<M: Module>(config: OptimizerConfig, module: &M) -> Result<Self, DiffusionError> {
        config.validate()?;
        let infos = parameter_infos(module);
        // Zeros are allocated here rather than at the first gradient, so that a saved state always has every name.
        let states = flat_values(module).iter().map(|values| Some(State::zeros(&config, values))).collect();
        Ok(Self { config, infos, states, learning_rate_scales: Vec::new(), steps: 0 })
    }

    /// This optimiser with the learning rate of each parameter multiplied by `scale(name)`: parameter groups of other
    /// learning rates.
    #[must_use]
    pub fn with_learning_rates_scaled(mut self, scale: impl Fn(&str) -> f64) -> Self {
        self.learning_rate_scales = self.infos.iter().map(|info| scale(&info.name)).collect();
        self
    }

    /// The settings.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One update. `gradients` are in the order of the module's parameters
    /// ([`take_flat_gradients`](crate::parameters::take_flat_gradients)) and are first multiplied by `scale`, the
    /// [clip coefficient](super::clip_coefficient). Parameters without a gradient stay as they are.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if there are not as many gradients as parameters.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        mut gradients: Vec<Option<Tensor<1>>>,
        scale: f32,
    ) -> Result<M, DiffusionError> {
        self.check_count(gradients.len())?;
        self.steps += 1;
        Ok(map_flat_values(module, |i, values| match gradients[i].take() {
            Some(gradient) => self.move_one(i, values, gradient, scale, None).0,
            None => values,
        }))
    }

    /// [`Self::step`] and [`Ema::update`] in one pass over the parameters; the same bits as one after the other.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if there are not as many gradients or averages as parameters.
    pub(crate) fn step_with_average<M: Module>(
        &mut self,
        module: M,
        mut gradients: Vec<Option<Tensor<1>>>,
        scale: f32,
        ema: &mut Ema,
    ) -> Result<M, DiffusionError> {
        self.check_count(gradients.len())?;
        let (decay, averages) = ema.begin_update(gradients.len())?;
        self.steps += 1;
        Ok(map_flat_values(module, |i, values| {
            // Without decay the average is the parameter itself, without rounding.
            let follows = decay != 0.0;
            match gradients[i].take() {
                Some(gradient) if follows => {
                    let device = values.device();
                    // Taken, so that nothing else holds it and it is changed in place.
                    let average = std::mem::replace(&mut averages[i], Tensor::empty([0], &device));
                    let (values, average) = self.move_one(i, values, gradient, scale, Some((average, decay)));
                    averages[i] = average.unwrap_or_else(|| values.clone());
                    values
                }
                Some(gradient) => {
                    let values = self.move_one(i, values, gradient, scale, None).0;
                    averages[i] = values.clone();
                    values
                }
                None => {
                    averages[i] = follow(averages[i].clone(), values.clone(), decay);
                    values
                }
            }
        }))
    }

    /// Bytes that the state takes: 8 a parameter in 32 bits, a little over 2 in 8 bits.
    pub fn state_bytes(&self) -> usize {
        self.states.iter().flatten().map(State::bytes).sum()
    }

    /// Each parameter with its state.
    pub(super) fn states(&self) -> impl Iterator<Item = (&ParameterInfo, &State)> {
        self.infos.iter().zip(self.states.iter().flatten())
    }

    /// Parameter `i` after the step, and its average (given with its decay) after that.
    fn move_one(
        &mut self,
        i: usize,
        values: Tensor<1>,
        gradient: Tensor<1>,
        scale: f32,
        average: Option<(Tensor<1>, f64)>,
    ) -> (Tensor<1>, Option<Tensor<1>>) {
        // Every parameter has moments from the start.
        let Some(state) = self.states[i].take() else {
            return (values, average.map(|(average, _)| average));
        };
        let state = state.unpack(&self.config, &values.device());
        let update = self.scalars(scale);
        let update = AdamStep {
            learning_rate: update.learning_rate * self.learning_rate_scales.get(i).copied().unwrap_or(1.0),
            average_decay: average.as_ref().map_or(0.0, |(_, decay)| *decay),
            ..update
        };
        let tensors = AdamTensors {
            parameter: values,
            first_moment: state.first,
            second_moment: state.second,
            average: average.map(|(average, _)| average),
        };
        let updated = adam_step(&update, tensors, gradient);
        let moments = Moments { first: updated.first_moment, second: updated.second_moment };
        self.states[i] = Some(State::pack(&self.config, moments));
        (updated.parameter, updated.average)
    }

    fn scalars(&self, gradient_scale: f32) -> AdamStep {
        let config = &self.config;
        AdamStep {
            step: self.steps,
            learning_rate: config.learning_rate,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            weight_decay: config.weight_decay,
            decoupled: config.kind == OptimizerKind::AdamW,
            gradient_scale: f64::from(gradient_scale),
            average_decay: 0.0,
        }
    }

    /// Fails unless `given` gradients fit the parameters.
    pub(crate) fn check_count(&self, given: usize) -> Result<(), DiffusionError> {
        if given == self.infos.len() {
            return Ok(());
        }
        Err(DiffusionError::setting(
            "gradients",
            format!(
                "are {given}, but the module has {} parameters: one for each is needed",
                self.infos.len()
            ),
        ))
    }

    /// The state as named arrays: `exp_avg.{name}` and `exp_avg_sq.{name}` for each parameter, and `step`, `[1]`. 8-bit
    /// states are given as the numbers that they stand for; [`to_safetensors`](Self::to_safetensors) keeps them as they
    /// are.
    ///
    /// # Errors
    /// [`DiffusionError::Device`] if the device fails to deliver them.
    pub fn state_dict(&self) -> Result<StateDict, DiffusionError> {
        let mut dict = StateDict::new();
        let moments: Vec<Moments> =
            self.states().map(|(_, state)| state.clone().unpack(&self.config, &Device::flex())).collect();
        for (prefix, pick) in
            [(FIRST, (|m| m.first.clone()) as fn(&Moments) -> Tensor<1>), (SECOND, |m| m.second.clone())]
        {
            let rows: Vec<Tensor<1>> = moments.iter().map(pick).collect();
            for (name, tensor) in named_tensors(&self.infos, &rows)? {
                dict.insert(format!("{prefix}{name}"), tensor);
            }
        }
        // Exact up to 2^24 steps.
        dict.insert(STEP, TensorF32::new([1], vec![self.steps as f32])?);
        Ok(dict)
    }

    /// An optimiser that goes on from a [`state_dict`](Self::state_dict); 8-bit states are rounded anew.
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`], [`DiffusionError::ShapeMismatch`] or [`DiffusionError::UnexpectedTensor`]
    /// if the state is of another module; [`DiffusionError::Setting`] for settings out of range or a step count that
    /// is not one.
    pub fn from_state_dict<M: Module>(
        config: OptimizerConfig,
        module: &M,
        mut state: StateDict,
    ) -> Result<Self, DiffusionError> {
        config.validate()?;
        let infos = parameter_infos(module);
        let device = module_device(module)?.without_autodiff();
        let count = state.get_shaped(STEP, &[1])?.data()[0];
        state.remove(STEP);
        let (mut first, mut second) = (StateDict::new(), StateDict::new());
        for (name, tensor) in state {
            if let Some(name) = name.strip_prefix(SECOND) {
                second.insert(name, tensor);
            } else if let Some(name) = name.strip_prefix(FIRST) {
                first.insert(name, tensor);
            } else {
                return Err(DiffusionError::UnexpectedTensor { tensor: name });
            }
        }
        let first = flat_tensors(&infos, &first, &device)?;
        let second = flat_tensors(&infos, &second, &device)?;
        let states = first
            .into_iter()
            .zip(second)
            .map(|(first, second)| State::pack(&config, Moments { first, second }))
            .collect();
        Self::from_states(config, infos, states, count)
    }

    /// # Errors
    /// [`DiffusionError::Setting`] if `count` is no count.
    pub(super) fn from_states(
        config: OptimizerConfig,
        infos: Vec<ParameterInfo>,
        states: Vec<State>,
        count: f32,
    ) -> Result<Self, DiffusionError> {
        if !(count >= 0.0 && count.fract() == 0.0) {
            return Err(DiffusionError::setting(
                STEP,
                format!("is {count} in the optimiser's state, not a count"),
            ));
        }
        let states = states.into_iter().map(Some).collect();
        Ok(Self { config, infos, states, learning_rate_scales: Vec::new(), steps: count as u64 })
    }
}
