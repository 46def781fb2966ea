//! What can go wrong with a ledger.

use std::io;
use std::path::{Path, PathBuf};

use crate::RunId;

/// An error of the ledger: what was wrong, in which file, and what puts it right.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk has no room.
    #[error(
        "cannot write {path}: the disk is full; nothing half-written was left, free some space and run again"
    )]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
    },
    /// The folder cannot be written to.
    #[error(
        "cannot write {path}: {source}; make the folder writable, or choose another one for the study's output"
    )]
    NotWritable {
        /// The file or folder that was being written.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Any other input/output error.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The folder is a ledger of another format version.
    #[error(
        "{path} says `{found}`, this program writes `{expected}`; use a new output folder, or the program version that began this one"
    )]
    FolderFormat {
        /// The folder's `ledger.json`.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        expected: String,
    },
    /// A record ends too early.
    #[error(
        "record {path} is cut short ({detail}); delete the file and run again: only this run is repeated"
    )]
    CutShort {
        /// The record.
        path: PathBuf,
        /// The parser's position.
        detail: String,
    },
    /// A file in the records folder is no record.
    #[error(
        "{path} is not a record of this ledger ({detail}); delete or move it away and run again: if it stood for a run, only that run is repeated"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What gave it away.
        detail: String,
    },
    /// The record's name, its `id` and the hash of its key are not all the same.
    #[error(
        "record {path} is named after run {expected}, but its key hashes to {actual}: it was renamed or edited; delete the file and run again"
    )]
    WrongId {
        /// The record.
        path: PathBuf,
        /// The id by file name or `id` field.
        expected: String,
        /// The id its key gives.
        actual: String,
    },
    /// The record's content is not what was written.
    #[error(
        "record {path} was changed after it was written (its content hash does not match); delete the file and run again: only this run is repeated"
    )]
    Altered {
        /// The record.
        path: PathBuf,
    },
    /// A number is NaN or infinite.
    #[error(
        "behavior `{behavior}` of run {id} is {value}: a record holds finite numbers only; find out why the model or the measure gave it (a diverged training, an empty set of samples), then run again"
    )]
    NotFinite {
        /// The run.
        id: RunId,
        /// The behavior or time with the number.
        behavior: String,
        /// The number, or where it stands.
        value: String,
    },
    /// The same run was recorded with another result.
    #[error(
        "run {id} is already recorded in {path} with another result ({difference}); a run's key must determine its result, so add what differs to the key, or delete the old record and run again"
    )]
    Conflict {
        /// The run.
        id: RunId,
        /// The record that stands.
        path: PathBuf,
        /// The first field that differs.
        difference: String,
    },
    /// The record asked for does not exist.
    #[error("run {id} has no record in {path}; run the study (again) to make it")]
    Missing {
        /// The run.
        id: RunId,
        /// Where its record would be.
        path: PathBuf,
    },
    /// A second driver on one study.
    #[error("another driver{} works on this study (it holds {path}); wait for it to finish or stop it, or choose another output folder", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    DriverBusy {
        /// The lock file.
        path: PathBuf,
        /// The first driver's process id, if it could be read.
        pid: Option<u32>,
    },
    /// A file of the reference system without any result.
    #[error(
        "{path} holds no result of the reference system ({detail}); each line must be a JSON object with `remaining_idx` and `removed_idx`"
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// A file that does not say the class of every image.
    #[error(
        "{path} does not give the class of every image ({detail}); write one label a line, image 0 first, or a CSV with a column `class`"
    )]
    NotClasses {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A table with more in a column than the format has room for.
    #[error(
        "cannot write {path}: a column has more than 2 GiB, the limit of this format; write .csv or .jsonl"
    )]
    TableTooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A text that is no run id.
    #[error("`{text}` is not a run id: it must be 64 lower-case hexadecimal digits")]
    BadRunId {
        /// The text.
        text: String,
    },
    /// A value has no canonical JSON.
    #[error("{what} cannot be written as JSON: {source}; keys must be strings and numbers finite")]
    NotJson {
        /// What was to be written.
        what: &'static str,
        /// serde's reason.
        source: serde_json::Error,
    },
}

impl LedgerError {
    /// Sorts an input/output error by what the user can do about it.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> LedgerError {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LedgerError::DiskFull { path },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied if action != "read" => {
                LedgerError::NotWritable { path, source }
            }
            _ => LedgerError::Io { action, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_read_only_disks_are_told_apart() {
        let path = Path::new("out/records/x.json");
        let full = LedgerError::io("write", path, io::ErrorKind::StorageFull.into());
        assert!(full.to_string().contains("out/records/x.json") && full.to_string().contains("disk is full"));
        let sealed = LedgerError::io("write", path, io::ErrorKind::ReadOnlyFilesystem.into());
        assert!(matches!(sealed, LedgerError::NotWritable { .. }), "{sealed}");
        let unreadable = LedgerError::io("read", path, io::ErrorKind::PermissionDenied.into());
        assert!(matches!(unreadable, LedgerError::Io { .. }), "{unreadable}");
    }
}
