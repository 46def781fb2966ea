//! Who works on what: locks that the operating system frees when their holder dies.
//!
//! They spare work, and nothing more: on a file system without locks every claim is granted, and two workers that do the same
//! run leave one record all the same, since its name is given by a link that refuses to replace.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::publish::{has_no_locks, plain_file};
use crate::{Ledger, LedgerError, RunId};

/// The exclusive right to work on one run, until dropped or until the process ends in whatever way.
#[derive(Debug)]
pub struct Claim {
    id: RunId,
    index: usize,
    path: PathBuf,
    file: File,
    exclusive: bool,
}

impl Claim {
    /// The run.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Whether nobody else can have it: `false` on a file system without locks.
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Its place in the list given to [`Ledger::next_claim`]; 0 from [`Ledger::claim`].
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Removed while still locked; `lock_current` sees when it locked a file that has just been removed. Where a
        // file's identity cannot be asked for, it stays, empty and unlocked, and harms nobody.
        if cfg!(unix) {
            let _ = fs::remove_file(&self.path);
        }
        if self.exclusive {
            let _ = self.file.unlock();
        }
    }
}

/// What came of asking for one run.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// It is yours.
    Claimed(Claim),
    /// It has a record.
    Done,
    /// Somebody works on it, with this process id where it could be read.
    Busy(Option<u32>),
}

/// Runs of a list that cannot be claimed.
#[derive(Default)]
struct Others {
    running: usize,
    failed: usize,
}

/// What came of asking for any run of a list.
#[derive(Debug)]
pub enum Next {
    /// This one is yours.
    Claimed(Claim),
    /// Everything left is being worked on by others: ask again later, one of them may die.
    Busy {
        /// How many runs others work on.
        running: usize,
    },
    /// No run is left but those that failed too often.
    Finished {
        /// How many runs failed too often.
        failed: usize,
    },
}

impl Ledger {
    /// Asks for one run.
    ///
    /// # Errors
    /// [`LedgerError::Io`] and its kin for the lock file.
    pub fn claim(&self, id: RunId) -> Result<ClaimOutcome, LedgerError> {
        self.claim_at(id, 0)
    }

    /// Asks for the first run of a list that has no record and that nobody works on; runs that failed before come
    /// last, and not at all after `max_attempts` failures.
    ///
    /// # Errors
    /// [`LedgerError::Io`] and its kin for the lock files, or a failure file that cannot be read.
    pub fn next_claim(&self, ids: &[RunId], max_attempts: u32) -> Result<Next, LedgerError> {
        let mut retries = Vec::new();
        let mut others = Others::default();
        for (index, &id) in ids.iter().enumerate() {
            if self.contains(id) {
                continue;
            }
            if self.failure(id)?.is_some() {
                retries.push((index, id));
            } else if let Some(claim) = self.claim_unless_hopeless(id, index, max_attempts, &mut others)? {
                return Ok(Next::Claimed(claim));
            }
        }
        for (index, id) in retries {
            if let Some(claim) = self.claim_unless_hopeless(id, index, max_attempts, &mut others)? {
                return Ok(Next::Claimed(claim));
            }
        }
        let Others { running, failed } = others;
        Ok(if running > 0 { Next::Busy { running } } else { Next::Finished { failed } })
    }

    /// Claims a run; counts it where it cannot be had.
    fn claim_unless_hopeless(
        &self,
        id: RunId,
        index: usize,
        max_attempts: u32,
        others: &mut Others,
    ) -> Result<Option<Claim>, LedgerError> {
        match self.claim_at(id, index)? {
            ClaimOutcome::Done => Ok(None),
            ClaimOutcome::Busy(_) => {
                others.running += 1;
                Ok(None)
            }
            // Asked under the claim: a worker that failed a moment ago has written its note by now.
            ClaimOutcome::Claimed(claim) => match self.failure(id)? {
                Some(failure) if failure.attempts >= max_attempts => {
                    others.failed += 1;
                    Ok(None)
                }
                _ => Ok(Some(claim)),
            },
        }
    }

    fn claim_at(&self, id: RunId, index: usize) -> Result<ClaimOutcome, LedgerError> {
        if self.contains(id) {
            return Ok(ClaimOutcome::Done);
        }
        let path = self.claim_path(id);
        let Some(Locked { file, exclusive }) = lock_current(&path)? else {
            return Ok(ClaimOutcome::Busy(read_pid(&path)));
        };
        let claim = Claim { id, index, path, file, exclusive };
        // The former holder may have put its record between our look and our lock.
        if self.contains(id) { Ok(ClaimOutcome::Done) } else { Ok(ClaimOutcome::Claimed(claim)) }
    }
}

/// The exclusive right to drive a whole study, until dropped or until the process ends in whatever way.
#[derive(Debug)]
pub struct DriverLock {
    file: Locked,
}

impl DriverLock {
    /// Takes the lock of the study whose output is `folder` (created if missing).
    ///
    /// # Errors
    /// [`LedgerError::DriverBusy`] with the other driver's process id if there is one.
    pub fn acquire(folder: impl AsRef<Path>) -> Result<DriverLock, LedgerError> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(|error| LedgerError::io("create", folder, error))?;
        let path = folder.join("driver.lock");
        match try_lock(&path)? {
            Some(file) => Ok(DriverLock { file }),
            None => Err(LedgerError::DriverBusy { pid: read_pid(&path), path }),
        }
    }

    /// Whether a second driver would be refused: `false` on a file system without locks.
    pub fn is_exclusive(&self) -> bool {
        self.file.exclusive
    }
}

/// An open file of ours.
#[derive(Debug)]
struct Locked {
    file: File,
    /// Whether it is locked; a file system may have no locks.
    exclusive: bool,
}

/// Locks a file that its holders remove when done. `None` if another holds it.
fn lock_current(path: &Path) -> Result<Option<Locked>, LedgerError> {
    loop {
        let Some(locked) = try_lock(path)? else { return Ok(None) };
        if !locked.exclusive || is_current(&locked.file, path) {
            return Ok(Some(locked));
        }
        // We locked what its former holder has removed meanwhile; the name is free or means a new file.
    }
}

/// Opens, locks and signs a file with our process id. `None` if another holds it.
fn try_lock(path: &Path) -> Result<Option<Locked>, LedgerError> {
    // `Ledger::status` looks by locking for an instant; that is no reason to think somebody works here.
    for patience in [Some(2), Some(5), Some(10), None] {
        let opened = plain_file().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.map_err(|error| LedgerError::io("create", path, error))?;
        let sign = |file: &mut File| {
            let signed = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| writeln!(file, "{}", std::process::id()));
            signed.map_err(|error| LedgerError::io("write", path, error))
        };
        match (file.try_lock(), patience) {
            (Ok(()), _) => {
                sign(&mut file)?;
                return Ok(Some(Locked { file, exclusive: true }));
            }
            (Err(fs::TryLockError::Error(error)), _) if has_no_locks(&error) => {
                sign(&mut file)?;
                return Ok(Some(Locked { file, exclusive: false }));
            }
            (Err(fs::TryLockError::WouldBlock), Some(patience)) => {
                drop(file);
                std::thread::sleep(Duration::from_millis(patience));
            }
            (Err(fs::TryLockError::WouldBlock), None) => {}
            (Err(fs::TryLockError::Error(error)), _) => return Err(LedgerError::io("lock", path, error)),
        }
    }
    Ok(None)
}

/// Whether the open file is still what its name means.
#[cfg(unix)]
fn is_current(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.dev() == named.dev() && open.ino() == named.ino(),
        _ => false,
    }
}

/// Whether the open file is still what its name means: lock files are never removed here.
#[cfg(not(unix))]
fn is_current(_: &File, _: &Path) -> bool {
    true
}

/// Whether somebody holds the lock; looking does not create the file.
pub(crate) fn is_locked(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// The process id that a lock's holder wrote into it.
pub(crate) fn read_pid(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, RunKey};
    use removal::Coalition;

    fn key(seed: u64) -> RunKey {
        RunKey::new("gd", Coalition::full(2)).seed("optimizer", seed)
    }

    #[test]
    fn one_claim_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let id = key(0).id().unwrap();
        let ClaimOutcome::Claimed(claim) = ledger.claim(id).unwrap() else { panic!("free") };
        let ClaimOutcome::Busy(pid) = ledger.claim(id).unwrap() else { panic!("busy") };
        assert_eq!(pid, Some(std::process::id()));
        drop(claim);
        let ClaimOutcome::Claimed(claim) = ledger.claim(id).unwrap() else { panic!("free again") };
        ledger.put(&Record::new(key(0)).unwrap()).unwrap();
        drop(claim);
        assert!(matches!(ledger.claim(id).unwrap(), ClaimOutcome::Done));
        assert_eq!(fs::read_dir(folder.path().join("claims")).unwrap().count(), 0);
    }

    #[test]
    fn failed_runs_come_last_and_not_forever() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let ids: Vec<_> = (0..2).map(|seed| key(seed).id().unwrap()).collect();
        let mut order = Vec::new();
        loop {
            match ledger.next_claim(&ids, 2).unwrap() {
                Next::Claimed(claim) => {
                    order.push(claim.index());
                    ledger.fail(&claim, "the loss exploded").unwrap();
                }
                Next::Busy { .. } => panic!("nobody else is here"),
                Next::Finished { failed } => {
                    assert_eq!(failed, 2);
                    break;
                }
            }
        }
        assert_eq!(order, [0, 1, 0, 1]);
    }

    #[test]
    fn a_held_run_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let ids = [key(0).id().unwrap()];
        let Next::Claimed(claim) = ledger.next_claim(&ids, 1).unwrap() else { panic!("free") };
        assert!(matches!(ledger.next_claim(&ids, 1).unwrap(), Next::Busy { running: 1 }));
        drop(claim);
        assert!(matches!(ledger.next_claim(&ids, 1).unwrap(), Next::Claimed(_)));
    }

    #[test]
    fn a_second_driver_is_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path().join("study");
        let first = DriverLock::acquire(&study).unwrap();
        let message = DriverLock::acquire(&study).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        assert!(message.contains("driver.lock"), "{message}");
        drop(first);
        DriverLock::acquire(&study).unwrap();
    }
}
