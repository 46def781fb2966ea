//! Reading and writing `config.json` as diffusers does.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::config::{DownBlockType, UNet2DConfig, UpBlockType};
use crate::DiffusionError;
use crate::config_keys::{Keys, choice, count, refuse};

/// The release of diffusers whose `config.json` is written.
pub(crate) const DIFFUSERS_VERSION: &str = "0.42.1";

/// Options of diffusers of which one setting is supported: key, accepted strings (the first is written).
const FIXED: [(&str, &[&str]); 6] = [
    ("act_fn", &["silu", "swish"]),
    ("time_embedding_type", &["positional"]),
    ("downsample_type", &["conv"]),
    ("upsample_type", &["conv"]),
    ("resnet_time_scale_shift", &["default"]),
    ("mid_block_type", &["UNetMidBlock2D"]),
];

/// Options of diffusers that must be absent or null.
const ABSENT: [&str; 2] = ["class_embed_type", "num_class_embeds"];

/// `config.json` in the order in which diffusers documents its keys.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConfigFile {
    _class_name: &'static str,
    _diffusers_version: &'static str,
    sample_size: usize,
    in_channels: usize,
    out_channels: usize,
    center_input_sample: bool,
    time_embedding_type: &'static str,
    time_embedding_dim: Option<usize>,
    freq_shift: usize,
    flip_sin_to_cos: bool,
    down_block_types: Vec<DownBlockType>,
    mid_block_type: &'static str,
    up_block_types: Vec<UpBlockType>,
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    mid_block_scale_factor: f64,
    downsample_padding: usize,
    downsample_type: &'static str,
    upsample_type: &'static str,
    dropout: f64,
    act_fn: &'static str,
    attention_head_dim: Option<usize>,
    norm_num_groups: usize,
    attn_norm_num_groups: Option<usize>,
    norm_eps: f64,
    resnet_time_scale_shift: &'static str,
    add_attention: bool,
    class_embed_type: Option<String>,
    num_class_embeds: Option<usize>,
    num_train_timesteps: Option<usize>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pruned_channels: BTreeMap<String, usize>,
}

impl From<UNet2DConfig> for ConfigFile {
    fn from(config: UNet2DConfig) -> Self {
        Self {
            _class_name: "UNet2DModel",
            _diffusers_version: DIFFUSERS_VERSION,
            sample_size: config.sample_size,
            in_channels: config.in_channels,
            out_channels: config.out_channels,
            center_input_sample: config.center_input_sample,
            time_embedding_type: "positional",
            time_embedding_dim: config.time_embedding_dim,
            freq_shift: config.freq_shift,
            flip_sin_to_cos: config.flip_sin_to_cos,
            down_block_types: config.down_block_types,
            mid_block_type: "UNetMidBlock2D",
            up_block_types: config.up_block_types,
            block_out_channels: config.block_out_channels,
            layers_per_block: config.layers_per_block,
            mid_block_scale_factor: config.mid_block_scale_factor,
            downsample_padding: config.downsample_padding,
            downsample_type: "conv",
            upsample_type: "conv",
            dropout: 0.0,
            act_fn: "silu",
            attention_head_dim: config.attention_head_dim,
            norm_num_groups: config.norm_num_groups,
            attn_norm_num_groups: config.attn_norm_num_groups,
            norm_eps: config.norm_eps,
            resnet_time_scale_shift: "default",
            add_attention: config.add_attention,
            class_embed_type: None,
            num_class_embeds: None,
            num_train_timesteps: None,
            pruned_channels: config.pruned_channels,
        }
    }
}

impl UNet2DConfig {
    /// The text of a `config.json` that diffusers' `UNet2DModel` reads: equal configurations give equal text.
    pub fn to_json(&self) -> String {
        // A struct of numbers, strings and string-keyed maps always serialises.
        let mut text =
            serde_json::to_string_pretty(&ConfigFile::from(self.clone())).expect("plain data is valid JSON");
        text.push('\n');
        text
    }

    /// Reads the text of a `config.json` of diffusers or of [`to_json`](Self::to_json), and validates it; `origin`
    /// names the file in errors.
    ///
    /// `sample_size`, `in_channels`, `out_channels`, `down_block_types`, `up_block_types` and `block_out_channels` must
    /// be there; other keys have diffusers' defaults. Keys that begin with `_` are diffusers' notes to itself.
    ///
    /// # Errors
    /// [`DiffusionError::NotAConfig`] if this is not a JSON object, [`DiffusionError::ConfigKey`] for a missing or
    /// unknown key or a bad value, [`DiffusionError::Architecture`] if layers do not fit.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, DiffusionError> {
        let map: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            DiffusionError::NotAConfig { origin: origin.to_owned(), reason: error.to_string() }
        })?;
        Self::try_from(map)
    }
}

impl TryFrom<Map<String, Value>> for UNet2DConfig {
    type Error = DiffusionError;

    fn try_from(map: Map<String, Value>) -> Result<Self, DiffusionError> {
        let mut keys = Keys::new(map, "UNet2DModel")?;
        check_constants(&mut keys)?;
        let default = Self::default();
        let config = Self {
            sample_size: keys.sample_size(None)?,
            in_channels: keys.required("in_channels").and_then(|v| count("in_channels", &v))?,
            out_channels: keys.required("out_channels").and_then(|v| count("out_channels", &v))?,
            center_input_sample: keys.flag("center_input_sample", default.center_input_sample)?,
            time_embedding_dim: keys.optional_count("time_embedding_dim", None)?,
            freq_shift: keys.count("freq_shift", default.freq_shift)?,
            flip_sin_to_cos: keys.flag("flip_sin_to_cos", default.flip_sin_to_cos)?,
            down_block_types: keys.list("down_block_types", |key, value| {
                choice(
                    key,
                    value,
                    &[
                        ("DownBlock2D", DownBlockType::DownBlock2D),
                        ("AttnDownBlock2D", DownBlockType::AttnDownBlock2D),
                    ],
                )
            })?,
            up_block_types: keys.list("up_block_types", |key, value| {
                choice(
                    key,
                    value,
                    &[("UpBlock2D", UpBlockType::UpBlock2D), ("AttnUpBlock2D", UpBlockType::AttnUpBlock2D)],
                )
            })?,
            block_out_channels: keys.list("block_out_channels", count)?,
            layers_per_block: keys.count("layers_per_block", default.layers_per_block)?,
            mid_block_scale_factor: keys.number("mid_block_scale_factor", default.mid_block_scale_factor)?,
            downsample_padding: keys.count("downsample_padding", default.downsample_padding)?,
            attention_head_dim: keys.optional_count("attention_head_dim", default.attention_head_dim)?,
            norm_num_groups: keys.count("norm_num_groups", default.norm_num_groups)?,
            attn_norm_num_groups: keys.optional_count("attn_norm_num_groups", None)?,
            norm_eps: keys.number("norm_eps", default.norm_eps)?,
            add_attention: keys.flag("add_attention", default.add_attention)?,
            pruned_channels: pruned_channels(&mut keys)?,
        };
        keys.finish()?;
        config.validate()?;
        Ok(config)
    }
}

/// Takes the options that have one supported setting.
fn check_constants(keys: &mut Keys) -> Result<(), DiffusionError> {
    keys.fixed(&FIXED)?;
    keys.absent(&ABSENT)?;
    if keys.number("dropout", 0.0)? != 0.0 {
        return refuse("dropout", "is not supported; use 0.0".to_owned());
    }
    // Counts the rows of a learned time embedding; without one it means nothing.
    keys.optional_count("num_train_timesteps", None).map(drop)
}

fn pruned_channels(keys: &mut Keys) -> Result<BTreeMap<String, usize>, DiffusionError> {
    match keys.take("pruned_channels") {
        None => Ok(BTreeMap::new()),
        Some(Value::Object(widths)) => widths
            .into_iter()
            .map(|(layer, value)| Ok((layer.clone(), count(&format!("pruned_channels.{layer}"), &value)?)))
            .collect(),
        Some(value) => {
            refuse("pruned_channels", format!("{value} is not an object of layer names and widths"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cifar_with(key: &str, value: Value) -> Result<UNet2DConfig, DiffusionError> {
        let mut map: Map<String, Value> = serde_json::from_str(&UNet2DConfig::cifar().to_json()).unwrap();
        map.insert(key.to_owned(), value);
        UNet2DConfig::try_from(map)
    }

    #[test]
    fn round_trip() {
        for config in
            [UNet2DConfig::cifar(), UNet2DConfig::celeba_latent(), UNet2DConfig::small(16, &[8, 16])]
        {
            assert_eq!(UNet2DConfig::from_json(&config.to_json(), "config.json").unwrap(), config);
            let value = serde_json::to_value(&config).unwrap();
            assert_eq!(serde_json::from_value::<UNet2DConfig>(value).unwrap(), config);
        }
    }

    #[test]
    fn keys_left_out_have_the_defaults_of_diffusers() {
        let text = r#"{"_class_name": "UNet2DModel", "_name_or_path": "x", "sample_size": [64, 64], "in_channels": 3,
            "out_channels": 3, "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
            "block_out_channels": [224, 448, 672, 896], "act_fn": "swish"}"#;
        assert_eq!(UNet2DConfig::from_json(text, "x").unwrap(), UNet2DConfig::default());
    }

    #[test]
    fn unsupported_values_are_named() {
        let unsupported = [
            ("act_fn", "gelu".into()),
            ("time_embedding_type", "fourier".into()),
            ("downsample_type", "resnet".into()),
            ("resnet_time_scale_shift", "scale_shift".into()),
            ("mid_block_type", Value::Null),
            ("dropout", 0.1.into()),
            ("class_embed_type", "timestep".into()),
            ("num_class_embeds", 10.into()),
            ("_class_name", "UNet2DConditionModel".into()),
            ("sample_size", Value::Null),
            ("sample_size", serde_json::json!([32, 64])),
            ("layers_per_block", serde_json::json!(-1)),
            ("layers_per_block", serde_json::json!(1.5)),
            ("norm_eps", "small".into()),
            ("flip_sin_to_cos", 1.into()),
            ("blok_out_channels", 1.into()),
            ("pruned_channels", 1.into()),
        ];
        for (key, value) in unsupported {
            let error = cifar_with(key, value.clone()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("config key `{key}`")), "{key} = {value}: {error}");
        }
        let blocks = serde_json::json!(["DownBlock2D", "SkipDownBlock2D", "DownBlock2D", "DownBlock2D"]);
        let error = cifar_with("down_block_types", blocks).unwrap_err().to_string();
        assert!(
            error.contains("down_block_types[1]") && error.contains("DownBlock2D or AttnDownBlock2D"),
            "{error}"
        );
    }

    #[test]
    fn missing_keys_and_foreign_text_are_named() {
        let mut map: Map<String, Value> = serde_json::from_str(&UNet2DConfig::cifar().to_json()).unwrap();
        map.remove("block_out_channels");
        let error = UNet2DConfig::try_from(map).unwrap_err().to_string();
        assert!(error.contains("`block_out_channels`: is missing"), "{error}");
        for text in ["", "[]", "{\"sample_size\": 32", "\u{89}PNG"] {
            let error = UNet2DConfig::from_json(text, "models/a/config.json").unwrap_err();
            assert!(matches!(error, DiffusionError::NotAConfig { .. }), "{error}");
            assert!(error.to_string().starts_with("models/a/config.json"));
        }
    }
}
