//! The begin of a study: its folder, its lock, and whether its images are still those it was begun with.

use std::fs;
use std::path::Path;

use diffusion_core::{remove_if_abandoned, write_atomically};
use ledger::{DriverLock, Ledger, RunId};
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

impl State {
    fn of(context: &Context) -> Self {
        Self {
            format: FORMAT.to_owned(),
            name: context.config.name.clone(),
            data_hash: context.data_hash.clone(),
        }
    }
}

/// A study whose folder is ours until this is dropped.
#[derive(Debug)]
pub struct Begun {
    /// Records, claims and failures.
    pub ledger: Ledger,
    /// What keeps other drivers away.
    pub lock: DriverLock,
}

/// Takes the study's folder, creating it if missing.
///
/// # Errors
/// Another driver at work; a folder of another study or of something else; images that are not those the study was begun
/// with; a folder that cannot be written.
pub fn begin(context: &Context, dir: &StudyDir) -> Result<Begun, StudyError> {
    let root = dir.root();
    let state_path = dir.state();
    if root.exists() && !root.is_dir() {
        let reason = "it is a file".to_owned();
        return Err(StudyError::NotAStudy { path: root.to_owned(), reason });
    }
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
    let state = State::of(context);
    if state_path.exists() {
        check(dir, &state)?;
    } else {
        write_json(&state_path, &state)?;
    }
    for folder in [root.join("models"), root.join("samples")] {
        fs::create_dir_all(&folder).map_err(StudyError::io("create", &folder))?;
        sweep(&folder)?;
    }
    sweep(root)?;
    write_atomically(&dir.study_file(), context.config.normalised()?.as_bytes())?;
    let ledger = Ledger::open(dir.ledger())?;
    sweep_unfinished(dir, &ledger)?;
    Ok(Begun { ledger, lock })
}

/// Joins a study that was begun elsewhere, without becoming its driver: nothing in the folder is swept or rewritten.
///
/// # Errors
/// A folder that holds no study or another one; images that are not those the study was begun with.
pub fn join(context: &Context, dir: &StudyDir) -> Result<Ledger, StudyError> {
    check(dir, &State::of(context))?;
    Ok(Ledger::open(dir.ledger())?)
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

/// Removes what writers that were killed left in a folder: temporary files and folders, and previous checkpoints whose
/// successor took its place. What living writers, workers on other machines among them, are about to rename stays.
fn sweep(folder: &Path) -> Result<(), StudyError> {
    for entry in fs::read_dir(folder).map_err(StudyError::io("read", folder))? {
        let path = entry.map_err(StudyError::io("read", folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(hidden) = name.strip_prefix('.') else { continue };
        let replaced = hidden.strip_suffix(".previous").is_some_and(|model| folder.join(model).exists());
        if replaced || hidden.ends_with(".tmp") {
            remove_if_abandoned(&path).map_err(StudyError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Removes the checkpoints of runs that have their record, whose workers died before they could.
fn sweep_unfinished(dir: &StudyDir, ledger: &Ledger) -> Result<(), StudyError> {
    let folder = dir.all_unfinished();
    if !folder.is_dir() {
        return Ok(());
    }
    sweep(&folder)?;
    for entry in fs::read_dir(&folder).map_err(StudyError::io("read", &folder))?.flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<RunId>().ok());
        if id.is_some_and(|id| ledger.contains(id)) {
            fs::remove_dir_all(entry.path()).map_err(StudyError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Writes indented JSON and a line feed, atomically.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StudyError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| StudyError::NotJson { source })?;
    bytes.push(b'\n');
    Ok(write_atomically(path, &bytes)?)
}

#[cfg(test)]
mod tests {
    use ledger::{Record, RunKey};
    use removal::Coalition;

    use super::*;

    #[test]
    fn checkpoints_of_runs_with_a_record_are_swept_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StudyDir::new(folder.path());
        let ledger = Ledger::open(dir.ledger()).unwrap();
        let keys = [0, 1].map(|seed| RunKey::new("gd", Coalition::full(2)).seed("study", seed));
        ledger.put(&Record::new(keys[0].clone()).unwrap()).unwrap();
        let folders = keys.map(|key| dir.unfinished(&key.id().unwrap()));
        for folder in &folders {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("state.json"), "{}").unwrap();
        }
        sweep_unfinished(&dir, &ledger).unwrap();
        assert_eq!(folders.map(|folder| folder.exists()), [false, true]);
    }

    #[test]
    fn only_what_dead_writers_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["replaced", ".replaced.previous", ".waiting.previous", ".new.7-0.tmp"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("state.json"), "{}").unwrap();
        }
        for name in ["plan.json", ".plan.json.7-1.tmp", ".hidden"] {
            fs::write(path(name), "{}").unwrap();
        }
        sweep(folder.path()).unwrap();
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        // `.waiting.previous` is the only whole checkpoint of its name: restoring gives it its name back.
        assert_eq!(left, [".hidden", ".waiting.previous", "plan.json", "replaced"]);
    }
}
