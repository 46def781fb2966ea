//! `tribute status`: how far a study is.

use std::path::PathBuf;

use clap::Args;
use study::{StudyDir, StudyStatus, study_status};
use terminal::{print, print_json};

/// Arguments of `tribute status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Folder of the study's results
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Workers that the time left is estimated for
    #[arg(long, default_value_t = 1)]
    workers: usize,
}

/// Prints done, running, failed, left, and the time left.
pub fn status(arguments: &StatusArgs) -> anyhow::Result<()> {
    let status = study_status(&StudyDir::new(&arguments.folder), arguments.workers)?;
    if arguments.json {
        return print_json(&serde_json::to_value(&status)?);
    }
    print(text(&status))
}

fn text(status: &StudyStatus) -> String {
    let mut lines = vec![format!("study {}", status.name)];
    for part in &status.parts {
        let eta = match part.eta_seconds {
            Some(seconds) if part.done < part.total => format!(", about {} left", minutes(seconds)),
            _ => String::new(),
        };
        lines.push(format!(
            "  {:28} {:4} of {:4} done, {} running, {} failed, {} to do{eta}",
            part.name,
            part.done,
            part.total,
            part.running,
            part.failures.len(),
            part.left
        ));
        for failure in &part.failures {
            lines.push(format!("    failed {} times: {}: {}", failure.attempts, failure.id, failure.message));
        }
    }
    lines.join("\n")
}

fn minutes(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}
