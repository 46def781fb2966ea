//! A study whose work is shared out by `tribute plan` and `tribute work`.

mod tiny_study;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tiny_study::{TRIBUTE, TinyStudy, read_json, records, records_of, reported_scores, run};

fn slice(plan: &Path, stage: &str, index: usize, count: usize) -> Command {
    let mut command = Command::new(TRIBUTE);
    command.args(["work", "--quiet", "--threads", "1", "--stage", stage, "--plan"]).arg(plan);
    command.args(["--index", &index.to_string(), "--count", &count.to_string()]);
    command.stdout(Stdio::null());
    command
}

fn all_succeed(children: Vec<Child>) {
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn slices_on_many_machines_leave_the_records_of_one() {
    let study = TinyStudy::new();
    let alone = study.path("alone");
    study.complete("alone", &[]).succeeded();

    let shared = study.path("shared");
    let file = study.file();
    let planned = run(TRIBUTE, ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), shared.as_os_str()]);
    let stages = planned.succeeded().json();
    assert_eq!(stages["stages"][2]["stage"], "coalitions");
    let plan = shared.join("work.json");

    // A stage before what it needs is refused by name.
    let early = slice(&plan, "coalitions", 0, 2).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(early.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&early.stderr).contains("--stage train"));

    // Retraining needs nothing, so it goes on beside the training; the same slice twice is harmless.
    let beside: Vec<Child> = [0, 1, 1].map(|k| slice(&plan, "retrain", k, 2).spawn().unwrap()).into();
    all_succeed([0, 0].map(|k| slice(&plan, "train", k, 1).spawn().unwrap()).into());
    all_succeed(vec![slice(&plan, "prune", 0, 1).spawn().unwrap()]);
    all_succeed([0, 1, 2].map(|k| slice(&plan, "coalitions", k, 3).spawn().unwrap()).into());
    all_succeed(beside);
    let report = run(TRIBUTE, ["run".as_ref(), file.as_os_str(), "--out".as_ref(), shared.as_os_str()]);
    report.succeeded();

    let (alone, shared) = (records(&alone), records(&shared));
    assert_eq!(alone.keys().collect::<Vec<_>>(), shared.keys().collect::<Vec<_>>());
    for (id, record) in &alone {
        assert_eq!(record.behaviors, shared[id].behaviors, "{id}");
    }
}

#[test]
fn draws_end_on_many_machines_where_they_end_on_one() {
    let study = TinyStudy::edited(&[("retrain_coalitions = 1", "retrain_coalitions = 0")]);
    let flags =
        ["--coalitions", "40", "--until", "kendall_tau=0.05", "--choice", "active", "--candidates", "8"];
    study.complete("alone", &flags);
    let alone = study.path("alone");
    let stopped = read_json(&alone.join("stopped.json"));
    assert!(stopped["draws"].as_u64().unwrap() < 40, "{stopped}");
    let file = study.file().display().to_string();
    for at_once in [false, true] {
        let out = study.path(&format!("at once {at_once}"));
        let planned = ["plan", &file, "--out", out.to_str().unwrap()];
        let planned = run(TRIBUTE, [&planned[..], &flags].concat()).json();
        let tasks = planned["stages"][2]["tasks"].as_u64().unwrap() as usize;
        let plan = out.join("work.json");
        for stage in ["train", "prune"] {
            all_succeed(vec![slice(&plan, stage, 0, 1).spawn().unwrap()]);
        }
        let coalitions = |k: usize, of: usize| slice(&plan, "coalitions", k, of).spawn().unwrap();
        if at_once {
            // Late draws are made while early ones are at work: more records, the same scores.
            all_succeed((0..4).map(|k| coalitions(k, 4)).collect());
        } else {
            // One coalition after the other: those after the end make nothing.
            (0..tasks).for_each(|k| all_succeed(vec![coalitions(k, tasks)]));
            let made = records_of(&out, "gd").len();
            assert_eq!(made, records_of(&alone, "gd").len());
            assert!(made < tasks - 1, "{made} of {tasks}");
        }
        assert_eq!(read_json(&out.join("stopped.json")), stopped);
        all_succeed(vec![slice(&plan, "retrain", 0, 1).spawn().unwrap()]);
        let own = out.join("study.toml");
        run(TRIBUTE, ["run".as_ref(), own.as_os_str(), "--out".as_ref(), out.as_os_str()]).succeeded();
        assert_eq!(read_json(&out.join("stopped.json")), stopped);
        assert_eq!(reported_scores(&out), reported_scores(&alone));
        let (ours, theirs) = (records(&out), records(&alone));
        assert!(theirs.iter().all(|(id, record)| ours.get(id) == Some(record)));
        assert!(at_once || ours == theirs);
        // Planned anew, the end is forgotten, and found again by whoever looks first.
        run(TRIBUTE, [&["plan", &file, "--out", out.to_str().unwrap()], &flags[..]].concat()).succeeded();
        assert!(!out.join("stopped.json").exists());
        all_succeed(vec![coalitions(tasks - 1, tasks)]);
        assert_eq!(read_json(&out.join("stopped.json")), stopped);
        assert_eq!(records(&out), ours);
    }
}

#[test]
fn a_killed_slice_is_done_when_it_is_asked_for_again() {
    let study = TinyStudy::new();
    let file = study.file();
    let out = study.path("out");
    run(TRIBUTE, ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()]).succeeded();
    let plan = out.join("work.json");
    let mut child = slice(&plan, "retrain", 0, 1).spawn().unwrap();
    while records(&out).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it must still be at work");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = records(&out).len();
    all_succeed(vec![slice(&plan, "retrain", 0, 1).spawn().unwrap()]);
    let after = records(&out);
    assert!(before < after.len(), "{before} of {}", after.len());
    tiny_study::assert_no_leftovers(&out);
}

#[test]
fn what_cannot_be_worked_on_is_named() {
    let study = TinyStudy::new();
    let file = study.file();
    let out = study.path("out");
    run(TRIBUTE, ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()]).succeeded();
    let plan = out.join("work.json");
    let plan = plan.to_str().unwrap();
    let work = |arguments: &[&str]| run(TRIBUTE, [&["work"], arguments].concat());
    work(&["--plan", plan, "--stage", "traim", "--index", "0"]).refused(2, &["traim", "coalitions"]);
    work(&["--plan", plan, "--stage", "train", "--index", "1"]).refused(2, &["slice 1 of 1"]);
    work(&["--plan", "no-such.json", "--stage", "train", "--index", "0"])
        .refused(2, &["no-such.json", "tribute plan"]);
    std::fs::write(out.join("work.json"), "{\"format\": 3").unwrap();
    work(&["--plan", plan, "--stage", "train", "--index", "0"]).refused(2, &["work.json", "tribute plan"]);
}
