//! A system that misbehaves under a study: disks that are full at any write, file systems without locks, damaged files; and
//! what a study writes, and where.

#![cfg(target_os = "linux")]

mod tiny_study;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tiny_study::{
    Outcome, SAMPLE, TRAIN, TRIBUTE, TinyStudy, UNLEARN, assert_no_leftovers, copy_folder, files_below,
    products, records, reported_scores, run,
};

/// The library of `faults/faults.c`, built once.
fn faults() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/faults/faults.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.so");
        // Whoever links Rust programs has a C compiler.
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .args(["-ldl"])
            .output();
        let built = built.expect("a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        library
    })
}

/// A command under the library, whose faults are those of a folder.
fn under_faults(mut command: Command, root: &Path) -> Command {
    command.env("LD_PRELOAD", faults()).env("FAULTS_ROOT", root);
    command
}

/// A study of few runs.
fn few_runs() -> TinyStudy {
    TinyStudy::edited(&[
        ("steps = 6", "steps = 4"),
        ("count = 6", "count = 2"),
        ("test_seeds = 2", "test_seeds = 1"),
        ("retrain_coalitions = 1", "retrain_coalitions = 0"),
        ("counterfactual = [0.25]", "counterfactual = []"),
    ])
}

#[test]
fn a_disk_that_is_full_at_any_write_loses_nothing() {
    let study = few_runs();
    study.complete("clean", &["--workers", "1", "--threads", "1"]);
    let (clean, out) = (records(&study.path("clean")), study.path("out"));
    let log = study.path("full.log");
    let mut starts = 0;
    loop {
        let before = records(&out);
        let mut command =
            under_faults(study.drive("out", &["--workers", "1", "--threads", "1", "--quiet"]), &out);
        let outcome = Outcome::of(command.env("FAULTS_FULL", &log));
        starts += 1;
        assert!(starts < 2000, "it gets no further");
        // Each record is read and verified: none is half-written, none of those before is lost.
        let now = records(&out);
        assert!(now.iter().all(|(id, record)| clean.get(id) == Some(record)), "after start {starts}");
        assert!(before.keys().all(|id| now.contains_key(id)), "start {starts} lost a record");
        if outcome.code == Some(0) {
            break;
        }
        let failed = fs::read_to_string(&log).unwrap();
        let outcome = outcome.refused(1, &["free some space and run again", out.to_str().unwrap()]);
        assert!(
            outcome.stderr.contains("No space left") || outcome.stderr.contains("the disk is full"),
            "{}: {outcome:?}",
            failed.lines().last().unwrap()
        );
    }
    let failed = fs::read_to_string(&log).unwrap();
    assert_eq!(failed.lines().count(), starts - 1, "every start but the last one met a full disk");
    for operation in ["create", "write", "sync", "rename", "link", "mkdir"] {
        assert!(failed.lines().any(|line| line.starts_with(operation)), "no {operation} failed:\n{failed}");
    }
    for file in
        ["study.toml", "plan.json", "report.html", "optimizer.safetensors", ".lock", ".png", "records"]
    {
        assert!(failed.lines().any(|line| line.contains(file)), "nothing about {file} failed:\n{failed}");
    }
    println!("{} operations failed for want of space, each once", starts - 1);
    assert_eq!(records(&out), clean);
    assert_eq!(products(&out), products(&study.path("clean")));
    assert_eq!(reported_scores(&out), reported_scores(&study.path("clean")));
    assert_no_leftovers(&out);
}

#[test]
fn a_disk_that_is_full_at_any_write_of_a_training_costs_nothing_that_it_keeps() {
    let study = TinyStudy::new();
    let log = study.path("full.log");
    let train = |out: &str| {
        let mut command = Command::new(TRAIN);
        command.arg(study.file()).arg("--out").arg(study.path(out).join("model"));
        command.args([
            "--keep-all-ckpts",
            "--sample-every",
            "3",
            "--log-freq",
            "1",
            "--threads",
            "1",
            "--quiet",
        ]);
        command
    };
    Outcome::of(&mut train("clean")).succeeded();
    let out = study.path("out");
    fs::create_dir(&out).unwrap();
    let mut starts = 0;
    while Outcome::of(under_faults(train("out"), &out).env("FAULTS_FULL", &log)).code != Some(0) {
        starts += 1;
        assert!(starts < 1000, "it gets no further");
    }
    assert!(starts > 20, "only {starts} writes failed");
    assert_no_leftovers(&out);
    assert_eq!(products(&out), products(&study.path("clean")));
    // Further columns tell the speed.
    let metrics = |out: &str| -> Vec<String> {
        let text = fs::read_to_string(study.path(out).join("model-log/metrics.csv")).unwrap();
        text.lines().map(|row| row.split(',').take(3).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(metrics("out"), metrics("clean"));
}

#[test]
fn without_locks_workers_on_the_same_slices_leave_the_records_of_one() {
    let study = TinyStudy::new();
    study.complete("alone", &[]);
    let (file, out) = (study.file(), study.path("out"));
    run(TRIBUTE, ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()]).succeeded();
    let work = |stage: &str| {
        let mut command = Command::new(TRIBUTE);
        command
            .args(["work", "--quiet", "--threads", "1", "--stage", stage, "--plan"])
            .arg(out.join("work.json"));
        command.args(["--index", "0", "--count", "1"]).stdout(Stdio::null());
        let mut command = under_faults(command, &out);
        command.env("FAULTS_NO_LOCKS", "1").spawn().unwrap()
    };
    for stage in ["retrain", "train", "prune", "coalitions"] {
        // All three do every task of the stage, at the same time: nobody can tell that another is at work.
        let workers: Vec<_> = (0..3).map(|_| work(stage)).collect();
        for mut worker in workers {
            assert!(worker.wait().unwrap().success(), "a worker of {stage} failed");
        }
    }
    let mut report = under_faults(study.drive("out", &[]), &out);
    Outcome::of(report.env("FAULTS_NO_LOCKS", "1")).succeeded();
    assert_eq!(records(&out), records(&study.path("alone")));
    assert_eq!(products(&out), products(&study.path("alone")));
    assert_no_leftovers(&out);
}

#[test]
fn files_are_written_in_the_study_alone_and_never_for_others_to_change() {
    let study = TinyStudy::new();
    let outside = study.path("outside.log");
    for (umask, expected) in [("000", 0o644), ("022", 0o644), ("077", 0o600)] {
        let out = study.path(&format!("out-{umask}"));
        let mut command = Command::new("sh");
        command.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]).arg(TRIBUTE);
        command.arg("run").arg(study.file()).arg("--out").arg(&out).arg("--quiet");
        let mut command = under_faults(command, &out);
        Outcome::of(command.env("FAULTS_OUTSIDE", &outside)).succeeded();
        let files = files_below(&out);
        assert!(files.len() > 40, "{}", files.len());
        for file in files {
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, expected, "{} with umask {umask}", file.display());
        }
    }
    let written = fs::read_to_string(&outside).unwrap_or_default();
    assert_eq!(written, "", "written outside of the study's folder");
}

/// A file with one bit of one byte turned.
fn flip(path: &Path, place: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let place = place(bytes.len());
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_is_noticed_in_every_file_of_a_checkpoint_and_in_every_record() {
    let study = TinyStudy::new();
    study.complete("whole", &[]);
    let whole = study.path("whole");
    let inside = |path: &Path| path.strip_prefix(&whole).unwrap().to_owned();
    let checked: Vec<PathBuf> = files_below(&whole.join("models"))
        .into_iter()
        .chain(files_below(&whole.join("ledger/records")))
        .map(|path| inside(&path))
        .collect();
    assert!(checked.len() > 20, "{checked:?}");
    let out = study.path("out");
    copy_folder(&whole, &out);
    for (number, file) in checked.iter().enumerate() {
        let path = out.join(file);
        let bytes = fs::read(&path).unwrap();
        // Times stand last in a record and are not part of its content: two runs of one key differ in them.
        let times =
            bytes.windows(7).position(|word| word == b"\"times\"").filter(|_| file.starts_with("ledger"));
        flip(&path, |length| times.unwrap_or(length) * (1 + number % 3) / 4);
        let name = file.file_name().unwrap().to_str().unwrap();
        Outcome::of(&mut study.drive("out", &["--quiet"])).refused(1, &[name]);
        fs::write(&path, &bytes).unwrap();
    }
    study.complete("out", &[]);
    assert_eq!(records(&out), records(&whole));
}

#[test]
fn a_flipped_bit_of_a_checkpoint_is_noticed_by_whoever_reads_its_model() {
    let study = TinyStudy::new();
    let model = study.path("model");
    let (file, text) = (study.file(), |path: &Path| path.display().to_string());
    run(TRAIN, [text(&file), "--out".into(), text(&model)]).succeeded();
    let weights = model.join("ema.safetensors");
    flip(&weights, |length| length - 8);
    let out = study.path("made");
    let sample = [text(&file), "--model".into(), text(&model), "--out".into(), text(&out)];
    let unlearn = ["--load".into(), text(&model), "--draw".into(), "0".into(), "--out".into(), text(&out)];
    let message = ["ema.safetensors", "SHA-256", "restore the file or train anew"];
    run(SAMPLE, sample).refused(1, &message);
    run(UNLEARN, [vec![text(&file)], unlearn.to_vec()].concat()).refused(1, &message);
    run(TRAIN, [text(&file), "--out".into(), text(&model)]).refused(1, &message);
    assert!(!out.exists());
}

#[test]
fn a_stopped_run_goes_on_from_its_checkpoint_and_begins_anew_if_that_is_damaged() {
    use tiny_study::Background;
    // Retrainings that take some seconds.
    let edits = [("steps = 6", "steps = 8000"), ("retrain_coalitions = 1", "retrain_coalitions = 0")];
    let study = TinyStudy::edited(&edits);
    let (file, out) = (study.file(), study.path("out"));
    run(TRIBUTE, ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()]).succeeded();
    let work = || {
        let mut command = Command::new(TRIBUTE);
        command.args(["work", "--threads", "1", "--stage", "retrain", "--index", "0", "--plan"]);
        command.arg(out.join("work.json"));
        command
    };
    let unfinished = || files_below(&out.join("unfinished"));
    let stop = || {
        let mut running = Background::start(&mut work());
        let claims = || !files_below(&out.join("ledger/claims")).is_empty();
        assert!(running.wait_until(claims), "it must not have ended");
        std::thread::sleep(std::time::Duration::from_millis(300));
        // Twice at once, as a job of a cluster gets it: from the cluster and from its script.
        let pid = running.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid, &pid]).status().unwrap().success());
        running.end().refused(1, &["stopped", "the same command continues"]);
    };
    let step = || {
        let state = unfinished().into_iter().find(|path| path.ends_with("state.json")).unwrap();
        tiny_study::read_json(&state)["step"].as_u64().unwrap()
    };
    stop();
    let first = step();
    assert!(0 < first && first < 8000, "{first}");
    stop();
    assert!(first < step(), "it must have gone on from step {first}");
    let weights = unfinished().into_iter().find(|path| path.ends_with("ema.safetensors")).unwrap();
    flip(&weights, |length| length / 2);
    let outcome = Outcome::of(&mut work()).succeeded();
    assert_eq!(unfinished(), Vec::<PathBuf>::new(), "{outcome:?}");
    let resumed = records(&out);

    let alone = study.path("alone");
    run(TRIBUTE, ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), alone.as_os_str()]).succeeded();
    let mut command = Command::new(TRIBUTE);
    command.args(["work", "--threads", "1", "--stage", "retrain", "--index", "0", "--plan"]);
    Outcome::of(command.arg(alone.join("work.json"))).succeeded();
    assert_eq!(resumed, records(&alone));
    assert_eq!(resumed.len(), 1);
}
