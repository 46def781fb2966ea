//! A study of four contributors that runs in about a second, and the binaries that run it.

// Each test uses its own part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ledger::{Ledger, Record, RunKey};
use removal::Coalition;
use serde_json::Value;
use tempfile::TempDir;

pub const TRIBUTE: &str = env!("CARGO_BIN_EXE_tribute");
pub const TRAIN: &str = env!("CARGO_BIN_EXE_tribute-train");
pub const PRUNE: &str = env!("CARGO_BIN_EXE_tribute-prune");
pub const UNLEARN: &str = env!("CARGO_BIN_EXE_tribute-unlearn");
pub const SAMPLE: &str = env!("CARGO_BIN_EXE_tribute-sample");
pub const MEASURE: &str = env!("CARGO_BIN_EXE_tribute-measure");
pub const LDS: &str = env!("CARGO_BIN_EXE_tribute-lds");

/// The packs and weights that ship with Tribute.
pub const DATASETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../datasets");

/// Longest time that anything here may take, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// The study file; `DATASETS` stands for the folder of that name. With this seed, the six draws are six different
/// coalitions and none of them is a test coalition.
const STUDY: &str = r#"name = "tiny"
for_show = true
seed = 5
weights = "DATASETS/weights"
behaviors = ["colourfulness", "diffusion_loss"]

[data]
path = "DATASETS/openclipart32"
resolution = 8
select = { names = ["AJ Ashton", "Chris Goerner", "Jakob", "Yutaka Kachi"] }

[model]
block_out_channels = [8, 8]
norm_num_groups = 4
mid_attention = false

[train]
steps = 6
checkpoint_every = 2

[train.optimization]
batch_size = 8
optimizer = { kind = "adam", learning_rate = 2e-3 }

[prune]
ratio = 0.3

[fine_tune]
steps = 4

[unlearn]
method = "gd"
parent = "pruned"
steps = 2

[coalitions]
count = 6
bootstrap = 100

[sample]
count = 8
num_inference_steps = 2

[evaluation]
datamodel_alpha = 0.5
test_coalitions = 3
test_seeds = 2
retrain_coalitions = 1
counterfactual = [0.25]
"#;

/// A temporary folder with a study file.
pub struct TinyStudy {
    folder: TempDir,
}

impl TinyStudy {
    pub fn new() -> Self {
        Self::edited(&[])
    }

    /// With parts of the file replaced; each must stand there once.
    pub fn edited(edits: &[(&str, &str)]) -> Self {
        // Studies that tests share are never dropped: they stay where `cargo clean` finds them.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut text = STUDY.replace("DATASETS", DATASETS);
        for (old, new) in edits {
            assert_eq!(text.matches(old).count(), 1, "{old:?} must stand once in the study file");
            text = text.replace(old, new);
        }
        fs::write(folder.path().join("study.toml"), text).unwrap();
        Self { folder }
    }

    /// With other images, all contributors of them.
    pub fn of_images(path: &Path) -> Self {
        let path = format!("path = {:?}", path.display().to_string());
        Self::edited(&[
            (&format!("path = \"{DATASETS}/openclipart32\""), &path),
            (r#"select = { names = ["AJ Ashton", "Chris Goerner", "Jakob", "Yutaka Kachi"] }"#, ""),
        ])
    }

    pub fn file(&self) -> PathBuf {
        self.path("study.toml")
    }

    /// A path in the study's temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `tribute run study.toml --out name`, with further arguments.
    pub fn drive(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(TRIBUTE);
        command.arg("run").arg(self.file()).arg("--out").arg(self.path(out)).args(more);
        command
    }

    /// Runs the study to its end.
    pub fn complete(&self, out: &str, more: &[&str]) -> Outcome {
        Outcome::of(&mut self.drive(out, more)).succeeded()
    }
}

/// Runs a binary to its end.
pub fn run<A: AsRef<OsStr>>(binary: &str, arguments: impl IntoIterator<Item = A>) -> Outcome {
    Outcome::of(Command::new(binary).args(arguments))
}

/// How a process ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Checks that it failed with this exit code and a message that holds all of these, and printed no result.
    pub fn refused(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains("error: "), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in the message:\n{}", self.stderr);
        }
        self
    }

    /// What it printed, as JSON, if it succeeded.
    pub fn json(self) -> Value {
        self.succeeded().told()
    }

    /// What it printed, as JSON.
    pub fn told(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A process in the background; killed when dropped.
pub struct Background(Option<Child>);

impl Background {
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    pub fn pid(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Sends a signal by name, as `kill -NAME`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success());
    }

    /// `kill -9` after `delay`. `false` if it ended by itself before that.
    pub fn killed_after(mut self, delay: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < delay {
            if self.has_ended() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        !child.wait().unwrap().success()
    }

    /// Waits until `ready`, or until the process has ended; says whether it still runs.
    pub fn wait_until(&mut self, ready: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while !ready() {
            assert!(start.elapsed() < PATIENCE, "nothing happened for {PATIENCE:?}");
            if self.has_ended() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        !self.has_ended()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Outcome {
        self.0.take().unwrap().wait_with_output().unwrap().into()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The records of a study by file name, each verified, with their times cleared.
pub fn records(out: &Path) -> BTreeMap<String, Record> {
    let folder = out.join("ledger/records");
    visible_files(&folder)
        .into_iter()
        .map(|path| {
            let record = Record::from_text(&fs::read(&path).unwrap(), &path).unwrap();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), record.without_times())
        })
        .collect()
}

/// Records of one method.
pub fn records_of(out: &Path, method: &str) -> Vec<Record> {
    records(out).into_values().filter(|record| record.key().method == method).collect()
}

/// Contents of the weights and sample sheets of a study by path: what must not depend on how it was run.
pub fn products(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let kept = |path: &PathBuf| path.extension().is_some_and(|end| end == "safetensors" || end == "png");
    let inside = |path: &Path| path.strip_prefix(out).unwrap().to_owned();
    files_below(out).into_iter().filter(kept).map(|p| (inside(&p), fs::read(&p).unwrap())).collect()
}

/// Scores by behaviour and contributor, as the report gives them.
pub fn reported_scores(out: &Path) -> Value {
    let report = read_json(&out.join("report.json"));
    let behaviors = report["behaviors"].as_array().unwrap();
    behaviors.iter().map(|b| (b["key"].as_str().unwrap().to_owned(), b["scores"].clone())).collect()
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Fails if a writer left anything behind: temporary files, previous checkpoints.
pub fn assert_no_leftovers(folder: &Path) {
    let hidden = |path: &PathBuf| {
        let inside = path.strip_prefix(folder).unwrap();
        inside.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
    };
    let left: Vec<PathBuf> = files_below(folder).into_iter().filter(hidden).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// All files below a folder, in order; none if it does not exist.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn visible_files(folder: &Path) -> Vec<PathBuf> {
    let visible = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
    files_below(folder).into_iter().filter(visible).collect()
}

/// Copies a folder with all it holds.
pub fn copy_folder(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, &target).unwrap();
    }
}

/// A file of records of a made-up game with `n` contributors: draws by `gd`, v(all) and v(none), and four test coalitions
/// retrained twice. Each has the behaviour `charm`, but draws that are `lacking` have another one.
pub fn game(
    n: usize,
    draws: &[&[usize]],
    lacking: &[&[usize]],
    utility: impl Fn(&Coalition) -> f64,
) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path().join("ledger")).unwrap();
    let of = |members: &[usize]| Coalition::from_members(n, members.iter().copied()).unwrap();
    let put = |method: &str, coalition: Coalition, repetition: u64, name: &str| {
        let value = utility(&coalition);
        let key = RunKey::new(method, coalition).seed("repetition", repetition);
        ledger.put(&Record::new(key).unwrap().behavior(name, value)).unwrap();
    };
    put("null", Coalition::empty(n), 0, "charm");
    put("gd", Coalition::full(n), 0, "charm");
    for draw in draws {
        put("gd", of(draw), 0, if lacking.contains(draw) { "other" } else { "charm" });
    }
    for test in [&[0usize, 1] as &[usize], &[1, 2], &[0, 2], &[2, 3]] {
        put("retrain", of(test), 1, "charm");
        put("retrain", of(test), 2, "charm");
    }
    let path = folder.path().join("records.jsonl");
    ledger.export_jsonl(&path, |_| true).unwrap();
    (folder, path)
}
