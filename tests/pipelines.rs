//! Pipelines of diffusers wherever a model is taken, and model folders that are pipelines.

mod tiny_study;

use std::fs;
use std::path::Path;

use serde_json::Value;
use tiny_study::{MEASURE, PRUNE, SAMPLE, TRAIN, TinyStudy, UNLEARN, files_below, read_json, run};

const PIPELINES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/diffusion-core/tests/fixtures/pipeline");

fn stage(study: &TinyStudy, binary: &str, arguments: &[&str]) -> Value {
    let file = study.file().display().to_string();
    run(binary, [file.as_str()].iter().chain(arguments)).json()
}

fn path(study: &TinyStudy, name: &str) -> String {
    study.path(name).display().to_string()
}

#[test]
fn every_form_of_a_pipeline_gives_the_same_pictures() {
    let study = TinyStudy::new();
    let sheet = |name: &str, more: &[&str]| {
        let (model, out) = (format!("{PIPELINES}/{name}"), path(&study, name));
        stage(&study, SAMPLE, &[&["--model", &model, "--out", &out], more].concat());
        fs::read(study.path(name).join("samples.png")).unwrap()
    };
    let noise = path(&study, "noise.safetensors");
    let whole = sheet("whole", &["--noise", &noise]);
    assert_eq!(sheet("sharded", &[]), whole);
    assert_eq!(sheet("half", &[]), whole);
    assert_eq!(sheet("bin", &[]), whole);
    assert_eq!(sheet("bin_sharded", &[]), whole);
    let cosine = ["--set", "diffusion.beta_schedule=cosine", "--set", "diffusion.num_train_timesteps=500"];
    assert_ne!(sheet("legacy", &cosine), whole);
    // Eight images of 3 x 8 x 8, and the header.
    assert!(fs::metadata(&noise).unwrap().len() > 4 * 8 * 192);

    let file = study.file().display().to_string();
    let (model, out) = (format!("{PIPELINES}/legacy"), path(&study, "refused"));
    run(SAMPLE, [file.as_str(), "--model", &model, "--out", &out])
        .refused(2, &["num_train_timesteps = 500", "beta_schedule = \"cosine\"", "[diffusion]"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_pipeline_is_trained_on_pruned_unlearned_and_measured() {
    let study = TinyStudy::new();
    let pipeline = format!("{PIPELINES}/half");
    let [trained, pruned, tuned, unlearned] =
        ["trained", "pruned", "tuned", "unlearned"].map(|name| path(&study, name));
    stage(&study, TRAIN, &["--load", &pipeline, "--out", &trained]);
    let file = study.file().display().to_string();
    run(PRUNE, [&pipeline, "--out", &pruned, "--ratio", "0.5"]).json();
    run(PRUNE, [&pipeline, "--out", &tuned, "--ratio", "0.5", "--fine-tune", &file]).json();
    stage(
        &study,
        UNLEARN,
        &["--load", &pipeline, "--method", "gd_u", "--members", "0,2", "--out", &unlearned],
    );
    let measured = stage(&study, MEASURE, &["--model", &pipeline]);
    assert!(measured["behaviors"]["colourfulness"].as_f64().is_some(), "{measured}");

    let files = |folder: &str| -> Vec<String> {
        let folder = Path::new(folder);
        files_below(folder).iter().map(|p| p.strip_prefix(folder).unwrap().display().to_string()).collect()
    };
    let checkpoint = [
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.safetensors.index.ema.json",
        "ema.safetensors",
        "model_index.json",
        "optimizer.safetensors",
        "scheduler_config.json",
        "state.json",
    ];
    assert_eq!(files(&trained), checkpoint);
    assert_eq!(files(&unlearned), checkpoint);
    // A pruned network is no class of diffusers: its folder is no pipeline, but keeps its forward process.
    let no_index: Vec<&str> = checkpoint.into_iter().filter(|name| *name != "model_index.json").collect();
    assert_eq!(files(&tuned), no_index);
    assert_eq!(
        files(&pruned),
        ["config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"]
    );
    let averaged = read_json(&study.path("trained/diffusion_pytorch_model.safetensors.index.ema.json"));
    assert_eq!(averaged["weight_map"]["conv_in.bias"], "ema.safetensors");
}

#[test]
fn pipelines_that_need_more_than_a_network_are_refused_with_the_reason() {
    let study = TinyStudy::new();
    let latent = study.path("latent");
    for (name, text) in [
        (
            "model_index.json",
            r#"{"_class_name": "LDMPipeline", "unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"],
                "scheduler": ["diffusers", "DDIMScheduler"]}"#,
        ),
        ("scheduler/scheduler_config.json", r#"{"_class_name": "DDIMScheduler"}"#),
    ] {
        fs::create_dir_all(latent.join(name).parent().unwrap()).unwrap();
        fs::write(latent.join(name), text).unwrap();
    }
    let latent = latent.display().to_string();
    run(PRUNE, [&latent, "--out", &path(&study, "out"), "--ratio", "0.3"])
        .refused(1, &["model_index.json", "works on latents"]);
}
