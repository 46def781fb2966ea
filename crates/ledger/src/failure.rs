//! Runs that did not come to a record.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::publish::replace;
use crate::store::unix_now;
use crate::{Claim, Ledger, LedgerError, RunId, canonical_json};

/// The last failure of a run: `failures/<run id>.json`, removed when the run gets its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The run.
    pub id: RunId,
    /// How often it failed so far.
    pub attempts: u32,
    /// What went wrong the last time.
    pub message: String,
    /// When, in seconds since 1970-01-01 UTC.
    pub unix: u64,
}

impl Ledger {
    /// Notes that a claimed run failed, on top of its earlier failures.
    ///
    /// # Errors
    /// [`LedgerError::Io`] and its kin.
    pub fn fail(&self, claim: &Claim, message: impl Into<String>) -> Result<Failure, LedgerError> {
        let attempts = self.failure(claim.id())?.map_or(0, |failure| failure.attempts).saturating_add(1);
        let failure = Failure { id: claim.id(), attempts, message: message.into(), unix: unix_now() };
        replace(&self.failure_path(claim.id()), (canonical_json(&failure)? + "\n").as_bytes())?;
        Ok(failure)
    }

    /// The last failure of a run, if it failed and has no record since.
    ///
    /// # Errors
    /// [`LedgerError::Io`], or [`LedgerError::Foreign`] if the file is no failure note of this run.
    pub fn failure(&self, id: RunId) -> Result<Option<Failure>, LedgerError> {
        let path = self.failure_path(id);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::io("read", &path, error)),
        };
        let foreign = |detail: String| LedgerError::Foreign { path: path.clone(), detail };
        let failure: Failure = serde_json::from_slice(&text).map_err(|error| foreign(error.to_string()))?;
        if failure.id != id {
            return Err(foreign(format!("it is about run {}", failure.id)));
        }
        Ok(Some(failure))
    }

    /// Forgets a run's failures, so that it is tried again.
    ///
    /// # Errors
    /// [`LedgerError::Io`] and its kin.
    pub fn clear_failure(&self, id: RunId) -> Result<(), LedgerError> {
        remove_if_there(&self.failure_path(id))
    }
}

fn remove_if_there(path: &Path) -> Result<(), LedgerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LedgerError::io("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClaimOutcome, Record, RunKey};
    use removal::Coalition;

    #[test]
    fn failures_add_up_until_success() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let record = Record::new(RunKey::new("gd", Coalition::full(2))).unwrap();
        let ClaimOutcome::Claimed(claim) = ledger.claim(record.id()).unwrap() else { panic!("free") };
        assert_eq!(ledger.failure(claim.id()).unwrap(), None);
        ledger.fail(&claim, "first").unwrap();
        ledger.fail(&claim, "second").unwrap();
        let failure = ledger.failure(claim.id()).unwrap().unwrap();
        assert_eq!((failure.attempts, failure.message.as_str()), (2, "second"));
        ledger.put(&record).unwrap();
        assert_eq!(ledger.failure(claim.id()).unwrap(), None);
    }

    #[test]
    fn a_broken_note_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let id = Record::new(RunKey::new("gd", Coalition::full(2))).unwrap().id();
        fs::write(ledger.failure_path(id), b"{\"attem").unwrap();
        let message = ledger.failure(id).unwrap_err().to_string();
        assert!(message.contains(&id.to_string()) && message.contains("delete"), "{message}");
        ledger.clear_failure(id).unwrap();
        assert_eq!(ledger.failure(id).unwrap(), None);
    }
}
