//! A behaviour that a program of the user's measures: it gets a folder of pictures and prints a number.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use png::{BitDepth, ColorType, Encoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use super::command_output::CommandOutput;
use super::command_output::parse;
use crate::{BehaviorError, Samples};

/// What stands for the folder of pictures among the arguments.
const FOLDER: &str = "{folder}";
/// Most bytes that are read of what a command prints.
const MAX_OUTPUT: u64 = 1 << 20;
/// Largest file among the arguments whose content is part of what was measured.
const MAX_HASHED: u64 = 64 << 20;
/// How often a running command is looked at.
const POLL: Duration = Duration::from_millis(5);

/// A command that measures.
///
/// It is started once for each model, with the folder of PNG files `00000.png`, `00001.png`, ... in place of `{folder}` among its
/// arguments, or else as its last argument. It ends with exit code 0 and prints one number, or a JSON object with the number
/// under `value`; further numbers and lists of numbers in the object are recorded, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program and its arguments. No shell reads them, unless `shell` is set.
    pub run: Vec<String>,
    /// Whether `run` is one line for `sh`, in which `$1` is the folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shell: bool,
    /// Seconds after which the command is killed, with what it has started.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// Which way the number is better; neither when left out.
    #[serde(default = "neutral", skip_serializing_if = "is_neutral")]
    pub better: crate::Direction,
    /// Where the command is started.
    #[serde(default)]
    pub directory: PathBuf,
}

fn default_timeout() -> u64 {
    600
}

fn neutral() -> crate::Direction {
    crate::Direction::Neutral
}

fn is_neutral(direction: &crate::Direction) -> bool {
    *direction == crate::Direction::Neutral
}

impl CommandConfig {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`BehaviorError::Parameter`].
    pub fn validate(&self) -> Result<(), BehaviorError> {
        let parameter = |name, value: String, valid: &str| {
            Err(BehaviorError::Parameter { name, value, valid: valid.to_owned() })
        };
        if self.run.first().is_none_or(String::is_empty) {
            return parameter(
                "run",
                format!("{:?}", self.run),
                "a program and its arguments, as a list of texts",
            );
        }
        if self.shell && self.run.len() != 1 {
            return parameter("run", format!("{:?}", self.run), "one line, as `shell` is set");
        }
        if self.timeout == 0 {
            return parameter("timeout", "0".to_owned(), "at least 1 second");
        }
        Ok(())
    }

    /// What decides on the result: program and arguments, and the SHA-256 of each argument that is a file's name (a script).
    pub fn identity(&self) -> Vec<String> {
        let mut identity = vec![if self.shell { "sh" } else { "run" }.to_owned()];
        for argument in &self.run {
            identity.push(argument.clone());
            let path = self.directory.join(argument);
            let small = fs::metadata(&path).is_ok_and(|about| about.is_file() && about.len() <= MAX_HASHED);
            if small && let Ok(bytes) = fs::read(&path) {
                let digest = Sha256::digest(&bytes);
                identity.push(digest.iter().map(|byte| format!("{byte:02x}")).collect());
            }
        }
        identity
    }

    /// SHA-256 of the [identity](Self::identity), in hexadecimal digits.
    pub fn identity_sha256(&self) -> String {
        let mut digest = Sha256::new();
        for part in self.identity() {
            // With its length, so that no two lists are one text.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Measures `samples`; `behavior` names what is measured in errors.
    ///
    /// # Errors
    /// [`BehaviorError::Command`] if the command cannot be started, runs too long, ends with another exit code than 0, or prints
    /// anything but one finite number or one JSON object with it.
    pub fn measure(&self, behavior: &str, samples: &Samples) -> Result<CommandOutput, BehaviorError> {
        self.validate()?;
        let failed = |reason: String| BehaviorError::Command {
            behavior: behavior.to_owned(),
            command: self.run.join(" "),
            reason,
        };
        let folder =
            tempfile::tempdir().map_err(|error| failed(format!("got no temporary folder: {error}")))?;
        write_pictures(folder.path(), samples)
            .map_err(|reason| failed(format!("got no pictures: {reason}")))?;
        let mut child = self.command(folder.path()).spawn().map_err(|error| {
            failed(format!("cannot be started: {error}; give the program's name or path in `run`"))
        })?;
        let (printed, complained) = (reader(child.stdout.take()), reader(child.stderr.take()));
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() >= deadline => {
                    kill(&mut child);
                    let seconds = self.timeout;
                    return Err(failed(format!(
                        "was killed after {seconds} s: make it faster, or set a longer `timeout`"
                    )));
                }
                Ok(None) => std::thread::sleep(POLL),
                Err(error) => return Err(failed(format!("cannot be waited for: {error}"))),
            }
        };
        // Something that it started and left behind may hold its output open; it ends now, as the folder does.
        let rest = |output: &Receiver<Vec<u8>>| output.recv_timeout(Duration::from_secs(1));
        let mut printed_bytes = rest(&printed);
        if printed_bytes == Err(RecvTimeoutError::Timeout) {
            kill(&mut child);
            printed_bytes = rest(&printed);
        }
        let printed = printed_bytes.map_err(|_| failed("left its output open".to_owned()))?;
        if !status.success() {
            let complaint = rest(&complained).unwrap_or_default();
            return Err(failed(format!("failed ({status}){}", last_lines(&complaint))));
        }
        parse(&printed).map_err(failed)
    }

    fn command(&self, folder: &Path) -> Command {
        let folder_text = folder.display().to_string();
        let mut command = if self.shell {
            let mut command = Command::new("sh");
            command.arg("-c").args(&self.run).arg("tribute").arg(&folder_text);
            command
        } else {
            let mut command = Command::new(&self.run[0]);
            let arguments = &self.run[1..];
            command.args(arguments.iter().map(|argument| argument.replace(FOLDER, &folder_text)));
            if !arguments.iter().any(|argument| argument.contains(FOLDER)) {
                command.arg(&folder_text);
            }
            command
        };
        if !self.directory.as_os_str().is_empty() {
            command.current_dir(&self.directory);
        }
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Ends a command and, on Unix, all that it has started.
fn kill(child: &mut Child) {
    // It leads a process group of its own. What has ended already cannot be killed, which is as well.
    #[cfg(unix)]
    let _ = Command::new("kill")
        .args(["-KILL", "--", &format!("-{}", child.id())])
        .stderr(Stdio::null())
        .status();
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads a stream to its end beside the running command, which would wait for a full pipe forever.
fn reader(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is told all the same.
            let _ = stream.by_ref().take(MAX_OUTPUT + 1).read_to_end(&mut kept);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        // Nobody listens any more if the command was killed.
        let _ = sender.send(kept);
    });
    receiver
}

/// The end of what a command complained about, for a message.
fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    match lines.len() {
        0 => String::new(),
        n => format!(": {}", lines[n.saturating_sub(5)..].join(" | ")),
    }
}

fn write_pictures(folder: &Path, samples: &Samples) -> Result<(), String> {
    for (number, image) in samples.images().enumerate() {
        let file =
            fs::File::create(folder.join(format!("{number:05}.png"))).map_err(|error| error.to_string())?;
        let side = |pixels: usize| u32::try_from(pixels).map_err(|_| "they are too large".to_owned());
        let mut encoder =
            Encoder::new(std::io::BufWriter::new(file), side(samples.width())?, side(samples.height())?);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let written = encoder.write_header().and_then(|mut writer| {
            writer.write_image_data(image)?;
            writer.finish()
        });
        written.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(line: &str) -> CommandConfig {
        CommandConfig {
            run: vec![line.to_owned()],
            shell: true,
            timeout: 20,
            better: crate::Direction::Neutral,
            directory: PathBuf::new(),
        }
    }

    fn measured(config: &CommandConfig) -> Result<CommandOutput, String> {
        let pixels = vec![200; 3 * 4 * 5 * 3];
        let samples = Samples::new(&pixels, [3, 4, 5, 3]).unwrap();
        config.measure("command_test", &samples).map_err(|error| error.to_string())
    }

    #[test]
    fn the_pictures_are_in_the_folder_and_the_number_comes_back() {
        assert_eq!(measured(&shell("ls \"$1\" | wc -l")).unwrap().value, 3.0);
        let list = CommandConfig {
            run: ["sh", "-c", "ls $1 | tail -1 | tr -dc 0-9", "x"].map(String::from).to_vec(),
            shell: false,
            ..shell("")
        };
        assert_eq!(measured(&list).unwrap().value, 2.0);
        let placed = CommandConfig {
            run: ["wc", "-c", "{folder}/00000.png"].map(String::from).to_vec(),
            ..list.clone()
        };
        let message = measured(&placed).unwrap_err();
        assert!(message.contains("00000.png") && message.contains("printed"), "{message}");
        // No shell looks at what no shell was asked to.
        let raw = CommandConfig { run: ["echo", "$HOME; 7"].map(String::from).to_vec(), ..list };
        assert!(measured(&raw).unwrap_err().contains("$HOME; 7"));
        let png = measured(&shell("head -c 8 \"$1/00001.png\" | od -An -tu1 | awk '{ print $2 }'")).unwrap();
        assert_eq!(png.value, f64::from(b'P'));
    }

    #[test]
    fn objects_give_further_numbers() {
        let found = measured(&shell(r#"echo '{"value": 1.5, "faces": 3, "each": [1, 2, 4.5]}'"#)).unwrap();
        assert_eq!(found.value, 1.5);
        assert_eq!(found.numbers["faces"], [3.0]);
        assert_eq!(found.numbers["each"], [1.0, 2.0, 4.5]);
    }

    #[test]
    fn what_goes_wrong_is_told() {
        for (line, part) in [
            ("echo NaN", "NaN"),
            ("echo inf", "inf"),
            ("true", "printed nothing"),
            ("echo 1 2", "1 2"),
            ("echo 1; echo 2", "one number"),
            ("echo loading; echo 3", "loading"),
            ("echo '{\"score\": 1}'", "`value`"),
            ("echo '{\"value\": 1, \"note\": \"hm\"}'", "`note`"),
            ("echo '{\"value\": \"high\"}'", "`value`"),
            ("echo 1; echo no weights >&2; exit 3", "exit status: 3): no weights"),
            ("kill -9 $$", "signal: 9"),
            ("yes 1", "more than"),
        ] {
            let config = CommandConfig { timeout: if line == "yes 1" { 1 } else { 20 }, ..shell(line) };
            let message = measured(&config).unwrap_err();
            let expected = if line == "yes 1" { "killed after 1 s" } else { part };
            assert!(message.contains(expected) && message.contains("command_test"), "{line}: {message}");
        }
        let missing = CommandConfig { run: vec!["/no/such/program".to_owned()], shell: false, ..shell("") };
        assert!(measured(&missing).unwrap_err().contains("cannot be started"));
        for wrong in [
            CommandConfig { run: Vec::new(), ..shell("") },
            CommandConfig { run: vec!["a".to_owned(), "b".to_owned()], ..shell("") },
            CommandConfig { timeout: 0, ..shell("echo 1") },
        ] {
            assert!(wrong.validate().is_err());
        }
    }

    #[test]
    fn a_command_that_runs_too_long_is_killed_with_what_it_started() {
        let marker = tempfile::tempdir().unwrap();
        let file = marker.path().join("late");
        let line = format!("(sleep 3; touch {}) & sleep 60", file.display());
        let start = Instant::now();
        let message = measured(&CommandConfig { timeout: 1, ..shell(&line) }).unwrap_err();
        assert!(message.contains("killed after 1 s"), "{message}");
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!file.exists());
    }

    #[test]
    fn the_content_of_a_script_is_part_of_what_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let config = CommandConfig {
            run: ["sh", "score.sh"].map(String::from).to_vec(),
            shell: false,
            directory: folder.path().to_owned(),
            ..shell("")
        };
        assert_eq!(config.identity(), ["run", "sh", "score.sh"]);
        let mut seen = Vec::new();
        for text in ["echo 1", "echo 2"] {
            fs::write(folder.path().join("score.sh"), text).unwrap();
            assert_eq!(measured(&config).unwrap().value.to_string(), text[5..]);
            seen.push(config.identity());
        }
        assert_eq!(seen[0].len(), 4);
        assert_ne!(seen[0], seen[1]);
    }
}
