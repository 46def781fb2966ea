//! What can go wrong with a cluster.

use std::path::PathBuf;

use ledger::LedgerError;

/// An error of this crate: what was wrong, in which command or file, and what puts it right.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// One of Slurm's commands cannot be started.
    #[error(
        "cannot start `{program}` ({source}): run this where Slurm's commands are, on a login node, or load the module that \
         has them; --dry-run shows what would be submitted"
    )]
    NotInstalled {
        /// The command.
        program: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// One of Slurm's commands failed.
    #[error("`{command}` failed ({status}): {message}\n  remedy: {remedy}")]
    Refused {
        /// The whole command.
        command: String,
        /// Its exit status.
        status: String,
        /// What it said.
        message: String,
        /// What puts it right.
        remedy: &'static str,
    },
    /// One of Slurm's commands said something unforeseen.
    #[error("`{command}` printed `{output}`, which is not {expected}; is it Slurm's own command?")]
    Unforeseen {
        /// The whole command.
        command: String,
        /// What it printed.
        output: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A value is out of its range.
    #[error("`slurm.{key}` is {value}, must be {allowed}")]
    Setting {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A path that a batch script cannot hold.
    #[error(
        "the path {path} has a line break, a quote or a backslash, which batch scripts cannot hold: choose another folder"
    )]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// The state file cannot be read.
    #[error("{path} does not hold the jobs of a study ({reason}); move it away to submit everything anew")]
    BadJobs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Jobs of a former plan are still in the queue.
    #[error(
        "the study changed since its jobs were submitted, and {jobs} of them are still in the queue: wait for their end, or \
         cancel them with `scancel {ids}`, and run this again"
    )]
    StillQueued {
        /// How many.
        jobs: usize,
        /// Their ids.
        ids: String,
    },
    /// A file of the study cannot be read.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file of the study cannot be written.
    #[error(transparent)]
    Files(#[from] LedgerError),
}

impl ClusterError {
    /// Whether it is about settings (exit code 2), not about running.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Setting { .. } | Self::Path { .. })
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// What puts a refusal of Slurm's right, by the words in its message.
pub(crate) fn remedy(message: &str) -> &'static str {
    const REMEDIES: [(&[&str], &str); 9] = [
        (
            &["invalid partition", "partition name"],
            "`sinfo` lists the partitions; choose one with --partition",
        ),
        (
            &["invalid account", "account/partition"],
            "`sacctmgr show associations` lists yours; choose one with --account",
        ),
        (&["qos"], "choose another quality of service with --qos, or leave it out"),
        (&["time limit"], "ask for less with --time; `sinfo -o '%P %l'` lists the partitions' limits"),
        (
            &["node configuration is not available", "cpu count", "memory specification", "gres"],
            "no node has so much: ask for less with --cpus, --mem or --gpus, or choose another --partition",
        ),
        (
            &["array specification", "array_task"],
            "the cluster allows fewer elements in an array (MaxArraySize of `scontrol show config`): give --jobs below it",
        ),
        (
            &["submit limit", "submitjob", "job count"],
            "the cluster allows fewer jobs at a time: give a smaller --jobs",
        ),
        (
            &["unable to contact", "socket timed out", "connection refused", "communication", "munge"],
            "the controller does not answer: `scontrol ping` tells whether it is up; run the same command again later",
        ),
        (
            &["permission", "access", "user's group"],
            "ask the cluster's administrators which partitions and accounts you may use",
        ),
    ];
    let message = message.to_lowercase();
    let fitting = REMEDIES.iter().find(|(words, _)| words.iter().any(|word| message.contains(word)));
    fitting.map_or(
        "the message is Slurm's own: run the command by hand to see more; the scripts are in the folder's slurm/",
        |(_, remedy)| remedy,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_slurm_come_with_what_to_do() {
        let cases = [
            ("sbatch: error: invalid partition specified: gpuu", "--partition"),
            (
                "sbatch: error: Batch job submission failed: Requested node configuration is not available",
                "--mem",
            ),
            ("sbatch: error: Batch job submission failed: Invalid job array specification", "--jobs"),
            (
                "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
                "--time",
            ),
            ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", "scontrol ping"),
            (
                "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
                "--account",
            ),
            ("something new", "by hand"),
        ];
        for (message, part) in cases {
            assert!(remedy(message).contains(part), "{message}: {}", remedy(message));
        }
    }
}
