//! The folder of records.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::publish::{is_temp, publish_new, sweep};
use crate::{LedgerError, Record, RunId};

/// What `ledger.json` holds.
const FOLDER_FORMAT: &str = "{\"format\":\"tribute-ledger\",\"version\":1}\n";

/// A folder of records, claims and failures; see the [crate's page](crate). Cheap to open more than once, from any
/// number of threads and processes.
#[derive(Clone, Debug)]
pub struct Ledger {
    folder: PathBuf,
    swept: usize,
}

impl Ledger {
    /// Opens the ledger in a folder, creating it if missing, and sweeps what dead writers left.
    ///
    /// # Errors
    /// [`LedgerError::FolderFormat`] for another format version, [`LedgerError::NotWritable`],
    /// [`LedgerError::DiskFull`] or [`LedgerError::Io`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Ledger, LedgerError> {
        let mut ledger = Ledger { folder: folder.as_ref().to_path_buf(), swept: 0 };
        for name in ["records", "claims", "failures"] {
            let path = ledger.folder.join(name);
            fs::create_dir_all(&path).map_err(|error| LedgerError::io("create", &path, error))?;
        }
        for folder in [ledger.folder.clone(), ledger.records(), ledger.folder.join("failures")] {
            ledger.swept += sweep(&folder)?;
        }
        let path = ledger.folder.join("ledger.json");
        if !path.exists() {
            publish_new(&ledger.folder, "ledger.json", FOLDER_FORMAT.as_bytes())?;
        }
        let found = fs::read_to_string(&path).map_err(|error| LedgerError::io("read", &path, error))?;
        if found.trim() != FOLDER_FORMAT.trim() {
            let (found, expected) = (found.trim().to_string(), FOLDER_FORMAT.trim().to_string());
            return Err(LedgerError::FolderFormat { path, found, expected });
        }
        Ok(ledger)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many temporary files of dead writers were removed when this handle was opened.
    pub fn swept(&self) -> usize {
        self.swept
    }

    /// The file that holds, or would hold, a run's record.
    pub fn record_path(&self, id: RunId) -> PathBuf {
        self.records().join(format!("{id}.json"))
    }

    /// Writes a record: synced to the disk when this returns, or not there at all. Clears the run's failures.
    ///
    /// If the run has a record already, that one stays: putting the same result again (times aside) is fine.
    /// `times.finished_unix` is filled in if it is 0.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if another result is recorded for the run; [`LedgerError::NotFinite`];
    /// the errors of [`Ledger::get`] if the record that stands is damaged; [`LedgerError::DiskFull`],
    /// [`LedgerError::NotWritable`] or [`LedgerError::Io`].
    pub fn put(&self, record: &Record) -> Result<(), LedgerError> {
        let id = record.id();
        let mut dated = record.clone();
        if dated.times.finished_unix == 0 {
            dated.times.finished_unix = unix_now();
        }
        if !publish_new(&self.records(), &format!("{id}.json"), dated.to_text()?.as_bytes())? {
            let standing = self.get(id)?;
            if let Some(difference) = standing.difference(record) {
                return Err(LedgerError::Conflict { id, path: self.record_path(id), difference });
            }
        }
        self.clear_failure(id)
    }

    /// Whether the run has a record; a look at the file's name only, [`Ledger::get`] verifies it.
    pub fn contains(&self, id: RunId) -> bool {
        self.record_path(id).exists()
    }

    /// Reads and verifies a run's record.
    ///
    /// # Errors
    /// [`LedgerError::Missing`]; [`LedgerError::CutShort`], [`LedgerError::Foreign`], [`LedgerError::WrongId`] or
    /// [`LedgerError::Altered`] for a damaged one; [`LedgerError::Io`].
    pub fn get(&self, id: RunId) -> Result<Record, LedgerError> {
        let path = self.record_path(id);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LedgerError::Missing { id, path });
            }
            Err(error) => return Err(LedgerError::io("read", &path, error)),
        };
        let record = Record::from_text(&text, &path)?;
        if record.id() != id {
            let (expected, actual) = (id.to_string(), record.id().to_string());
            return Err(LedgerError::WrongId { path, expected, actual });
        }
        Ok(record)
    }

    /// The ids of all records, in order.
    ///
    /// # Errors
    /// [`LedgerError::Foreign`] for a file that is not named like a record; [`LedgerError::Io`].
    pub fn ids(&self) -> Result<Vec<RunId>, LedgerError> {
        let folder = self.records();
        let mut ids = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|error| LedgerError::io("read", &folder, error))? {
            let path = entry.map_err(|error| LedgerError::io("read", &folder, error))?.path();
            if is_temp(&path) {
                continue;
            }
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.strip_suffix(".json").and_then(|stem| stem.parse().ok()) {
                Some(id) => ids.push(id),
                None => {
                    let detail = "its name is not a run id and `.json`".to_string();
                    return Err(LedgerError::Foreign { path, detail });
                }
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// All records in order of their ids, each read and verified as it is reached.
    ///
    /// # Errors
    /// Those of [`Ledger::ids`]; the items have those of [`Ledger::get`].
    pub fn iter(&self) -> Result<impl Iterator<Item = Result<Record, LedgerError>> + '_, LedgerError> {
        Ok(self.ids()?.into_iter().map(|id| self.get(id)))
    }

    pub(crate) fn claim_path(&self, id: RunId) -> PathBuf {
        self.folder.join("claims").join(format!("{id}.lock"))
    }

    pub(crate) fn failure_path(&self, id: RunId) -> PathBuf {
        self.folder.join("failures").join(format!("{id}.json"))
    }

    fn records(&self) -> PathBuf {
        self.folder.join("records")
    }
}

/// Seconds since 1970-01-01 UTC; 0 on a clock set before that.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use removal::Coalition;

    use super::*;
    use crate::RunKey;

    fn record(seed: u64) -> Record {
        let key = RunKey::new("gd", Coalition::full(2)).seed("optimizer", seed);
        Record::new(key).unwrap().behavior("entropy", 1.5).seconds("unlearn", 2.0)
    }

    #[test]
    fn put_get_iter() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        assert!(matches!(ledger.get(record(0).id()), Err(LedgerError::Missing { .. })));
        for seed in [2, 0, 1] {
            ledger.put(&record(seed)).unwrap();
        }
        let again = Ledger::open(folder.path()).unwrap();
        let back = again.get(record(1).id()).unwrap();
        assert_eq!(back.without_times(), record(1).without_times());
        assert!(back.times.finished_unix > 1_700_000_000);
        let ids: Vec<_> = again.iter().unwrap().map(|record| record.unwrap().id()).collect();
        assert!(ids.is_sorted() && ids.len() == 3);
    }

    #[test]
    fn the_same_result_twice_is_fine_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        ledger.put(&record(0)).unwrap();
        let first = fs::read(ledger.record_path(record(0).id())).unwrap();
        ledger.put(&record(0).seconds("unlearn", 7.0)).unwrap();
        let message = ledger.put(&record(0).behavior("entropy", 1.25)).unwrap_err().to_string();
        assert!(message.contains("1.5") && message.contains("1.25"), "{message}");
        assert!(message.contains(ledger.record_path(record(0).id()).to_str().unwrap()), "{message}");
        assert_eq!(fs::read(ledger.record_path(record(0).id())).unwrap(), first);
    }

    #[test]
    fn damage_is_named_never_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        ledger.put(&record(0)).unwrap();
        ledger.put(&record(1)).unwrap();
        let path = ledger.record_path(record(0).id());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(matches!(ledger.get(record(0).id()), Err(LedgerError::CutShort { .. })));
        assert_eq!(ledger.iter().unwrap().filter(|item| item.is_err()).count(), 1);
        // A new result for that run must not pass over the damage either.
        assert!(matches!(ledger.put(&record(0)), Err(LedgerError::CutShort { .. })));
        fs::copy(ledger.record_path(record(1).id()), &path).unwrap();
        let message = ledger.get(record(0).id()).unwrap_err().to_string();
        assert!(message.contains("renamed or edited") && message.contains("delete"), "{message}");
        fs::remove_file(&path).unwrap();
        ledger.put(&record(0)).unwrap();
        fs::write(folder.path().join("records/notes.txt"), "hello").unwrap();
        let message = ledger.iter().err().unwrap().to_string();
        assert!(message.contains("notes.txt"), "{message}");
    }

    #[test]
    fn open_sweeps_and_checks_the_version() {
        let folder = tempfile::tempdir().unwrap();
        Ledger::open(folder.path()).unwrap();
        fs::write(folder.path().join("records/.tmp-4000000-7"), "{\"behav").unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        assert_eq!(ledger.swept(), 1);
        assert_eq!(ledger.ids().unwrap(), []);
        fs::write(folder.path().join("ledger.json"), "{\"format\":\"tribute-ledger\",\"version\":9}")
            .unwrap();
        let message = Ledger::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("\"version\":9") && message.contains("ledger.json"), "{message}");
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("records"), "").unwrap();
        let message = Ledger::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("records"), "{message}");
    }
}
