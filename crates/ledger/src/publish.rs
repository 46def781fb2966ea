//! Files that appear whole or not at all.
//!
//! Nothing here relies on locks: a record's name is given by a link that refuses to replace, any other file's by a rename.
//! Where locks work, they tell a living writer's temporary file from a leftover.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::LedgerError;

/// Temporary names begin with this; nothing else in a ledger does.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";

/// How long a temporary file is left alone where locks cannot tell whether its writer lives.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Options for a file that its owner may write and everybody may read, as far as the process's umask allows it.
pub(crate) fn plain_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    options
}

/// A word that no other process has, on this machine or another that sees the same folder: process ids repeat in
/// containers.
fn process_word() -> u64 {
    static WORD: OnceLock<u64> = OnceLock::new();
    // The standard library seeds its hash maps by the operating system's random numbers.
    *WORD.get_or_init(|| RandomState::new().build_hasher().finish())
}

/// Whether an error says that the file system has no locks, not that somebody holds this one.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    // ENOLCK; ENOSYS, EOPNOTSUPP and ENOTSUP are of this kind.
    error.kind() == io::ErrorKind::Unsupported
        || (cfg!(target_os = "linux") && error.raw_os_error() == Some(37))
}

/// Locks a file for its lifetime; `false` where the file system has no locks.
fn lock_if_possible(file: &File) -> io::Result<bool> {
    match file.lock() {
        Ok(()) => Ok(true),
        Err(error) if has_no_locks(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file with a temporary name, locked by its writer and removed on drop.
///
/// The lock tells a living writer's file from a leftover: see [`sweep`].
struct TempFile {
    path: PathBuf,
    file: File,
}

impl TempFile {
    /// Writes and syncs `bytes` under a temporary name in `folder`.
    fn write(folder: &Path, bytes: &[u8]) -> Result<TempFile, LedgerError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{TEMP_PREFIX}{:016x}-{number}", process_word()));
            let file = match plain_file().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                // Another writer's, against all odds: take the next number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(LedgerError::io("create", &path, error)),
            };
            let mut temp = TempFile { path, file };
            let written = lock_if_possible(&temp.file)
                .and_then(|_| temp.file.write_all(bytes))
                .and_then(|()| temp.file.sync_all());
            match written {
                Ok(()) => return Ok(temp),
                Err(error) => return Err(LedgerError::io("write", &temp.path, error)),
            }
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // After a rename it is gone already; if removing fails, the next `sweep` does it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Creates `folder/name` with these bytes, synced, unless the name is taken: then `false`, and nothing has changed.
pub(crate) fn publish_new(folder: &Path, name: &str, bytes: &[u8]) -> Result<bool, LedgerError> {
    let target = folder.join(name);
    // More than one attempt only if another process swept the file between its creation and its lock.
    for _ in 0..16 {
        let temp = TempFile::write(folder, bytes)?;
        match fs::hard_link(&temp.path, &target) {
            Ok(()) => return sync_folder(folder).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !temp.path.exists() => continue,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
            {
                return rename_new(folder, &temp, &target);
            }
            Err(error) => return Err(LedgerError::io("create", &target, error)),
        }
    }
    let error = io::Error::other("its temporary file is removed again and again by another program");
    Err(LedgerError::io("create", &target, error))
}

/// [`publish_new`] on file systems without hard links: a rename that only the holder of the folder's lock may do.
///
/// On one without locks, too, two writers may both find the name free; the later rename then replaces the file by one of
/// the same run, which differs in its times alone.
fn rename_new(folder: &Path, temp: &TempFile, target: &Path) -> Result<bool, LedgerError> {
    let lock_path = folder.join(format!("{TEMP_PREFIX}publish.lock"));
    let opened = plain_file().write(true).create(true).truncate(true).open(&lock_path);
    let lock = opened.and_then(|lock| lock_if_possible(&lock).map(|_| lock));
    let _lock = lock.map_err(|error| LedgerError::io("lock", &lock_path, error))?;
    if target.exists() {
        return Ok(false);
    }
    fs::rename(&temp.path, target).map_err(|error| LedgerError::io("create", target, error))?;
    sync_folder(folder).map(|()| true)
}

/// Creates or replaces a file: its readers see the old bytes or the new ones, never a part, and it is on the disk when this
/// returns.
///
/// # Errors
/// [`LedgerError::DiskFull`], [`LedgerError::NotWritable`] or [`LedgerError::Io`]; the file is then as it was.
pub fn write_file(target: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    replace(target, bytes)
}

/// [`write_file`].
pub(crate) fn replace(target: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    check_replaceable(target).map_err(|error| LedgerError::io("write", target, error))?;
    let mut swept = 0;
    loop {
        let temp = TempFile::write(folder, bytes)?;
        match fs::rename(&temp.path, target) {
            Ok(()) => return sync_folder(folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !temp.path.exists() && swept < 16 => {
                swept += 1
            }
            Err(error) => return Err(LedgerError::io("create", target, error)),
        }
    }
}

/// Refuses to put a file in the place of a device, a pipe or a folder: whoever may, would replace `/dev/stdout` by it.
fn check_replaceable(target: &Path) -> io::Result<()> {
    match fs::metadata(target) {
        Ok(there) if !there.is_file() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is a device, a pipe or a folder of this name: choose another one",
        )),
        _ => Ok(()),
    }
}

/// Removes the temporary files of writers that are no more; those of living ones are locked. Gives their number.
pub(crate) fn sweep(folder: &Path) -> Result<usize, LedgerError> {
    let mut swept = 0;
    for entry in fs::read_dir(folder).map_err(|error| LedgerError::io("read", folder, error))? {
        let path = entry.map_err(|error| LedgerError::io("read", folder, error))?.path();
        if !is_temp(&path) {
            continue;
        }
        // It may be gone by now, with its living writer.
        let Ok(file) = File::open(&path) else { continue };
        let dead = match file.try_lock() {
            Ok(()) => true,
            Err(fs::TryLockError::Error(error)) if has_no_locks(&error) => is_old(&file),
            Err(_) => false,
        };
        if dead && fs::remove_file(&path).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

/// Whether a file has not been written to for longer than any write takes.
fn is_old(file: &File) -> bool {
    let written = file.metadata().and_then(|about| about.modified());
    // A file system without times, or with one from the future, keeps it.
    written.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > PATIENCE))
}

/// Whether the name is a temporary one.
pub(crate) fn is_temp(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMP_PREFIX))
}

/// Makes new names in a folder survive a power failure.
fn sync_folder(folder: &Path) -> Result<(), LedgerError> {
    // Only Unix can open a folder to sync it; elsewhere the file system's journal has to do.
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| LedgerError::io("sync", folder, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_first_writer_wins() {
        let folder = tempfile::tempdir().unwrap();
        assert!(publish_new(folder.path(), "a", b"one").unwrap());
        assert!(!publish_new(folder.path(), "a", b"two").unwrap());
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn the_first_writer_wins_without_hard_links() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        for (bytes, expected) in [(b"one", true), (b"two", false)] {
            let temp = TempFile::write(folder.path(), bytes).unwrap();
            assert_eq!(rename_new(folder.path(), &temp, &target).unwrap(), expected);
        }
        assert_eq!(fs::read(&target).unwrap(), b"one");
    }

    #[test]
    fn replace_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        replace(&target, b"one").unwrap();
        replace(&target, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &target).unwrap();
        let message = replace(&target, b"one").unwrap_err().to_string();
        assert!(message.contains("device") && message.contains("choose another"), "{message}");
        assert!(target.is_symlink());
    }

    #[test]
    fn only_leftovers_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".tmp-1-0"), b"half a rec").unwrap();
        fs::write(folder.path().join("kept.json"), b"{}").unwrap();
        let living = TempFile::write(folder.path(), b"whole").unwrap();
        assert_eq!(sweep(folder.path()).unwrap(), 1);
        let living_name = living.path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(names(folder.path()), [living_name, "kept.json".into()]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let message = publish_new(&gone, "a", b"").unwrap_err().to_string();
        assert!(message.contains("gone"), "{message}");
    }
}
