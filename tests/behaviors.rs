//! Behaviours beyond those of the demo, through the binaries.

#[path = "../crates/behavior/tests/formula_weights/mod.rs"]
#[allow(dead_code)]
mod formula_weights;
mod tiny_study;

use std::fs;
use std::path::Path;

use formula_weights::{tensors, write};
use serde_json::Value;
use tiny_study::{
    DATASETS, MEASURE, Outcome, TRAIN, TRIBUTE, TinyStudy, UNLEARN, read_json, records, records_of, run,
};

const BEHAVIORS: &str = r#"behaviors = ["colourfulness", "diffusion_loss"]"#;
const CLIP: &str = include_str!("../crates/behavior/tests/fixtures/clip.json");
const INCEPTION: &str = include_str!("../crates/behavior/tests/fixtures/inception.json");

/// A study that measures these, with further lines behind its first section.
fn study(behaviors: &[&str], measures: &str) -> TinyStudy {
    let list = format!("behaviors = {behaviors:?}");
    let end = "counterfactual = [0.25]";
    TinyStudy::edited(&[(BEHAVIORS, &list), (end, &format!("{end}\n\n{measures}"))])
}

fn file(study: &TinyStudy) -> String {
    study.file().display().to_string()
}

fn path(study: &TinyStudy, name: &str) -> String {
    study.path(name).display().to_string()
}

fn trained(study: &TinyStudy, name: &str) -> String {
    let folder = path(study, name);
    run(TRAIN, [&file(study), "--out", &folder]).json();
    folder
}

fn measured(study: &TinyStudy, model: &str, more: &[&str]) -> Value {
    measuring(study, model, more).json()["behaviors"].clone()
}

fn measuring(study: &TinyStudy, model: &str, more: &[&str]) -> Outcome {
    let file = file(study);
    run(MEASURE, [&[file.as_str(), "--model", model], more].concat())
}

#[test]
fn local_behaviours_are_behaviours_of_a_study() {
    let study = study(&["avg_mse", "ssim_2", "avg_diffusion_loss", "nrmse_0"], "");
    study.complete("study", &[]);
    let out = study.path("study");
    let full = records_of(&out, "retrain").into_iter().find(|r| r.key().coalition.is_full()).unwrap();
    let value = |record: &ledger::Record, key: &str| serde_json::to_value(&record.behaviors[key]).unwrap();
    // The full model's pictures are its own.
    assert_eq!(value(&full, "avg_mse"), 0.0);
    assert_eq!(value(&full, "ssim_2"), 1.0);
    assert_eq!(value(&full, "mse_by_image"), serde_json::json!(vec![0.0; 8]));
    for record in records(&out).into_values().filter(|record| !record.key().coalition.is_full()) {
        let mse: Vec<f64> = serde_json::from_value(value(&record, "mse_by_image")).unwrap();
        let mean = mse.iter().sum::<f64>() / 8.0;
        assert!(mean > 0.0 && (value(&record, "avg_mse").as_f64().unwrap() - mean).abs() < 1e-15);
        let ssim: Vec<f64> = serde_json::from_value(value(&record, "ssim_by_image")).unwrap();
        assert_eq!(value(&record, "ssim_2"), ssim[2]);
        assert!(value(&record, "avg_diffusion_loss").as_f64().unwrap() > 0.0);
    }
    let report = read_json(&out.join("report.json"));
    let keys: Vec<&str> =
        report["behaviors"].as_array().unwrap().iter().map(|b| b["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["avg_mse", "ssim_2", "avg_diffusion_loss", "nrmse_0"]);
    let directions: Vec<&Value> =
        report["behaviors"].as_array().unwrap().iter().map(|b| &b["direction"]).collect();
    assert_eq!(directions[0], directions[3]);
    assert_ne!(directions[0], directions[1]);

    // The same by single stages.
    let model = trained(&study, "full");
    let own = measured(&study, &model, &["--full", &model]);
    assert_eq!((&own["avg_mse"], &own["ssim_2"]), (&0.0.into(), &1.0.into()));
    measuring(&study, &model, &[]).refused(2, &["`avg_mse`", "--full"]);
    let db = path(&study, "db.jsonl");
    let unlearn = |more: &[&str]| {
        let (file, out) = (file(&study), path(&study, "tuned"));
        let given = [
            file.as_str(),
            "--load",
            &model,
            "--method",
            "gd_u",
            "--members",
            "0,2",
            "--out",
            &out,
            "--db",
            &db,
        ];
        run(UNLEARN, [&given[..], more].concat())
    };
    unlearn(&[]).refused(2, &["`avg_mse`", "--full"]);
    let told = unlearn(&["--full", &model]).json();
    assert!(told["behaviors"]["avg_mse"].as_f64().unwrap() > 0.0);
}

#[test]
fn pictures_that_are_not_made_are_refused() {
    let study = study(&["mse_8"], "");
    let file = file(&study);
    run(TRIBUTE, ["run", &file, "--out", &path(&study, "out")])
        .refused(2, &["mse_8", "below `sample.count`"]);
}

#[test]
fn commands_of_the_user_measure() {
    let commands = r#"[measures.commands.size]
run = ["sh", "size.sh"]
better = "lower"

[measures.commands.broken]
run = ["false"]
"#;
    let study = study(&["command_size"], commands);
    let script = study.path("size.sh");
    let script_of =
        |line: &str| fs::write(&script, format!("cat \"$1\"/*.png | wc -c | awk '{{ {line} }}'\n")).unwrap();
    script_of("printf \"{\\\"value\\\": %d, \\\"twice\\\": %d}\", $1, 2 * $1");
    study.complete("study", &[]);
    let found = records(&study.path("study"));
    for record in found.values() {
        let number = |key: &str| serde_json::to_value(&record.behaviors[key]).unwrap().as_f64().unwrap();
        assert!(number("command_size") > 8.0 * 60.0);
        assert_eq!(number("command_size_twice"), 2.0 * number("command_size"));
    }
    let report = read_json(&study.path("study/report.json"));
    assert_eq!(report["behaviors"][0]["direction"], "lower_is_better");

    // Another script measures something else, so its runs are others.
    let model = trained(&study, "full");
    let first = measured(&study, &model, &[]);
    script_of("print $1 + 1");
    assert_eq!(
        measured(&study, &model, &[])["command_size"].as_f64().unwrap(),
        first["command_size"].as_f64().unwrap() + 1.0
    );
    let plan = |study: &TinyStudy| {
        let outcome = run(TRIBUTE, ["run", &file(study), "--out", &path(study, "study")]).succeeded();
        drop(outcome);
        records(&study.path("study")).len()
    };
    assert_eq!(plan(&study), 2 * found.len());

    script_of("print \"NaN\"");
    measuring(&study, &model, &[]).refused(1, &["command_size", "NaN"]);
    fs::write(&script, "echo no pictures >&2; exit 4\n").unwrap();
    measuring(&study, &model, &[]).refused(1, &["command_size", "exit status: 4", "no pictures"]);
    measuring(&study, &model, &["--set", "behaviors=[\"command_broken\"]"])
        .refused(1, &["command_broken", "failed"]);
    measuring(&study, &model, &["--set", "behaviors=[\"command_other\"]"]).refused(2, &["command_other"]);
    measuring(&study, &model, &["--set", "measures.commands.size.timeout=0"]).refused(2, &["timeout"]);
    fs::write(&script, "sleep 30\n").unwrap();
    measuring(&study, &model, &["--set", "measures.commands.size.timeout=1"])
        .refused(1, &["killed after 1 s", "`timeout`"]);
}

#[test]
fn balance_of_skin_tones_is_measured_by_true_labels() {
    let study = TinyStudy::edited(&[
        (
            BEHAVIORS,
            r#"behaviors = ["demographic_entropy_squeezenet_32px", "density_squeezenet_32px", "coverage_squeezenet_32px_k3"]"#,
        ),
        (&format!("{DATASETS}/openclipart32"), &format!("{DATASETS}/openmoji-people32")),
        (
            r#"select = { names = ["AJ Ashton", "Chris Goerner", "Jakob", "Yutaka Kachi"] }"#,
            "select = { largest = 4 }",
        ),
        ("counterfactual = [0.25]", "counterfactual = [0.25]\n[measures]\nlabels = [\"skin_tone\"]"),
    ]);
    let model = trained(&study, "full");
    let found = measured(&study, &model, &[]);
    let key = "demographic_entropy_squeezenet_32px";
    let bits = found[key].as_f64().unwrap();
    assert!((0.0..=5f64.log2()).contains(&bits), "{found}");
    let counts: Vec<f64> = serde_json::from_value(found[format!("{key}_counts")].clone()).unwrap();
    assert_eq!((counts.len(), counts.iter().sum::<f64>()), (5, 8.0));
    let shares = counts.iter().filter(|&&count| count > 0.0).map(|count| count / 8.0);
    assert!((bits + shares.map(|p| p * p.log2()).sum::<f64>()).abs() < 1e-12);
    let accuracy = found[format!("{key}_accuracy")].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&accuracy));
    assert!(found["density_squeezenet_32px"].as_f64().unwrap() >= 0.0);
    assert!((0.0..=1.0).contains(&found["coverage_squeezenet_32px_k3"].as_f64().unwrap()));
    measuring(&study, &model, &["--set", "measures.labels=tone"]).refused(2, &["measures.labels", "tone"]);
}

#[test]
fn networks_of_the_user_are_read_from_their_files() {
    let weights = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = |name: &str| weights.path().join(name);
    write(&file("clip.safetensors"), &tensors(CLIP));
    write(&file("head.safetensors"), &tensors(r#"{"weight": [1, 48], "bias": [1]}"#));
    let measures = format!(
        "[measures]\nclip = {:?}\naesthetic_head = {:?}",
        file("clip.safetensors").display().to_string(),
        file("head.safetensors").display().to_string()
    );
    let study = study(&["aesthetic_p90", "aesthetic_mean", "fid_clip", "precision_clip"], &measures);
    let model = trained(&study, "full");
    let found = measured(&study, &model, &[]);
    let number = |key: &str| found[key].as_f64().unwrap();
    assert!(number("aesthetic_p90") > number("aesthetic_mean"));
    assert!(number("fid_clip") > 0.0);
    measuring(&study, &model, &["--set", "behaviors=[\"fid_inception\"]"])
        .refused(2, &["measures.inception", "pt_inception"]);
    let nowhere = format!("measures.clip={}", file("nowhere.pt").display());
    measuring(&study, &model, &["--set", &nowhere]).refused(1, &["nowhere.pt", "CLIP"]);

    let inception = file("inception.safetensors");
    write(&inception, &tensors(INCEPTION));
    let set = format!("measures.inception={}", inception.display());
    let more = ["--set", "behaviors=[\"is_inception\"]", "--set", &set, "--set", "sample.count=3"];
    let score = measured(&study, &model, &more)["is_inception"].as_f64().unwrap();
    assert!((1.0..=3.0).contains(&score), "{score}");
    assert!(Path::new(&model).exists());
}
