//! `tribute submit` without a cluster; `tests/slurm/run` has one.

#![cfg(unix)]

mod tiny_study;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tiny_study::{Outcome, TRIBUTE, TinyStudy, files_below, read_json, run};

fn submit(study: &TinyStudy, more: &[&str]) -> Command {
    let mut command = Command::new(TRIBUTE);
    command.arg("submit").arg(study.file()).arg("--out").arg(study.path("out")).args(more);
    command
}

#[test]
fn the_dry_run_shows_scripts_and_commands_and_writes_nothing() {
    let study = TinyStudy::new();
    let file = fs::read_to_string(study.file()).unwrap();
    let section = "\n[slurm]\npartition = \"cpu\"\ntime = \"1:00:00\"\nsetup = [\"module load x\"]\n[slurm.train]\ntime = \"1-0\"\n";
    fs::write(study.file(), file + section).unwrap();
    let shown = Outcome::of(&mut submit(
        &study,
        &[
            "--slurm",
            "--dry-run",
            "--cpus",
            "2",
            "--gpus",
            "a100:1",
            "--array-limit",
            "3",
            "--sbatch=--nice=5",
        ],
    ));
    let shown = shown.succeeded().stdout;
    for part in [
        "#SBATCH --partition=cpu",
        "#SBATCH --time=1-0",
        "#SBATCH --time=1:00:00",
        "#SBATCH --gres=gpu:a100:1",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --nice=5",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:TERM@60",
        "module load x",
        "--stage coalitions --index \"$slice\" --count 8 --device cpu --threads 2",
        "sbatch --parsable --array=0-7%3 '--dependency=afterok:<job of train>:<job of prune>'",
        "afterok:<job of train>:<job of prune>:<job of coalitions>:<job of retrain>",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert_eq!(files_below(study.file().parent().unwrap()), [study.file()]);
    // Every script is one that bash understands.
    for (k, script) in shown.split("# ---- submitted by").take(5).enumerate() {
        let path = study.path(&format!("{k}.sh"));
        fs::write(&path, script).unwrap();
        let checked = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn what_cannot_be_submitted_is_named() {
    let study = TinyStudy::new();
    let refused = |more: &[&str], code: i32, parts: &[&str]| {
        Outcome::of(submit(&study, more).env("PATH", study.path("no tools"))).refused(code, parts);
    };
    refused(&[], 2, &["which cluster?", "--slurm"]);
    refused(&["--slurm", "--time", "soon"], 2, &["slurm.time", "soon", "hh:mm:ss"]);
    refused(&["--slurm", "--mem", "lots"], 2, &["slurm.mem", "lots", "8G"]);
    refused(&["--slurm", "--gpus", "some"], 2, &["some", "a100:2"]);
    refused(&["--slurm", "--sbatch", "nice"], 2, &["slurm.options", "nice", "--exclude"]);
    refused(&["--slurm", "--set", "slurm.partitoin=x"], 2, &["partitoin"]);
    assert!(!study.path("out").exists());
    // A machine without Slurm: the plan stays, for when there is one.
    refused(&["--slurm"], 1, &["cannot start `squeue`", "login node", "--dry-run"]);
    assert!(study.path("out/work.json").is_file() && study.path("out/slurm/train.sh").is_file());
}

#[test]
fn what_jobs_ask_for_changes_neither_plan_nor_runs() {
    let study = TinyStudy::new();
    let file = study.file();
    let plan = |out: &str, more: &[&str]| -> Value {
        let out = study.path(out);
        let arguments = ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()];
        run(TRIBUTE, arguments.into_iter().chain(more.iter().map(AsRef::as_ref))).succeeded();
        read_json(&out.join("work.json"))
    };
    let plain = plan("plain", &[]);
    assert_eq!(plain, plan("asking", &["--set", "slurm.time=5", "--set", "slurm.retries=7"]));
    assert_ne!(plain, plan("other", &["--set", "unlearn.steps=3"]));
    study.complete("alone", &[]);
    study.complete("asked", &["--set", "slurm.partition=gpu"]);
    assert_eq!(tiny_study::records(&study.path("alone")), tiny_study::records(&study.path("asked")));
}

#[test]
fn a_study_that_was_edited_after_it_was_planned_is_refused() {
    let study = TinyStudy::new();
    let (file, out) = (study.file(), study.path("out"));
    run(TRIBUTE, ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()]).succeeded();
    let own = out.join("study.toml");
    let text = fs::read_to_string(&own).unwrap();
    fs::write(&own, text.replacen("seed = 5", "seed = 6", 1)).unwrap();
    let plan = out.join("work.json");
    let arguments = ["work", "--plan", plan.to_str().unwrap(), "--stage", "train", "--index", "0"];
    run(TRIBUTE, arguments)
        .refused(2, &["study.toml", "not what it was when the work was planned", "tribute plan"]);
    fs::write(&own, text).unwrap();
    run(TRIBUTE, arguments).succeeded();
}

/// Commands of Slurm that start nothing: jobs wait in a file until the test takes them out.
fn tools(folder: &Path) -> String {
    fs::create_dir_all(folder.join("tools")).unwrap();
    let queue = folder.join("queue");
    fs::write(&queue, "").unwrap();
    let scripts = [
        (
            "sbatch",
            format!(
                "n=$(($(cat '{0}.n' 2>/dev/null || echo 100) + 1)); echo $n >'{0}.n'; echo \"$n|PENDING|Priority\" >>'{0}'; echo $n",
                queue.display()
            ),
        ),
        ("squeue", format!("cat '{}'", queue.display())),
        ("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1".to_owned()),
        ("scontrol", "echo 'JobId=101 JobState=OUT_OF_MEMORY Reason=OutOfMemory ExitCode=0:125'".to_owned()),
    ];
    for (name, text) in scripts {
        let path = folder.join("tools").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{}", folder.join("tools").display(), std::env::var("PATH").unwrap())
}

#[test]
fn the_same_command_takes_up_where_the_last_one_ended() {
    // One slice a stage, so that every job is a plain one.
    let study = TinyStudy::new();
    let folder = study.file().parent().unwrap().to_owned();
    let path = tools(&folder);
    let queue = folder.join("queue");
    let told = |more: &[&str]| {
        let arguments = [&["--slurm", "--jobs", "1", "--poll", "1"], more].concat();
        Outcome::of(submit(&study, &arguments).env("PATH", &path))
    };
    let first = told(&[]).json();
    assert_eq!(first["stages"].as_array().unwrap().len(), 5);
    assert_eq!(first["stages"][4]["jobs"][0], "105");
    assert_eq!(fs::read_to_string(&queue).unwrap().lines().count(), 5);
    let again = told(&[]).json();
    assert_eq!(again["stages"], first["stages"], "nothing is submitted twice");

    // The training is lost, and with it what waits for it.
    fs::write(&queue, "104|RUNNING|None\n").unwrap();
    let lost = told(&[]).succeeded();
    assert!(
        lost.stderr.contains("was lost (OUT_OF_MEMORY (OutOfMemory), exit code 0:125): tried again, 1 of 2"),
        "{}",
        lost.stderr
    );
    assert_eq!(lost.told()["stages"][0]["jobs"], serde_json::json!(["101", "106"]));

    // Another study in the folder has to wait.
    let file = fs::read_to_string(study.file()).unwrap();
    fs::write(study.file(), file.replacen("seed = 5", "seed = 6", 1)).unwrap();
    told(&[]).refused(1, &["the study changed", "still in the queue", "scancel"]);
    fs::write(study.file(), file).unwrap();

    let done = study.path("out/slurm/done");
    for stage in ["train", "prune", "coalitions", "retrain", "report"] {
        fs::write(done.join(format!("{stage}-0")), "0\n").unwrap();
    }
    fs::write(&queue, "").unwrap();
    assert_eq!(told(&["--follow"]).json()["finished"], true);
}

#[test]
fn no_more_coalitions_are_submitted_once_the_draws_have_ended() {
    let study = TinyStudy::new();
    let folder = study.file().parent().unwrap().to_owned();
    let path = tools(&folder);
    let queue = folder.join("queue");
    let told = || {
        let until = "coalitions.until={ kendall_tau = { least = 0.5 } }";
        let arguments = ["--slurm", "--jobs", "2", "--poll", "1", "--set", until];
        Outcome::of(submit(&study, &arguments).env("PATH", &path)).json()
    };
    let first = told();
    assert_eq!(
        (&first["stages"][2]["stage"], &first["stages"][2]["slices"]),
        (&"coalitions".into(), &2.into())
    );
    // One slice ended, the other was lost, and the report waits for what it was submitted after.
    for stage in ["train-0", "prune-0", "coalitions-0", "retrain-0", "retrain-1"] {
        fs::write(study.path("out/slurm/done").join(stage), "0\n").unwrap();
    }
    let report = first["stages"][4]["jobs"][0].as_str().unwrap().to_owned();
    fs::write(&queue, format!("{report}|PENDING|Dependency\n")).unwrap();
    fs::write(study.path("out/stopped.json"), "{}").unwrap();
    let seen = told();
    assert_eq!(seen["stages"][2]["done"], 2);
    assert_eq!(seen["stages"][2]["jobs"], first["stages"][2]["jobs"], "nothing is submitted again");
    assert_eq!(fs::read_to_string(&queue).unwrap().lines().count(), 1);
}
