//! Where records are found: the study's own ledger, and those of retrained models that come with the study.

use std::collections::BTreeMap;
use std::path::Path;

use ledger::{Ledger, LedgerError, Record, RunId};

use crate::error::StudyError;

/// A study's records. The study's own come first; shipped ones stand in where it has none.
#[derive(Debug)]
pub struct Records {
    ledger: Ledger,
    shipped: BTreeMap<RunId, Record>,
}

impl Records {
    /// The records of `ledger` and those in the file `shipped`, if given.
    ///
    /// # Errors
    /// As [`read_records`].
    pub fn new(ledger: Ledger, shipped: Option<&Path>) -> Result<Self, StudyError> {
        Ok(Self { ledger, shipped: shipped.map_or_else(|| Ok(BTreeMap::new()), read_records)? })
    }

    /// The study's own records.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether the run has a record.
    pub fn has(&self, id: RunId) -> bool {
        self.ledger.contains(id) || self.shipped.contains_key(&id)
    }

    /// Whether the run has a shipped record only.
    pub fn is_shipped(&self, id: RunId) -> bool {
        !self.ledger.contains(id) && self.shipped.contains_key(&id)
    }

    /// A run's record.
    ///
    /// # Errors
    /// A damaged record, or none.
    pub fn get(&self, id: RunId) -> Result<Record, StudyError> {
        match self.shipped.get(&id) {
            Some(record) if !self.ledger.contains(id) => Ok(record.clone()),
            _ => Ok(self.ledger.get(id)?),
        }
    }
}

/// How many records of a file the ledger has too, and how many of those it has with the same content, times aside.
///
/// # Errors
/// As [`read_records`], and damaged records in the ledger.
pub(crate) fn reproduced(ledger: &Ledger, shipped: &Path) -> Result<(usize, usize), StudyError> {
    let (mut common, mut same) = (0, 0);
    for (id, record) in read_records(shipped)? {
        if ledger.contains(id) {
            common += 1;
            same += usize::from(ledger.get(id)?.behaviors == record.behaviors);
        }
    }
    Ok((common, same))
}

/// Reads the records of a file, one JSON object a line, as `tribute export --format jsonl` writes them.
///
/// # Errors
/// If the file cannot be read, or a line is no whole, unaltered record.
pub fn read_records(path: &Path) -> Result<BTreeMap<RunId, Record>, StudyError> {
    let text = std::fs::read(path).map_err(StudyError::io("read", path))?;
    let mut records = BTreeMap::new();
    for (place, line) in text.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let record = Record::from_text(line, path).map_err(|error| StudyError::BadRecordLine {
            path: path.to_owned(),
            line: place + 1,
            reason: reason_of(&error),
        })?;
        records.insert(record.id(), record);
    }
    Ok(records)
}

/// What is wrong with a line, without the advice for a record that is a file of its own.
fn reason_of(error: &LedgerError) -> String {
    match error {
        LedgerError::CutShort { detail, .. } => format!("it is cut short, {detail}"),
        LedgerError::Foreign { detail, .. } => detail.clone(),
        LedgerError::Altered { .. } | LedgerError::WrongId { .. } => {
            "it was changed after it was written".into()
        }
        other => other.to_string(),
    }
}
