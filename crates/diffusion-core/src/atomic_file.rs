//! Files that are either whole or absent.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::DiffusionError;

/// Distinguishes the temporary names of threads of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A word that no other process has, on this machine or another that sees the same folder: process ids repeat in
/// containers.
fn process_word() -> u64 {
    static WORD: OnceLock<u64> = OnceLock::new();
    // The standard library seeds its hash maps by the operating system's random numbers.
    *WORD.get_or_init(|| RandomState::new().build_hasher().finish())
}

/// A name beside `path` that no other writer uses: `.{name}.{process's word}-{count}.tmp`.
pub(crate) fn temporary_beside(path: &Path) -> std::path::PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{:016x}-{count}.tmp", process_word()))
}

/// Creates or empties a file that its owner may write and everybody may read, as far as the process's umask allows it.
///
/// # Errors
/// What the operating system says.
pub fn create_file(path: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    options.open(path)
}

/// Writes `bytes` to `path` so that a reader, or a crash at any moment, sees the old file or the whole new one.
///
/// The bytes go to a temporary file in the same folder, are synced to the disk, and take their name by a rename. On
/// failure the temporary file is removed.
///
/// # Errors
/// [`DiffusionError::Io`] if the folder does not exist, cannot be written, or the disk is full; if `path` is there and no file.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), DiffusionError> {
    check_replaceable(path).map_err(DiffusionError::io("write", path))?;
    let temporary = temporary_beside(path);
    let written = write_synced(&temporary, bytes)
        // Open, and so marked as its writer's, until it has its name.
        .and_then(|_open| fs::rename(&temporary, path))
        .and_then(|()| sync_folder_of(path))
        .map_err(DiffusionError::io("write", path));
    if written.is_err() {
        // Nothing more can be done if this fails too; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Refuses to put a file in the place of a device, a pipe or a folder: whoever may, would replace `/dev/stdout` by it.
fn check_replaceable(path: &Path) -> std::io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "there is a device, a pipe or a folder of this name: choose another one",
        )),
        _ => Ok(()),
    }
}

/// Creates or overwrites `path` and syncs its content. The file given back marks it as a living writer's.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    let mut file = create_file(path)?;
    mark_as_alive(&file);
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// As [`write_synced`], to the path `name` inside of a folder that is being made. Folders inside of it are made where they are missing;
/// the folder itself is not: if it is gone, somebody else removed it.
pub(crate) fn write_inside(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let (inner, _) = name.rsplit_once('/').unwrap_or(("", name));
    let mut folder = dir.to_owned();
    for part in inner.split('/').filter(|part| !part.is_empty()) {
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let path = dir.join(name);
    write_synced(&path, bytes)?;
    if inner.is_empty() { Ok(()) } else { sync_folder_of(&path) }
}

/// How long a temporary file or folder is left alone where locks cannot tell whether its writer lives.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Marks a temporary file or folder as that of a living writer, for as long as it is open.
pub(crate) fn mark_as_alive(open: &File) {
    // Shared, which a file that is open for reading only may be; file systems without locks go by age.
    let _ = open.lock_shared();
}

/// Creates a temporary folder, marked as a living writer's while the handle given back is open; none where folders cannot be
/// opened.
pub(crate) fn create_marked_folder(path: &Path) -> std::io::Result<Option<File>> {
    fs::create_dir(path)?;
    let open = File::open(path).ok();
    open.iter().for_each(mark_as_alive);
    Ok(open)
}

/// Removes a temporary file or folder if its writer lives no more, which a lock tells, or, on file systems without locks, that
/// nothing was written for an hour. Says whether it was removed.
///
/// # Errors
/// What the operating system says; not if somebody else removed it.
pub fn remove_if_abandoned(path: &Path) -> std::io::Result<bool> {
    let open = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let abandoned = match open.try_lock() {
        Ok(()) => true,
        Err(fs::TryLockError::WouldBlock) => false,
        Err(fs::TryLockError::Error(_)) => open
            .metadata()
            .and_then(|about| about.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > PATIENCE)),
    };
    if !abandoned {
        return Ok(false);
    }
    let removed = if open.metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
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
    fn only_the_abandoned_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, inner) = (folder.path().join("file"), folder.path().join("folder"));
        fs::create_dir(&inner).unwrap();
        let writers = [write_synced(&file, b"half").unwrap(), File::open(&inner).unwrap()];
        mark_as_alive(&writers[1]);
        for path in [&file, &inner] {
            assert!(!remove_if_abandoned(path).unwrap() && path.exists());
        }
        drop(writers);
        for path in [&file, &inner] {
            assert!(remove_if_abandoned(path).unwrap() && !path.exists());
            assert!(!remove_if_abandoned(path).unwrap());
        }
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
