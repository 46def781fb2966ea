//! Which jobs were submitted: `jobs.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ledger::write_file;
use serde::{Deserialize, Serialize};

use crate::{ClusterError, Link};

const FORMAT: &str = "tribute-slurm/1";

/// A job that was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submitted {
    /// The link.
    pub link: String,
    /// Slurm's number.
    pub job: String,
    /// Its slices.
    pub slices: Vec<usize>,
}

/// All jobs of a study so far, and how often slices failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    format: String,
    /// The plan that the slices are of.
    pub plan: String,
    /// In the order of their submission.
    pub submitted: Vec<Submitted>,
    /// Failures by link and slice.
    pub failures: BTreeMap<String, BTreeMap<usize, u32>>,
}

impl Jobs {
    /// None yet.
    pub fn new(plan: impl Into<String>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            plan: plan.into(),
            submitted: Vec::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Where they are kept.
    pub fn path(slurm_folder: &Path) -> PathBuf {
        slurm_folder.join("jobs.json")
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// [`ClusterError::BadJobs`] for anything else than what [`Jobs::save`] writes.
    pub fn read(slurm_folder: &Path) -> Result<Option<Self>, ClusterError> {
        let path = Self::path(slurm_folder);
        let bad = |reason: String| ClusterError::BadJobs { path: path.clone(), reason };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ClusterError::io("read", &path)(error)),
        };
        let jobs: Self = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if jobs.format != FORMAT {
            return Err(bad(format!("its format is {}, this version writes {FORMAT}", jobs.format)));
        }
        Ok(Some(jobs))
    }

    /// Writes the file, atomically.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, slurm_folder: &Path) -> Result<(), ClusterError> {
        let path = Self::path(slurm_folder);
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| ClusterError::BadJobs { path: path.clone(), reason: error.to_string() })?;
        bytes.push(b'\n');
        Ok(write_file(&path, &bytes)?)
    }

    /// The newest job of a slice.
    pub fn newest(&self, link: &str, slice: usize) -> Option<&Submitted> {
        self.submitted.iter().rev().find(|job| job.link == link && job.slices.contains(&slice))
    }

    /// How often a slice failed.
    pub fn failures(&self, link: &str, slice: usize) -> u32 {
        self.failures.get(link).and_then(|slices| slices.get(&slice)).copied().unwrap_or(0)
    }

    /// Gives slices that failed more than `retries` times another chance: as if they had never been submitted.
    pub fn forgive(&mut self, retries: u32) {
        for (link, slices) in &mut self.failures {
            let hopeless: Vec<usize> =
                slices.iter().filter(|(_, count)| **count > retries).map(|(&slice, _)| slice).collect();
            for job in self.submitted.iter_mut().filter(|job| job.link == *link) {
                job.slices.retain(|slice| !hopeless.contains(slice));
            }
            slices.retain(|slice, _| !hopeless.contains(slice));
        }
        self.submitted.retain(|job| !job.slices.is_empty());
    }

    /// Notes a failure; gives their number.
    pub fn fail(&mut self, link: &str, slice: usize) -> u32 {
        let count = self.failures.entry(link.to_owned()).or_default().entry(slice).or_default();
        *count += 1;
        *count
    }
}

/// A slice's id in the queue.
pub(crate) fn queue_id(link: &Link, job: &str, slice: usize) -> String {
    if link.slices > 1 { format!("{job}_{slice}") } else { job.to_owned() }
}

/// Numbers in order as `sbatch --array` takes them: `0-3,7`.
pub(crate) fn ranges(slices: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &slice in slices {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == slice => *last = slice,
            _ => parts.push((slice, slice)),
        }
    }
    let text = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_written_in_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 7, 9, 10]), "0-3,7,9-10");
        assert_eq!(ranges(&[5]), "5");
    }

    #[test]
    fn the_file_reads_back_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Jobs::read(folder.path()).unwrap(), None);
        let mut jobs = Jobs::new("plan");
        for (job, slices) in [("7", vec![0, 1, 2]), ("9", vec![1])] {
            jobs.submitted.push(Submitted { link: "retrain".into(), job: job.into(), slices });
        }
        assert_eq!((jobs.fail("retrain", 1), jobs.fail("retrain", 1)), (1, 2));
        jobs.save(folder.path()).unwrap();
        let back = Jobs::read(folder.path()).unwrap().unwrap();
        assert_eq!(back, jobs);
        assert_eq!(back.newest("retrain", 1).unwrap().job, "9");
        assert_eq!(back.newest("retrain", 2).unwrap().job, "7");
        assert_eq!(back.newest("train", 0), None);
        fs::write(Jobs::path(folder.path()), "{").unwrap();
        let message = Jobs::read(folder.path()).unwrap_err().to_string();
        assert!(message.contains("jobs.json") && message.contains("move it away"), "{message}");
    }
}
