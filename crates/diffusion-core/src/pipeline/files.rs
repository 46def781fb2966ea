//! What makes a model folder a pipeline of diffusers.

use serde_json::{Value, json};

use super::{INDEX_FILE, SCHEDULER_FILE};
use crate::autoencoder::Autoencoder;
use crate::schedule::BetaSchedule;
use crate::unet::DIFFUSERS_VERSION;
use crate::{DiffusionError, NoiseScheduleConfig, UNet2DConfig};

/// The folder of the autoencoder, which is what `LDMPipeline` calls it, whatever its kind.
pub(crate) const AUTOENCODER_FOLDER: &str = "vqvae";
/// The files of the autoencoder.
pub(crate) const AUTOENCODER_FILES: [&str; 2] =
    ["vqvae/config.json", "vqvae/diffusion_pytorch_model.safetensors"];

/// What a model folder holds beside its network, to be a pipeline.
#[derive(Debug, Clone, Copy)]
pub struct Companions<'a> {
    /// The forward process.
    pub forward: &'a NoiseScheduleConfig,
    /// The autoencoder on whose latents the network works, if it does.
    pub autoencoder: Option<&'a Autoencoder>,
}

impl<'a> From<&'a NoiseScheduleConfig> for Companions<'a> {
    /// Those of a network that works on pixels.
    fn from(forward: &'a NoiseScheduleConfig) -> Self {
        Self { forward, autoencoder: None }
    }
}

/// The files that make a model folder a pipeline, by name. None for a network that is no `UNet2DModel`; no index, which names the
/// pipeline, where no class of diffusers could sample from it: for a pruned network, and for latents that are shifted
/// (`shift_factor`), since `LDMPipeline` only divides them by `scaling_factor`.
///
/// `config` is the network's `config.json`.
///
/// # Errors
/// [`DiffusionError::Device`] if the device fails to deliver the autoencoder's weights.
pub(crate) fn files(
    config: &Value,
    companions: Companions<'_>,
) -> Result<Vec<(&'static str, Vec<u8>)>, DiffusionError> {
    let Some(Ok(network)) = config.as_object().map(|keys| UNet2DConfig::try_from(keys.clone())) else {
        return Ok(Vec::new());
    };
    let Companions { forward, autoencoder } = companions;
    let text = |value: &Value| format!("{value:#}\n").into_bytes();
    let mut files = vec![(SCHEDULER_FILE, text(&scheduler(forward, autoencoder.is_some())))];
    let mut shifted = false;
    if let Some(autoencoder) = autoencoder {
        let [about, weights] = AUTOENCODER_FILES;
        files.push((about, autoencoder.config().to_json().into_bytes()));
        files.push((weights, autoencoder.state_dict()?.to_safetensors()?));
        shifted = autoencoder.config().shift_factor.is_some_and(|shift| shift != 0.0);
    }
    if network.pruned_channels.is_empty() && !shifted {
        files.push((INDEX_FILE, text(&index(autoencoder))));
    }
    Ok(files)
}

fn index(autoencoder: Option<&Autoencoder>) -> Value {
    match autoencoder {
        None => json!({
            "_class_name": "DDPMPipeline",
            "_diffusers_version": DIFFUSERS_VERSION,
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        }),
        Some(autoencoder) => json!({
            "_class_name": "LDMPipeline",
            "_diffusers_version": DIFFUSERS_VERSION,
            "scheduler": ["diffusers", "DDIMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
            AUTOENCODER_FOLDER: ["diffusers", autoencoder.config().class_name()],
        }),
    }
}

/// The scheduler that the pipeline's class samples with by default. Latents are not limited to [-1, 1], so theirs does not clip.
fn scheduler(forward: &NoiseScheduleConfig, latent: bool) -> Value {
    let mut keys = json!({
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
        "clip_sample": !latent,
        "clip_sample_range": 1.0,
        "timestep_spacing": "leading",
        "steps_offset": 0,
        "thresholding": false,
        "rescale_betas_zero_snr": false,
    });
    if latent {
        keys["_class_name"] = "DDIMScheduler".into();
        keys["set_alpha_to_one"] = true.into();
    } else {
        keys["variance_type"] = "fixed_small".into();
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::tensor::Device;
    use streams::Streams;

    use super::*;
    use crate::autoencoder::{AutoencoderConfig, Bottleneck};
    use crate::pipeline::{Pipeline, autoencoder};

    fn written(config: &Value, companions: Companions<'_>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files(config, companions).unwrap() {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn network() -> Value {
        serde_json::to_value(UNet2DConfig::small(8, &[8])).unwrap()
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
            let folder = written(&network(), (&forward).into());
            assert_eq!(Pipeline::open(folder.path()).unwrap().unwrap().forward, forward);
            assert_eq!(autoencoder(folder.path()).unwrap(), None);
        }
    }

    #[test]
    fn networks_that_diffusers_cannot_build_are_no_pipelines() {
        let forward = NoiseScheduleConfig::default();
        let names = |config: &Value| {
            files(config, (&forward).into()).unwrap().iter().map(|f| f.0).collect::<Vec<_>>()
        };
        let mut config = network();
        config["lora"] = json!({ "rank": 4 });
        assert!(names(&config).is_empty());
        config.as_object_mut().unwrap().remove("lora");
        config["pruned_channels"] =
            json!({ "down_blocks.0.resnets.0.conv1": 4, "down_blocks.0.resnets.0.time_emb_proj": 4 });
        assert_eq!(names(&config), [SCHEDULER_FILE]);
        assert!(names(&json!({ "_class_name": "VQModel" })).is_empty());
    }

    #[test]
    fn models_of_latents_keep_their_autoencoder() {
        let forward = NoiseScheduleConfig::default();
        let bottleneck = Bottleneck::Gaussian { quant_conv: true, post_quant_conv: true };
        let vq = AutoencoderConfig::vq(&[4, 4], 3, 8);
        let kl = AutoencoderConfig { bottleneck, ..vq.clone() };
        let shifted = AutoencoderConfig { shift_factor: Some(0.5), ..kl.clone() };
        for (config, class) in [(vq, Some("VQModel")), (kl, Some("AutoencoderKL")), (shifted, None)] {
            let model = Autoencoder::new(&config, &Device::flex(), &Streams::new(1)).unwrap();
            let folder = written(&network(), Companions { forward: &forward, autoencoder: Some(&model) });
            let index = fs::read(folder.path().join(INDEX_FILE)).ok();
            let index = index.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
            assert_eq!(index.map(|index| index["vqvae"][1].as_str().unwrap().to_owned()).as_deref(), class);
            assert_eq!(autoencoder(folder.path()).unwrap(), Some(folder.path().join(AUTOENCODER_FOLDER)));
        }
    }
}
