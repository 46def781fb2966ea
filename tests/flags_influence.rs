//! `tribute-influence` and its options.
#![cfg(unix)]

mod tiny_study;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tiny_study::{TRAIN, TinyStudy};

const INFLUENCE: &str = env!("CARGO_BIN_EXE_tribute-influence");

fn run(program: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(program).args(arguments).arg("--quiet").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn scores(study: &Path, model: &Path, arguments: &[&str]) -> Value {
    let (study, model) = (study.to_str().unwrap(), model.to_str().unwrap());
    let (code, out, error) = run(INFLUENCE, &[&[study, "--model", model], arguments].concat());
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

/// The result without what differs from run to run.
fn without_seconds(mut result: Value) -> Value {
    for method in result["methods"].as_array_mut().unwrap() {
        let method = method.as_object_mut().unwrap();
        let [all, shared] =
            ["seconds", "shared_seconds"].map(|key| method.remove(key).unwrap().as_f64().unwrap());
        assert!(shared >= 0.0 && all >= shared, "{all} {shared}");
    }
    result
}

#[test]
fn every_method_scores_every_contributor_and_options_are_keys() {
    let study = TinyStudy::new();
    let (file, model, out) = (study.file(), study.path("model"), study.path("scores"));
    let (code, _, error) = run(TRAIN, &[file.to_str().unwrap(), "--out", model.to_str().unwrap()]);
    assert_eq!(code, 0, "{error}");

    let small = ["--timesteps", "3", "--dimension", "48", "--batch_size", "12"];
    let out_text = out.to_str().unwrap();
    let all = scores(&file, &model, &[&small[..], &["--out", out_text]].concat());
    let methods = all["methods"].as_array().unwrap();
    assert_eq!(methods.len(), 12);
    assert_eq!(all["settings"]["timesteps"], 3);
    assert_eq!(all["settings"]["dimension"], 48);
    for method in methods {
        let scores = method["scores"].as_array().unwrap();
        assert_eq!(scores.len(), 4);
        assert!(scores.iter().any(|score| *score != scores[0]), "{method}");
    }
    let by_name = |name: &str| methods.iter().find(|m| m["method"] == name).unwrap()["scores"].clone();
    for (one, other) in [
        ("trak", "d_trak"),
        ("trak", "journey_trak"),
        ("trak", "relative_influence"),
        ("relative_influence", "renormalised_influence"),
        ("pixel_similarity_mean", "pixel_similarity_max"),
    ] {
        assert_ne!(by_name(one), by_name(other), "{one} and {other}");
    }
    let written: Value = serde_json::from_str(&fs::read_to_string(out.join("scores.json")).unwrap()).unwrap();
    assert_eq!(written, all);
    let table = fs::read_to_string(out.join("scores.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 12 * 4);
    assert!(table.starts_with("method,contributor,images,score,seconds\npixel_similarity_mean,AJ Ashton,"));

    // The same again, whatever the threads; other settings, other scores.
    let again = scores(&file, &model, &[&small[..], &["--threads", "1"]].concat());
    assert_eq!(without_seconds(again), without_seconds(all.clone()));
    let trak = |options: &[&str]| {
        let result = scores(&file, &model, &[&small[..], &["--methods", "trak"], options].concat());
        assert_eq!(result["methods"].as_array().unwrap().len(), 1);
        result["methods"][0]["scores"].clone()
    };
    assert_eq!(trak(&[]), by_name("trak"));
    // Alone, a method shares nothing; among all, its gradients are those of four others.
    let alone = scores(&file, &model, &[&small[..], &["--methods", "trak"]].concat());
    assert_eq!(alone["methods"][0]["shared_seconds"], 0.0);
    let of_trak = methods.iter().find(|method| method["method"] == "trak").unwrap();
    assert!(of_trak["shared_seconds"].as_f64().unwrap() > 0.0, "{of_trak}");
    for options in [
        &["--projection", "normal"][..],
        &["--damping", "7"],
        &["--use_samples", "3"],
        &["--set", "influence.timesteps=2"],
    ] {
        assert_ne!(trak(options), by_name("trak"), "{options:?}");
    }
}

#[test]
fn mistakes_end_with_code_2_and_name_the_remedy() {
    let study = TinyStudy::new();
    let file = study.file();
    let refused = |arguments: &[&str], named: &str| {
        let common = [file.to_str().unwrap(), "--model", "nowhere"];
        let (code, _, error) = run(INFLUENCE, &[&common, arguments].concat());
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(named), "{arguments:?}: {error}");
    };
    refused(&["--dimension", "0"], "influence.dimension");
    refused(&["--timesteps", "0"], "influence.timesteps");
    refused(&["--timesteps", "1001"], "influence.timesteps");
    refused(&["--damping=-1"], "influence.damping");
    refused(&["--methods", "clip"], "journey_trak");
    refused(&["--methods", "trak,trak"], "twice");
    refused(&["--projection", "gauss"], "normal");
}
