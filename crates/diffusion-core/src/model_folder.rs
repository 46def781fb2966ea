//! Models on disk, in the layout of diffusers.
//!
//! | file | content |
//! | --- | --- |
//! | `config.json` | the architecture, [`UNet2DConfig`] |
//! | `diffusion_pytorch_model.safetensors` | the weights by their diffusers keys, F32 |
//! | `ema.safetensors` | in checkpoints: the averaged weights, same keys |
//!
//! Python's `UNet2DModel.from_pretrained(folder)` loads what [`write`] makes, and [`read`] loads what its
//! `save_pretrained` makes. A pruned model has the same two files; only this crate builds it, from `pruned_channels` in
//! its `config.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::atomic_file::{put_folder_in_place, sync_folder_of, temporary_beside, write_synced};
use crate::state_dict::hex;
use crate::unet::layout::Layout;
use crate::{DiffusionError, StateDict, UNet2DConfig};

/// Name of the file that holds the architecture.
pub const CONFIG_FILE: &str = "config.json";
/// Name of the file that holds the weights.
pub const WEIGHTS_FILE: &str = "diffusion_pytorch_model.safetensors";
/// Name of the file that holds the averaged weights of a checkpoint.
pub const EMA_FILE: &str = "ema.safetensors";

/// Reads architecture and weights, and checks that they belong together.
///
/// # Errors
/// [`DiffusionError::Io`] if a file is missing; [`DiffusionError::InFile`] around what is wrong with its content.
pub fn read(dir: &Path) -> Result<(UNet2DConfig, StateDict), DiffusionError> {
    read_with(dir, WEIGHTS_FILE)
}

/// Reads architecture and averaged weights of a checkpoint, and checks that they belong together.
///
/// # Errors
/// As [`read`].
pub fn read_ema(dir: &Path) -> Result<(UNet2DConfig, StateDict), DiffusionError> {
    read_with(dir, EMA_FILE)
}

/// As [`read_ema`] if the folder has averaged weights, else as [`read`]: the weights to sample from, or to prune.
///
/// # Errors
/// As [`read`].
pub fn read_averaged_or_trained(dir: &Path) -> Result<(UNet2DConfig, StateDict), DiffusionError> {
    if dir.join(EMA_FILE).is_file() { read_ema(dir) } else { read(dir) }
}

/// Reads the architecture.
///
/// # Errors
/// As [`read`].
pub fn read_config(dir: &Path) -> Result<UNet2DConfig, DiffusionError> {
    let path = dir.join(CONFIG_FILE);
    let bytes = fs::read(&path).map_err(DiffusionError::io("read", &path))?;
    let text = String::from_utf8(bytes).map_err(|error| DiffusionError::NotAConfig {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })?;
    UNet2DConfig::from_json(&text, &path.display().to_string()).map_err(DiffusionError::in_file(&path))
}

fn read_with(dir: &Path, weights_file: &str) -> Result<(UNet2DConfig, StateDict), DiffusionError> {
    let config = read_config(dir)?;
    let path = dir.join(weights_file);
    let weights = StateDict::read(&path)?;
    let shapes = Layout::of(&config)?.parameter_shapes();
    weights.check_shapes(&shapes).map_err(DiffusionError::in_file(&path))?;
    Ok((config, weights))
}

/// Writes a model folder; its parent folders are made if needed.
///
/// The folder is written under another name, synced, and renamed. A model folder that is already there is replaced;
/// if the machine stops between the two renames, it is left as `.{name}.previous`.
///
/// # Errors
/// As [`UNet2DConfig::validate`] and [`StateDict::check_shapes`]; [`DiffusionError::Io`] if a file cannot be written;
/// [`DiffusionError::NotAModelFolder`] if `dir` exists and holds anything but the two files of a model. In every case
/// what was there stays.
pub fn write(dir: &Path, config: &UNet2DConfig, weights: &StateDict) -> Result<(), DiffusionError> {
    weights.check_shapes(&Layout::of(config)?.parameter_shapes())?;
    write_text(dir, &config.to_json(), weights)
}

/// As [`write`], for a model of any kind: `config` is the text of its `config.json`.
pub(crate) fn write_text(dir: &Path, config: &str, weights: &StateDict) -> Result<(), DiffusionError> {
    refuse_foreign(dir)?;
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(DiffusionError::io("create", parent))?;
    }
    let temporary = temporary_beside(dir);
    let written =
        write_files(&temporary, config, weights).and_then(|()| put_folder_in_place(&temporary, dir));
    if written.is_err() {
        // Nothing more can be done if this fails too; the first error is the one to tell.
        let _ = fs::remove_dir_all(&temporary);
    }
    written
}

fn write_files(dir: &Path, config: &str, weights: &StateDict) -> Result<(), DiffusionError> {
    fs::create_dir(dir).map_err(DiffusionError::io("create", dir))?;
    for (name, bytes) in
        [(CONFIG_FILE, config.as_bytes().to_vec()), (WEIGHTS_FILE, weights.to_safetensors()?)]
    {
        let path = dir.join(name);
        write_synced(&path, &bytes).map_err(DiffusionError::io("write", &path))?;
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
    for entry in fs::read_dir(dir).map_err(DiffusionError::io("read", dir))? {
        let name = entry.map_err(DiffusionError::io("read", dir))?.file_name();
        if name != CONFIG_FILE && name != WEIGHTS_FILE {
            return refuse(format!(
                "it holds `{}`, which replacing the folder would delete; choose another folder",
                name.to_string_lossy()
            ));
        }
    }
    Ok(())
}

/// The identity of a model: SHA-256, in lower-case hexadecimal, of its architecture and weights.
///
/// Hashed are the text `tribute/model/1`, a line feed, the configuration as JSON with sorted keys, without spaces and
/// without the keys that begin with `_`, a line feed, and [`StateDict::sha256`]. So neither number type nor release of
/// diffusers nor order of keys on disk matters.
pub fn model_hash(config: &UNet2DConfig, weights: &StateDict) -> String {
    // Plain data always become a JSON object.
    hash_of(&serde_json::to_value(config).expect("a configuration is plain data"), weights)
}

/// The identity of a model of any kind, from its `config.json` and weights.
pub(crate) fn hash_of(config: &Value, weights: &StateDict) -> String {
    let keys: BTreeMap<&String, &Value> =
        config.as_object().into_iter().flatten().filter(|(key, _)| !key.starts_with('_')).collect();
    let config = serde_json::to_string(&keys).expect("plain data is valid JSON");
    let text = format!("tribute/model/1\n{config}\n{}", weights.sha256());
    hex(&Sha256::digest(text))
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
            write(&dir, &config, &weights).unwrap();
            assert_eq!(read(&dir).unwrap(), (config, weights));
        }
        assert_eq!(fs::read_dir(parent.path().join("models")).unwrap().count(), 1);
    }

    #[test]
    fn other_files_are_not_deleted() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.tex"), "x").unwrap();
        let (config, weights) = model(1);
        let error = write(parent.path(), &config, &weights).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        assert!(parent.path().join("thesis.tex").exists());
    }

    #[test]
    fn weights_of_another_architecture_are_not_written() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("m");
        let (_, weights) = model(1);
        assert!(write(&dir, &UNet2DConfig::small(8, &[8, 8]), &weights).is_err());
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
        write(&dir, &config, &weights).unwrap();
        let text = fs::read_to_string(dir.join(CONFIG_FILE)).unwrap();
        let reordered: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        fs::write(dir.join(CONFIG_FILE), serde_json::to_string(&reordered).unwrap()).unwrap();
        assert_eq!(hash(&dir).unwrap(), base);
    }
}
