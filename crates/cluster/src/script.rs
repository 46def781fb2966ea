//! The batch script of a link.

use std::fmt::Write;
use std::path::Path;

use crate::{Chain, ClusterError, Link, Word};

impl Chain {
    /// The batch script of a link.
    ///
    /// Before the time limit Slurm sends the script `TERM`, which it hands on to the program: that saves a checkpoint and
    /// ends, and the job goes back to the queue. A job that is cancelled or fails does not.
    ///
    /// # Errors
    /// [`ClusterError::Path`] and [`ClusterError::Setting`] for what a script cannot hold.
    pub fn script(&self, link: &Link) -> Result<String, ClusterError> {
        self.settings.validate()?;
        let folder = plain(&self.folder)?;
        let mut lines = vec![
            "#!/bin/bash".to_owned(),
            format!("# {}. Written by `tribute submit` for the study `{}`.", link.about, self.study),
            "#".to_owned(),
            "# Each job does one slice. A slice that is done leaves a file in done/, one that failed its exit code in".to_owned(),
            "# failed/. Before the time limit Slurm sends TERM: the program saves and stops, and the job goes back to".to_owned(),
            "# the queue to continue. Doing a slice twice is harmless: finished runs are found and not repeated.".to_owned(),
            format!("#SBATCH --job-name={}-{}", self.study, link.name),
        ];
        let log = if link.slices > 1 { "%a" } else { "0" };
        let escaped = folder.replace('%', "%%");
        lines.push(format!("#SBATCH --output=\"{escaped}/slurm/logs/{}-{log}.log\"", link.name));
        lines.push("#SBATCH --open-mode=append".to_owned());
        lines.push("#SBATCH --requeue".to_owned());
        lines.push(format!("#SBATCH --signal=B:TERM@{}", self.settings.warning()));
        let resources = self.settings.resources(&link.name);
        let cpus = resources.cpus.unwrap_or(1);
        let asked = [
            ("partition", resources.partition),
            ("account", self.settings.account.clone()),
            ("qos", self.settings.qos.clone()),
            ("time", resources.time),
            ("gres", resources.gpus.map(|gpus| format!("gpu:{gpus}"))),
            ("cpus-per-task", Some(cpus.to_string())),
            ("mem", resources.mem),
        ];
        for (option, value) in asked {
            if let Some(value) = value {
                lines.push(format!("#SBATCH --{option}={value}"));
            }
        }
        lines.extend(self.settings.options.iter().map(|option| format!("#SBATCH {option}")));
        lines.push(String::new());
        if !self.settings.setup.is_empty() {
            lines.extend(self.settings.setup.iter().cloned());
            lines.push(String::new());
        }
        let mut command = String::new();
        for word in &link.command {
            match word {
                Word::Text(text) => write!(command, "{} ", quoted(text)),
                Word::Slice => write!(command, "\"$slice\" "),
            }
            .unwrap_or_default();
        }
        lines.push(format!(
            r#"folder={folder}/slurm
slice="${{SLURM_ARRAY_TASK_ID:-0}}"
name="{link}-$slice"

stop() {{
    interrupted=yes
    stopped=yes
    kill -TERM "$program" 2>/dev/null
}}
trap stop TERM

{command}&
program=$!
# A signal ends `wait` before the program has ended.
while
    interrupted=
    wait "$program"
    code=$?
    [ -n "$interrupted" ]
do :; done

# Leaves the exit code in a folder, whole or not at all.
leave_in() {{
    printf '%s\n' "$code" >"$folder/$1.$name.$SLURM_JOB_ID" && mv -f "$folder/$1.$name.$SLURM_JOB_ID" "$folder/$1/$name"
}}

if [ "$code" -eq 0 ]; then
    leave_in done && rm -f "$folder/failed/$name"
    exit
fi
if [ -n "${{stopped:-}}" ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
    # A job that was cancelled gets TERM, too, but does not run any more.
    if [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        echo "stopped before the time limit: back to the queue (restart $((${{SLURM_RESTART_COUNT:-0}} + 1)) of {restarts})"
        scontrol requeue "$SLURM_JOB_ID" && exit
    fi
fi
leave_in failed
exit "$code""#,
            folder = quoted(&folder),
            link = link.name,
            restarts = self.settings.restarts(),
        ));
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}

/// A path that `#SBATCH` lines can hold in double quotes.
fn plain(path: &Path) -> Result<String, ClusterError> {
    let unfit = || ClusterError::Path { path: path.to_owned() };
    let text = path.to_str().ok_or_else(unfit)?;
    if text.contains(['\n', '\r', '"', '\\', '\'']) { Err(unfit()) } else { Ok(text.to_owned()) }
}

/// A word as the shell takes it literally.
pub(crate) fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SlurmSettings;
    use std::path::PathBuf;
    use std::process::Command;

    fn chain(folder: PathBuf, command: Vec<Word>) -> Chain {
        let link = Link {
            name: "coalitions".to_owned(),
            about: "The models of the coalitions".to_owned(),
            slices: 3,
            needs: Vec::new(),
            command,
            enough: None,
        };
        let settings =
            SlurmSettings { time: Some("1:00:00".into()), mem: Some("2G".into()), ..Default::default() };
        Chain { study: "tiny".to_owned(), folder, links: vec![link], settings }
    }

    #[test]
    fn words_reach_the_program_as_they_are() {
        for word in ["plain", "two words", "it's", "$HOME `x` \"y\" \\", ""] {
            let output =
                Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }

    #[test]
    fn a_folder_that_breaks_the_script_is_refused() {
        for name in ["a\nb", "a\"b", "a\\b", "a'b"] {
            let chain = chain(PathBuf::from("/x").join(name), vec!["true".into()]);
            assert!(matches!(chain.script(&chain.links[0]), Err(ClusterError::Path { .. })), "{name:?}");
        }
    }

    /// Runs the script without Slurm, in its stead `squeue` and `scontrol` that note what they were asked.
    #[cfg(unix)]
    fn start(folder: &std::path::Path, program: &str, state: &str, restarts: &str) -> std::process::Child {
        use std::os::unix::fs::PermissionsExt;
        let chain = chain(
            folder.join("with space"),
            ["bash", "-c", program, "task"].map(Word::from).into_iter().chain([Word::Slice]).collect(),
        );
        chain.write_scripts().unwrap();
        let tools = folder.join("tools");
        std::fs::create_dir_all(&tools).unwrap();
        for (name, text) in [
            ("squeue", format!("#!/bin/sh\necho {state}\n")),
            ("scontrol", format!("#!/bin/sh\necho \"$@\" >>'{}/asked'\n", folder.display())),
        ] {
            let path = tools.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
        Command::new("bash")
            .arg(chain.script_path(&chain.links[0]))
            .env("PATH", path)
            .env("SLURM_JOB_ID", "77")
            .env("SLURM_ARRAY_TASK_ID", "2")
            .env("SLURM_RESTART_COUNT", restarts)
            .spawn()
            .unwrap()
    }

    #[cfg(unix)]
    fn left(folder: &std::path::Path, kind: &str) -> Option<String> {
        std::fs::read_to_string(folder.join("with space/slurm").join(kind).join("coalitions-2")).ok()
    }

    #[test]
    #[cfg(unix)]
    fn success_and_failure_leave_their_files() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(start(folder.path(), "exit $(($1 + 1))", "RUNNING", "0").wait().unwrap().code(), Some(3));
        assert_eq!(left(folder.path(), "failed").as_deref(), Some("3\n"));
        assert!(start(folder.path(), "exit 0", "RUNNING", "0").wait().unwrap().success());
        assert_eq!(
            (left(folder.path(), "done").as_deref(), left(folder.path(), "failed")),
            (Some("0\n"), None)
        );
        assert!(!folder.path().join("asked").exists(), "nothing goes back to the queue by itself");
    }

    /// A program that saves at TERM and then fails, as ours do.
    #[cfg(unix)]
    const SAVES: &str =
        "trap 'touch \"$0.saved\"; exit 1' TERM; touch \"$0.ready\"; while :; do sleep 0.02; done";

    #[test]
    #[cfg(unix)]
    fn only_a_running_job_goes_back_to_the_queue() {
        for (state, restarts, requeued) in
            [("RUNNING", "0", true), ("COMPLETING", "0", false), ("RUNNING", "100", false)]
        {
            let folder = tempfile::tempdir().unwrap();
            let program = SAVES.replace("$0", &folder.path().join("task").display().to_string());
            let mut child = start(folder.path(), &program, state, restarts);
            while !folder.path().join("task.ready").exists() {
                assert!(child.try_wait().unwrap().is_none());
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            assert!(
                Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success()
            );
            let code = child.wait().unwrap().code();
            assert!(folder.path().join("task.saved").exists(), "the program must have been told");
            let asked = std::fs::read_to_string(folder.path().join("asked")).ok();
            assert_eq!(asked.as_deref(), requeued.then_some("requeue 77\n"), "{state}");
            assert_eq!(code, Some(if requeued { 0 } else { 1 }));
            assert_eq!(left(folder.path(), "failed").is_some(), !requeued);
        }
    }
}
