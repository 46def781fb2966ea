//! `tribute-train` over several processes, and with 8-bit optimiser states.
#![cfg(target_os = "linux")]

mod tiny_study;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use diffusion_core::StateDict;
use tiny_study::{Outcome, TRAIN, TinyStudy, read_json};

fn train(study: &TinyStudy, out: &str, more: &[&str]) -> Command {
    let mut command = Command::new(TRAIN);
    command.arg(study.file()).arg("--out").arg(study.path(out)).arg("-q").args(more);
    command
}

fn told(study: &TinyStudy, out: &str, more: &[&str]) -> serde_json::Value {
    Outcome::of(&mut train(study, out, more)).succeeded().json()
}

/// First moments after one step: a tenth of the gradients.
fn gradients(study: &TinyStudy, out: &str) -> StateDict {
    let state = StateDict::read(&study.path(out).join("optimizer.safetensors")).unwrap();
    state.into_iter().filter(|(name, _)| name.starts_with("exp_avg.")).collect()
}

#[test]
fn processes_share_a_batch_and_have_its_gradients() {
    let study = TinyStudy::new();
    told(&study, "one", &["--steps", "1"]);
    let expected = gradients(&study, "one");
    let largest = expected.iter().flat_map(|(_, t)| t.data()).fold(0.0f32, |m, g| m.max(g.abs()));
    assert!(largest > 1e-3, "{largest}");
    for (out, more) in [("two", ["2", "1"]), ("three", ["3", "1"]), ("sliced", ["2", "2"])] {
        let batch = if more[1] == "2" { "4" } else { "8" };
        let options =
            ["--data_parallel", more[0], "--gradient_accumulation_steps", more[1], "--batch_size", batch];
        told(&study, out, &[&["--steps", "1"], &options[..]].concat());
        let found = gradients(&study, out);
        assert_eq!(found.len(), expected.len());
        for ((name, ours), (_, theirs)) in found.iter().zip(expected.iter()) {
            for (a, b) in ours.data().iter().zip(theirs.data()) {
                // Of gradients clipped to a common norm of 1.
                assert!((a - b).abs() < 1e-7, "{out} {name}: {a} {b}");
            }
        }
    }
}

#[test]
fn parallel_trainings_resume_to_the_bit() {
    let study = TinyStudy::new();
    let parallel = ["--data_parallel", "2"];
    let straight = told(&study, "straight", &parallel);
    assert_eq!(straight["steps"], 6);
    told(&study, "resumed", &[&parallel[..], &["--steps", "3"]].concat());
    let resumed = told(&study, "resumed", &parallel);
    assert_eq!(resumed["hash"], straight["hash"]);
    // Finished: no process is needed to tell so.
    assert_eq!(told(&study, "resumed", &parallel)["hash"], straight["hash"]);
}

/// Processes started by `parent` that still run.
fn children(parent: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    // Started by the main thread or by one of its pool.
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let more = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let all: Vec<String> = more.chain([text]).collect();
    let mut ids: Vec<u32> =
        all.iter().flat_map(|text| text.split_whitespace()).map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The step of the checkpoint in a folder.
fn saved_step(folder: &Path) -> u64 {
    let state = folder.join("state.json");
    if state.is_file() { read_json(&state)["step"].as_u64().unwrap() } else { 0 }
}

#[test]
fn a_lost_process_ends_all_with_a_message() {
    let study = TinyStudy::new();
    let out = study.path("model");
    let mut command =
        train(&study, "model", &["--data_parallel", "3", "--steps", "1000000", "--checkpoint_every", "5"]);
    command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let leader = command.spawn().unwrap();
    let id = leader.id();
    until("no step was done", || out.join("state.json").is_file());
    let followers = children(id);
    assert_eq!(followers.len(), 2);
    assert!(Command::new("kill").arg("-KILL").arg(followers[0].to_string()).status().unwrap().success());
    let ended = leader.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(message.contains("rank 1 ended") || message.contains("rank 2 ended"), "{message}");
    until("a process stays", || followers.iter().all(|id| !Path::new(&format!("/proc/{id}")).exists()));
    // What was saved goes on, in any number of processes.
    let step = saved_step(&out);
    assert!(step >= 5 && step.is_multiple_of(5));
    let more = (step + 2).to_string();
    assert_eq!(told(&study, "model", &["--steps", &more, "--checkpoint_every", "5"])["steps"], step + 2);
}

#[test]
fn an_interrupt_stops_all_after_one_step() {
    let study = TinyStudy::new();
    let out = study.path("model");
    let mut command =
        train(&study, "model", &["--data_parallel", "2", "--steps", "1000000", "--checkpoint_every", "5"]);
    command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let leader = command.spawn().unwrap();
    until("no step was done", || out.join("state.json").is_file());
    let followers = children(leader.id());
    assert!(Command::new("kill").arg("-INT").arg(leader.id().to_string()).status().unwrap().success());
    let ended = leader.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(message.contains("stopped") && !message.contains("rank"), "{message}");
    assert!(saved_step(&out) > 0);
    until("a process stays", || followers.iter().all(|id| !Path::new(&format!("/proc/{id}")).exists()));
}

#[test]
fn numbers_of_processes_that_cannot_be_are_refused() {
    let study = TinyStudy::new();
    let refused = |more: &[&str], parts: &[&str]| {
        Outcome::of(&mut train(&study, "no", more)).refused(2, parts);
    };
    refused(&["--data_parallel", "0"], &["--data-parallel", "1 or more"]);
    refused(&["--data_parallel", "9"], &["9", "8 images"]);
    refused(&["--data_parallel", "2", "--method", "prune_fine_tune"], &["--method retrain"]);
    assert!(!study.path("no").exists());
}

#[test]
fn the_optimisers_state_can_be_8_bit() {
    // Wide enough for parameters of 4096 values and more, whose states are 8-bit.
    let study = TinyStudy::edited(&[("block_out_channels = [8, 8]", "block_out_channels = [24, 24]")]);
    let full = told(&study, "full", &[]);
    let eight = told(&study, "eight", &["--use_8bit_optimizer"]);
    assert_ne!(eight["hash"], full["hash"]);
    let size = |out: &str| fs::metadata(study.path(out).join("optimizer.safetensors")).unwrap().len();
    assert!(size("eight") * 2 < size("full"), "{} {}", size("eight"), size("full"));
    // Stopped and resumed, with the key of the study in place of the option.
    told(&study, "resumed", &["--use_8bit_optimizer", "--steps", "2"]);
    let bits = ["--set", "train.optimization.optimizer.bits=8"];
    assert_eq!(told(&study, "resumed", &bits)["hash"], eight["hash"]);
    Outcome::of(&mut train(&study, "resumed", &[])).refused(1, &["8-bit", "32 bits", "optimizer.bits = 8"]);
    let bad = ["--set", "train.optimization.optimizer.block_size=100", "--use_8bit_optimizer"];
    Outcome::of(&mut train(&study, "no", &bad)).refused(2, &["block_size", "100", "64 to 4096"]);
}
