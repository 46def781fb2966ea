//! `compare.json`: a comparison, bound to the study that it was made for.

use std::fs;

use report::Comparison;
use serde::{Deserialize, Serialize};

use crate::begun::write_json;
use crate::config::StudyConfig;
use crate::error::StudyError;
use crate::layout::StudyDir;

#[derive(Debug, Serialize, Deserialize)]
struct SavedComparison {
    study: serde_json::Value,
    comparison: Comparison,
}

/// Keeps a comparison in the study's folder, for its report.
///
/// # Errors
/// A folder that cannot be written.
pub fn write_comparison(
    dir: &StudyDir,
    config: &StudyConfig,
    comparison: &Comparison,
) -> Result<(), StudyError> {
    let saved = SavedComparison { study: as_json(config)?, comparison: comparison.clone() };
    write_json(&dir.comparison(), &saved)
}

/// The comparison kept in the study's folder, if there is one and it was made with these settings.
///
/// # Errors
/// A file that cannot be read.
pub fn read_comparison(dir: &StudyDir, config: &StudyConfig) -> Result<Option<Comparison>, StudyError> {
    let path = dir.comparison();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StudyError::io("read", &path)(error)),
    };
    // Of another version of the program or the study: `tribute compare` makes it anew.
    let Ok(saved) = serde_json::from_slice::<SavedComparison>(&bytes) else { return Ok(None) };
    Ok((saved.study == as_json(config)?).then_some(saved.comparison))
}

fn as_json(config: &StudyConfig) -> Result<serde_json::Value, StudyError> {
    serde_json::to_value(config).map_err(|source| StudyError::NotJson { source })
}
