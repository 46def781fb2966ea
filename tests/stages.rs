//! The stages one by one, on folders: each gives what the whole study gives.

mod tiny_study;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ledger::Record;
use serde_json::{Value, json};
use tiny_study::{
    MEASURE, PRUNE, SAMPLE, TRAIN, TinyStudy, UNLEARN, assert_no_leftovers, read_json, records_of, run,
};

/// A study run once, with the full and the pruned model trained by the stage binaries beside it.
struct Stages {
    study: TinyStudy,
}

impl Stages {
    fn get() -> &'static Self {
        static STAGES: OnceLock<Stages> = OnceLock::new();
        STAGES.get_or_init(|| {
            let study = TinyStudy::new();
            study.complete("study", &[]);
            let this = Self { study };
            this.stage(TRAIN, &["--out", &this.path("full")]);
            this.prune_and_fine_tune();
            this
        })
    }

    fn prune_and_fine_tune(&self) {
        let (full, out, study) = (self.path("full"), self.path("pruned"), self.path("study.toml"));
        run(PRUNE, [&full, "--out", &out, "--ratio", "0.3", "--fine-tune", &study]).json();
    }

    fn path(&self, name: &str) -> String {
        self.study.path(name).display().to_string()
    }

    fn out(&self) -> PathBuf {
        self.study.path("study")
    }

    /// A stage that takes the study file first.
    fn stage(&self, binary: &str, arguments: &[&str]) -> Value {
        let file = self.path("study.toml");
        run(binary, [file.as_str()].iter().chain(arguments)).json()
    }

    /// Makes a coalition's model by the binary and measures it; the repetition is that of a record.
    fn measured(&self, name: &str, unlearn: &[&str], repetition: &str) -> (Value, Value) {
        let model = self.path(name);
        let made = self.stage(UNLEARN, &[unlearn, &["--out", &model, "--repetition", repetition]].concat());
        (made, self.stage(MEASURE, &["--model", &model, "--repetition", repetition])["behaviors"].clone())
    }
}

fn behaviors(record: &Record) -> Value {
    serde_json::to_value(&record.behaviors).unwrap()
}

fn members(record: &Record) -> String {
    record.key().coalition.members().map(|member| member.to_string()).collect::<Vec<_>>().join(",")
}

/// The first record with a coalition that is neither everybody's nor nobody's.
fn some_record(out: &Path, method: &str) -> Record {
    let between = |record: &Record| !record.key().coalition.is_full() && !record.key().coalition.is_empty();
    records_of(out, method).into_iter().find(between).unwrap()
}

/// Bytes of the averaged weights of a model folder.
fn averaged(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("ema.safetensors")).unwrap()
}

#[test]
fn trained_and_pruned_models_are_those_of_the_study() {
    let stages = Stages::get();
    let folders: Vec<PathBuf> =
        fs::read_dir(stages.out().join("models")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 2);
    let is_pruned = |folder: &Path| read_json(&folder.join("config.json")).get("pruned_channels").is_some();
    for name in ["full", "pruned"] {
        let folder = stages.study.path(name);
        assert_eq!(is_pruned(&folder), name == "pruned");
        let same = folders.iter().find(|other| is_pruned(other) == is_pruned(&folder)).unwrap();
        assert_eq!(averaged(&folder), averaged(same), "{name}");
    }
    let hashes = read_json(&stages.out().join("report.json"))["provenance"]["hashes"].to_string();
    let full = stages.stage(TRAIN, &["--out", &stages.path("full")]);
    assert!(hashes.contains(full["hash"].as_str().unwrap()), "{hashes} lack {full}");
}

#[test]
fn pruning_tells_what_it_removed() {
    let stages = Stages::get();
    let (full, out, plan) = (stages.path("full"), stages.path("only pruned"), stages.path("plan.json"));
    let told = run(PRUNE, [&full, "--out", &out, "--ratio", "0.5", "--plan", &plan]).json();
    let (before, after) = (&told["parameters"]["before"], &told["parameters"]["after"]);
    assert!(after.as_u64().unwrap() * 2 < before.as_u64().unwrap(), "{told}");
    assert!(told["macs"]["after"].as_u64() < told["macs"]["before"].as_u64(), "{told}");
    let config = read_json(&stages.study.path("only pruned/config.json"));
    let widths = config["pruned_channels"].as_object().unwrap();
    assert!(!widths.is_empty() && widths.values().all(|width| width.as_u64() > Some(0)), "{config}");
    assert!(!widths.contains_key("conv_out"), "{config}");
    assert!(read_json(&stages.study.path("plan.json")).is_object());
    // It is a model like any other.
    let behaviors = &stages.stage(MEASURE, &["--model", &out])["behaviors"];
    assert!(behaviors["diffusion_loss"].as_f64().unwrap() > 0.0);
}

#[test]
fn unlearning_by_members_and_by_draw_gives_the_studys_record() {
    let stages = Stages::get();
    let record = some_record(&stages.out(), "gd");
    let pruned = stages.path("pruned");
    let who = members(&record);
    let (made, found) = stages.measured("gd members", &["--parent", &pruned, "--members", &who], "0");
    assert_eq!(found, behaviors(&record));
    assert_eq!(made["method"], "gd");
    assert_eq!(made["coalition"], json!(record.key().coalition));

    let draw = ["--method", "gd", "--parent", &pruned, "--draw", "0"];
    let (made, found) = stages.measured("gd draw", &draw, "0");
    let same = |record: &Record| json!(record.key().coalition) == made["coalition"];
    let record = records_of(&stages.out(), "gd").into_iter().find(same).expect("draw 0 is in the study");
    assert_eq!(found, behaviors(&record));
    let config = read_json(&stages.study.path("gd draw/config.json"));
    assert!(config.get("pruned_channels").is_some());
    let remaining = made["remaining"].as_array().unwrap();
    assert_eq!(remaining.len(), record.key().coalition.len());
}

#[test]
fn retraining_gives_the_studys_record() {
    let stages = Stages::get();
    let repeated = |record: &Record| record.key().seeds["repetition"] == 2;
    let record = records_of(&stages.out(), "retrain").into_iter().find(repeated).unwrap();
    let coalition = record.key().coalition.to_string();
    let retrain = ["--method", "retrain", "--coalition", &coalition];
    let (_, found) = stages.measured("retrained", &retrain, "2");
    assert_eq!(found, behaviors(&record));
    // Another repetition is another model.
    let (_, other) = stages.measured("retrained again", &retrain, "1");
    assert_ne!(found, other);
}

#[test]
fn unlearning_the_unpruned_model_gives_the_record_of_such_a_study() {
    let unpruned = TinyStudy::edited(&[("parent = \"pruned\"", "parent = \"full\"")]);
    unpruned.complete("out", &[]);
    let record = some_record(&unpruned.path("out"), "gd_u");
    let stages = Stages::get();
    let full = stages.path("full");
    let who = members(&record);
    let arguments = ["--method", "gd_u", "--parent", &full, "--members", &who];
    let (made, found) = stages.measured("gd_u", &arguments, "0");
    assert_eq!(found, behaviors(&record));
    assert_eq!(made["method"], "gd_u");
    assert!(read_json(&stages.study.path("gd_u/config.json")).get("pruned_channels").is_none());
}

#[test]
fn samples_on_disk_are_measured_as_those_made_anew() {
    let stages = Stages::get();
    let (full, out) = (stages.path("full"), stages.path("samples"));
    let told = stages.stage(SAMPLE, &["--model", &full, "--out", &out]);
    assert_eq!(told["shape"], json!([8, 8, 8, 3]));
    let on_disk = stages.stage(MEASURE, &["--model", &full, "--samples", &out]);
    let anew = stages.stage(MEASURE, &["--model", &full]);
    assert_eq!(on_disk, anew);
    let everybody = records_of(&stages.out(), "retrain").into_iter().find(|r| r.key().coalition.is_full());
    assert_eq!(anew["behaviors"], behaviors(&everybody.unwrap()));

    // Fewer images are the first of the same images: 64 bytes of 8 x 8 pixels a channel.
    let fewer = stages.path("fewer");
    stages.stage(SAMPLE, &["--model", &full, "--out", &fewer, "--count", "4", "--repetition", "0"]);
    let sheet = |name: &str| image::open(stages.study.path(name).join("samples.png")).unwrap().into_rgb8();
    let (all, first) = (sheet("samples"), sheet("fewer"));
    assert_eq!((all.dimensions(), first.dimensions()), ((64, 8), (32, 8)));
    let cut = image::imageops::crop_imm(&all, 0, 0, 32, 8).to_image();
    assert_eq!(cut.as_raw(), first.as_raw());
}

#[test]
fn a_finished_stage_is_loaded_and_another_one_refused() {
    let stages = Stages::get();
    let full = stages.path("full");
    let first = stages.stage(TRAIN, &["--out", &full]);
    let second = stages.stage(TRAIN, &["--out", &full]);
    assert_eq!(first, second);

    let faster = TinyStudy::edited(&[("learning_rate = 2e-3", "learning_rate = 1e-3")]);
    let file = faster.file().display().to_string();
    run(TRAIN, [&file, "--out", &full]).refused(1, &[&full, "learning_rate", "another folder"]);
    let shorter = TinyStudy::edited(&[("steps = 6", "steps = 3")]);
    let file = shorter.file().display().to_string();
    run(TRAIN, [&file, "--out", &full]).refused(1, &[&full, "`steps` = 6", "3", "another folder"]);
    assert_eq!(stages.stage(TRAIN, &["--out", &full]), first);
    assert_no_leftovers(&stages.study.path("full"));
}

#[test]
fn a_method_without_its_parent_is_refused() {
    let stages = Stages::get();
    let file = stages.path("study.toml");
    let out = stages.path("orphan");
    run(UNLEARN, [&file, "--out", &out, "--members", "0,2"])
        .refused(2, &["`gd`", "train (and prune) one first"]);
    run(UNLEARN, [&file, "--out", &out, "--method", "retrain", "--members", "0,4"])
        .refused(2, &["contributor 4 is not one of 4", "0 to n - 1"]);
    run(UNLEARN, [&file, "--out", &out, "--method", "retrain", "--coalition", "4:0"])
        .refused(1, &["no images", "empty coalition"]);
    run(UNLEARN, [&file, "--out", &out, "--method", "retrain", "--coalition", "5:1f"])
        .refused(1, &["5", "4"]);
    run(UNLEARN, [&file, "--out", &out, "--method", "retrain"])
        .refused(2, &["--coalition", "--members", "--draw"]);
    assert!(!Path::new(&out).exists());
}
