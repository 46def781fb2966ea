//! What a training leaves beside its model: metrics, pictures, checkpoints on the way.
//!
//! ```text
//! <model>-log/metrics.csv                 step, loss, gradient norm, images per second
//! <model>-log/events.out.tfevents.<step>  the same for TensorBoard, a file for each start
//! <model>-log/samples/<step>.png          pictures by the averaged weights
//! <model>-log/checkpoints/<step>/         every checkpoint
//! <model>-log/null/                       the model before its first step
//! ```

mod tensorboard;

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use diffusion_core::training::StepReport;

use crate::error::StudyError;
use tensorboard::EventFile;

const HEADER: &str = "step,loss,gradient_norm,images_per_second";

/// The folder of a model's log: beside the model's own, whose content is replaced at every checkpoint.
pub fn log_folder(model: &Path) -> PathBuf {
    let mut name = model.file_name().unwrap_or_default().to_owned();
    name.push("-log");
    model.with_file_name(name)
}

/// Rows of metrics, at a cadence.
pub struct Metrics {
    every: u64,
    csv: PathBuf,
    open: RefCell<Open>,
}

struct Open {
    csv: fs::File,
    events: EventFile,
    /// The first error, told when the training pauses.
    failed: Option<std::io::Error>,
}

impl Metrics {
    /// Opens the metrics of a training that has done `step` steps; rows beyond them, of a training that was cut off after
    /// its last checkpoint, are dropped.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn open(folder: &Path, every: u64, step: u64) -> Result<Self, StudyError> {
        fs::create_dir_all(folder).map_err(StudyError::io("create", folder))?;
        let path = folder.join("metrics.csv");
        let mut kept = vec![HEADER.to_owned()];
        match fs::read_to_string(&path) {
            Ok(text) => {
                kept.extend(text.lines().skip(1).filter(|row| step_of(row) <= Some(step)).map(str::to_owned))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StudyError::io("read", &path)(error)),
        }
        kept.retain(|row| row == HEADER || step_of(row).is_some());
        diffusion_core::write_atomically(&path, (kept.join("\n") + "\n").as_bytes())?;
        let csv = fs::OpenOptions::new().append(true).open(&path).map_err(StudyError::io("open", &path))?;
        let events = folder.join(format!("events.out.tfevents.{step:010}"));
        let events = EventFile::create(&events).map_err(StudyError::io("create", &events))?;
        Ok(Self { every, csv: path, open: RefCell::new(Open { csv, events, failed: None }) })
    }

    /// Takes note of a step.
    pub fn on_step(&self, report: &StepReport) {
        if !report.step.is_multiple_of(self.every) {
            return;
        }
        let mut open = self.open.borrow_mut();
        if open.failed.is_some() {
            return;
        }
        let StepReport { step, loss, grad_norm, images_per_second, .. } = *report;
        let row = format!("{step},{loss},{grad_norm},{images_per_second:.1}\n");
        let scalars =
            [("loss", loss), ("gradient norm", grad_norm), ("images per second", images_per_second as f32)];
        let written = open.csv.write_all(row.as_bytes()).and_then(|()| open.events.scalars(step, &scalars));
        open.failed = written.err();
    }

    /// Tells whether rows could be written.
    ///
    /// # Errors
    /// The first that could not.
    pub fn check(&self) -> Result<(), StudyError> {
        self.open
            .borrow_mut()
            .failed
            .take()
            .map_or(Ok(()), |error| Err(StudyError::io("write", &self.csv)(error)))
    }
}

fn step_of(row: &str) -> Option<u64> {
    row.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: u64) -> StepReport {
        StepReport { step, loss: 0.25, grad_norm: 1.5, skipped: false, images_per_second: 100.0 }
    }

    #[test]
    fn a_resumed_training_goes_on_after_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::open(folder.path(), 2, 0).unwrap();
        (1..=7).for_each(|step| metrics.on_step(&report(step)));
        metrics.check().unwrap();
        drop(metrics);
        // Killed after step 7; the checkpoint is of step 4.
        let metrics = Metrics::open(folder.path(), 2, 4).unwrap();
        (5..=8).for_each(|step| metrics.on_step(&report(step)));
        let text = fs::read_to_string(folder.path().join("metrics.csv")).unwrap();
        let steps: Vec<Option<u64>> = text.lines().skip(1).map(step_of).collect();
        assert_eq!(steps, [Some(2), Some(4), Some(6), Some(8)]);
        assert!(text.starts_with(HEADER) && text.contains("\n2,0.25,1.5,100.0\n"), "{text}");
        assert!(folder.path().join("events.out.tfevents.0000000004").is_file());
    }

    #[test]
    fn the_log_stands_beside_the_model() {
        assert_eq!(log_folder(Path::new("models/full")), Path::new("models/full-log"));
    }
}
