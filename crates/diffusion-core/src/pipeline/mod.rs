//! Pipeline folders of diffusers: a network together with the forward process that it was trained for.
//!
//! | file | content |
//! | --- | --- |
//! | `model_index.json` | the pipeline's class, and the library and class of each part |
//! | `unet/` | a model folder; old pipelines have its files beside `model_index.json` |
//! | `scheduler/scheduler_config.json` | forward process and sampler; beside `model_index.json` where there is no folder |
//! | `vqvae/` or `vae/` | the autoencoder of a pipeline that works on latents |
//!
//! Model folders written by this crate are such pipelines, with the files of network and scheduler in one place:
//! `DDPMPipeline.from_pretrained` and `DDIMPipeline.from_pretrained` load those of pixels, `LDMPipeline.from_pretrained` those of
//! latents.

mod files;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use self::files::Companions;
pub(crate) use self::files::{AUTOENCODER_FILES, AUTOENCODER_FOLDER, files};
use crate::model_folder::CONFIG_FILE;
use crate::schedule::BetaSchedule;
use crate::training::verify_files;
use crate::{DiffusionError, NoiseScheduleConfig};

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
/// As [`Pipeline::open`].
pub(crate) fn unet_folder(dir: &Path) -> Result<PathBuf, DiffusionError> {
    if dir.join(CONFIG_FILE).is_file() {
        return Ok(dir.to_owned());
    }
    Ok(Pipeline::open(dir)?.map_or_else(|| dir.to_owned(), |pipeline| pipeline.unet))
}

/// The folder of the autoencoder on whose latents the network in a model or pipeline folder works; `None` if it names none, as
/// where it works on pixels.
///
/// # Errors
/// As [`Pipeline::open`]; an autoencoder in a checkpoint that is not the one that was written.
pub fn autoencoder(dir: &Path) -> Result<Option<PathBuf>, DiffusionError> {
    let own = dir.join(AUTOENCODER_FOLDER);
    let found = match Pipeline::open(dir)? {
        Some(pipeline) => pipeline.autoencoder,
        // A pruned network is no pipeline, but keeps its autoencoder.
        None => own.join(CONFIG_FILE).is_file().then(|| own.clone()),
    };
    if found.as_ref() == Some(&own) {
        verify_files(dir, &AUTOENCODER_FILES)?;
    }
    Ok(found)
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
        verify_files(dir, &[SCHEDULER_FILE])?;
    }
    Ok(Some(forward))
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
    use serde_json::json;

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
        assert_eq!(unet_folder(latent.path()).unwrap(), latent.path().join("unet"));
        let pruned = folder(&[("config.json", json!({})), ("vqvae/config.json", json!({}))]);
        assert_eq!(autoencoder(pruned.path()).unwrap(), Some(pruned.path().join("vqvae")));
        assert_eq!(autoencoder(&latent.path().join("unet")).unwrap(), None);
    }
}
