//! Adapters on disk, as Hugging Face PEFT writes them.

use std::fs;
use std::path::Path;

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use diffusion_core::parameters::state_dict_of;
use diffusion_core::{StateDict, TensorF32, UNet2DModel};
use serde_json::{Value, json};
use streams::Streams;

use super::network::{LoraUNet, device_of};
use super::settings::LoraSettings;
use crate::UnlearnError;

/// Name of the file with the settings of an adapter.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// Name of the file with the matrices of an adapter.
pub const ADAPTER_WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// What PEFT puts before the name of every adapted layer.
const PREFIX: &str = "base_model.model.";

impl LoraUNet {
    /// The two files of the adapter in PEFT's layout, by name: `adapter_config.json` and `adapter_model.safetensors`, with
    /// keys such as `base_model.model.mid_block.attentions.0.to_q.lora_A.weight`.
    ///
    /// In Python, `PeftModel.from_pretrained(UNet2DModel.from_pretrained(parent), folder)` loads them.
    ///
    /// # Errors
    /// If the device fails to deliver the adapters.
    pub fn adapter_files(&self) -> Result<[(&'static str, Vec<u8>); 2], UnlearnError> {
        let mut config = serde_json::to_vec_pretty(&self.adapter_config())
            // A JSON value always has a text.
            .expect("a JSON value can be written");
        config.push(b'\n');
        Ok([(ADAPTER_CONFIG_FILE, config), (ADAPTER_WEIGHTS_FILE, self.adapter_weights()?.to_safetensors()?)])
    }

    fn adapter_config(&self) -> Value {
        json!({
            "auto_mapping": {
                "base_model_class": "UNet2DModel",
                "parent_library": "diffusers.models.unets.unet_2d",
            },
            "base_model_name_or_path": null,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": integer_if_whole(self.settings.alpha),
            "lora_dropout": self.settings.dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.settings.rank,
            "rank_pattern": {},
            "alpha_pattern": {},
            "target_modules": ["to_k", "to_q", "to_v"],
            "task_type": null,
            "use_rslora": false,
        })
    }

    /// A and B of every adapter under PEFT's names.
    fn adapter_weights(&self) -> Result<StateDict, UnlearnError> {
        let mut named = StateDict::new();
        for adapter in &self.adapters {
            let parts = state_dict_of(adapter)?;
            for (ours, theirs) in [("lora_a", "lora_A"), ("lora_b", "lora_B")] {
                let name = format!("{PREFIX}{}.{theirs}.weight", adapter.layer());
                named.insert(name, parts.get(ours)?.clone());
            }
        }
        Ok(named)
    }

    /// An adapter in PEFT's layout on the model that it was trained on. `learning_rate_ratio`, which PEFT does not keep, is
    /// the default one.
    ///
    /// # Errors
    /// [`UnlearnError::BadAdapter`] if a file is missing, is no adapter of this kind (LoRA on `to_q`, `to_k` and `to_v` with
    /// one rank, without biases), or does not fit the model.
    pub fn with_adapter(parent: &UNet2DModel, folder: &Path) -> Result<Self, UnlearnError> {
        let path = folder.join(ADAPTER_CONFIG_FILE);
        let bad = |reason: String| UnlearnError::BadAdapter { path: path.clone(), reason };
        let text = fs::read_to_string(&path).map_err(|error| bad(format!("cannot be read ({error})")))?;
        let config: Value =
            serde_json::from_str(&text).map_err(|error| bad(format!("is not JSON ({error})")))?;
        let settings = settings_of(&config).map_err(bad)?;

        let mut network = Self::new(parent, &settings, &Streams::new(0))?;
        let path = folder.join(ADAPTER_WEIGHTS_FILE);
        let bad = |reason: String| UnlearnError::BadAdapter { path: path.clone(), reason };
        let weights = StateDict::read(&path).map_err(|error| bad(error.to_string()))?;
        let shapes = network
            .adapter_weights()?
            .iter()
            .map(|(name, t)| (name.to_owned(), t.shape().to_vec()))
            .collect();
        weights.check_shapes(&shapes).map_err(|error| bad(error.to_string()))?;
        let device = device_of(&network)?;
        let parameter = |tensor: &TensorF32| {
            let shape = [tensor.shape()[0], tensor.shape()[1]];
            Param::<Tensor<2>>::from_data(TensorData::new(tensor.data().to_vec(), shape), &device)
        };
        for adapter in &mut network.adapters {
            let layer = adapter.layer();
            adapter.lora_a = parameter(weights.get(&format!("{PREFIX}{layer}.lora_A.weight"))?);
            adapter.lora_b = parameter(weights.get(&format!("{PREFIX}{layer}.lora_B.weight"))?);
        }
        Ok(network)
    }
}

/// The settings in an `adapter_config.json`, or what keeps it from being read.
fn settings_of(config: &Value) -> Result<LoraSettings, String> {
    let plain = |key: &str, allowed: &[Value]| {
        let value = config.get(key).unwrap_or(&Value::Null);
        let fits = value.is_null() || allowed.contains(value);
        if fits { Ok(()) } else { Err(format!("`{key}` is {value}, which is not supported")) }
    };
    if config["peft_type"] != "LORA" {
        return Err(format!("`peft_type` is {}, must be \"LORA\"", config["peft_type"]));
    }
    plain("bias", &[json!("none")])?;
    plain("use_rslora", &[json!(false)])?;
    plain("use_dora", &[json!(false)])?;
    plain("fan_in_fan_out", &[json!(false)])?;
    plain("rank_pattern", &[json!({})])?;
    plain("alpha_pattern", &[json!({})])?;
    plain("modules_to_save", &[])?;
    let number = |key: &str| {
        config[key].as_f64().ok_or_else(|| format!("`{key}` is {}, must be a number", config[key]))
    };
    let rank = config["r"].as_u64().ok_or_else(|| format!("`r` is {}, must be a count", config["r"]))?;
    let settings = LoraSettings {
        rank: usize::try_from(rank).unwrap_or(usize::MAX),
        alpha: number("lora_alpha")?,
        dropout: number("lora_dropout")?,
        ..LoraSettings::default()
    };
    settings.validate().map_err(|error| error.to_string())?;
    Ok(settings)
}

/// PEFT writes `lora_alpha` as an integer, though any number is allowed.
fn integer_if_whole(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}
