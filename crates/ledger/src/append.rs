//! One more record in a file of records that many writers share.

use std::fs;
use std::io;
use std::path::Path;

use crate::publish::{plain_file, replace};
use crate::{LedgerError, Record};

/// Adds a record to a file of records, one record's JSON a line as [`Ledger::export_jsonl`](crate::Ledger::export_jsonl)
/// writes them; makes the file if it is missing. Says whether the record was added: one that is there already is not added
/// again.
///
/// Writers take turns by a lock on `.<name>.lock` beside the file, which stays; readers see the file without or with the
/// whole new line, never a part of it.
///
/// # Errors
/// [`LedgerError::Conflict`] if the file has another result for the run; the errors of [`Record::from_text`] for a line
/// that is no whole, unaltered record; [`LedgerError::NotFinite`]; [`LedgerError::Io`] and the like. The file then stays as
/// it was.
pub fn append_jsonl(path: &Path, record: &Record) -> Result<bool, LedgerError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let lock_path = path.with_file_name(format!(".{name}.lock"));
    let lock = plain_file()
        .create(true)
        .append(true)
        .open(&lock_path)
        .map_err(|error| LedgerError::io("create", &lock_path, error))?;
    lock.lock().map_err(|error| LedgerError::io("lock", &lock_path, error))?;

    let mut text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(LedgerError::io("read", path, error)),
    };
    let mut standing = None;
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        // Every line is verified, so that damage is told whatever is added.
        let line = Record::from_text(line, path)?;
        if line.id() == record.id() {
            standing = Some(line);
        }
    }
    if let Some(standing) = standing {
        return match standing.difference(record) {
            None => Ok(false),
            Some(difference) => {
                Err(LedgerError::Conflict { id: record.id(), path: path.to_owned(), difference })
            }
        };
    }
    if text.last().is_some_and(|&byte| byte != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(record.to_text()?.as_bytes());
    replace(path, &text).map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunKey;
    use removal::Coalition;

    fn record(steps: u64) -> Record {
        let key = RunKey::new("gd", Coalition::full(3)).setting("steps", &steps).unwrap();
        Record::new(key).unwrap().behavior("charm", steps as f64)
    }

    fn lines(path: &Path) -> Vec<Record> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'));
        text.lines().map(|line| Record::from_text(line.as_bytes(), path).unwrap()).collect()
    }

    #[test]
    fn many_writers_lose_and_tear_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.jsonl");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..10 {
                        // Every record is written by two writers.
                        append_jsonl(path, &record(writer / 2 * 10 + number)).unwrap();
                    }
                });
            }
        });
        let mut steps: Vec<f64> =
            lines(&path).iter().map(|record| record.behaviors["charm"].scalar().unwrap()).collect();
        steps.sort_by(f64::total_cmp);
        assert_eq!(steps, (0..20).map(f64::from).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_is_there_once_and_damage_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.jsonl");
        assert!(append_jsonl(&path, &record(1)).unwrap());
        assert!(!append_jsonl(&path, &record(1).seconds("train", 3.0)).unwrap());
        let other = append_jsonl(&path, &record(1).behavior("charm", 7.0)).unwrap_err();
        assert!(matches!(other, LedgerError::Conflict { .. }), "{other}");
        assert_eq!(lines(&path), [record(1)]);

        // A file whose last line lacks its line feed is whole all the same; a cut line is not.
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 1]).unwrap();
        assert!(append_jsonl(&path, &record(2)).unwrap());
        assert_eq!(lines(&path), [record(1), record(2)]);
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(append_jsonl(&path, &record(3)).is_err());
        assert_eq!(fs::read(&path).unwrap(), text[..text.len() / 2]);
    }
}
