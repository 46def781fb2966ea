//! Models on disk, in the layout of diffusers.
//!
//! | file | content |
//! | --- | --- |
//! | `config.json` | the architecture, [`UNet2DConfig`] |
//! | `diffusion_pytorch_model.safetensors` | the weights by their diffusers keys, F32 |
//! | `ema.safetensors` | in checkpoints: the averaged weights, same keys |
//! | `model_index.json`, `scheduler_config.json` | the forward process, and what makes the folder a [pipeline](crate::pipeline) |
//! | `vqvae/` | of a model of latents: its autoencoder, of either kind |
//!
//! Python's `UNet2DModel.from_pretrained(folder)` and `DDPMPipeline.from_pretrained(folder)` load what [`write`] makes,
//! and [`read`] loads what their `save_pretrained` makes: also whole pipelines, weights in shards, in half precision or in
//! `.bin` files of `torch.save`, and attention layers by the names that they had until diffusers 0.12. A pruned model has the same files but
//! `model_index.json`; its widths are `pruned_channels` in its `config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::atomic_file::{
    create_marked_folder, put_folder_in_place, sync_folder_of, temporary_beside, write_inside,
};
use crate::pipeline::{
    self, AUTOENCODER_FILES, AUTOENCODER_FOLDER, Companions, INDEX_FILE, SCHEDULER_FILE, unet_folder,
};
use crate::state_dict::hex;
use crate::training::verify_files;
use crate::unet::layout::Layout;
use crate::weight_files::{Form, WeightFiles, rename_legacy_attention};
use crate::{DiffusionError, StateDict, UNet2DConfig};

/// Name of the file that holds the architecture.
pub const CONFIG_FILE: &str = "config.json";
/// Name of the file that holds the weights.
pub const WEIGHTS_FILE: &str = "diffusion_pytorch_model.safetensors";
/// [`WEIGHTS_FILE`] without its ending.
pub(crate) const WEIGHTS_STEM: &str = "diffusion_pytorch_model";
/// Name of the file that holds the averaged weights of a checkpoint.
pub const EMA_FILE: &str = "ema.safetensors";

/// Reads architecture and weights of a model folder or of the network of a pipeline folder, and checks that they belong
/// together, and that a checkpoint's are those that were written.
///
/// # Errors
/// [`DiffusionError::BadCheckpoint`] for files without the hashes that the checkpoint's `state.json` gives;
/// [`DiffusionError::Io`] or [`DiffusionError::NoWeights`] if a file is missing; [`DiffusionError::InFile`] around what is
/// wrong with its content; those of [`Pipeline::open`](pipeline::Pipeline::open).
pub fn read(dir: &Path) -> Result<(UNet2DConfig, StateDict), DiffusionError> {
    let dir = unet_folder(dir)?;
    read_with(&dir, || WeightFiles::find(&dir, WEIGHTS_STEM))
}

/// Reads architecture and averaged weights of a checkpoint, and checks that they belong together.
///
/// # Errors
/// As [`read`].
pub fn read_ema(dir: &Path) -> Result<(UNet2DConfig, StateDict), DiffusionError> {
    let dir = unet_folder(dir)?;
    read_with(&dir, || Ok(WeightFiles::Whole(dir.join(EMA_FILE), Form::Safetensors)))
}

/// As [`read_ema`] if the folder has averaged weights, else as [`read`]: the weights to sample from, or to prune.
///
/// # Errors
/// As [`read`].
pub fn read_averaged_or_trained(dir: &Path) -> Result<(UNet2DConfig, StateDict), DiffusionError> {
    if unet_folder(dir)?.join(EMA_FILE).is_file() { read_ema(dir) } else { read(dir) }
}

/// Reads the architecture.
///
/// # Errors
/// As [`read`].
pub fn read_config(dir: &Path) -> Result<UNet2DConfig, DiffusionError> {
    let path = unet_folder(dir)?.join(CONFIG_FILE);
    let bytes = fs::read(&path).map_err(DiffusionError::io("read", &path))?;
    let text = String::from_utf8(bytes).map_err(|error| DiffusionError::NotAConfig {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })?;
    UNet2DConfig::from_json(&text, &path.display().to_string()).map_err(DiffusionError::in_file(&path))
}

fn read_with(
    dir: &Path,
    files: impl FnOnce() -> Result<WeightFiles, DiffusionError>,
) -> Result<(UNet2DConfig, StateDict), DiffusionError> {
    let config = read_config(dir)?;
    let files = files()?;
    let mut weights = files.read()?;
    let layout = Layout::of(&config)?;
    rename_legacy_attention(&mut weights, &layout);
    weights.check_shapes(&layout.parameter_shapes()).map_err(DiffusionError::in_file(files.path()))?;
    // Last, so that what is no model at all is told as such.
    verify_files(dir, &files.names_with(CONFIG_FILE))?;
    Ok((config, weights))
}

/// Writes a model folder; its parent folders are made if needed. With `companions`, an unpruned model's folder is also a pipeline
/// of diffusers.
///
/// The folder is written under another name, synced, and renamed. A model folder that is already there is replaced;
/// if the machine stops between the two renames, it is left as `.{name}.previous`.
///
/// # Errors
/// As [`UNet2DConfig::validate`] and [`StateDict::check_shapes`]; [`DiffusionError::Io`] if a file cannot be written;
/// [`DiffusionError::NotAModelFolder`] if `dir` exists and holds anything but the files of a model. In every case
/// what was there stays.
pub fn write(
    dir: &Path,
    config: &UNet2DConfig,
    weights: &StateDict,
    companions: Option<Companions<'_>>,
) -> Result<(), DiffusionError> {
    weights.check_shapes(&Layout::of(config)?.parameter_shapes())?;
    let pipeline = companions.map(|companions| pipeline::files(&as_json(config), companions)).transpose()?;
    let pipeline = pipeline.unwrap_or_default();
    write_text(dir, &config.to_json(), weights, pipeline)
}

/// As [`write`], for a model of any kind: `config` is the text of its `config.json`, `further` are other files of it.
pub(crate) fn write_text(
    dir: &Path,
    config: &str,
    weights: &StateDict,
    further: Vec<(&'static str, Vec<u8>)>,
) -> Result<(), DiffusionError> {
    refuse_foreign(dir)?;
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(DiffusionError::io("create", parent))?;
    }
    let temporary = temporary_beside(dir);
    let written =
        create_marked_folder(&temporary).map_err(DiffusionError::io("create", &temporary)).and_then(
            // Open until it has its name.
            |_open| {
                write_files(&temporary, config, weights, further)?;
                put_folder_in_place(&temporary, dir)
            },
        );
    if written.is_err() {
        // Nothing more can be done if this fails too; the first error is the one to tell.
        let _ = fs::remove_dir_all(&temporary);
    }
    written
}

fn write_files(
    dir: &Path,
    config: &str,
    weights: &StateDict,
    further: Vec<(&'static str, Vec<u8>)>,
) -> Result<(), DiffusionError> {
    let mut files =
        vec![(CONFIG_FILE, config.as_bytes().to_vec()), (WEIGHTS_FILE, weights.to_safetensors()?)];
    files.extend(further);
    for (name, bytes) in files {
        write_inside(dir, name, &bytes).map_err(DiffusionError::io("write", &dir.join(name)))?;
    }
    sync_folder_of(&dir.join(CONFIG_FILE)).map_err(DiffusionError::io("sync", dir))
}

/// Fails if `dir` exists and replacing it would delete something other than a model.
fn refuse_foreign(dir: &Path) -> Result<(), DiffusionError> {
    let refuse = |reason: String| Err(DiffusionError::NotAModelFolder { path: dir.to_owned(), reason });
    if dir.file_name().is_none() {
        return refuse("a model needs a folder with a name of its own".to_owned());
    }
    if !dir.exists() {
        return Ok(());
    }
    let own = |name: &str| {
        [CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE, SCHEDULER_FILE].contains(&name)
            || AUTOENCODER_FILES.contains(&name)
    };
    let mut names = names_in(dir, "")?;
    if names.iter().any(|name| name == AUTOENCODER_FOLDER) && dir.join(AUTOENCODER_FOLDER).is_dir() {
        names.retain(|name| name != AUTOENCODER_FOLDER);
        names.extend(names_in(&dir.join(AUTOENCODER_FOLDER), &format!("{AUTOENCODER_FOLDER}/"))?);
    }
    match names.iter().find(|name| !own(name)) {
        None => Ok(()),
        Some(name) => refuse(format!(
            "it holds `{name}`, which replacing the folder would delete; choose another folder"
        )),
    }
}

/// The names of what is in a folder, after `prefix`.
fn names_in(dir: &Path, prefix: &str) -> Result<Vec<String>, DiffusionError> {
    let entries = fs::read_dir(dir).map_err(DiffusionError::io("read", dir))?;
    entries
        .map(|entry| {
            let entry = entry.map_err(DiffusionError::io("read", dir))?;
            Ok(format!("{prefix}{}", entry.file_name().to_string_lossy()))
        })
        .collect()
}

/// The identity of a model: SHA-256, in lower-case hexadecimal, of its architecture and weights.
///
/// Hashed are the text `tribute/model/1`, a line feed, the configuration as JSON with sorted keys, without spaces and
/// without the keys that begin with `_`, a line feed, and [`StateDict::sha256`]. So neither number type nor release of
/// diffusers nor order of keys on disk matters.
pub fn model_hash(config: &UNet2DConfig, weights: &StateDict) -> String {
    // Plain data always become a JSON object.
    hash_of(&as_json(config), weights)
}

/// The identity of a model of any kind, from its `config.json` and weights.
pub(crate) fn hash_of(config: &Value, weights: &StateDict) -> String {
    let keys: BTreeMap<&String, &Value> =
        config.as_object().into_iter().flatten().filter(|(key, _)| !key.starts_with('_')).collect();
    let config = serde_json::to_string(&keys).expect("plain data is valid JSON");
    let text = format!("tribute/model/1\n{config}\n{}", weights.sha256());
    hex(&Sha256::digest(text))
}

fn as_json(config: &UNet2DConfig) -> Value {
    serde_json::to_value(config).expect("a struct of plain data with text keys is valid JSON")
}

/// The [`model_hash`] of the model in a folder.
///
/// # Errors
/// As [`read`].
pub fn hash(dir: &Path) -> Result<String, DiffusionError> {
    let (config, weights) = read(dir)?;
    Ok(model_hash(&config, &weights))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorF32;
    use crate::unet::initial_weights;
    use streams::Streams;

    fn model(seed: u64) -> (UNet2DConfig, StateDict) {
        let config = UNet2DConfig::small(8, &[8]);
        let weights = initial_weights(&config, &Streams::new(seed)).unwrap();
        (config, weights)
    }

    #[test]
    fn replaces_a_model_and_leaves_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("models/full");
        for seed in [1, 2] {
            let (config, weights) = model(seed);
            write(&dir, &config, &weights, None).unwrap();
            assert_eq!(read(&dir).unwrap(), (config, weights));
        }
        assert_eq!(fs::read_dir(parent.path().join("models")).unwrap().count(), 1);
    }

    #[test]
    fn other_files_are_not_deleted() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.tex"), "x").unwrap();
        let (config, weights) = model(1);
        let error = write(parent.path(), &config, &weights, None).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        assert!(parent.path().join("thesis.tex").exists());
    }

    #[test]
    fn weights_of_another_architecture_are_not_written() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("m");
        let (_, weights) = model(1);
        assert!(write(&dir, &UNet2DConfig::small(8, &[8, 8]), &weights, None).is_err());
        assert!(!dir.exists());
    }

    #[test]
    fn hash_sees_architecture_and_weights_but_not_the_file() {
        let (config, weights) = model(1);
        let base = model_hash(&config, &weights);
        let coarser = UNet2DConfig { norm_eps: 1e-6, ..config.clone() };
        assert_ne!(model_hash(&coarser, &weights), base);
        let mut changed = weights.clone();
        changed.insert("conv_out.bias", TensorF32::filled([3], 0.5));
        assert_ne!(model_hash(&config, &changed), base);

        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("m");
        write(&dir, &config, &weights, None).unwrap();
        let text = fs::read_to_string(dir.join(CONFIG_FILE)).unwrap();
        let reordered: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        fs::write(dir.join(CONFIG_FILE), serde_json::to_string(&reordered).unwrap()).unwrap();
        assert_eq!(hash(&dir).unwrap(), base);
    }
}
