//! A whole file of results.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::line::Line;
use super::{Condition, ReferenceRow};
use crate::{LedgerError, RECORD_FORMAT};

/// A line of which something cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// A line that repeats the run of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedLine {
    /// Its number, from 1.
    pub line: usize,
    /// The earlier line, which counts.
    pub first: usize,
    /// Whether both measured the same.
    pub same_results: bool,
}

/// The rows of a database, and the lines that it leaves out.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceDatabase {
    /// The file.
    pub path: PathBuf,
    /// Whole rows in the order of the file, none of which repeats another.
    pub rows: Vec<ReferenceRow>,
    /// Lines that are torn, or hold what is no result.
    pub damaged: Vec<DamagedLine>,
    /// Lines whose run (same images, same [settings](super::SETTINGS)) an earlier line has.
    pub repeated: Vec<RepeatedLine>,
}

impl ReferenceDatabase {
    /// Reads a file. Lines that cannot be used are noted, not refused.
    ///
    /// # Errors
    /// [`LedgerError::Io`] if it cannot be read; [`LedgerError::NotADatabase`] if no line is a result.
    pub fn read(path: impl AsRef<Path>) -> Result<ReferenceDatabase, LedgerError> {
        let path = path.as_ref();
        let unreadable = |error| LedgerError::io("read", path, error);
        let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut database = ReferenceDatabase {
            path: path.to_owned(),
            rows: Vec::new(),
            damaged: Vec::new(),
            repeated: Vec::new(),
        };
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut bytes = Vec::new();
        let mut number = 0;
        while reader.read_until(b'\n', &mut bytes).map_err(unreadable)? > 0 {
            number += 1;
            database.add(number, &bytes, &mut places);
            bytes.clear();
        }
        if database.rows.is_empty() {
            let detail =
                database.damaged.first().map(|damaged| format!("line {}: {}", damaged.line, damaged.reason));
            let detail = detail.unwrap_or_else(|| "it has no lines".into());
            return Err(LedgerError::NotADatabase { path: path.to_owned(), detail });
        }
        Ok(database)
    }

    /// Whether the file is one of these and not one of our own records, by its beginning: our records say their format.
    ///
    /// # Errors
    /// [`LedgerError::Io`] if it cannot be read.
    pub fn looks_like_one(path: impl AsRef<Path>) -> Result<bool, LedgerError> {
        use std::io::Read;
        let path = path.as_ref();
        let unreadable = |error| LedgerError::io("read", path, error);
        let mut beginning = Vec::new();
        File::open(path)
            .map_err(unreadable)?
            .take(1 << 20)
            .read_to_end(&mut beginning)
            .map_err(unreadable)?;
        let ours = format!("\"format\":\"{RECORD_FORMAT}\"");
        let says_so = beginning.windows(ours.len()).any(|part| part == ours.as_bytes());
        Ok(!says_so && beginning.iter().any(|byte| !byte.is_ascii_whitespace()))
    }

    /// The rows for which all of the conditions hold.
    pub fn matching(&self, conditions: &[Condition]) -> Vec<&ReferenceRow> {
        self.rows.iter().filter(|row| conditions.iter().all(|condition| condition.holds(row))).collect()
    }

    fn add(&mut self, number: usize, bytes: &[u8], places: &mut HashMap<String, usize>) {
        let line = Line::parse(bytes);
        for object in line.objects {
            match ReferenceRow::new(number, object) {
                Ok(row) => self.keep(row, places),
                Err(reason) => self.damaged.push(DamagedLine { line: number, reason }),
            }
        }
        if let Some(reason) = line.damage {
            self.damaged.push(DamagedLine { line: number, reason });
        }
    }

    fn keep(&mut self, row: ReferenceRow, places: &mut HashMap<String, usize>) {
        let mut identity = row.images.as_ref().map_or_else(String::new, ToString::to_string);
        for (name, value) in row.settings() {
            identity.push_str(&format!(",{name}={value}"));
        }
        match places.get(&identity) {
            Some(&place) => {
                let first = &self.rows[place];
                let same_results = first.same_results(&row);
                self.repeated.push(RepeatedLine { line: row.line, first: first.line, same_results });
            }
            None => {
                places.insert(identity, self.rows.len());
                self.rows.push(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"exp_name": "a", "removal_seed": 0, "remaining_idx": [0, 2], "removed_idx": [1], "is": 2.5, "total_steps_time": 1.0}
{"exp_name": "a", "removal_seed": 1, "remaining_idx": [0], "remo
{"exp_name": "a", "removal_seed": 0, "remaining_idx": [2, 0], "removed_idx": [1], "is": 2.5, "total_steps_time": 9.0}

{"exp_name": "b", "removal_seed": 0, "remaining_idx": [0, 2], "removed_idx": [1], "is": 2.5}
{"exp_name": "a", "removal_seed": 0, "remaining_idx": [0, 2], "removed_idx": [1], "is": 2.75}
{"exp_name": "a", "removal_seed": 3, "remaining_idx": [0, 0], "removed_idx": [1], "is": 2.75}
{"exp_name": "a", "removal_seed": 4, "remaining_idx": [1], "removed_idx": [0, 2], "is": NaN}{"exp_name": "a", "removal_seed": 5, "remaining_idx": [0, 1], "removed_idx": [2], "is": 4}
"#;

    #[test]
    fn every_line_is_kept_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        std::fs::write(&path, TEXT).unwrap();
        assert!(ReferenceDatabase::looks_like_one(&path).unwrap());
        let database = ReferenceDatabase::read(&path).unwrap();
        let lines: Vec<usize> = database.rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, [1, 5, 8, 8]);
        let damaged: Vec<usize> = database.damaged.iter().map(|damaged| damaged.line).collect();
        assert_eq!(damaged, [2, 7]);
        assert!(database.damaged[0].reason.contains("torn"), "{:?}", database.damaged);
        let repeated = |line, same_results| RepeatedLine { line, first: 1, same_results };
        assert_eq!(database.repeated, [repeated(3, true), repeated(6, false)]);
        assert_eq!(database.matching(&[Condition::equals("exp_name", "a")]).len(), 3);
        let both = [Condition::equals("exp_name", "a"), Condition::one_of("removal_seed", [4, 5])];
        assert_eq!(database.matching(&both).len(), 2);
    }

    proptest::proptest! {
        /// Whatever is cut out of a file or put into it: no panic, and no line with a result that is neither kept nor named.
        #[test]
        fn damage_never_panics(cut in 0..TEXT.len(), length in 0usize..90, put in "[\\x00-\\x7f]{0,20}") {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes.splice(cut..(cut + length).min(TEXT.len()), put.bytes());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("train.jsonl");
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(database) = ReferenceDatabase::read(&path) {
                let lines = bytes.split(|byte| *byte == b'\n').enumerate();
                let filled = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(place, _)| place + 1);
                for line in filled {
                    let kept = database.rows.iter().any(|row| row.line == line);
                    let damaged = database.damaged.iter().any(|damaged| damaged.line == line);
                    let repeated = database.repeated.iter().any(|repeated| repeated.line == line);
                    proptest::prop_assert!(kept || damaged || repeated, "line {} is lost", line);
                }
            }
        }
    }

    #[test]
    fn a_file_without_results_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "hello\n").unwrap();
        let message = ReferenceDatabase::read(&path).unwrap_err().to_string();
        assert!(message.contains("notes.txt") && message.contains("line 1"), "{message}");
        std::fs::write(&path, "\n").unwrap();
        assert!(!ReferenceDatabase::looks_like_one(&path).unwrap());
        assert!(ReferenceDatabase::read(&path).unwrap_err().to_string().contains("no lines"));
    }
}
