//! Files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::LedgerError;

/// Temporary names begin with this; nothing else in a ledger does.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";

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
            let path = folder.join(format!("{TEMP_PREFIX}{}-{number}", std::process::id()));
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                // A dead writer with this process id left it: take the next number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(LedgerError::io("create", &path, error)),
            };
            let mut temp = TempFile { path, file };
            let written = temp
                .file
                .lock()
                .and_then(|()| temp.file.write_all(bytes))
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
fn rename_new(folder: &Path, temp: &TempFile, target: &Path) -> Result<bool, LedgerError> {
    let lock_path = folder.join(format!("{TEMP_PREFIX}publish.lock"));
    let lock = File::create(&lock_path).and_then(|lock| lock.lock().map(|()| lock));
    let _lock = lock.map_err(|error| LedgerError::io("lock", &lock_path, error))?;
    if target.exists() {
        return Ok(false);
    }
    fs::rename(&temp.path, target).map_err(|error| LedgerError::io("create", target, error))?;
    sync_folder(folder).map(|()| true)
}

/// Creates or replaces a file: its readers see the old bytes or the new ones, never a part.
pub(crate) fn replace(target: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
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
        if file.try_lock().is_ok() && fs::remove_file(&path).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
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
