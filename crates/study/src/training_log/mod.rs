//! What a training leaves beside its model: metrics, pictures, checkpoints on the way.
//!
//! ```text
//! <model>-log/metrics.csv                 step, loss, gradient norm, images per second, skipped steps
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

const HEADER: &str = "step,loss,gradient_norm,images_per_second,skipped_steps";

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
    /// Steps since the last row whose update was skipped, because gradients left the range of fp16.
    skipped: u32,
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
                kept.extend(text.lines().skip(1).filter(|row| step_of(row) <= Some(step)).map(filled))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StudyError::io("read", &path)(error)),
        }
        kept.retain(|row| row == HEADER || step_of(row).is_some());
        diffusion_core::write_atomically(&path, (kept.join("\n") + "\n").as_bytes())?;
        let csv = fs::OpenOptions::new().append(true).open(&path).map_err(StudyError::io("open", &path))?;
        let events = folder.join(format!("events.out.tfevents.{step:010}"));
        let events = EventFile::create(&events).map_err(StudyError::io("create", &events))?;
        Ok(Self { every, csv: path, open: RefCell::new(Open { csv, events, skipped: 0, failed: None }) })
    }

    /// Takes note of a step.
    pub fn on_step(&self, report: &StepReport) {
        let mut open = self.open.borrow_mut();
        open.skipped += u32::from(report.skipped);
        if !report.step.is_multiple_of(self.every) {
            return;
        }
        if open.failed.is_some() {
            return;
        }
        let StepReport { step, loss, grad_norm, images_per_second, .. } = *report;
        let skipped = std::mem::take(&mut open.skipped);
        let row = format!("{step},{loss},{grad_norm},{images_per_second:.1},{skipped}\n");
        let scalars = [
            ("loss", loss),
            ("gradient norm", grad_norm),
            ("images per second", images_per_second as f32),
            ("skipped steps", skipped as f32),
        ];
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

/// A row with all columns: those of earlier versions had none for skipped steps.
fn filled(row: &str) -> String {
    if row.split(',').count() < HEADER.split(',').count() { format!("{row},0") } else { row.to_owned() }
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
        assert!(text.starts_with(HEADER) && text.contains("\n2,0.25,1.5,100.0,0\n"), "{text}");
        assert!(folder.path().join("events.out.tfevents.0000000004").is_file());
    }

    #[test]
    fn skipped_steps_are_counted_between_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        // Of a version without the column.
        fs::write(&path, "step,loss,gradient_norm,images_per_second\n2,0.5,1,9.0\n").unwrap();
        let metrics = Metrics::open(folder.path(), 3, 2).unwrap();
        for step in 3..=9 {
            metrics.on_step(&StepReport { skipped: step == 4 || step == 5 || step == 9, ..report(step) });
        }
        let text = fs::read_to_string(&path).unwrap();
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(rows, ["2,0.5,1,9.0,0", "3,0.25,1.5,100.0,0", "6,0.25,1.5,100.0,2", "9,0.25,1.5,100.0,1"]);
    }

    #[test]
    fn the_log_stands_beside_the_model() {
        assert_eq!(log_folder(Path::new("models/full")), Path::new("models/full-log"));
    }
}
