//! Files that are either whole or absent.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DiffusionError;

/// Distinguishes the temporary names of threads of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A name beside `path` that no other writer uses: `.{name}.{process}-{count}.tmp`.
pub(crate) fn temporary_beside(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{count}.tmp", std::process::id()))
}

/// Writes `bytes` to `path` so that a reader, or a crash at any moment, sees the old file or the whole new one.
///
/// The bytes go to a temporary file in the same folder, are synced to the disk, and take their name by a rename. On
/// failure the temporary file is removed.
///
/// # Errors
/// [`DiffusionError::Io`] if the folder does not exist, cannot be written, or the disk is full.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), DiffusionError> {
    let temporary = temporary_beside(path);
    let written = write_synced(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder_of(path))
        .map_err(DiffusionError::io("write", path));
    if written.is_err() {
        // Nothing more can be done if this fails too; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Creates or overwrites `path` and syncs its content.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Syncs the folder that holds `path`, which makes a rename into it durable.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Renames the complete folder `temporary` to `dir`; an existing `dir` waits as `.{name}.previous` until that is done,
/// and is then removed.
pub(crate) fn put_folder_in_place(temporary: &Path, dir: &Path) -> Result<(), DiffusionError> {
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let previous = dir.with_file_name(format!(".{name}.previous"));
    let replaced = dir.exists();
    if replaced {
        if previous.exists() {
            fs::remove_dir_all(&previous).map_err(DiffusionError::io("remove", &previous))?;
        }
        fs::rename(dir, &previous).map_err(DiffusionError::io("rename", dir))?;
    }
    if let Err(error) = fs::rename(temporary, dir) {
        if replaced {
            // If this fails too, the old folder is still there under its other name.
            let _ = fs::rename(&previous, dir);
        }
        return Err(DiffusionError::io("rename", temporary)(error));
    }
    sync_folder_of(dir).map_err(DiffusionError::io("sync", dir))?;
    if replaced {
        fs::remove_dir_all(&previous).map_err(DiffusionError::io("remove", &previous))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomically(&path, b"first").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn failure_keeps_the_old_content_and_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kept"), b"old").unwrap();
        let error = write_atomically(&path, b"new").unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && error.contains("target"), "{error}");
        assert_eq!(fs::read(path.join("kept")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary file must be gone");
    }
}
