//! Slurm by its commands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::ClusterError;
use crate::error::remedy;
use crate::script::quoted;

/// A job to submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The batch script.
    pub script: PathBuf,
    /// Elements of the array, as `0-3,7`; a plain job when left out.
    pub array: Option<String>,
    /// Jobs and elements that must succeed first.
    pub after: Vec<String>,
}

impl Submission {
    /// The command that submits it.
    pub fn command(&self) -> Vec<String> {
        let mut words = vec!["sbatch".to_owned(), "--parsable".to_owned()];
        words.extend(self.array.iter().map(|array| format!("--array={array}")));
        if !self.after.is_empty() {
            words.push(format!("--dependency=afterok:{}", self.after.join(":")));
            // What waits for a job that failed must not wait for ever.
            words.push("--kill-on-invalid-dep=yes".to_owned());
        }
        words.push(self.script.display().to_string());
        words
    }

    /// The command as a shell takes it.
    pub fn in_shell(&self) -> String {
        shell(&self.command())
    }
}

/// What the queue says of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Slurm's word, as `PENDING`.
    pub state: String,
    /// Why it waits, or where it runs.
    pub reason: String,
}

impl Activity {
    /// Whether it has been started.
    pub fn runs(&self) -> bool {
        matches!(self.state.as_str(), "RUNNING" | "COMPLETING" | "CONFIGURING" | "SUSPENDED" | "STOPPED")
    }

    /// Whether it waits for a person.
    pub fn is_held(&self) -> bool {
        self.reason.to_lowercase().contains("held")
    }
}

/// Jobs that wait or run, by id: `12` for a plain one, `12_3` for element 3 of an array.
pub type Queue = BTreeMap<String, Activity>;

/// What jobs are given to.
pub trait Scheduler {
    /// Submits a job and gives its id.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] with the remedy.
    fn submit(&self, submission: &Submission) -> Result<String, ClusterError>;

    /// The user's jobs that wait or run.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] if the scheduler does not answer.
    fn queue(&self) -> Result<Queue, ClusterError>;

    /// How a job ended, in the scheduler's words, if it still knows.
    fn end_of(&self, id: &str) -> Option<String>;
}

/// Slurm's own commands, found by `PATH`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slurm;

impl Scheduler for Slurm {
    fn submit(&self, submission: &Submission) -> Result<String, ClusterError> {
        let command = submission.command();
        let output = output_of(&command)?;
        // With more than one cluster, the cluster's name follows.
        let id = output.trim().split(';').next().unwrap_or_default().to_owned();
        if !id.is_empty() && id.chars().all(|c| c.is_ascii_digit()) {
            return Ok(id);
        }
        Err(ClusterError::Unforeseen { command: shell(&command), output, expected: "the number of a job" })
    }

    fn queue(&self) -> Result<Queue, ClusterError> {
        let words = ["squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r"].map(str::to_owned);
        parse_queue(&output_of(&words)?)
    }

    fn end_of(&self, id: &str) -> Option<String> {
        let jobs = format!("--jobs={id}");
        let accounted =
            ["sacct", "--noheader", "--parsable2", "--allocations", "--format=State,ExitCode", &jobs];
        // Without the accounting database it fails.
        let told = output_of(&accounted.map(str::to_owned)).ok().and_then(|text| {
            let line = text.lines().next_back()?.trim().to_owned();
            let (state, code) = line.split_once('|')?;
            Some(format!("{state}, exit code {code}"))
        });
        // The controller remembers a job for some minutes.
        told.or_else(|| {
            parse_job(&output_of(&["scontrol", "--oneliner", "show", "job", id].map(str::to_owned)).ok()?)
        })
    }
}

/// Lines of `id|state|reason`.
fn parse_queue(text: &str) -> Result<Queue, ClusterError> {
    let mut queue = Queue::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut parts = line.trim().splitn(3, '|');
        let (Some(id), Some(state), Some(reason)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ClusterError::Unforeseen {
                command: "squeue".to_owned(),
                output: line.to_owned(),
                expected: "id|state|reason",
            });
        };
        queue.insert(id.to_owned(), Activity { state: state.to_owned(), reason: reason.to_owned() });
    }
    Ok(queue)
}

/// State and exit code of `scontrol --oneliner show job`; of an array, the last element's.
fn parse_job(text: &str) -> Option<String> {
    let line = text.lines().next_back()?;
    let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let (state, code) = (field("JobState=")?, field("ExitCode=")?);
    let reason = field("Reason=").filter(|reason| *reason != "None").map(|reason| format!(" ({reason})"));
    Some(format!("{state}{}, exit code {code}", reason.unwrap_or_default()))
}

fn shell(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// What a command prints, if it succeeds.
fn output_of(words: &[String]) -> Result<String, ClusterError> {
    let (program, arguments) =
        words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|source| ClusterError::NotInstalled { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ClusterError::Refused {
        command: shell(words),
        status: output.status.to_string(),
        remedy: remedy(&message),
        message: if message.is_empty() { "no message".to_owned() } else { message },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_read_with_its_arrays() {
        let queue = parse_queue(
            "57_4|PENDING|Dependency\n57_0|RUNNING|None\n58|PENDING|launch failed requeued held\n\n",
        )
        .unwrap();
        assert_eq!(queue.len(), 3);
        assert!(queue["57_0"].runs() && !queue["57_4"].runs());
        assert!(queue["58"].is_held() && !queue["57_4"].is_held());
        assert!(parse_queue("JOBID STATE").is_err());
    }

    #[test]
    fn the_end_of_a_job_is_read_from_the_controller() {
        let line = "JobId=9 ArrayJobId=8 ArrayTaskId=1 JobName=x JobState=NODE_FAIL Reason=NodeDown Dependency=(null) ExitCode=0:1 RunTime=00:00:07\n";
        assert_eq!(parse_job(line).unwrap(), "NODE_FAIL (NodeDown), exit code 0:1");
        assert_eq!(parse_job("slurm_load_jobs error"), None);
    }

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        let submission = Submission {
            script: PathBuf::from("/my study/slurm/coalitions.sh"),
            array: Some("0-7%4".to_owned()),
            after: vec!["12".to_owned(), "13_1".to_owned()],
        };
        assert_eq!(
            submission.in_shell(),
            "sbatch --parsable --array=0-7%4 --dependency=afterok:12:13_1 --kill-on-invalid-dep=yes '/my study/slurm/coalitions.sh'"
        );
    }

    #[test]
    fn a_machine_without_slurm_is_told_of() {
        let error = output_of(&["no-such-sbatch".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no-such-sbatch") && error.contains("login node"), "{error}");
        let error =
            output_of(&["sh", "-c", "echo invalid partition specified >&2; exit 3"].map(str::to_owned))
                .unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("exit status: 3")
                && error.contains("sinfo")
                && error.contains("invalid partition"),
            "{error}"
        );
    }
}
