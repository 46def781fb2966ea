//! How far a study is.

use crate::claim::{is_locked, read_pid};
use crate::{Failure, Ledger, LedgerError, RunId};

/// A run that somebody works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The run.
    pub id: RunId,
    /// The worker's process id, if it could be read.
    pub pid: Option<u32>,
}

/// How far a list of runs is; every run counts in exactly one of the four.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Runs with a record.
    pub done: usize,
    /// Runs that somebody works on.
    pub running: Vec<Running>,
    /// Runs whose last attempt failed.
    pub failed: Vec<Failure>,
    /// Runs not begun.
    pub left: usize,
    /// Mean recorded seconds of a done run; `None` before the first.
    pub mean_run_seconds: Option<f64>,
}

impl Status {
    /// All runs asked about.
    pub fn total(&self) -> usize {
        self.done + self.running.len() + self.failed.len() + self.left
    }

    /// Seconds until all are done, if `workers` work at once, runs go on taking what they took on average, those that
    /// failed succeed, and those running have just begun (so it errs on the late side). `None` before the first record.
    pub fn eta_seconds(&self, workers: usize) -> Option<f64> {
        let open = (self.total() - self.done) as f64;
        self.mean_run_seconds.map(|mean| open * mean / workers.max(1) as f64)
    }
}

impl Ledger {
    /// How far these runs are. Reads and verifies every record among them.
    ///
    /// # Errors
    /// Those of [`Ledger::get`] and [`Ledger::failure`]: damage is reported, not counted away.
    pub fn status(&self, ids: &[RunId]) -> Result<Status, LedgerError> {
        let mut status =
            Status { done: 0, running: Vec::new(), failed: Vec::new(), left: 0, mean_run_seconds: None };
        let mut seconds = 0.0;
        for &id in ids {
            // Looked at before the record: a run that ends meanwhile is then running or done, never left.
            let running = is_locked(&self.claim_path(id));
            if self.contains(id) {
                status.done += 1;
                seconds += self.get(id)?.times.total();
            } else if running {
                status.running.push(Running { id, pid: read_pid(&self.claim_path(id)) });
            } else if let Some(failure) = self.failure(id)? {
                status.failed.push(failure);
            } else {
                status.left += 1;
            }
        }
        if status.done > 0 {
            status.mean_run_seconds = Some(seconds / status.done as f64);
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClaimOutcome, Record, RunKey};
    use removal::Coalition;

    #[test]
    fn every_run_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let keys: Vec<_> =
            (0..7).map(|seed| RunKey::new("gd", Coalition::full(2)).seed("optimizer", seed)).collect();
        let ids: Vec<_> = keys.iter().map(|key| key.id().unwrap()).collect();
        assert_eq!(ledger.status(&ids).unwrap().eta_seconds(1), None);
        for (key, seconds) in keys[..2].iter().zip([2.0, 4.0]) {
            let record = Record::new(key.clone()).unwrap().seconds("unlearn", seconds - 1.0);
            ledger.put(&record.seconds("sample", 1.0)).unwrap();
        }
        let ClaimOutcome::Claimed(_running) = ledger.claim(ids[2]).unwrap() else { panic!("free") };
        let ClaimOutcome::Claimed(failing) = ledger.claim(ids[3]).unwrap() else { panic!("free") };
        ledger.fail(&failing, "no memory").unwrap();
        drop(failing);
        let status = ledger.status(&ids).unwrap();
        assert_eq!((status.done, status.left, status.total()), (2, 3, 7));
        assert_eq!(status.running, [Running { id: ids[2], pid: Some(std::process::id()) }]);
        assert_eq!(status.failed[0].message, "no memory");
        assert_eq!(status.mean_run_seconds, Some(3.0));
        assert_eq!(status.eta_seconds(1), Some(15.0));
        assert_eq!(status.eta_seconds(2), Some(7.5));
    }
}
