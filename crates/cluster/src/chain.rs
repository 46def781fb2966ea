//! A chain of links, and its files.

use std::fs;
use std::path::{Path, PathBuf};

use ledger::write_file;

use crate::{ClusterError, SlurmSettings};

/// Where, in a study's folder, scripts, logs and states are.
pub(crate) const SLURM_FOLDER: &str = "slurm";

/// A word of a link's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// As it is.
    Text(String),
    /// The number of the slice, from 0.
    Slice,
}

impl<T: Into<String>> From<T> for Word {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

/// A stage of the work, done in slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name, of letters, digits and `-`.
    pub name: String,
    /// What it does, for a person.
    pub about: String,
    /// Number of slices; a link of one slice is a plain job, one of more an array.
    pub slices: usize,
    /// The links that must be finished first, all of which stand before it.
    pub needs: Vec<String>,
    /// What does one slice, without a shell.
    pub command: Vec<Word>,
    /// A file that is there once slices which have not begun are needless; they then count as done.
    pub enough: Option<PathBuf>,
}

impl Link {
    /// Whether slices that have not begun are needless.
    pub fn has_enough(&self) -> bool {
        self.enough.as_deref().is_some_and(Path::exists)
    }
}

/// Links in an order in which they can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Name of the study, for the jobs' names.
    pub study: String,
    /// The study's folder, absolute: every node must see it under this path.
    pub folder: PathBuf,
    /// The links.
    pub links: Vec<Link>,
    /// What the jobs ask for.
    pub settings: SlurmSettings,
}

impl Chain {
    /// Where scripts, logs and states are.
    pub fn slurm_folder(&self) -> PathBuf {
        self.folder.join(SLURM_FOLDER)
    }

    /// The batch script of a link.
    pub fn script_path(&self, link: &Link) -> PathBuf {
        self.slurm_folder().join(format!("{}.sh", link.name))
    }

    /// A slice's name in files: `coalitions-3`.
    pub fn slice_name(link: &Link, slice: usize) -> String {
        format!("{}-{slice}", link.name)
    }

    /// What a slice printed.
    pub fn log_path(&self, link: &Link, slice: usize) -> PathBuf {
        self.slurm_folder().join("logs").join(format!("{}.log", Self::slice_name(link, slice)))
    }

    /// Writes all scripts, and makes the folders that they need.
    ///
    /// # Errors
    /// Settings and paths that a script cannot hold; files that cannot be written.
    pub fn write_scripts(&self) -> Result<(), ClusterError> {
        for folder in ["", "logs", "done", "failed"] {
            let path = self.slurm_folder().join(folder);
            fs::create_dir_all(&path).map_err(ClusterError::io("create", &path))?;
        }
        for link in &self.links {
            write_file(&self.script_path(link), self.script(link)?.as_bytes())?;
        }
        Ok(())
    }

    /// Which slices of a link are done.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn done(&self, link: &Link) -> Result<Vec<bool>, ClusterError> {
        let mut done = vec![false; link.slices];
        // The folder is listed rather than its names looked up: file systems over the network keep the answer "no such
        // file" for a while.
        for name in names(&self.slurm_folder().join("done"))? {
            if let Some(slice) = slice_of(&name, link).and_then(|slice| done.get_mut(slice)) {
                *slice = true;
            }
        }
        Ok(done)
    }

    /// The exit code of a slice's last start, if it ended by itself without success.
    pub fn exit_code(&self, link: &Link, slice: usize) -> Option<i32> {
        let path = self.slurm_folder().join("failed").join(Self::slice_name(link, slice));
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// Forgets which slices were done, for a plan that has changed.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn forget(&self) -> Result<(), ClusterError> {
        for folder in ["done", "failed"] {
            let folder = self.slurm_folder().join(folder);
            for name in names(&folder)? {
                let path = folder.join(name);
                fs::remove_file(&path).map_err(ClusterError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// The slice that a file stands for, if it is one of the link's.
fn slice_of(name: &str, link: &Link) -> Option<usize> {
    name.strip_prefix(&link.name)?.strip_prefix('-')?.parse().ok()
}

/// The names in a folder; none if it does not exist.
fn names(folder: &Path) -> Result<Vec<String>, ClusterError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ClusterError::io("read", folder)(error)),
    };
    entries
        .map(|entry| {
            Ok(entry.map_err(ClusterError::io("read", folder))?.file_name().to_string_lossy().into_owned())
        })
        .collect()
}
