//! Checkpoints: a model folder in diffusers' layout that also holds what training needs to go on.
//!
//! | file | content |
//! | --- | --- |
//! | `config.json` | the architecture |
//! | `diffusion_pytorch_model.safetensors` | the trained weights |
//! | `ema.safetensors` | the averaged weights, same names |
//! | `optimizer.safetensors` | `exp_avg.{name}`, `exp_avg_sq.{name}`, `step`; 8-bit states are U8 codes with `exp_avg_absmax.{name}`, `exp_avg_sq_absmax.{name}` |
//! | `model_index.json`, `scheduler_config.json`, `vqvae/` | what makes the folder a [pipeline](crate::pipeline) of diffusers |
//! | `diffusion_pytorch_model.safetensors.index.ema.json` | what makes the averaged weights diffusers' variant `ema` |
//! | `state.json` | [`CheckpointState`] |
//!
//! A checkpoint is written whole under another name, synced, and renamed. The one before stays, as
//! `.{name}.previous`, until then; if a crash falls between the two renames, restoring takes it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::module::Module;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use streams::Streams;

use super::config::TrainingConfig;
use super::loss_scaler::LossScaler;
use super::task::TrainingTask;
use super::trainer::Trainer;
use crate::DiffusionError;
use crate::atomic_file::{
    create_marked_folder, put_folder_in_place, remove_if_abandoned, sync_folder_of, temporary_beside,
    write_inside, write_synced,
};
use crate::denoiser::Denoiser;
use crate::ema::Ema;
use crate::optim::Optimizer;
use crate::parameters::{state_dict_of, with_state_dict};
use crate::pipeline::{self, Companions};
use crate::schedule::NoiseSchedule;
use crate::state_dict::{StateDict, hex};
use crate::weight_files::ShardIndex;

/// The value of [`CheckpointState::format`].
pub const CHECKPOINT_FORMAT: &str = "tribute-checkpoint/1";

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const EMA: &str = "ema.safetensors";
const EMA_INDEX: &str = "diffusion_pytorch_model.safetensors.index.ema.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointState {
    /// [`CHECKPOINT_FORMAT`].
    pub format: String,
    /// Steps done.
    pub step: u64,
    /// Seconds spent in them.
    pub elapsed_seconds: f64,
    /// Updates of the average.
    pub ema_updates: u64,
    /// The loss's factor, in half precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scaler: Option<LossScaler>,
    /// SHA-256 of `settings` as JSON with sorted keys and no spaces, in lower-case hexadecimal.
    pub settings_hash: String,
    /// Everything that fixes the run besides the images: `training`, `seed`, `identity`, and what the task has, for diffusion
    /// models `schedule`.
    pub settings: Value,
    /// SHA-256 of each other file of the folder, in lower-case hexadecimal.
    pub files: BTreeMap<String, String>,
    /// SHA-256 of this object without this field, as JSON with sorted keys and no spaces. Checkpoints of before it was
    /// introduced have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_sha256: Option<String>,
}

impl CheckpointState {
    /// What `state_sha256` must be.
    fn own_hash(&self) -> Result<String, DiffusionError> {
        let bare = Self { state_sha256: None, ..self.clone() };
        let value = serde_json::to_value(&bare).map_err(|error| {
            DiffusionError::setting("state", format!("cannot be written as JSON ({error})"))
        })?;
        Ok(hash_of_json(&round_trip(&value)?))
    }
}

/// Whether there is a checkpoint at `dir`, or the previous one of a save that was cut short.
pub fn checkpoint_exists(dir: &Path) -> bool {
    dir.join(STATE).is_file() || previous_of(dir).join(STATE).is_file()
}

impl<M: Denoiser> Trainer<M> {
    /// A trainer that goes on from the checkpoint in `dir`: on the CPU, bit for bit as if it had never stopped.
    ///
    /// `model` gives the architecture and the device; its weights are replaced.
    ///
    /// # Errors
    /// As [`Trainer::new`] and [`Trainer::restore`].
    pub fn resume(
        dir: &Path,
        model: M,
        config: TrainingConfig,
        schedule: NoiseSchedule,
        streams: Streams,
    ) -> Result<Self, DiffusionError> {
        Self::new(model, config, schedule, streams)?.restore(dir)
    }
}

impl<M: Module, T: TrainingTask<M>> Trainer<M, T> {
    /// Writes a checkpoint to the folder `dir`, in place of the one there. Its parent folders are made if needed.
    ///
    /// # Errors
    /// [`DiffusionError::Io`] if a file cannot be written; [`DiffusionError::BadCheckpoint`] if `dir` exists and is
    /// not a checkpoint, which is then left alone. The previous checkpoint stays in both cases.
    pub fn save(&self, dir: &Path) -> Result<(), DiffusionError> {
        self.save_with(dir, &[])
    }

    /// As [`save`](Self::save), with further files, each a path inside of the checkpoint and its content.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_with(&self, dir: &Path, extra: &[(&str, Vec<u8>)]) -> Result<(), DiffusionError> {
        refuse_foreign(dir)?;
        // Where a file system has no locks, two processes may train the same; each may then rename what the other is about to.
        // Their checkpoints are the same, so whoever comes last may win.
        for attempt in 1..=ATTEMPTS {
            match self.save_once(dir, extra) {
                Err(DiffusionError::Io { source, .. }) if was_disturbed(&source) => pause(attempt),
                other => return other,
            }
        }
        self.save_once(dir, extra)
    }

    fn save_once(&self, dir: &Path, extra: &[(&str, Vec<u8>)]) -> Result<(), DiffusionError> {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(DiffusionError::io("create", parent))?;
        }
        remove_remnants(dir)?;
        let temporary = temporary_beside(dir);
        let saved =
            create_marked_folder(&temporary).map_err(DiffusionError::io("create", &temporary)).and_then(
                // Open until it has its name.
                |_open| {
                    self.write_files(&temporary, extra)?;
                    put_folder_in_place(&temporary, dir)
                },
            );
        if saved.is_err() {
            // Nothing more can be done if this fails too; the first error is the one to tell.
            let _ = fs::remove_dir_all(&temporary);
        }
        saved
    }

    /// This trainer, moved to where the checkpoint in `dir` is. For runs with an
    /// [identity](Trainer::with_identity); else see [`Trainer::resume`].
    ///
    /// # Errors
    /// [`DiffusionError::BadCheckpoint`] if a file is missing, altered (its SHA-256 differs) or unreadable;
    /// [`DiffusionError::CheckpointMismatch`] naming the first setting that differs.
    pub fn restore(mut self, dir: &Path) -> Result<Self, DiffusionError> {
        recover_previous(dir)?;
        for attempt in 1..=ATTEMPTS {
            let before = fs::read(dir.join(STATE)).ok();
            match self.load(dir) {
                // Another process replaced the checkpoint while it was read.
                Err(DiffusionError::BadCheckpoint { .. }) if fs::read(dir.join(STATE)).ok() != before => {
                    pause(attempt);
                }
                loaded => {
                    self.take(loaded?);
                    return Ok(self);
                }
            }
        }
        let loaded = self.load(dir)?;
        self.take(loaded);
        Ok(self)
    }

    fn take(&mut self, loaded: Loaded<M>) {
        let Loaded { model, optimizer, ema, state } = loaded;
        self.replace(model, optimizer, ema, state.step, state.elapsed_seconds);
        self.loss_scaler = state.loss_scaler.or(self.loss_scaler);
    }

    fn load(&self, dir: &Path) -> Result<Loaded<M>, DiffusionError> {
        let state = read_state(dir)?;
        let bad = |reason: String| DiffusionError::BadCheckpoint { path: dir.to_owned(), reason };
        self.require_same_bits(dir, &state.settings)?;
        require_equal(dir, "", &state.settings, &self.settings()?)?;
        if state.settings_hash != hash_of_json(&state.settings) {
            return Err(bad(
                "its settings do not have the hash that state.json gives; state.json was altered".into(),
            ));
        }

        let config: Value = serde_json::from_slice(&read_verified(dir, CONFIG, &state)?)
            .map_err(|error| bad(format!("{CONFIG} is not JSON: {error}")))?;
        require_equal(dir, "model", &config, &round_trip(&self.task.config_json(self.model())?)?)?;

        let dict = |name: &str| {
            let origin = dir.join(name).display().to_string();
            StateDict::from_safetensors(&read_verified(dir, name, &state)?, &origin)
        };
        let model = with_state_dict(self.model().clone(), &dict(WEIGHTS)?)?;
        let origin = dir.join(OPTIMIZER).display().to_string();
        let bytes = read_verified(dir, OPTIMIZER, &state)?;
        let optimizer = Optimizer::from_safetensors(self.config.optimizer.clone(), &model, &bytes, &origin)?
            .with_learning_rates_scaled(|name| self.task.learning_rate_scale(&model, name));
        let ema = Ema::from_state_dict(self.config.ema.clone(), &model, &dict(EMA)?, state.ema_updates)?;
        // What others read: diffusers' files, adapters.
        let own = [CONFIG, WEIGHTS, EMA, OPTIMIZER];
        for name in state.files.keys().filter(|name| !own.contains(&name.as_str())) {
            read_verified(dir, name, &state)?;
        }
        Ok(Loaded { model, optimizer, ema, state })
    }

    /// What a checkpoint is bound to.
    fn settings(&self) -> Result<Value, DiffusionError> {
        let mut settings = serde_json::json!({
            "training": self.config.of_results(),
            "seed": self.streams.seed(),
            "identity": self.identity,
        });
        for (name, value) in self.task.settings() {
            settings[name] = value;
        }
        round_trip(&settings)
    }

    /// A file of settings leaves out what is default, so that a difference in bits would read as one of nothing and 8.
    fn require_same_bits(&self, dir: &Path, saved: &Value) -> Result<(), DiffusionError> {
        let saved = saved.pointer("/training/optimizer/bits").and_then(Value::as_u64).unwrap_or(32);
        let wanted = u8::from(self.config.optimizer.bits);
        if saved == u64::from(wanted) {
            return Ok(());
        }
        Err(DiffusionError::OptimizerBits {
            origin: format!("the checkpoint {}", dir.display()),
            saved: if saved == 8 { 8 } else { 32 },
            wanted,
        })
    }

    fn write_files(&self, dir: &Path, extra: &[(&str, Vec<u8>)]) -> Result<(), DiffusionError> {
        let mut files = BTreeMap::new();

        let mut write = |name: &str, bytes: &[u8]| {
            files.insert(name.to_owned(), hex(&Sha256::digest(bytes)));
            write_inside(dir, name, bytes).map_err(DiffusionError::io("write", &dir.join(name)))
        };
        for (name, bytes) in extra {
            write(name, bytes)?;
        }
        let config = self.task.config_json(self.model())?;
        write(CONFIG, &pretty(&config)?)?;
        write(WEIGHTS, &state_dict_of(self.model())?.to_safetensors()?)?;
        let averaged = self.ema.state_dict()?;
        write(EMA, &averaged.to_safetensors()?)?;
        let forward = self.task.forward_process();
        let companions =
            forward.map(|forward| Companions { forward, autoencoder: self.autoencoder.as_ref() });
        let pipeline = companions.map(|companions| pipeline::files(&config, companions)).transpose()?;
        let pipeline = pipeline.unwrap_or_default();
        if !pipeline.is_empty() {
            write(EMA_INDEX, &pretty(&ShardIndex::of_one_file(&averaged, EMA))?)?;
        }
        for (name, bytes) in pipeline {
            write(name, &bytes)?;
        }
        write(OPTIMIZER, &self.optimizer.to_safetensors()?)?;
        let settings = self.settings()?;
        let mut state = CheckpointState {
            format: CHECKPOINT_FORMAT.to_owned(),
            step: self.step,
            elapsed_seconds: self.elapsed_seconds,
            ema_updates: self.ema.updates(),
            loss_scaler: self.loss_scaler,
            settings_hash: hash_of_json(&settings),
            settings,
            files,
            state_sha256: None,
        };
        state.state_sha256 = Some(state.own_hash()?);
        let path = dir.join(STATE);
        write_synced(&path, &pretty(&state)?)
            .and_then(|_| sync_folder_of(&path))
            .map_err(DiffusionError::io("write", &path))
    }
}

/// What a checkpoint holds.
struct Loaded<M> {
    model: M,
    optimizer: Optimizer,
    ema: Ema,
    state: CheckpointState,
}

/// How often saving and restoring are tried again if another process comes between.
const ATTEMPTS: u32 = 10;

/// Lets the other process finish.
fn pause(attempt: u32) {
    std::thread::sleep(Duration::from_millis(20 * u64::from(attempt)));
}

/// Whether another process moved or removed what was being written.
fn was_disturbed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotFound};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty | NotFound)
}

/// Where the previous checkpoint waits while the new one takes its name.
fn previous_of(dir: &Path) -> PathBuf {
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    dir.with_file_name(format!(".{name}.previous"))
}

/// Removes what saves that were cut short left beside `dir`, but for a previous checkpoint without a successor, which
/// takes its name back.
fn remove_remnants(dir: &Path) -> Result<(), DiffusionError> {
    recover_previous(dir)?;
    let Some(name) = dir.file_name().map(|n| n.to_string_lossy().into_owned()) else { return Ok(()) };
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let prefix = format!(".{name}.");
    for entry in fs::read_dir(parent).map_err(DiffusionError::io("read", parent))? {
        let path = entry.map_err(DiffusionError::io("read", parent))?.path();
        let found = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(rest) = found.strip_prefix(&prefix).filter(|_| path.is_dir()) else { continue };
        if rest.ends_with(".tmp") {
            remove_if_abandoned(&path).map_err(DiffusionError::io("remove", &path))?;
        } else if rest == "previous" {
            fs::remove_dir_all(&path).map_err(DiffusionError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// If a save was cut short between its two renames, gives the previous checkpoint its name back.
fn recover_previous(dir: &Path) -> Result<(), DiffusionError> {
    let previous = previous_of(dir);
    if !dir.exists() && previous.join(STATE).is_file() {
        fs::rename(&previous, dir).map_err(DiffusionError::io("rename", &previous))?;
    }
    Ok(())
}

/// Fails if `dir` exists and holds something that is not a checkpoint.
fn refuse_foreign(dir: &Path) -> Result<(), DiffusionError> {
    let bad =
        |reason: &str| Err(DiffusionError::BadCheckpoint { path: dir.to_owned(), reason: reason.to_owned() });
    if dir.file_name().is_none() {
        return bad("a checkpoint needs a folder with a name of its own");
    }
    if !dir.exists() || dir.join(STATE).is_file() {
        return Ok(());
    }
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => bad("the folder holds other files, which saving would delete; choose another folder"),
        Err(_) => bad("it is not a folder; choose another name"),
    }
}

fn read_state(dir: &Path) -> Result<CheckpointState, DiffusionError> {
    let bad = |reason: String| DiffusionError::BadCheckpoint { path: dir.to_owned(), reason };
    let bytes = fs::read(dir.join(STATE)).map_err(|error| {
        bad(format!("{STATE} cannot be read ({error}); train anew or give another folder"))
    })?;
    let state: CheckpointState = serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("{STATE} does not hold a training state ({error})")))?;
    if state.format != CHECKPOINT_FORMAT {
        return Err(bad(format!(
            "its format is `{}`, but this version reads `{CHECKPOINT_FORMAT}`",
            state.format
        )));
    }
    if state.state_sha256.is_some() && state.state_sha256 != Some(state.own_hash()?) {
        return Err(bad(format!("{STATE} was altered; restore the file or train anew")));
    }
    Ok(state)
}

/// Checks that files of a folder, if it is a checkpoint, are those that were written; other folders say nothing of their
/// files.
pub(crate) fn verify_files(dir: &Path, names: &[&str]) -> Result<(), DiffusionError> {
    if !dir.join(STATE).is_file() {
        return Ok(());
    }
    let state = read_state(dir)?;
    names.iter().try_for_each(|name| read_verified(dir, name, &state).map(drop))
}

/// Checks, before a long training, that a checkpoint can be written to `dir`: that it holds nothing else, and that its parent
/// folder, which is made if needed, can be written to.
///
/// # Errors
/// As [`Trainer::save`].
pub fn check_destination(dir: &Path) -> Result<(), DiffusionError> {
    refuse_foreign(dir)?;
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(DiffusionError::io("create", parent))?;
    }
    let probe = temporary_beside(dir);
    fs::create_dir(&probe).map_err(DiffusionError::io("create", dir))?;
    fs::remove_dir(&probe).map_err(DiffusionError::io("remove", &probe))
}

/// The bytes of a file of the checkpoint, if they have the hash that `state.json` gives.
fn read_verified(dir: &Path, name: &str, state: &CheckpointState) -> Result<Vec<u8>, DiffusionError> {
    let bad = |reason: String| DiffusionError::BadCheckpoint { path: dir.to_owned(), reason };
    let expected = state.files.get(name).ok_or_else(|| bad(format!("{STATE} does not list {name}")))?;
    let bytes = fs::read(dir.join(name)).map_err(|error| bad(format!("{name} cannot be read ({error})")))?;
    let found = hex(&Sha256::digest(&bytes));
    if found != *expected {
        return Err(bad(format!(
            "{name} was altered or cut short (its SHA-256 is {found}, and {STATE} gives {expected}); \
             restore the file or train anew"
        )));
    }
    Ok(bytes)
}

/// Fails at the first place, in the order of the keys, where two JSON values differ.
fn require_equal(dir: &Path, key: &str, saved: &Value, current: &Value) -> Result<(), DiffusionError> {
    if let (Value::Object(saved), Value::Object(current)) = (saved, current) {
        let mut names: Vec<&String> = saved.keys().chain(current.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
            require_equal(dir, &inner, &of(saved), &of(current))?;
        }
        return Ok(());
    }
    if saved == current {
        return Ok(());
    }
    Err(DiffusionError::CheckpointMismatch {
        path: dir.to_owned(),
        key: key.to_owned(),
        saved: saved.to_string(),
        current: current.to_string(),
    })
}

/// The value as it reads back from a file, so that it can be compared with one that does.
fn round_trip(value: &Value) -> Result<Value, DiffusionError> {
    serde_json::from_str(&value.to_string())
        .map_err(|error| DiffusionError::setting("settings", format!("cannot be written as JSON ({error})")))
}

/// SHA-256 of JSON with sorted keys and no spaces.
fn hash_of_json(value: &Value) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Object(map) => {
                let sorted: BTreeMap<&String, &Value> = map.iter().collect();
                out.push('{');
                for (i, (key, value)) in sorted.into_iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    out.push_str(&Value::String(key.clone()).to_string());
                    out.push(':');
                    write(value, out);
                }
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write(item, out);
                }
                out.push(']');
            }
            scalar => out.push_str(&scalar.to_string()),
        }
    }
    let mut text = String::new();
    write(value, &mut text);
    hex(&Sha256::digest(text))
}

fn pretty<T: Serialize>(value: &T) -> Result<Vec<u8>, DiffusionError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| DiffusionError::setting("state", format!("cannot be written as JSON ({error})")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn difference_is_named_by_its_path() {
        let saved = json!({"training": {"batch_size": 4, "optimizer": {"beta1": 0.9}}, "seed": 1});
        require_equal(Path::new("c"), "", &saved, &saved.clone()).unwrap();
        let mut other = saved.clone();
        other["training"]["optimizer"]["beta1"] = json!(0.8);
        let error = require_equal(Path::new("c"), "", &saved, &other).unwrap_err().to_string();
        assert!(error.contains("`training.optimizer.beta1` = 0.9") && error.contains("has 0.8"), "{error}");
        let missing = json!({"training": saved["training"]});
        assert!(
            require_equal(Path::new("c"), "", &missing, &saved)
                .unwrap_err()
                .to_string()
                .contains("`seed` = null")
        );
    }

    #[test]
    fn hash_ignores_the_order_of_keys() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":[{"c":2,"d":"x"}]}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"b":[{"d":"x","c":2}],"a":1}"#).unwrap();
        assert_eq!(hash_of_json(&a), hash_of_json(&b));
        assert_eq!(hash_of_json(&a), hex(&Sha256::digest(r#"{"a":1,"b":[{"c":2,"d":"x"}]}"#)));
    }
}
