//! Latent models through the binaries: an autoencoder, latents on disk, and a study of models of latents.

mod tiny_study;

use std::fs;
use std::path::Path;

use serde_json::Value;
use tiny_study::{
    Outcome, SAMPLE, TRAIN, TinyStudy, UNLEARN, files_below, products, read_json, records, reported_scores,
    run,
};

/// Latents of 2 x 4 x 4 for images of 8 pixels.
const LATENT: &str = r#"[latent]
model = "vq"

[vqvae]
block_out_channels = [8, 8]
latent_channels = 2
num_vq_embeddings = 16
steps = 12

[model]
"#;

fn latent_study(more: &[(&str, &str)]) -> TinyStudy {
    let steps = "num_inference_steps = 2";
    let sampler = format!("{steps}\nsampler = {{ kind = \"ddim\", clip_sample = false }}");
    let edits = [("[model]\n", LATENT), (steps, sampler.as_str())];
    TinyStudy::edited(&[&edits, more].concat())
}

fn train(study: &TinyStudy, out: &str, more: &[&str]) -> Outcome {
    let (file, out) = (study.file(), study.path(out));
    let mut arguments =
        vec![file.to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet", "--threads", "1"];
    arguments.extend(more);
    run(TRAIN, arguments)
}

fn vqvae(study: &TinyStudy, out: &str, more: &[&str]) -> Value {
    train(study, out, &[&["--model", "vqvae"], more].concat()).json()
}

fn hash(outcome: Outcome) -> Value {
    outcome.json()["hash"].clone()
}

fn names(folder: &Path) -> Vec<String> {
    files_below(folder).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn an_autoencoder_is_trained_and_saved_as_diffusers_does() {
    let study = latent_study(&[]);
    train(&study, "early", &[]).refused(2, &["latent.model", "tribute-train --model vqvae"]);
    let told = vqvae(&study, "vq", &[]);
    assert_eq!(names(&study.path("vq")), ["config.json", "diffusion_pytorch_model.safetensors"]);
    let config = read_json(&study.path("vq/config.json"));
    assert_eq!(
        (&config["_class_name"], &config["scaling_factor"]),
        (&"VQModel".into(), &told["scaling_factor"])
    );
    assert!(told["codes_used"].as_u64().unwrap() > 1, "{told}");
    let sheet = image::open(told["pictures"].as_str().unwrap()).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (16 * 8, 2 * 8), "images and their reconstructions");

    // Finished: told about again. More steps continue, and give images back better.
    assert_eq!(vqvae(&study, "vq", &[])["hash"], told["hash"]);
    let longer = vqvae(&study, "vq", &["--steps", "150", "--learning_rate", "0.002"]);
    assert!(longer["psnr"].as_f64().unwrap() > told["psnr"].as_f64().unwrap() + 1.0, "{told} {longer}");
    let fresh = vqvae(&study, "fresh", &["--steps", "150", "--learning_rate", "0.002"]);
    assert_eq!(longer["hash"], fresh["hash"], "as if it had not stopped");

    for option in [&["--load", "vq"][..], &["--members", "0"], &["--precompute_stage", "save"]] {
        train(&study, "no", &[&["--model", "vqvae"], option].concat()).refused(2, &["vqvae"]);
    }
    train(&study, "no", &["--model", "vqvae", "--set", "data.resolution=9"]).refused(2, &["multiple of 2"]);
    let clips = ["--set", "sample.sampler.clip_sample=true"];
    train(&study, "no", &clips).refused(2, &["sample.sampler.clip_sample", "latent"]);
}

#[test]
fn latents_are_kept_once_verified_and_reused() {
    let study = latent_study(&[]);
    vqvae(&study, "vq", &[]);
    train(&study, "none", &["--precompute_stage", "reuse"])
        .refused(1, &["latents", "--precompute_stage save"]);
    let plain = hash(train(&study, "plain", &[]));
    assert!(!study.path("latents").exists(), "nothing is kept unless it is asked for");
    let saved = hash(train(&study, "saved", &["--precompute_stage", "save"]));
    assert_eq!(saved, plain, "latents from disk are those encoded anew");
    let shards = files_below(&study.path("latents"));
    let bytes = fs::read(&shards[0]).unwrap();
    assert_eq!(shards.len(), 1);
    assert_eq!(hash(train(&study, "reused", &["--precompute_stage", "reuse"])), plain);
    assert_eq!(fs::read(&shards[0]).unwrap(), bytes, "reusing writes nothing");

    // Images that are new: only they are encoded, into a shard of their own; mirrored ones are others.
    let mirrored = ["--set", "data.horizontal_flip=true"];
    train(&study, "flip", &[&mirrored[..], &["--precompute_stage", "reuse"]].concat())
        .refused(1, &["no latents"]);
    train(&study, "flip", &[&mirrored[..], &["--precompute_stage", "save"]].concat()).succeeded();
    assert_eq!(fs::read(&shards[0]).unwrap(), bytes);
    let more = files_below(&study.path("latents"));
    assert_eq!(more.len(), 2);
    // An interrupted encoding lacks shards: the others are made again as they were.
    let lost = more.iter().find(|path| **path != shards[0]).unwrap();
    let whole = fs::read(lost).unwrap();
    fs::remove_file(lost).unwrap();
    train(&study, "again", &[&mirrored[..], &["--precompute_stage", "save"]].concat()).succeeded();
    assert_eq!(fs::read(lost).unwrap(), whole);

    // Damage, and latents of another autoencoder.
    let shard = shards[0].file_name().unwrap().to_str().unwrap();
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&shards[0], &damaged).unwrap();
    for stage in ["save", "reuse"] {
        let stage = ["--precompute_stage", stage];
        train(&study, "damaged", &stage).refused(1, &[shard, "altered", "delete it", "save"]);
    }
    fs::write(&shards[0], &bytes).unwrap();
    vqvae(&study, "other", &["--steps", "3"]);
    let model = format!("latent.model={}", study.path("other").display());
    train(&study, "others", &["--precompute_stage", "reuse", "--set", &model])
        .refused(1, &["autoencoder is", "latent.folder", ".safetensors"]);
}

#[test]
fn a_study_of_latents_runs_to_its_report() {
    let study = latent_study(&[]);
    vqvae(&study, "vq", &["--steps", "60"]);
    study.complete("out", &[]);
    let report = read_json(&study.path("out/report.json"));
    // The network works on 2 x 4 x 4 latents, and its multiply-accumulates are counted there.
    let full = fs::read_dir(study.path("out/models")).unwrap().map(|entry| entry.unwrap().path());
    let config =
        full.map(|path| read_json(&path.join("config.json"))).find(|c| c.get("pruned_channels").is_none());
    let config = config.expect("the full model");
    assert_eq!((&config["sample_size"], &config["in_channels"]), (&4.into(), &2.into()));
    let unet: diffusion_core::UNet2DConfig = serde_json::from_value(config).unwrap();
    let macs = diffusion_core::unet::macs(&unet, 4, 4).unwrap();
    assert_eq!(report["models"]["full"]["macs"].as_u64(), Some(macs));
    // Pictures are decoded.
    let sheet = files_below(&study.path("out/samples"));
    let sheet = image::open(&sheet[0]).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (8 * 8, 8));

    // Latents on disk change no record, so that nothing is made again.
    let before = records(&study.path("out"));
    let kept = latent_study(&[("model = \"vq\"", "model = \"vq\"\nprecompute = \"save\"\nbatch_size = 3")]);
    tiny_study::copy_folder(&study.path("vq"), &kept.path("vq"));
    kept.complete("out", &[]);
    assert_eq!(records(&kept.path("out")), before);
    assert_eq!(products(&kept.path("out")), products(&study.path("out")));
    assert_eq!(reported_scores(&kept.path("out")), reported_scores(&study.path("out")));
    // Another use of the autoencoder is another study.
    let (file, out) = (study.file(), study.path("scaled"));
    let scaled =
        [file.to_str().unwrap(), "--out", out.to_str().unwrap(), "--set", "latent.scaling_factor=2.0"];
    let (plain, scaled) = (hash(train(&study, "plain", &[])), hash(run(TRAIN, scaled)));
    assert_ne!(plain, scaled);
}

#[test]
fn single_stages_work_in_latent_space() {
    let study = latent_study(&[]);
    vqvae(&study, "vq", &[]);
    train(&study, "full", &[]).succeeded();
    let (file, full, out) = (study.file(), study.path("full"), study.path("pictures"));
    let (file, full) = (file.to_str().unwrap(), full.to_str().unwrap());
    let told = run(SAMPLE, [file, "--model", full, "--out", out.to_str().unwrap(), "--quiet"]).json();
    assert_eq!(told["shape"], serde_json::json!([8, 8, 8, 3]));
    // Local behaviours are about pictures, and about the loss of their latents.
    let (model, db) = (study.path("without"), study.path("db.jsonl"));
    let local = [
        file,
        "--load",
        full,
        "--out",
        model.to_str().unwrap(),
        "--method",
        "gd_u",
        "--members",
        "0,1",
        "--gd_steps",
        "1",
        "--model_behavior",
        "local",
        "--db",
        db.to_str().unwrap(),
        "--quiet",
        "--n_noises",
        "2",
        "--precompute_stage",
        "save",
    ];
    let told = run(UNLEARN, local).json();
    assert_eq!(files_below(&study.path("latents")).len(), 1, "latents are kept");
    let loss = told["behaviors"]["avg_diffusion_loss"].as_f64().unwrap();
    assert!(loss > 0.0 && loss.is_finite(), "{told}");
    let scores = run(
        env!("CARGO_BIN_EXE_tribute-influence"),
        [
            file,
            "--model",
            full,
            "--methods",
            "d_trak,pixel_similarity_mean",
            "--quiet",
            "--set",
            "influence.dimension=16",
        ],
    );
    assert_eq!(scores.json()["methods"].as_array().unwrap().len(), 2);
}
