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

/// The forward process of the pipelines on latents, and a sampler that suits latents.
const OF_LATENTS: [&str; 8] = [
    "--set",
    "diffusion.beta_schedule=scaled_linear",
    "--set",
    "diffusion.beta_start=0.0015",
    "--set",
    "diffusion.beta_end=0.0195",
    "--set",
    "sample.sampler={ kind = \"ddim\", clip_sample = false }",
];

#[test]
fn a_pipeline_of_latents_brings_its_latent_space() {
    for (name, class) in [("ldm", "VQModel"), ("ldm_kl", "AutoencoderKL")] {
        let study = TinyStudy::new();
        let pipeline = format!("{PIPELINES}/{name}");
        let of_latents =
            |binary: &str, more: &[&str]| stage(&study, binary, &[&OF_LATENTS[..], more].concat());
        let sheet = |model: &str, out: &str, more: &[&str]| {
            let folder = path(&study, out);
            let told = of_latents(SAMPLE, &[&["--model", model, "--out", &folder], more].concat());
            assert_eq!(told["shape"], serde_json::json!([8, 8, 8, 3]), "pictures are decoded");
            fs::read(study.path(out).join("samples.png")).unwrap()
        };
        let pictures = sheet(&pipeline, "pictures", &[]);
        let named = format!("latent.model={pipeline}");
        assert_eq!(sheet(&pipeline, "named", &["--set", &named]), pictures, "{name}");

        // Trained on, pruned and unlearned on latents of the study's images; what is written brings its latent space, too.
        let [trained, pruned, tuned, unlearned, null] =
            ["trained", "pruned", "tuned", "unlearned", "trained-log/null"].map(|name| path(&study, name));
        of_latents(TRAIN, &["--load", &pipeline, "--out", &trained, "--save_null_model"]);
        let told = run(PRUNE, [&pipeline, "--out", &pruned, "--ratio", "0.5"]).json();
        let network: diffusion_core::UNet2DConfig =
            serde_json::from_value(read_json(&Path::new(&pipeline).join("unet/config.json"))).unwrap();
        let macs = diffusion_core::unet::macs(&network, 4, 4).unwrap();
        assert_eq!(told["macs"]["before"].as_u64(), Some(macs), "counted on latents");
        let file = study.file().display().to_string();
        let fine_tune = [&pipeline, "--out", &tuned, "--ratio", "0.5", "--fine-tune", &file];
        run(PRUNE, fine_tune.into_iter().chain(OF_LATENTS)).json();
        let coalition = ["--load", &pipeline, "--method", "gd_u", "--members", "0,2", "--out", &unlearned];
        of_latents(UNLEARN, &coalition);
        for (model, index) in
            [(&trained, true), (&unlearned, true), (&null, true), (&pruned, false), (&tuned, false)]
        {
            let folder = Path::new(model);
            let config = read_json(&folder.join("vqvae/config.json"));
            assert_eq!(config["_class_name"], class, "{model}");
            assert_eq!(config["scaling_factor"], if name == "ldm" { 0.5 } else { 0.75 }, "{model}");
            assert_eq!(folder.join("model_index.json").is_file(), index, "{model}");
            sheet(model, &format!("of-{}", folder.file_name().unwrap().display()), &[]);
        }
        let index = read_json(&study.path("trained/model_index.json"));
        assert_eq!(index["_class_name"], "LDMPipeline");
        assert_eq!(index["vqvae"], serde_json::json!(["diffusers", class]));
        let measured = of_latents(MEASURE, &["--model", &trained]);
        assert!(measured["behaviors"]["diffusion_loss"].as_f64().is_some(), "{measured}");
        // Pruned again, into the same folder and of itself.
        run(PRUNE, [&pipeline, "--out", &pruned, "--ratio", "0.25"]).json();
    }
}

#[test]
fn latents_of_another_space_are_refused_with_the_remedy() {
    let study = TinyStudy::new();
    let (pipeline, other, out) =
        (format!("{PIPELINES}/ldm"), format!("{PIPELINES}/ldm_kl"), path(&study, "out"));
    let file = study.file().display().to_string();
    let refused = |more: &[&str], parts: &[&str]| {
        let arguments = [&[file.as_str(), "--model", &pipeline, "--out", &out], more].concat();
        run(SAMPLE, arguments).refused(2, parts);
    };
    refused(&[], &["sample.sampler.clip_sample", "clip_sample = false"]);
    let of = |set: &'static str| [&OF_LATENTS[..], &["--set", set]].concat();
    let named = format!("latent.model={other}");
    refused(
        &[&OF_LATENTS[..], &["--set", &named]].concat(),
        &["ldm/vqvae", "ldm_kl", "latent.model", "choose another model"],
    );
    let scaled = [of("latent.scaling_factor=2.0"), vec!["--set", &named]].concat();
    refused(&scaled, &["times 0.5", "times 2.0", "latent.scaling_factor"]);
    refused(&OF_LATENTS[6..], &["beta_schedule", "[diffusion]"]);

    // What stands beside the autoencoder is not deleted with it.
    let pruned = path(&study, "pruned");
    run(PRUNE, [&pipeline, "--out", &pruned, "--ratio", "0.5"]).json();
    fs::write(study.path("pruned/vqvae/notes.txt"), "mine").unwrap();
    run(PRUNE, [&pipeline, "--out", &pruned, "--ratio", "0.25"])
        .refused(1, &["vqvae/notes.txt", "choose another folder"]);
    // An autoencoder that is not the one that was written.
    let trained = path(&study, "trained");
    stage(&study, TRAIN, &[&OF_LATENTS[..], &["--load", &pipeline, "--out", &trained]].concat());
    let weights = study.path("trained/vqvae/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let sample = [&[file.as_str(), "--model", &trained, "--out", &out], &OF_LATENTS[..]].concat();
    run(SAMPLE, sample).refused(1, &["vqvae/diffusion_pytorch_model.safetensors", "altered"]);
}
