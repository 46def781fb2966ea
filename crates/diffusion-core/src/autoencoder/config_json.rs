//! Reading and writing the `config.json` of a `VQModel` or an `AutoencoderKL` as diffusers does.

use serde_json::{Map, Value, json};

use super::config::{AutoencoderConfig, Bottleneck, DecoderBlockType, EncoderBlockType};
use crate::DiffusionError;
use crate::config_keys::{Keys, choice, count, refuse};
use crate::unet::config_json::DIFFUSERS_VERSION;

impl AutoencoderConfig {
    /// The JSON object of a `config.json` that diffusers reads.
    pub fn to_value(&self) -> Value {
        let mut map = json!({
            "_class_name": self.class_name(),
            "_diffusers_version": DIFFUSERS_VERSION,
            "act_fn": "silu",
            "block_out_channels": self.block_out_channels,
            "down_block_types": self.down_block_types,
            "force_upcast": self.force_upcast,
            "in_channels": self.in_channels,
            "latent_channels": self.latent_channels,
            "layers_per_block": self.layers_per_block,
            "mid_block_add_attention": self.mid_block_add_attention,
            "norm_num_groups": self.norm_num_groups,
            "out_channels": self.out_channels,
            "sample_size": self.sample_size,
            "scaling_factor": self.scaling_factor,
            "up_block_types": self.up_block_types,
        });
        let further = match self.bottleneck {
            Bottleneck::Codebook { entries, dimension } => json!({
                "lookup_from_codebook": false,
                "norm_type": "group",
                "num_vq_embeddings": entries,
                "vq_embed_dim": dimension,
            }),
            Bottleneck::Gaussian { quant_conv, post_quant_conv } => json!({
                "latents_mean": null,
                "latents_std": null,
                "shift_factor": self.shift_factor,
                "use_post_quant_conv": post_quant_conv,
                "use_quant_conv": quant_conv,
            }),
        };
        for (key, value) in further.as_object().into_iter().flatten() {
            map[key] = value.clone();
        }
        map
    }

    /// The text of a `config.json` that diffusers reads: equal configurations give equal text.
    pub fn to_json(&self) -> String {
        format!("{:#}\n", self.to_value())
    }

    /// Reads the text of a `config.json` of diffusers or of [`to_json`](Self::to_json), and validates it; `origin` names the file
    /// in errors.
    ///
    /// `block_out_channels` and the types of the blocks must be there; other keys have diffusers' defaults. Keys that begin with
    /// `_` are diffusers' notes to itself, but for `_class_name`, which tells the kind.
    ///
    /// # Errors
    /// [`DiffusionError::NotAConfig`] if this is not a JSON object, [`DiffusionError::ConfigKey`] for a missing or unknown key or a
    /// bad value, [`DiffusionError::Architecture`] if layers do not fit.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, DiffusionError> {
        let map: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            DiffusionError::NotAConfig { origin: origin.to_owned(), reason: error.to_string() }
        })?;
        let config = match map.get("_class_name").and_then(Value::as_str) {
            Some("VQModel") => vq(map)?,
            Some("AutoencoderKL") => kl(map)?,
            other => {
                return refuse(
                    "_class_name",
                    format!(
                        "is {}; an autoencoder is a VQModel or an AutoencoderKL",
                        other.unwrap_or("missing")
                    ),
                );
            }
        };
        config.validate()?;
        Ok(config)
    }
}

/// diffusers' default of both classes: Stable Diffusion's.
const SCALING_FACTOR: f64 = 0.18215;

fn vq(map: Map<String, Value>) -> Result<AutoencoderConfig, DiffusionError> {
    let mut keys = Keys::new(map, "VQModel")?;
    keys.fixed(&[("norm_type", &["group"])])?;
    if keys.flag("lookup_from_codebook", false)? {
        return refuse("lookup_from_codebook", "true is not supported; use false".to_owned());
    }
    let bottleneck = Bottleneck::Codebook {
        entries: keys.count("num_vq_embeddings", 256)?,
        dimension: keys.optional_count("vq_embed_dim", None)?,
    };
    shared(keys, 3, false, None, bottleneck)
}

fn kl(map: Map<String, Value>) -> Result<AutoencoderConfig, DiffusionError> {
    let mut keys = Keys::new(map, "AutoencoderKL")?;
    keys.absent(&["latents_mean", "latents_std"])?;
    let bottleneck = Bottleneck::Gaussian {
        quant_conv: keys.flag("use_quant_conv", true)?,
        post_quant_conv: keys.flag("use_post_quant_conv", true)?,
    };
    let shift = match keys.take("shift_factor") {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_f64() {
            Some(number) => Some(number),
            None => return refuse("shift_factor", format!("{value} is not a number")),
        },
    };
    shared(keys, 4, true, shift, bottleneck)
}

/// The keys of both classes.
fn shared(
    mut keys: Keys,
    latent_channels: usize,
    force_upcast: bool,
    shift_factor: Option<f64>,
    bottleneck: Bottleneck,
) -> Result<AutoencoderConfig, DiffusionError> {
    keys.fixed(&[("act_fn", &["silu", "swish"])])?;
    let config = AutoencoderConfig {
        in_channels: keys.count("in_channels", 3)?,
        out_channels: keys.count("out_channels", 3)?,
        down_block_types: keys.list("down_block_types", |key, value| {
            choice(
                key,
                value,
                &[
                    ("DownEncoderBlock2D", EncoderBlockType::DownEncoderBlock2D),
                    ("AttnDownEncoderBlock2D", EncoderBlockType::AttnDownEncoderBlock2D),
                ],
            )
        })?,
        up_block_types: keys.list("up_block_types", |key, value| {
            choice(
                key,
                value,
                &[
                    ("UpDecoderBlock2D", DecoderBlockType::UpDecoderBlock2D),
                    ("AttnUpDecoderBlock2D", DecoderBlockType::AttnUpDecoderBlock2D),
                ],
            )
        })?,
        block_out_channels: keys.list("block_out_channels", count)?,
        layers_per_block: keys.count("layers_per_block", 1)?,
        latent_channels: keys.count("latent_channels", latent_channels)?,
        norm_num_groups: keys.count("norm_num_groups", 32)?,
        sample_size: keys.sample_size(Some(32))?,
        scaling_factor: keys.number("scaling_factor", SCALING_FACTOR)?,
        shift_factor,
        mid_block_add_attention: keys.flag("mid_block_add_attention", true)?,
        force_upcast: keys.flag("force_upcast", force_upcast)?,
        bottleneck,
    };
    keys.finish()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_read_back() {
        let gaussian = Bottleneck::Gaussian { quant_conv: true, post_quant_conv: false };
        let kl = AutoencoderConfig {
            shift_factor: Some(0.5),
            bottleneck: gaussian,
            ..AutoencoderConfig::vq(&[8, 16], 4, 1)
        };
        for config in [AutoencoderConfig::celeba(), AutoencoderConfig::vq(&[8, 16], 3, 32), kl] {
            assert_eq!(AutoencoderConfig::from_json(&config.to_json(), "config.json").unwrap(), config);
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let with = |key: &str, value: Value| {
            let mut map = AutoencoderConfig::celeba().to_value();
            map[key] = value;
            AutoencoderConfig::from_json(&map.to_string(), "x").unwrap_err().to_string()
        };
        for (key, value) in [
            ("_class_name", json!("UNet2DModel")),
            ("act_fn", json!("gelu")),
            ("norm_type", json!("spatial")),
            ("lookup_from_codebook", json!(true)),
            ("latents_mean", json!([0.0])),
            ("scaling_factor", json!("small")),
            ("num_vq_embedings", json!(3)),
        ] {
            let error = with(key, value);
            assert!(error.starts_with(&format!("config key `{key}`")), "{key}: {error}");
        }
        let error = with("up_block_types", json!(["UpDecoderBlock2D", "UpBlock2D", "UpDecoderBlock2D"]));
        assert!(error.contains("up_block_types[1]"), "{error}");
    }
}
