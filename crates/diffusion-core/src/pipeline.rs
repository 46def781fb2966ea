//! Pipeline folders of diffusers: a network together with the forward process that it was trained for.
//!
//! | file | content |
//! | --- | --- |
//! | `model_index.json` | the pipeline's class, and the library and class of each part |
//! | `unet/` | a model folder; old pipelines have its files beside `model_index.json` |
//! | `scheduler/scheduler_config.json` | forward process and sampler; beside `model_index.json` where there is no folder |
//! | `vqvae/` or `vae/` | the autoencoder of a pipeline that works on latents |
//!
//! Model folders written by this crate are such pipelines, with all files in one place: `DDPMPipeline.from_pretrained` and
//! `DDIMPipeline.from_pretrained` load them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::schedule::BetaSchedule;
use crate::unet::DIFFUSERS_VERSION;
use crate::{DiffusionError, NoiseScheduleConfig, UNet2DConfig};

/// Name of the file that lists a pipeline's parts.
pub const INDEX_FILE: &str = "model_index.json";
/// Name of the file that holds the forward process.
pub const SCHEDULER_FILE: &str = "scheduler_config.json";

/// An unconditional image pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// The folder of the network.
    pub unet: PathBuf,
    /// The folder of the autoencoder, if the network works on latents (`LDMPipeline`).
    pub autoencoder: Option<PathBuf>,
    /// The forward process that the network was trained for.
    pub forward: NoiseScheduleConfig,
}

impl Pipeline {
    /// The pipeline in a folder; `None` if it has no `model_index.json`.
    ///
    /// # Errors
    /// [`DiffusionError::BadPipeline`] if it is conditional, of other networks than `UNet2DModel`, or does not predict the
    /// noise of a variance schedule; [`DiffusionError::Io`] if a file cannot be read.
    pub fn open(dir: &Path) -> Result<Option<Self>, DiffusionError> {
        let index = dir.join(INDEX_FILE);
        if !index.is_file() {
            return Ok(None);
        }
        let parts = read_object(&index)?;
        let bad = |reason: String| DiffusionError::BadPipeline { path: index.clone(), reason };
        let mut autoencoder = None;
        let mut has_unet = false;
        for (name, part) in &parts {
            // Parts are [library, class]; the rest are options of the pipeline, and `_class_name` and the like.
            let Some([_, Value::String(class)]) = part.as_array().map(Vec::as_slice) else { continue };
            match (name.as_str(), class.as_str()) {
                ("unet", "UNet2DModel") => has_unet = true,
                ("unet", other) => {
                    return Err(bad(format!("its network is a {other}; only UNet2DModel is supported")));
                }
                ("vqvae" | "vae", _) => autoencoder = Some(folder_of(dir, name)),
                ("scheduler", _) => {}
                (other, class) => {
                    return Err(bad(format!(
                        "it has a part `{other}` ({class}); unconditional pipelines have `unet` and `scheduler` only"
                    )));
                }
            }
        }
        if !has_unet {
            return Err(bad("it lists no `unet`".to_owned()));
        }
        let forward = read_forward_process(&scheduler_file(dir))?;
        Ok(Some(Self { unet: folder_of(dir, "unet"), autoencoder, forward }))
    }
}

/// Where the network of a model or pipeline folder is.
///
/// # Errors
/// As [`Pipeline::open`]; a pipeline that works on latents.
pub(crate) fn unet_folder(dir: &Path) -> Result<PathBuf, DiffusionError> {
    if dir.join(crate::model_folder::CONFIG_FILE).is_file() {
        return Ok(dir.to_owned());
    }
    match Pipeline::open(dir)? {
        None => Ok(dir.to_owned()),
        Some(Pipeline { unet, autoencoder: None, .. }) => Ok(unet),
        Some(Pipeline { unet, autoencoder: Some(_), .. }) => Err(DiffusionError::BadPipeline {
            path: dir.join(INDEX_FILE),
            reason: format!(
                "its network works on latents, so images need its autoencoder, too; the network alone is in {}",
                unet.display()
            ),
        }),
    }
}

/// The forward process that a model or pipeline folder names; `None` if it names none.
///
/// # Errors
/// As [`Pipeline::open`].
pub fn forward_process(dir: &Path) -> Result<Option<NoiseScheduleConfig>, DiffusionError> {
    let file = scheduler_file(dir);
    if !file.is_file() {
        return Ok(None);
    }
    let forward = read_forward_process(&file)?;
    if file.parent() == Some(dir) {
        crate::training::verify_files(dir, &[SCHEDULER_FILE])?;
    }
    Ok(Some(forward))
}

/// The files that make a model folder a pipeline, by name. None for a network that is no `UNet2DModel`; for a pruned one,
/// which no class of diffusers can build, the forward process alone.
///
/// `config` is the network's `config.json`.
pub(crate) fn files(config: &Value, forward: &NoiseScheduleConfig) -> Vec<(&'static str, Vec<u8>)> {
    let Some(Ok(network)) = config.as_object().map(|keys| UNet2DConfig::try_from(keys.clone())) else {
        return Vec::new();
    };
    let index = json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": DIFFUSERS_VERSION,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    });
    let scheduler = json!({
        "_class_name": "DDPMScheduler",
        "_diffusers_version": DIFFUSERS_VERSION,
        "num_train_timesteps": forward.num_train_timesteps,
        "beta_start": forward.beta_start,
        "beta_end": forward.beta_end,
        "beta_schedule": match forward.beta_schedule {
            BetaSchedule::Linear => "linear",
            BetaSchedule::ScaledLinear => "scaled_linear",
            BetaSchedule::Cosine => "squaredcos_cap_v2",
        },
        "trained_betas": null,
        "prediction_type": "epsilon",
        "clip_sample": true,
        "clip_sample_range": 1.0,
        "variance_type": "fixed_small",
        "timestep_spacing": "leading",
        "steps_offset": 0,
        "thresholding": false,
        "rescale_betas_zero_snr": false,
    });
    let text = |value: &Value| format!("{value:#}\n").into_bytes();
    let mut files = vec![(SCHEDULER_FILE, text(&scheduler))];
    if network.pruned_channels.is_empty() {
        files.push((INDEX_FILE, text(&index)));
    }
    files
}

/// A part's folder, or the pipeline's own if it has none.
fn folder_of(dir: &Path, part: &str) -> PathBuf {
    let folder = dir.join(part);
    if folder.is_dir() { folder } else { dir.to_owned() }
}

fn scheduler_file(dir: &Path) -> PathBuf {
    folder_of(dir, "scheduler").join(SCHEDULER_FILE)
}

fn read_object(path: &Path) -> Result<Map<String, Value>, DiffusionError> {
    let bytes = fs::read(path).map_err(DiffusionError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| DiffusionError::BadPipeline {
        path: path.to_owned(),
        reason: format!("it is not a JSON object ({error})"),
    })
}

/// Reads a scheduler's configuration; keys left out have the defaults that diffusers' schedulers share.
fn read_forward_process(path: &Path) -> Result<NoiseScheduleConfig, DiffusionError> {
    let keys = read_object(path)?;
    let bad = |reason: String| DiffusionError::BadPipeline { path: path.to_owned(), reason };
    let get = |key: &str| keys.get(key).filter(|value| !value.is_null());
    match get("prediction_type").map_or(Some("epsilon"), Value::as_str) {
        Some("epsilon") => {}
        other => {
            return Err(bad(format!(
                "its prediction_type is {:?}; only networks that predict the noise (\"epsilon\") are supported",
                other.unwrap_or_default()
            )));
        }
    }
    for key in ["trained_betas", "rescale_betas_zero_snr"] {
        if let Some(value) = get(key).filter(|value| **value != Value::Bool(false)) {
            return Err(bad(format!("it sets {key} = {value}, which is not supported")));
        }
    }
    let usual = NoiseScheduleConfig::default();
    let number = |key: &str, usual: f64| match get(key) {
        None => Ok(usual),
        Some(value) => value.as_f64().ok_or_else(|| bad(format!("{key} = {value} is not a number"))),
    };
    let timesteps = number("num_train_timesteps", usual.num_train_timesteps as f64)?;
    if timesteps.fract() != 0.0 || !(1.0..=1e6).contains(&timesteps) {
        return Err(bad(format!("num_train_timesteps = {timesteps} is no whole number from 1 to 1,000,000")));
    }
    let beta_schedule = match get("beta_schedule").map(|value| value.as_str().unwrap_or_default()) {
        Some("linear") => BetaSchedule::Linear,
        Some("scaled_linear") => BetaSchedule::ScaledLinear,
        Some("squaredcos_cap_v2") => BetaSchedule::Cosine,
        None if keys
            .get("_class_name")
            .and_then(Value::as_str)
            .is_some_and(|class| matches!(class, "DDPMScheduler" | "DDIMScheduler" | "PNDMScheduler")) =>
        {
            usual.beta_schedule
        }
        other => {
            return Err(bad(format!(
                "its beta_schedule is {}; linear, scaled_linear and squaredcos_cap_v2 are supported",
                other.unwrap_or("missing")
            )));
        }
    };
    let forward = NoiseScheduleConfig {
        num_train_timesteps: timesteps as usize,
        beta_schedule,
        beta_start: number("beta_start", usual.beta_start)?,
        beta_end: number("beta_end", usual.beta_end)?,
    };
    forward.build().map_err(|error| bad(error.to_string()))?;
    Ok(forward)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value.to_string()).unwrap();
        }
        folder
    }

    fn index(more: Value) -> Value {
        let mut index = json!({
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        });
        index.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        index
    }

    #[test]
    fn parts_are_found_in_folders_of_their_own_and_beside_the_index() {
        let scheduler =
            json!({ "_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_end": 0.012 });
        let apart = folder(&[
            ("model_index.json", index(json!({}))),
            ("scheduler/scheduler_config.json", scheduler.clone()),
            ("unet/config.json", json!({})),
        ]);
        let pipeline = Pipeline::open(apart.path()).unwrap().unwrap();
        assert_eq!(pipeline.unet, apart.path().join("unet"));
        assert_eq!(pipeline.autoencoder, None);
        assert_eq!(
            pipeline.forward,
            NoiseScheduleConfig {
                beta_schedule: BetaSchedule::ScaledLinear,
                beta_end: 0.012,
                ..Default::default()
            }
        );
        let flat = folder(&[("model_index.json", index(json!({}))), ("scheduler_config.json", scheduler)]);
        assert_eq!(Pipeline::open(flat.path()).unwrap().unwrap().unet, flat.path());
        assert_eq!(forward_process(flat.path()).unwrap(), forward_process(apart.path()).unwrap());
        let none = folder(&[]);
        assert_eq!(Pipeline::open(none.path()).unwrap(), None);
        assert_eq!(forward_process(none.path()).unwrap(), None);
    }

    #[test]
    fn what_a_written_folder_says_reads_back() {
        for beta_schedule in [BetaSchedule::Linear, BetaSchedule::ScaledLinear, BetaSchedule::Cosine] {
            let forward = NoiseScheduleConfig {
                num_train_timesteps: 400,
                beta_schedule,
                beta_start: 0.0015,
                beta_end: 0.0195,
            };
            let config = serde_json::to_value(UNet2DConfig::small(8, &[8])).unwrap();
            let written = folder(&[]);
            for (name, bytes) in files(&config, &forward) {
                fs::write(written.path().join(name), bytes).unwrap();
            }
            assert_eq!(Pipeline::open(written.path()).unwrap().unwrap().forward, forward);
        }
        let names =
            |config| files(&config, &NoiseScheduleConfig::default()).iter().map(|f| f.0).collect::<Vec<_>>();
        let mut config = serde_json::to_value(UNet2DConfig::small(8, &[8])).unwrap();
        config["lora"] = json!({ "rank": 4 });
        assert!(names(config.clone()).is_empty());
        config.as_object_mut().unwrap().remove("lora");
        config["pruned_channels"] =
            json!({ "down_blocks.0.resnets.0.conv1": 4, "down_blocks.0.resnets.0.time_emb_proj": 4 });
        assert_eq!(names(config), [SCHEDULER_FILE]);
        assert!(names(json!({ "_class_name": "VQModel" })).is_empty());
    }

    #[test]
    fn other_pipelines_are_refused_by_the_part_that_is_unknown() {
        let linear = json!({ "_class_name": "DDPMScheduler" });
        let refused = |more: Value, scheduler: Value| {
            let folder = folder(&[("model_index.json", index(more)), ("scheduler_config.json", scheduler)]);
            Pipeline::open(folder.path()).unwrap_err().to_string()
        };
        let text = refused(json!({ "text_encoder": ["transformers", "CLIPTextModel"] }), linear.clone());
        assert!(text.contains("`text_encoder` (CLIPTextModel)"), "{text}");
        let other = refused(json!({ "unet": ["diffusers", "UNet2DConditionModel"] }), linear);
        assert!(other.contains("UNet2DConditionModel"), "{other}");
        for (scheduler, part) in [
            (json!({ "_class_name": "DDPMScheduler", "prediction_type": "v_prediction" }), "v_prediction"),
            (json!({ "_class_name": "DDPMScheduler", "trained_betas": [0.1] }), "trained_betas"),
            (json!({ "_class_name": "DDPMScheduler", "beta_schedule": "sigmoid" }), "sigmoid"),
            (json!({ "_class_name": "DDPMScheduler", "beta_start": "a" }), "beta_start"),
            (json!({ "_class_name": "DDPMScheduler", "num_train_timesteps": 1e30 }), "num_train_timesteps"),
            (json!({ "_class_name": "ScoreSdeVeScheduler" }), "missing"),
            (json!(3), "not a JSON object"),
        ] {
            let message = refused(json!({}), scheduler);
            assert!(message.contains(part) && message.contains(SCHEDULER_FILE), "{part}: {message}");
        }
    }

    #[test]
    fn pipelines_on_latents_are_told_apart() {
        let latent = folder(&[
            ("model_index.json", index(json!({ "vqvae": ["diffusers", "VQModel"] }))),
            ("scheduler/scheduler_config.json", json!({ "_class_name": "DDIMScheduler" })),
            ("unet/config.json", json!({})),
            ("vqvae/config.json", json!({})),
        ]);
        let pipeline = Pipeline::open(latent.path()).unwrap().unwrap();
        assert_eq!(pipeline.autoencoder, Some(latent.path().join("vqvae")));
        let message = unet_folder(latent.path()).unwrap_err().to_string();
        assert!(message.contains("works on latents"), "{message}");
    }
}
