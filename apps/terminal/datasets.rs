//! The packs, weights and studies that ship with Tribute.

use std::path::{Path, PathBuf};

/// The folder `datasets` in the current folder or one above it, or above the program's own file.
pub fn find_datasets() -> Option<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_default();
    here.ancestors()
        .chain(program.ancestors().skip(1))
        .map(|folder| folder.join("datasets"))
        .find(|folder| is_ours(folder))
}

fn is_ours(folder: &Path) -> bool {
    folder.join("studies").join("demo.toml").is_file()
}
