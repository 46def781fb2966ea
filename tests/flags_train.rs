//! Every option of `tribute-train`, by what it changes.

mod tiny_study;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tiny_study::{Outcome, TRAIN, TinyStudy, read_json, run};

fn train(study: &TinyStudy, out: &str, more: &[&str]) -> Outcome {
    let (file, out) = (study.file(), study.path(out));
    let mut arguments =
        vec![file.to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet", "--threads", "1"];
    arguments.extend(more);
    run(TRAIN, arguments)
}

/// The hash of the model that these options give.
fn hash(study: &TinyStudy, out: &str, more: &[&str]) -> String {
    train(study, out, more).succeeded().json()["hash"].as_str().unwrap().to_owned()
}

fn settings(study: &TinyStudy, out: &str) -> Value {
    read_json(&study.path(out).join("state.json"))["settings"].clone()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn settings_reach_the_training() {
    let study = TinyStudy::new();
    let plain = hash(&study, "plain", &[]);
    let cases: [(&str, &[&str], &str, f64); 7] = [
        ("steps", &["--steps", "3"], "", 0.0),
        ("batch", &["--batch_size", "4"], "/training/batch_size", 4.0),
        ("rate", &["--learning_rate", "0.01"], "/training/optimizer/learning_rate", 0.01),
        ("gamma", &["--ema_inv_gamma", "2.0"], "/training/ema/inv_gamma", 2.0),
        ("power", &["--ema-power", "0.5"], "/training/ema/power", 0.5),
        ("decay", &["--ema_max_decay", "0.1"], "/training/ema/max_decay", 0.1),
        ("timesteps", &["--num_train_steps", "50"], "/schedule/num_train_timesteps", 50.0),
    ];
    for (out, options, place, value) in cases {
        assert_ne!(hash(&study, out, options), plain, "{out}");
        if !place.is_empty() {
            assert_eq!(settings(&study, out).pointer(place).unwrap().as_f64(), Some(value), "{out}");
        }
    }
    for precision in ["bf16", "fp16"] {
        assert_ne!(hash(&study, precision, &["--mixed_precision", precision]), plain, "{precision}");
        assert_eq!(settings(&study, precision)["training"]["mixed_precision"], precision);
    }
    assert_eq!(hash(&study, "no", &["--mixed_precision", "no"]), plain);
    // It changes no number, so a training goes on with it or without.
    let again = hash(&study, "again", &["--gradient_checkpointing"]);
    assert_eq!((&again, hash(&study, "again", &[])), (&plain, plain.clone()));
    train(&study, "eight", &["--use_8bit_optimizer"]).succeeded();
    assert_eq!(settings(&study, "eight")["training"]["optimizer"]["bits"], 8);
    let accumulated = ["--gradient_accumulation_steps", "2", "--batch_size", "4"];
    train(&study, "accumulated", &accumulated).succeeded();
    assert_eq!(settings(&study, "accumulated")["training"]["gradient_accumulation_steps"], 2);
}

#[test]
fn the_seed_of_training_is_its_own() {
    let study = TinyStudy::new();
    let plain = hash(&study, "plain", &[]);
    // The tiny study's own seed, written out.
    assert_eq!(hash(&study, "same", &["--opt_seed", "5"]), plain);
    assert_ne!(hash(&study, "other", &["--opt_seed", "42"]), plain);
    // Weights begin the same: only the training differs.
    let null = |out: &str, more: &[&str]| {
        train(&study, out, &[&["--save_null_model"], more].concat()).succeeded();
        std::fs::read(study.path(&format!("{out}-log")).join("null/diffusion_pytorch_model.safetensors"))
            .unwrap()
    };
    assert_eq!(null("null5", &[]), null("null42", &["--opt_seed", "42"]));
}

#[test]
fn logs_pictures_and_checkpoints_are_left_beside_the_model() {
    let study = TinyStudy::new();
    let plain = hash(&study, "plain", &[]);
    let logged = [
        "--log_freq",
        "2",
        "--sample_every",
        "3",
        "--keep_all_ckpts",
        "--save_null_model",
        "--n_samples",
        "4",
        "--num_inference_steps",
        "3",
        "--checkpoint_every",
        "2",
    ];
    assert_eq!(hash(&study, "logged", &logged), plain, "what is left beside changes nothing");
    let log: PathBuf = study.path("logged-log");
    let csv = std::fs::read_to_string(log.join("metrics.csv")).unwrap();
    let steps: Vec<&str> = csv.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(steps, ["2", "4", "6"], "{csv}");
    assert!(csv.starts_with("step,loss,gradient_norm,images_per_second,skipped_steps\n"), "{csv}");
    assert!(csv.lines().skip(1).all(|row| row.ends_with(",0")), "{csv}");
    assert_eq!(names(&log.join("samples")), ["0000003.png", "0000006.png"]);
    assert_eq!(names(&log.join("checkpoints")), ["0000002", "0000004", "0000006"]);
    assert!(log.join("null/config.json").is_file());
    let events: Vec<String> = names(&log).into_iter().filter(|name| name.contains("tfevents")).collect();
    assert_eq!(events.len(), 1);
    assert!(std::fs::metadata(log.join(&events[0])).unwrap().len() > 100);
    // The last kept checkpoint is the model.
    let weights = |folder: PathBuf| std::fs::read(folder.join("ema.safetensors")).unwrap();
    assert_eq!(weights(log.join("checkpoints/0000006")), weights(study.path("logged")));
    // As keys of the study file.
    let keyed = TinyStudy::edited(&[("checkpoint_every = 2", "checkpoint_every = 2\nlog = { every = 3 }")]);
    train(&keyed, "keyed", &[]).succeeded();
    assert!(keyed.path("keyed-log").join("metrics.csv").is_file());
}

#[test]
fn who_is_trained_on_can_be_chosen() {
    let study = TinyStudy::new();
    let without = |out: &str, more: &[&str]| train(&study, out, more).succeeded().json()["coalition"].clone();
    assert_eq!(without("all", &[]), "4:f");
    assert_eq!(without("name", &["--excluded_class", "Jakob"]), "4:b");
    assert_eq!(without("index", &["--excluded_class", "2,0"]), "4:a");
    assert_eq!(without("members", &["--members", "1,3"]), "4:a");
    let [file, out] = ["study.toml", "members"].map(|name| study.path(name).display().to_string());
    let again = run(TRAIN, [&file, "--outdir", &out, "--members", "1,3"]).json();
    assert_eq!((&again["model"], &again["coalition"]), (&out.as_str().into(), &"4:a".into()));
    assert_eq!(without("loo", &["--removal_dist", "loo", "--removal_seed", "2"]), "4:b");
    let half =
        without("half", &["--removal_dist", "datamodel", "--datamodel_alpha", "0.5", "--removal_seed", "1"]);
    assert_eq!(half.as_str().unwrap().parse::<removal::Coalition>().unwrap().len(), 2);
    for word in ["shapley", "uniform"] {
        train(&study, word, &["--removal_dist", word, "--removal_seed", "3"]).succeeded();
    }
    // A coalition's model is the one that retraining gives, and no other's checkpoint.
    train(&study, "name", &["--excluded_class", "Chris Goerner"]).refused(1, &["coalition"]);
    train(&study, "nobody", &["--excluded_class", "Nemo"]).refused(2, &["Nemo", "0 to 3"]);
}

#[test]
fn training_goes_on_from_a_model_and_prunes_it() {
    let study = TinyStudy::new();
    train(&study, "full", &[]).succeeded();
    let full = study.path("full");
    let full = full.to_str().unwrap();
    let on = train(&study, "on", &["--load", full]).succeeded().json();
    assert_ne!(on["hash"], train(&study, "full", &[]).succeeded().json()["hash"]);
    let pruned = ["--method", "prune_fine_tune", "--load", full, "--pruner", "magnitude"];
    let small =
        train(&study, "small", &[&pruned[..], &["--pruning_ratio", "0.5"]].concat()).succeeded().json();
    let large =
        train(&study, "large", &[&pruned[..], &["--pruning_ratio", "0.25"]].concat()).succeeded().json();
    let parameters = |told: &Value| told["parameters"].as_u64().unwrap();
    assert!(parameters(&small) < parameters(&large) && parameters(&large) < parameters(&on));
    assert_eq!(small["steps"], 4, "those of [fine_tune]");
    // Finished: asked for again, it is only told about.
    let again =
        train(&study, "small", &[&pruned[..], &["--pruning_ratio", "0.5"]].concat()).succeeded().json();
    assert_eq!(again["hash"], small["hash"]);
    let stopping = ["--pruner", "diff-pruning", "--thr", "0.5"];
    train(&study, "stopping", &[&pruned[..4], &stopping].concat()).succeeded();

    train(&study, "no", &["--method", "prune_fine_tune"]).refused(2, &["--load"]);
    train(&study, "no", &[&pruned[..], &["--members", "0"]].concat()).refused(2, &["everybody"]);
    train(&study, "no", &["--pruning_ratio", "1.5"]).refused(2, &["1.5"]);
    train(&study, "no", &["--precompute_stage", "save"]).refused(2, &["`latent.model` is missing"]);
}

#[test]
fn one_record_a_training_is_added_to_a_database() {
    let study = TinyStudy::new();
    let db = study.path("db.jsonl");
    let add =
        || train(&study, "full", &["--db", db.to_str().unwrap(), "--exp_name", "first"]).succeeded().json();
    assert_eq!(add()["added"], true);
    assert_eq!(add()["added"], false, "the same run stands there once");
    let text = std::fs::read_to_string(&db).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("\"exp_name\"") && text.contains("first"), "{text}");
    train(&study, "full", &["--exp_name", "first"]).refused(2, &["--db"]);
}
