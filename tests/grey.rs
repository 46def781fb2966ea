//! Networks of one channel: `data.channels = 1` from digits to the report, and their model folders.

mod tiny_study;

use std::fs;
use std::path::{Path, PathBuf};

use data::{Channels, DataFormat, Dataset, OpenOptions};
use tempfile::TempDir;
use tiny_study::{
    DATASETS, MEASURE, Outcome, PRUNE, SAMPLE, TRAIN, TinyStudy, UNLEARN, read_json, records, run,
};

const COLOUR_BEHAVIORS: &str = r#"behaviors = ["colourfulness", "diffusion_loss"]"#;
const BEHAVIORS: &str =
    r#"behaviors = ["brightness", "diffusion_loss", "is_squeezenet_64px", "avg_ssim", "avg_diffusion_loss"]"#;

fn idx(sides: &[u32], content: Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sides.len() as u8];
    sides.iter().for_each(|side| bytes.extend(side.to_be_bytes()));
    bytes.extend(content);
    bytes
}

/// Thirty digits of 12 x 12 pixels in three classes: a bar whose place is the class.
fn write_digits(folder: &Path) {
    let (classes, side) = (3u32, 12u32);
    let mut pixels = Vec::new();
    for image in 0..30 {
        let bar = 2 + 4 * (image % classes);
        pixels
            .extend((0..side * side).map(|at| if at % side / 2 == bar / 2 { 250 - image as u8 } else { 3 }));
    }
    fs::write(folder.join("train-images-idx3-ubyte"), idx(&[30, side, side], pixels))
        .expect("room for images");
    let labels = (0..30).map(|image| (image % classes) as u8).collect();
    fs::write(folder.join("train-labels-idx1-ubyte"), idx(&[30], labels)).expect("room for labels");
}

/// A study of digits by networks of one channel.
fn digits() -> (TempDir, TinyStudy) {
    let folder = TempDir::new().expect("room for a folder");
    write_digits(folder.path());
    let path = format!("path = {:?}\nchannels = 1", folder.path().display().to_string());
    let study = TinyStudy::edited(&[
        (&format!("path = \"{DATASETS}/openclipart32\""), &path),
        (r#"select = { names = ["AJ Ashton", "Chris Goerner", "Jakob", "Yutaka Kachi"] }"#, ""),
        (COLOUR_BEHAVIORS, BEHAVIORS),
    ]);
    (folder, study)
}

fn assert_grey(sheet: &Path) {
    let sheet = image::open(sheet).expect("a PNG").to_rgb8();
    assert!(sheet.pixels().all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]));
    let first = sheet.get_pixel(0, 0);
    assert!(sheet.pixels().any(|pixel| pixel != first), "it is not flat");
}

#[test]
fn a_study_of_grey_images_runs_to_its_report() {
    let (_folder, study) = digits();
    study.complete("out", &[]);
    let report = read_json(&study.path("out/report.json"));
    assert_eq!(report["contributors"].as_array().map(Vec::len), Some(3));
    let mut networks = 0;
    for model in fs::read_dir(study.path("out/models")).expect("models") {
        let config = read_json(&model.expect("an entry").path().join("config.json"));
        assert_eq!((&config["in_channels"], &config["out_channels"]), (&1.into(), &1.into()));
        networks += 1;
    }
    assert!(networks >= 2, "{networks} networks");
    let sheets: Vec<PathBuf> = fs::read_dir(study.path("out/samples"))
        .expect("samples")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(!sheets.is_empty());
    sheets.iter().for_each(|sheet| assert_grey(sheet));
    for record in records(&study.path("out")).into_values() {
        let value = |key: &str| record.behaviors.get(key).cloned();
        for key in ["brightness", "diffusion_loss", "is_squeezenet_64px", "avg_ssim", "avg_diffusion_loss"] {
            assert!(value(key).is_some(), "{key} of {record:?}");
        }
    }
}

#[test]
fn stages_make_and_take_folders_of_one_channel() {
    let (_folder, study) = digits();
    let file = study.file().display().to_string();
    let path = |name: &str| study.path(name).display().to_string();
    run(TRAIN, [&file, "--out", &path("full")]).json();
    run(PRUNE, [&path("full"), "--out", &path("pruned"), "--ratio", "0.3", "--fine-tune", &file]).json();
    let pruned = read_json(&study.path("pruned/config.json"));
    assert_eq!((&pruned["in_channels"], pruned["pruned_channels"].is_object()), (&1.into(), true));
    let unlearned = path("unlearned");
    run(UNLEARN, [&file, "--load", &path("pruned"), "--members", "0,2", "--out", &unlearned]).json();
    run(SAMPLE, [&file, "--model", &unlearned, "--out", &path("look")]).json();
    assert_grey(&study.path("look/samples.png"));
    let without_local =
        [&file, "--model", &unlearned, "--set", r#"behaviors=["brightness", "diffusion_loss"]"#];
    let measured = run(MEASURE, without_local).json();
    assert!(measured["behaviors"]["diffusion_loss"].as_f64().is_some_and(|loss| loss > 0.0), "{measured}");
    // The folder of an unpruned one is a pipeline, which a study of colours refuses.
    assert!(study.path("full/model_index.json").is_file());
    let colours = [&file, "--model", &path("full"), "--out", &path("no"), "--set", "data.channels=3"];
    run(SAMPLE, colours).refused(2, &["a network of 1 channels", "images have 3", "data.channels"]);
}

#[test]
fn colours_become_the_luma_of_pillow() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/data/tests/fixtures/decoding");
    let folder = TempDir::new().expect("room for a folder");
    for (who, file) in [("ann", "source.png"), ("bob", "luma.png")] {
        fs::create_dir(folder.path().join(who)).expect("room for a folder");
        fs::copy(fixtures.join(file), folder.path().join(who).join("1.png")).expect("room for an image");
    }
    let open = |channels| {
        let options = OpenOptions { resolution: Some(24), channels, ..OpenOptions::default() };
        Dataset::open(folder.path(), &options).expect("two images")
    };
    let (grey, colour) = (open(Channels::Grey), open(Channels::Rgb));
    assert_eq!(grey.image(0).expect("an image"), grey.image(1).expect("an image"));
    assert_ne!(colour.image(0).expect("an image"), colour.image(1).expect("an image"));
    assert_ne!(grey.content_hash().expect("a hash"), colour.content_hash().expect("a hash"));
    let batch = grey.all().load(0..2).expect("a batch");
    assert_eq!(batch.shape, [2, 1, 24, 24]);
    let first = grey.image(0).expect("an image");
    assert_eq!(batch.pixels[7], f32::from(first[21]) / 127.5 - 1.0);
    assert_eq!(colour.all().load(0..2).expect("a batch").shape, [2, 3, 24, 24]);
}

#[test]
fn what_has_no_meaning_in_grey_is_refused_with_the_remedy() {
    let study = TinyStudy::new();
    Outcome::of(&mut study.drive("out", &["--set", "data.channels=1"]))
        .refused(2, &["colourfulness", "data.channels = 1", "0 for every grey picture"]);
    Outcome::of(&mut study.drive("out", &["--set", "data.channels=2"]))
        .refused(2, &["1 channel (grey) or 3 (red, green, blue), not 2"]);
    let sampler = r#"sample.sampler={ kind = "ddim", clip_sample = false }"#;
    let latent = ["--set", "data.channels=1", "--set", "latent.model=nowhere", "--set", sampler];
    Outcome::of(&mut study.drive("out", &latent)).refused(2, &["data.channels", "autoencoders take colours"]);
}

#[test]
fn the_presets_of_digits_have_one_channel_as_in_the_reference() {
    let digits = TempDir::new().expect("room for a folder");
    write_digits(digits.path());
    let out = digits.path().join("model");
    let (images, weights) = (digits.path().display().to_string(), format!("weights={DATASETS}/weights"));
    let small =
        ["--set", "train.steps=1", "--set", "train.optimization.batch_size=2", "--set", "data.resolution=8"];
    let out_text = out.display().to_string();
    let path = format!("data.path={images}");
    let arguments = ["--dataset", "mnist", "--set", &path, "--set", &weights, "--out", &out_text];
    run(TRAIN, arguments.iter().chain(&small)).json();
    let config = read_json(&out.join("config.json"));
    assert_eq!((&config["in_channels"], &config["out_channels"]), (&1.into(), &1.into()));
    assert_eq!(config["block_out_channels"], serde_json::json!([128, 128, 256, 512]));
    let options = OpenOptions { format: Some(DataFormat::Mnist), ..OpenOptions::default() };
    assert_eq!(Dataset::open(digits.path(), &options).expect("digits").contributors().len(), 3);
}
