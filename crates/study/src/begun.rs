//! The begin of a study: its folder, its lock, and whether its images are still those it was begun with.

use std::fs;

use diffusion_core::write_atomically;
use ledger::{DriverLock, Ledger};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::error::StudyError;
use crate::layout::StudyDir;

const FORMAT: &str = "tribute-study/1";

/// What a study's folder is bound to: `state.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: String,
    name: String,
    data_hash: String,
}

/// A study whose folder is ours until this is dropped.
#[derive(Debug)]
pub struct Begun {
    /// Records, claims and failures.
    pub ledger: Ledger,
    _lock: DriverLock,
}

/// Takes the study's folder, creating it if missing.
///
/// # Errors
/// Another driver at work; a folder of another study or of something else; images that are not those the study was begun
/// with; a folder that cannot be written.
pub fn begin(context: &Context, dir: &StudyDir) -> Result<Begun, StudyError> {
    let root = dir.root();
    let state_path = dir.state();
    if !state_path.exists() && root.is_dir() {
        let foreign = fs::read_dir(root).map_err(StudyError::io("read", root))?.flatten().find(|entry| {
            let name = entry.file_name();
            !(name == "driver.lock" || name.to_string_lossy().starts_with('.'))
        });
        if let Some(entry) = foreign {
            let reason = format!("it holds {} but no state.json", entry.file_name().to_string_lossy());
            return Err(StudyError::NotAStudy { path: root.to_owned(), reason });
        }
    }
    let lock = DriverLock::acquire(root)?;
    let state = State {
        format: FORMAT.to_owned(),
        name: context.config.name.clone(),
        data_hash: context.data_hash.clone(),
    };
    if state_path.exists() {
        check(dir, &state)?;
    } else {
        write_json(&state_path, &state)?;
    }
    for folder in [root.join("models"), root.join("samples")] {
        fs::create_dir_all(&folder).map_err(StudyError::io("create", &folder))?;
    }
    let text = toml::to_string_pretty(&context.config).map_err(|source| StudyError::NotToml { source })?;
    write_atomically(&dir.study_file(), text.as_bytes())?;
    Ok(Begun { ledger: Ledger::open(dir.ledger())?, _lock: lock })
}

fn check(dir: &StudyDir, expected: &State) -> Result<(), StudyError> {
    let path = dir.state();
    let not_a_study = |reason: String| StudyError::NotAStudy { path: dir.root().to_owned(), reason };
    let text = fs::read_to_string(&path).map_err(StudyError::io("read", &path))?;
    let found: State =
        serde_json::from_str(&text).map_err(|error| not_a_study(format!("state.json: {error}")))?;
    if found.format != FORMAT {
        return Err(not_a_study(format!("its format is {}, this version writes {FORMAT}", found.format)));
    }
    if found.name != expected.name {
        return Err(not_a_study(format!("it holds the study \"{}\"", found.name)));
    }
    if found.data_hash != expected.data_hash {
        return Err(StudyError::DataChanged {
            path: dir.root().to_owned(),
            before: found.data_hash,
            now: expected.data_hash.clone(),
        });
    }
    Ok(())
}

/// Writes indented JSON and a line feed, atomically.
pub(crate) fn write_json(path: &std::path::Path, value: &impl Serialize) -> Result<(), StudyError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| StudyError::NotJson { source })?;
    bytes.push(b'\n');
    Ok(write_atomically(path, &bytes)?)
}
