//! A frozen network with adapters.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::model_folder::{CONFIG_FILE, model_hash};
use diffusion_core::parameters::{module_device, state_dict_of};
use diffusion_core::unet::layout::Layout;
use diffusion_core::unet::{Projection, ProjectionAdapter};
use diffusion_core::{Denoiser, DiffusionError, StateDict, UNet2DModel};
use serde_json::Value;
use streams::{Streams, uniform};

use super::adapter::LoraAdapter;
use super::settings::LoraSettings;
use crate::UnlearnError;

/// A frozen [`UNet2DModel`] with adapters on its attention projections. Its parameters, which are what an optimiser, an
/// average and a checkpoint see, are the adapters' alone.
#[derive(Module, Debug)]
pub struct LoraUNet {
    pub(super) adapters: Vec<LoraAdapter>,
    #[module(skip)]
    pub(super) frozen: Arc<Frozen>,
    #[module(skip)]
    pub(super) settings: LoraSettings,
}

/// The parent on both kinds of device; the two share their memory.
#[derive(Debug)]
pub(super) struct Frozen {
    /// Without autodiff.
    pub plain: UNet2DModel,
    /// With autodiff, but no gradients for its parameters.
    tracked: UNet2DModel,
    weights: StateDict,
    hash: String,
}

impl LoraUNet {
    /// Fresh adapters on `parent`: at first, the same function.
    ///
    /// # Errors
    /// [`UnlearnError::NoAttention`] for a parent without attention blocks; settings out of range.
    pub fn new(
        parent: &UNet2DModel,
        settings: &LoraSettings,
        streams: &Streams,
    ) -> Result<Self, UnlearnError> {
        settings.validate()?;
        let layout = Layout::of(parent.config())?;
        let device = module_device(parent)?.without_autodiff();
        let mut adapters = Vec::new();
        for attention in layout.attentions() {
            for projection in Projection::ALL {
                let name = format!("{}.{}", attention.name, projection.layer());
                // Every attention block of a layout has its three projections.
                let Some(layer) = layout.layer(&name) else { continue };
                adapters.push(LoraAdapter::new(
                    &attention.name,
                    projection,
                    (layer.inputs, layer.outputs),
                    settings,
                    (streams, adapters.len() as u64),
                    &device,
                ));
            }
        }
        if adapters.is_empty() {
            return Err(UnlearnError::NoAttention);
        }
        let plain = if module_device(parent)?.is_autodiff() { parent.valid() } else { parent.clone() };
        let weights = plain.state_dict()?;
        let hash = model_hash(plain.config(), &weights);
        let tracked = plain.clone().freeze().train();
        let frozen = Arc::new(Frozen { plain, tracked, weights, hash });
        Ok(Self { adapters, frozen, settings: *settings })
    }

    /// The adapters, block by block in the order of the network, each with query, key and value.
    pub fn adapters(&self) -> &[LoraAdapter] {
        &self.adapters
    }

    /// The settings.
    pub fn settings(&self) -> &LoraSettings {
        &self.settings
    }

    /// The network with each adapted weight replaced by W + alpha / r B A (added in 64 bits), without autodiff.
    ///
    /// # Errors
    /// If the device fails to deliver the adapters.
    pub fn merged(&self) -> Result<UNet2DModel, UnlearnError> {
        let mut weights = self.frozen.weights.clone();
        let scale = self.settings.scale();
        for adapter in &self.adapters {
            let parts = state_dict_of(adapter)?;
            let (a, b) = (parts.get("lora_a")?, parts.get("lora_b")?);
            let (rank, inputs) = (a.shape()[0], a.shape()[1]);
            let weight = weights.get_mut(&format!("{}.weight", adapter.layer()))?.data_mut();
            for (row, b) in weight.chunks_exact_mut(inputs).zip(b.data().chunks_exact(rank)) {
                for (column, value) in row.iter_mut().enumerate() {
                    let product: f64 =
                        (0..rank).map(|k| f64::from(b[k]) * f64::from(a.data()[k * inputs + column])).sum();
                    *value = (f64::from(*value) + scale * product) as f32;
                }
            }
        }
        let device = module_device(&self.frozen.plain)?;
        Ok(UNet2DModel::from_state_dict(self.frozen.plain.config(), &weights, &device)?)
    }

    fn run(&self, x: Tensor<4>, timesteps: Tensor<1, Int>, dropout: Option<Dropout>) -> Tensor<4> {
        let frozen = if x.device().is_autodiff() { &self.frozen.tracked } else { &self.frozen.plain };
        let adapted = Adapted { adapters: self.adapters.clone(), scale: self.settings.scale(), dropout };
        frozen.forward_adapted(x, timesteps, Some(&adapted))
    }
}

impl Denoiser for LoraUNet {
    fn predict_noise(&self, x: Tensor<4>, timesteps: Tensor<1, Int>) -> Tensor<4> {
        self.run(x, timesteps, None)
    }

    fn predict_noise_in_training(
        &self,
        x: Tensor<4>,
        timesteps: Tensor<1, Int>,
        streams: &Streams,
        number: u64,
    ) -> Tensor<4> {
        let rate = self.settings.dropout;
        self.run(x, timesteps, (rate > 0.0).then_some(Dropout { rate, streams: *streams, number }))
    }

    fn learning_rate_scale(&self, parameter: &str) -> f64 {
        if parameter.ends_with("lora_b") { self.settings.learning_rate_ratio } else { 1.0 }
    }

    /// The parent's, with the key `lora`: the settings and the parent's hash, so that a checkpoint of the adapters goes with
    /// this parent alone.
    fn config_json(&self) -> Result<Value, DiffusionError> {
        let mut config = self.frozen.plain.config_json()?;
        config["lora"] = serde_json::json!({ "settings": self.settings, "parent": self.frozen.hash });
        Ok(config)
    }

    fn sample_shape(&self) -> [usize; 3] {
        self.frozen.plain.sample_shape()
    }
}

/// The randomness of one training batch.
#[derive(Debug, Clone)]
struct Dropout {
    rate: f64,
    streams: Streams,
    number: u64,
}

impl Dropout {
    /// `x` with zeros at random places, the rest scaled up; other places for each adapter, from the stream
    /// (`dropout`, batch) of child (`lora`, `index`).
    fn apply(&self, x: &Tensor<4>, index: usize) -> Tensor<4> {
        let mut rng = self.streams.child("lora", index as u64).rng("dropout", self.number);
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let shape = x.dims();
        let mask: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| if uniform(&mut rng) < self.rate { 0.0 } else { kept })
            .collect();
        x.clone() * Tensor::from_data(TensorData::new(mask, shape), &x.device())
    }
}

/// The adapters as the network asks for them.
#[derive(Module, Debug)]
struct Adapted {
    adapters: Vec<LoraAdapter>,
    scale: f64,
    #[module(skip)]
    dropout: Option<Dropout>,
}

impl ProjectionAdapter for Adapted {
    fn delta(&self, block: &str, projection: Projection, input: &Tensor<4>) -> Option<Tensor<4>> {
        let index = self.adapters.iter().position(|a| a.projection == projection && a.block == block)?;
        let input = match &self.dropout {
            Some(dropout) => dropout.apply(input, index),
            None => input.clone(),
        };
        Some(self.adapters[index].forward(input).mul_scalar(self.scale))
    }
}

/// Whether the checkpoint in a folder is one of adapters in training, and not of a whole network.
pub fn is_adapter_checkpoint(folder: &Path) -> bool {
    let read = std::fs::read(folder.join(CONFIG_FILE)).ok();
    let config = read.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    config.is_some_and(|config| config.get("lora").is_some())
}

/// The device of the frozen network, without autodiff.
pub(super) fn device_of(network: &LoraUNet) -> Result<Device, UnlearnError> {
    Ok(module_device(&network.frozen.plain)?)
}
