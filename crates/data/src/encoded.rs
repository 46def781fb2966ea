//! Encoded images: files, and pieces of larger files.

use crate::DataError;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Encoded images by number, read when they are needed.
#[derive(Debug)]
pub(crate) enum Encoded {
    /// One file an image.
    Files {
        /// Path of every image.
        paths: Vec<PathBuf>,
        /// The same paths relative to the data set, for its hash.
        names: Vec<String>,
    },
    /// Pieces of archives.
    Pieces {
        archives: Vec<Archive>,
        /// Where every image lies.
        pieces: Vec<Piece>,
        /// Names of the images inside their archives, for messages and the hash.
        names: Vec<String>,
    },
}

/// A file that holds many images.
#[derive(Debug)]
pub(crate) struct Archive {
    /// For messages.
    pub path: PathBuf,
    /// Unpacked content, where the file's own is compressed: it has no name and goes with the program.
    pub unpacked: Option<File>,
}

/// Consecutive bytes of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Number of the archive.
    pub archive: u32,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

impl Encoded {
    /// Number of images.
    pub fn len(&self) -> usize {
        match self {
            Self::Files { paths, .. } => paths.len(),
            Self::Pieces { pieces, .. } => pieces.len(),
        }
    }

    /// The path of an image, for messages.
    pub fn path(&self, image: usize) -> PathBuf {
        match self {
            Self::Files { paths, .. } => paths[image].clone(),
            Self::Pieces { archives, pieces, names } => {
                archives[pieces[image].archive as usize].path.join(&names[image])
            }
        }
    }

    /// The name of an image within the data set.
    pub fn name(&self, image: usize) -> &str {
        match self {
            Self::Files { names, .. } | Self::Pieces { names, .. } => &names[image],
        }
    }

    /// The bytes of an image.
    pub fn read(&self, image: usize) -> Result<Vec<u8>, DataError> {
        match self {
            Self::Files { paths, .. } => fs::read(&paths[image]).map_err(DataError::read(&paths[image])),
            Self::Pieces { archives, pieces, .. } => {
                let piece = pieces[image];
                let archive = &archives[piece.archive as usize];
                let read = || {
                    let mut bytes = vec![0; piece.length as usize];
                    match &archive.unpacked {
                        Some(file) => read_at(file, piece.offset, &mut bytes)?,
                        None => read_at(&File::open(&archive.path)?, piece.offset, &mut bytes)?,
                    }
                    Ok(bytes)
                };
                read().map_err(DataError::read(&archive.path))
            }
        }
    }
}

/// Reads at a position of a file, which threads may do at the same time.
#[cfg(unix)]
pub(crate) fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Reads at a position of a file, which threads may do at the same time.
#[cfg(windows)]
pub(crate) fn read_at(file: &File, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

/// Refuses a piece that reaches past the end of its file, so that no header makes a reader ask for more memory.
pub(crate) fn check_piece(path: &Path, file_length: u64, offset: u64, length: u64) -> Result<(), DataError> {
    if offset.checked_add(length).is_some_and(|end| end <= file_length) {
        return Ok(());
    }
    let message = format!(
        "{length} bytes are announced at byte {offset}, but the file has {file_length} bytes: it is cut short or damaged"
    );
    Err(DataError::Malformed { path: path.to_owned(), message })
}
