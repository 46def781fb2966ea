//! Bad input through the binaries: the message names the thing and the remedy, the exit code is 2 for usage and
//! configuration and 1 for the rest, and nothing half-written stays.

mod tiny_study;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use image::{DynamicImage, ImageBuffer, Luma, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;
use tiny_study::{
    DATASETS, LDS, Outcome, PRUNE, SAMPLE, TRAIN, TRIBUTE, TinyStudy, UNLEARN, assert_no_leftovers,
    copy_folder, files_below, game, read_json, records, run,
};

/// A study run once; tests work on copies of its folder.
fn finished() -> &'static TinyStudy {
    static STUDY: OnceLock<TinyStudy> = OnceLock::new();
    STUDY.get_or_init(|| {
        let study = TinyStudy::new();
        study.complete("out", &[]);
        study
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The whole study is refused, by `tribute run` and by a stage, and leaves no folder.
fn refused(study: &TinyStudy, code: i32, parts: &[&str]) {
    Outcome::of(&mut study.drive("out", &[])).refused(code, parts);
    run(TRAIN, [text(&study.file()), "--out".into(), text(&study.path("model"))]).refused(code, parts);
    assert!(!study.path("out").exists() && !study.path("model").exists());
}

// ------------------------------------------------------------------------------------------- Settings and flags

#[test]
fn unknown_and_missing_keys_are_named_with_their_line() {
    let cases = [
        ("ratio = 0.3", "ratoi = 0.3", vec!["study.toml", "line 26", "`ratoi`", "`pruner`, `ratio`"]),
        ("for_show = true", "forshow = true", vec!["study.toml", "line 2", "`forshow`", "`for_show`"]),
        ("[fine_tune]\nsteps = 4", "[fine_tune]", vec!["study.toml", "fine_tune", "missing field `steps`"]),
        ("steps = 6", "steps = six", vec!["study.toml", "line 18"]),
        ("seed = 5", "seed = -5", vec!["study.toml", "line 3", "-5"]),
        (
            "\"colourfulness\"",
            "\"prettiness\"",
            vec!["study.toml", "line 5", "prettiness", "`colourfulness`"],
        ),
        ("method = \"gd\"", "method = \"forget\"", vec!["study.toml", "`forget`", "`retrain`", "`gd`"]),
    ];
    for (old, new, parts) in cases {
        refused(&TinyStudy::edited(&[(old, new)]), 2, &parts);
    }
    let nowhere = finished().path("no such.toml");
    run(TRIBUTE, ["run".into(), text(&nowhere)]).refused(2, &["no such.toml", "No such file"]);
}

#[test]
fn values_out_of_range_are_named_with_what_is_allowed() {
    let cases = [
        (
            "datamodel_alpha = 0.5",
            "datamodel_alpha = 0",
            vec!["evaluation.datamodel_alpha", "0", "above 0 and below 1"],
        ),
        (
            "datamodel_alpha = 0.5",
            "datamodel_alpha = 1",
            vec!["evaluation.datamodel_alpha", "is 1", "below 1"],
        ),
        (
            "datamodel_alpha = 0.5",
            "datamodel_alpha = 1.5",
            vec!["evaluation.datamodel_alpha", "1.5", "below 1"],
        ),
        (
            "datamodel_alpha = 0.5",
            "datamodel_alpha = nan",
            vec!["evaluation.datamodel_alpha", "NaN", "below 1"],
        ),
        ("steps = 6", "steps = 0", vec!["train.steps", "is 0", "1 or more"]),
        (
            "learning_rate = 2e-3",
            "learning_rate = 0.0",
            vec!["train.optimization", "learning_rate", "positive"],
        ),
        ("resolution = 8", "resolution = 3", vec!["data.resolution", "is 3", "4 to 1024"]),
        ("[8, 8]", "[8, 9]", vec!["[model]", "9", "4"]),
        ("name = \"tiny\"", "name = \"../up\"", vec!["`name`", "../up", "letters"]),
        // What is listed before anything runs would otherwise end where memory does.
        ("batch_size = 8", "batch_size = 8000000000", vec!["batch_size", "8000000000", "at most 1000000"]),
        ("count = 6", "count = 6000000000", vec!["coalitions.count", "6000000000", "1 to 1,000,000"]),
        ("count = 8", "count = 8000000000", vec!["sample.count", "8000000000", "2 to 1,000,000"]),
        ("bootstrap = 100", "bootstrap = 10000000000", vec!["coalitions.bootstrap", "100 to 1,000,000"]),
        ("test_seeds = 2", "test_seeds = 2000000000", vec!["evaluation.test_seeds", "1 to 1,000"]),
        (
            "test_coalitions = 3",
            "test_coalitions = 3000000",
            vec!["evaluation.test_coalitions", "3 to 10,000"],
        ),
        (
            "retrain_coalitions = 1",
            "retrain_coalitions = 1000000000",
            vec!["evaluation.retrain_coalitions", "0 to 1,000,000"],
        ),
        (
            "norm_num_groups = 4",
            "norm_num_groups = 4\nlayers_per_block = 4000000000",
            vec!["layers_per_block", "4000000000", "1 to 1000"],
        ),
    ];
    for (old, new, parts) in cases {
        refused(&TinyStudy::edited(&[(old, new)]), 2, &parts);
    }
    // What depends on the number of contributors is found before the study's folder is made.
    for (old, new, parts) in [
        ("datamodel_alpha = 0.5", "datamodel_alpha = 0.1", vec!["alpha = 0.1", "0 of 4 contributors", "1/4"]),
        (
            "test_coalitions = 3",
            "test_coalitions = 7",
            vec!["7 distinct coalitions", "only 6", "ask for fewer"],
        ),
    ] {
        let study = TinyStudy::edited(&[(old, new)]);
        Outcome::of(&mut study.drive("out", &[])).refused(2, &parts);
        assert!(!study.path("out").exists());
    }
}

#[test]
fn pruning_ratios_outside_of_the_open_interval_are_refused() {
    let model = text(&finished().path("no model"));
    for ratio in ["0", "1", "-0.1", "NaN", "a third"] {
        let out = finished().path("pruned");
        run(PRUNE, [&model, "--out", &text(&out), "--ratio", ratio])
            .refused(2, &[&format!("pruning ratio {ratio} is not between 0 and 1"), "0.3 removes"]);
        assert!(!out.exists());
    }
    for (ratio, shown) in [("0", "0"), ("1.0", "1"), ("-0.1", "-0.1"), ("nan", "NaN")] {
        let study = TinyStudy::edited(&[("ratio = 0.3", &format!("ratio = {ratio}"))]);
        refused(
            &study,
            2,
            &["study.toml", "line 26", &format!("pruning ratio {shown} is not between 0 and 1")],
        );
    }
}

#[test]
fn unknown_flag_values_and_absent_devices_are_refused() {
    let study = TinyStudy::new();
    let mut cases: Vec<(&[&str], &[&str])> = vec![
        (&["--device", "nonsense"], &["`nonsense`", "cpu, flex, ndarray, wgpu"]),
        (&["--device", "cuda:x"], &["`cuda:x`", "cuda:<i>"]),
        (&["--truth", "guess"], &["guess", "shipped, recompute"]),
        (&["--workers", "0"], &["--workers is 0", "1 or more"]),
        (&["--threads", "0"], &["--threads is 0", "all cores"]),
        (&["--threads", "5000"], &["--threads is 5000", "1 to 4096"]),
        // Numbers that no study file can hold are not left out.
        (&["--coalitions", "18446744073709551615"], &["`coalitions.count`", "too large"]),
        (&["--speed", "11"], &["--speed", "Usage"]),
    ];
    if !cfg!(feature = "cuda") {
        cases.push((&["--device", "cuda"], &["`cuda`", "--features cuda", "--device cpu"]));
    }
    for (flags, parts) in cases {
        Outcome::of(&mut study.drive("out", flags)).refused(2, parts);
    }
    let (file, out) = (text(&study.file()), text(&study.path("out")));
    run(UNLEARN, [&file, "--out", &out, "--method", "forget", "--draw", "0"])
        .refused(2, &["`forget`", "retrain, prune_fine_tune, gd"]);
    run(UNLEARN, [&file, "--out", &out, "--coalition", "all"]).refused(2, &["all", "n:hex"]);
    run(PRUNE, ["model", "--out", &out, "--pruner", "luck"]).refused(2, &["luck", "magnitude"]);
    run(LDS, ["--train", &out, "--bootstrap", "1000001"])
        .refused(2, &["--bootstrap is 1000001", "1,000,000"]);
    run(LDS, ["--train", &out, "--beta-shapley-alpha", "nan"]).refused(2, &["--beta-shapley-alpha", "NaN"]);
    run(LDS, ["--train", &out, "--confidence", "1"]).refused(2, &["--confidence is 1", "below 1"]);
    run(LDS, ["--train", &out])
        .refused(2, &[&out, "neither a JSONL file of records nor the folder of a study"]);
    let status = run(TRIBUTE, ["status", &out])
        .refused(2, &[&out, "there is no such folder", "give the folder that `tribute run`"]);
    assert!(!status.stderr.contains("choose an empty or new folder"), "{status:?}");
    run(TRIBUTE, ["export", &out, "-o", &format!("{out}.jsonl")])
        .refused(2, &[&out, "there is no such folder"]);
    assert_eq!(files_below(study.file().parent().unwrap()), [study.file()]);
}

// ------------------------------------------------------------------------------------------------------ Images

/// Pictures of 8 x 8 pixels by two people, four each.
fn pictures() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (shade, person) in [(60, "ann"), (160, "bob")] {
        fs::create_dir(folder.path().join(person)).unwrap();
        for number in 0..4u8 {
            let pixel = |x: u32, y: u32| Rgb([shade, 20 * number, 8 * (x + y) as u8]);
            let picture = RgbImage::from_fn(8, 8, pixel);
            picture.save(folder.path().join(person).join(format!("{number}.png"))).unwrap();
        }
    }
    folder
}

/// A CSV of the pictures, with further lines.
fn sheet(folder: &TempDir, more: &str) -> PathBuf {
    let rows = ["ann", "bob"].iter().flat_map(|p| (0..4).map(move |k| format!("{p}/{k}.png,{p}\n")));
    let path = folder.path().join("pictures.csv");
    fs::write(&path, format!("file,contributor\n{}{more}", rows.collect::<String>())).unwrap();
    path
}

#[test]
fn images_of_any_depth_and_size_are_trained_on() {
    let folder = pictures();
    let bob = folder.path().join("bob");
    let deep: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_pixel(8, 8, Rgb([65535, 32768, 0]));
    DynamicImage::from(deep).save(bob.join("16 bit.png")).unwrap();
    let grey: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_pixel(8, 8, Luma([90]));
    DynamicImage::from(grey).save(bob.join("grey.png")).unwrap();
    let deep_grey: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_pixel(8, 8, Luma([30000]));
    DynamicImage::from(deep_grey).save(bob.join("16 bit grey.png")).unwrap();
    RgbImage::from_pixel(31, 17, Rgb([1, 2, 3])).save(bob.join("wide.png")).unwrap();
    RgbImage::from_pixel(5, 9, Rgb([1, 2, 3])).save(bob.join("small.png")).unwrap();
    RgbImage::from_pixel(40, 40, Rgb([1, 2, 3])).save(bob.join("large.jpg")).unwrap();
    let study = TinyStudy::of_images(folder.path());
    let trained = run(TRAIN, [text(&study.file()), "--out".into(), text(&study.path("model"))]).json();
    assert_eq!(trained["steps"], 6);
}

#[test]
#[allow(clippy::type_complexity)]
fn broken_and_unusable_images_are_named() {
    let cmyk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/data/tests/fixtures/cmyk.jpg");
    let cases: [(&str, fn(&[u8]) -> Vec<u8>, &[&str]); 3] = [
        (
            "cut.png",
            |whole| whole[..whole.len() / 2].to_vec(),
            &["cut.png", "does not decode", "replace or remove"],
        ),
        ("words.png", |_| b"not an image".to_vec(), &["words.png", "convert it to PNG"]),
        ("empty.png", |_| Vec::new(), &["empty.png"]),
    ];
    for (name, spoil, parts) in cases {
        let folder = pictures();
        let whole = fs::read(folder.path().join("ann/0.png")).unwrap();
        fs::write(folder.path().join("ann").join(name), spoil(&whole)).unwrap();
        refused(&TinyStudy::of_images(folder.path()), 1, parts);
    }
    let folder = pictures();
    fs::copy(cmyk, folder.path().join("bob/print.jpg")).unwrap();
    refused(&TinyStudy::of_images(folder.path()), 1, &["print.jpg", "CMYK", "convert it to RGB"]);
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_in_the_place_of_images_are_named() {
    let folder = pictures();
    let pipe = folder.path().join("ann/pipe.png");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    refused(
        &TinyStudy::of_images(folder.path()),
        1,
        &["pipe.png", "a pipe, a socket or a device", "remove it"],
    );
    fs::remove_file(&pipe).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("bob/endless.png")).unwrap();
    refused(&TinyStudy::of_images(folder.path()), 1, &["endless.png", "a pipe, a socket or a device"]);
}

#[test]
fn rows_that_do_not_fit_are_named_with_their_line() {
    let folder = pictures();
    let table = sheet(&folder, "bob/9.png,bob\n");
    refused(
        &TinyStudy::of_images(&table),
        1,
        &["pictures.csv line 10", "9.png", "add the image or remove the row"],
    );
    let table = sheet(&folder, "ann/2.png,bob\n");
    refused(&TinyStudy::of_images(&table), 1, &["pictures.csv line 10", "ann/2.png", "line 4", "remove one"]);
    let table = sheet(&folder, "bob/3.png\n");
    refused(&TinyStudy::of_images(&table), 1, &["pictures.csv line 10"]);
    let table = sheet(&folder, "../secret.png,bob\n");
    refused(&TinyStudy::of_images(&table), 1, &["pictures.csv line 10", "../secret.png", "without `..`"]);
    // And as it was, it is fine.
    let study = TinyStudy::of_images(&sheet(&folder, ""));
    run(TRAIN, [text(&study.file()), "--out".into(), text(&study.path("model"))]).json();
}

#[test]
fn contributors_without_images_and_alone_are_refused() {
    let folder = pictures();
    fs::create_dir(folder.path().join("cleo")).unwrap();
    refused(
        &TinyStudy::of_images(folder.path()),
        1,
        &["\"cleo\" has no images", "leave the contributor out"],
    );
    fs::remove_dir(folder.path().join("cleo")).unwrap();
    fs::remove_dir_all(folder.path().join("bob")).unwrap();
    refused(&TinyStudy::of_images(folder.path()), 1, &["one contributor only", "\"ann\"", "at least two"]);
    refused(&TinyStudy::of_images(&folder.path().join("nowhere")), 1, &["nowhere"]);

    let names = r#"names = ["AJ Ashton", "Chris Goerner", "Jakob", "Yutaka Kachi"]"#;
    let select = |text: &str| TinyStudy::edited(&[(names, text)]);
    refused(&select(r#"names = ["Jakob", "Nobody At All"]"#), 2, &["\"Nobody At All\"", "contributor"]);
    refused(
        &select(r#"names = ["Jakob", "Yutaka Kachi"], filter = { class = ["shapes"] }"#),
        1,
        &["\"Yutaka Kachi\" has no images", "leave the contributor out"],
    );
    refused(&select("largest = 49"), 2, &["49 largest", "48", "ask for fewer"]);
    refused(&select("names = [\"Jakob\"]"), 1, &["one contributor only", "\"Jakob\""]);
    refused(&select("filter = { colour = [\"red\"] }"), 2, &["`colour`", "class"]);
}

#[test]
fn images_that_change_under_a_study_are_noticed() {
    let pack = tempfile::tempdir().unwrap();
    copy_folder(&Path::new(DATASETS).join("openclipart32"), pack.path());
    let path = format!("path = {:?}", text(pack.path()));
    let study = TinyStudy::edited(&[(&format!("path = \"{DATASETS}/openclipart32\""), &path)]);
    study.complete("out", &[]);
    let (before, report) = (records(&study.path("out")), fs::read(study.path("out/report.json")).unwrap());

    // Somebody takes over a picture.
    let table = pack.path().join("openclipart32.csv");
    let rows = fs::read_to_string(&table).unwrap();
    let changed = rows.replacen(",Jakob,", ",AJ Ashton,", 1);
    assert_ne!(changed, rows);
    fs::write(&table, changed).unwrap();
    let message = [
        "the images of this study, or its autoencoder, changed",
        &text(&study.path("out")),
        "another folder",
    ];
    Outcome::of(&mut study.drive("out", &[])).refused(1, &message);
    assert_eq!(records(&study.path("out")), before);
    assert_eq!(fs::read(study.path("out/report.json")).unwrap(), report);
    assert_no_leftovers(&study.path("out"));

    fs::write(&table, rows).unwrap();
    study.complete("out", &[]);
    assert_eq!(records(&study.path("out")), before);
}

// ------------------------------------------------------------------------------------------------------ Models

/// A trained model's folder, of which tests spoil copies.
fn model() -> PathBuf {
    static MODEL: OnceLock<()> = OnceLock::new();
    let folder = finished().path("model");
    MODEL.get_or_init(|| {
        run(TRAIN, [text(&finished().file()), "--out".into(), text(&folder)]).succeeded();
    });
    folder
}

/// Spoils a copy of the model; sampling from it is refused, and leaves nothing.
fn spoiled(spoil: impl Fn(&Path), parts: &[&str]) {
    let study = TinyStudy::new();
    let folder = study.path("spoiled");
    copy_folder(&model(), &folder);
    spoil(&folder);
    let out = study.path("samples");
    let arguments = [text(&study.file()), "--model".into(), text(&folder), "--out".into(), text(&out)];
    run(SAMPLE, arguments).refused(1, &[parts, &[text(&folder).as_str()]].concat());
    assert!(!out.exists());
    run(PRUNE, [text(&folder), "--out".into(), text(&out)]).refused(1, parts);
    assert!(!out.exists());
}

fn edit_config(folder: &Path, edit: impl Fn(&mut serde_json::Map<String, Value>)) {
    let path = folder.join("config.json");
    let mut config = read_json(&path);
    edit(config.as_object_mut().unwrap());
    fs::write(&path, config.to_string()).unwrap();
}

#[test]
fn damaged_and_foreign_models_are_named() {
    const WEIGHTS: &str = "ema.safetensors";
    let rewrite = |bytes: fn(&[u8]) -> Vec<u8>| {
        move |folder: &Path| {
            let path = folder.join(WEIGHTS);
            let whole = fs::read(&path).unwrap();
            fs::write(&path, bytes(&whole)).unwrap();
        }
    };
    let cut = "is not a whole safetensors file";
    spoiled(rewrite(|whole| whole[..whole.len() - 100].to_vec()), &[WEIGHTS, cut, "copy or make it again"]);
    spoiled(rewrite(|whole| whole[..100].to_vec()), &[WEIGHTS, cut]);
    spoiled(rewrite(|_| Vec::new()), &[WEIGHTS, cut]);
    spoiled(rewrite(|_| b"\x89PNG\r\n\x1a\n, which is something else".to_vec()), &[WEIGHTS, cut]);
    let foreign = |folder: &Path| {
        let weights = Path::new(DATASETS).join("weights/squeezenet1_1.f16.safetensors");
        fs::copy(weights, folder.join(WEIGHTS)).unwrap();
    };
    spoiled(foreign, &[WEIGHTS, "tensor", "must come from the same model"]);
    let missing = |folder: &Path| {
        fs::remove_file(folder.join(WEIGHTS)).unwrap();
        fs::remove_file(folder.join("diffusion_pytorch_model.safetensors")).unwrap();
    };
    spoiled(missing, &["diffusion_pytorch_model.safetensors", "holds no weights"]);
}

#[test]
fn configurations_that_do_not_fit_are_named() {
    let without = |key: &'static str| move |folder: &Path| edit_config(folder, |c| drop(c.remove(key)));
    spoiled(without("block_out_channels"), &["config.json", "`block_out_channels`", "missing"]);
    let with = |key: &'static str, value: Value| {
        move |folder: &Path| edit_config(folder, |c| drop(c.insert(key.into(), value.clone())))
    };
    let wider = with("block_out_channels", serde_json::json!([8, 16]));
    spoiled(wider, &["has shape", "the architecture needs", "must come from the same model"]);
    spoiled(with("act_fn", "gelu".into()), &["config.json", "`act_fn`", "gelu", "silu"]);
    spoiled(with("colour", 1.into()), &["config.json", "`colour`", "remove it or mend its spelling"]);
    let broken = |folder: &Path| fs::write(folder.join("config.json"), "{\"sample_size\": 8").unwrap();
    spoiled(broken, &["config.json", "not a JSON object"]);
}

#[test]
fn a_damaged_checkpoint_is_not_continued() {
    let study = TinyStudy::new();
    let folder = study.path("model");
    copy_folder(&model(), &folder);
    let path = folder.join("optimizer.safetensors");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let arguments = [text(&study.file()), "--out".into(), text(&folder)];
    run(TRAIN, &arguments).refused(1, &[&text(&folder), "optimizer.safetensors", "cut short", "train anew"]);
    fs::write(&path, whole).unwrap();
    run(TRAIN, &arguments).json();
}

// ----------------------------------------------------------------------------------------------------- Records

/// A copy of the finished study.
fn copied(study: &TinyStudy) -> PathBuf {
    let out = study.path("out");
    copy_folder(&finished().path("out"), &out);
    out
}

#[test]
fn damaged_records_are_named_and_only_their_runs_repeated() {
    let study = TinyStudy::new();
    let out = copied(&study);
    let whole = records(&out);
    let method = |name: &str| whole.iter().find(|(_, r)| r.key().method == name).unwrap().0.clone();
    let path = out.join("ledger/records").join(method("gd"));
    let text_of = fs::read_to_string(&path).unwrap();
    let other = fs::read_to_string(out.join("ledger/records").join(method("retrain"))).unwrap();
    let advice = "delete the file and run again";
    let cases: [(String, &[&str]); 5] = [
        (text_of[..text_of.len() / 2].to_owned(), &["is cut short", advice]),
        (String::new(), &["is cut short", advice]),
        (r#"{"hello":"world"}"#.to_owned(), &["is not a record of this ledger", "run again"]),
        (
            text_of.replacen("\"behaviors\":{\"colourfulness\":", "\"behaviors\":{\"colourfulness\":9", 1),
            &["was changed", advice],
        ),
        (other, &["renamed or edited", advice]),
    ];
    for (content, parts) in &cases {
        fs::write(&path, content).unwrap();
        let named = text(&path);
        let parts = [*parts, &[named.as_str()]].concat();
        Outcome::of(&mut study.drive("out", &[])).refused(1, &parts);
        run(TRIBUTE, ["status", &text(&out)]).refused(1, &parts);
        let exported = study.path("records.jsonl");
        run(TRIBUTE, ["export", &text(&out), "-o", &text(&exported)]).refused(1, &parts);
        assert!(!exported.exists());
        run(LDS, ["--train", &text(&out)]).refused(1, &parts);
    }
    fs::remove_file(&path).unwrap();
    let stray = out.join("ledger/records/notes.txt");
    fs::write(&stray, "call Ann").unwrap();
    Outcome::of(&mut study.drive("out", &[])).refused(1, &["notes.txt", "is not a record", "move it away"]);
    fs::remove_file(&stray).unwrap();
    study.complete("out", &[]);
    assert_eq!(records(&out), whole);
    assert_no_leftovers(&out);
}

#[test]
fn lines_of_an_exported_file_are_checked() {
    let out = finished().path("out");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    run(TRIBUTE, ["export", &text(&out), "-o", &text(&path)]).succeeded();
    let lines = fs::read_to_string(&path).unwrap();
    fs::write(&path, &lines[..lines.len() - 40]).unwrap();
    let last = format!("records.jsonl line {}", lines.lines().count());
    run(LDS, ["--train", &text(&path)]).refused(1, &[&last, "cut short", "tribute export"]);
    fs::write(&path, lines.replacen("\"device\":\"cpu\"", "\"device\":\"abacus\"", 1)).unwrap();
    run(LDS, ["--train", &text(&path)]).refused(1, &["records.jsonl line 1", "changed", "tribute export"]);
    fs::write(&path, "").unwrap();
    run(LDS, ["--train", &text(&path)]).refused(2, &["records.jsonl", "no record of method `gd`"]);
    fs::write(&path, &lines).unwrap();
    run(LDS, ["--train", &text(&path), "--method", "gd_u"])
        .refused(2, &["`gd_u`", "\"retrain\"", "--method"]);
    run(LDS, ["--train", &text(&path), "--behavior", "charm"]).refused(2, &["`charm`", "colourfulness"]);
}

#[test]
fn the_folder_of_something_else_is_left_alone() {
    let study = TinyStudy::new();
    let file = study.path("thesis.tex");
    fs::write(&file, "x").unwrap();
    Outcome::of(&mut study.drive("thesis.tex", &[]))
        .refused(2, &["thesis.tex", "it is a file", "choose an empty or new"]);
    run(TRAIN, [text(&study.file()), "--out".into(), text(&file)])
        .refused(1, &["thesis.tex", "not a folder"]);
    assert_eq!(fs::read(&file).unwrap(), b"x");
    fs::create_dir(study.path("photos")).unwrap();
    fs::write(study.path("photos/cat.jpg"), "x").unwrap();
    Outcome::of(&mut study.drive("photos", &[]))
        .refused(2, &["photos", "cat.jpg", "choose an empty or new folder"]);
    let model = text(&study.path("photos"));
    run(TRAIN, [&text(&study.file()), "--out", &model])
        .refused(1, &["photos", "other files", "another folder"]);
    assert_eq!(files_below(&study.path("photos")), [study.path("photos/cat.jpg")]);
    // At once, not at the first checkpoint of a training that takes for ever.
    let endless = TinyStudy::edited(&[
        ("steps = 6", "steps = 1000000000"),
        ("checkpoint_every = 2", "checkpoint_every = 1000000000"),
    ]);
    for (out, named) in [
        (&model, "photos"),
        (&text(&file), "thesis.tex"),
        (&text(&file.join("below/a/file")), "thesis.tex/below"),
    ] {
        run(TRAIN, [&text(&endless.file()), "--out", out]).refused(1, &[named]);
    }
    let renamed = TinyStudy::edited(&[("name = \"tiny\"", "name = \"large\"")]);
    copied(&renamed);
    Outcome::of(&mut renamed.drive("out", &[]))
        .refused(2, &["the study \"tiny\"", "choose an empty or new folder"]);
}

// -------------------------------------------------------------------------------------------------------- Disks

/// A file system in memory, gone with this.
struct Disk(PathBuf);

impl Disk {
    /// `None` where mounting is not allowed; says so.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        eprintln!("SKIPPED: no small file system can be mounted here: {mounted:?}");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // If it stays mounted, removing the temporary folder says so.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_said_and_space_continues_the_study() {
    let study = TinyStudy::new();
    let out = study.path("out");
    let Some(disk) = Disk::mount(&out, "200k") else { return };
    let mut refusals = 0;
    for size in ["200k", "600k", "800k"] {
        disk.remount(&format!("size={size}"));
        let outcome = Outcome::of(&mut study.drive("out", &[]));
        if outcome.code != Some(0) {
            let message = outcome.refused(1, &[&text(&out)]).stderr;
            assert!(message.contains("No space left") || message.contains("the disk is full"), "{message}");
            refusals += 1;
        }
        assert_no_leftovers(&out);
    }
    assert!(refusals > 0, "the disks were too large to be filled");
    disk.remount("size=64m");
    study.complete("out", &[]);
    assert_eq!(records(&out), records(&finished().path("out")));
}

#[test]
#[cfg(unix)]
fn a_folder_that_cannot_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let study = TinyStudy::new();
    let sealed = study.path("sealed");
    let disk = Disk::mount(&sealed, "200k");
    match &disk {
        Some(disk) => disk.remount("ro"),
        None => {
            fs::set_permissions(&sealed, fs::Permissions::from_mode(0o555)).unwrap();
            if fs::write(sealed.join("probe"), "").is_ok() {
                eprintln!("SKIPPED: this user may write to read-only folders, and mount none");
                return;
            }
        }
    }
    for out in ["sealed", "sealed/new"] {
        Outcome::of(&mut study.drive(out, &[]))
            .refused(1, &["sealed", "make the folder writable", "another one"]);
    }
    let model = text(&study.path("sealed/model"));
    let refused = run(TRAIN, [&text(&study.file()), "--out", &model]).refused(1, &["sealed"]);
    assert!(refused.stderr.contains("Read-only") || refused.stderr.contains("denied"), "{refused:?}");
    assert_eq!(files_below(&sealed), Vec::<PathBuf>::new());
}

// ----------------------------------------------------------------------------------------------- Too little data

fn judge(path: &Path) -> Value {
    let outcome = run(LDS, ["--train", &text(path), "--bootstrap", "100"]).succeeded();
    assert!(!outcome.stdout.contains("NaN"), "{outcome:?}");
    outcome.json()["behaviors"]["charm"].clone()
}

#[test]
fn constant_utilities_have_no_lds_and_that_is_said() {
    let draws: [&[usize]; 6] = [&[0], &[1], &[2], &[3], &[0, 1, 2], &[1, 2, 3]];
    let (_folder, path) = game(4, &draws, &[], |_| 7.0);
    let judged = judge(&path);
    for undefined in ["lds", "noise_ceiling"] {
        let reason = judged[undefined]["undefined"].as_str().unwrap_or_else(|| panic!("{judged}"));
        assert!(reason.contains("equal"), "{reason}");
        assert_eq!(judged[undefined].as_object().unwrap().len(), 1, "{judged}");
    }
    assert!(judged["warnings"].to_string().contains("All utilities are equal"), "{judged}");

    // The same records with utilities that differ do have one.
    let (_folder, path) = game(4, &draws, &[], |coalition| coalition.members().map(|m| (m + 1) as f64).sum());
    let judged = judge(&path);
    assert!((judged["lds"]["mean"].as_f64().unwrap() - 100.0).abs() < 1e-9, "{judged}");
}

#[test]
fn fewer_coalitions_than_contributors_leave_the_intervals_unbounded() {
    let (_folder, path) = game(6, &[&[0], &[3, 4]], &[], |coalition| coalition.len() as f64);
    let judged = judge(&path);
    for source in ["closed_form", "bootstrap"] {
        for interval in judged["scores"][source]["intervals"].as_array().unwrap() {
            assert!(interval["lower"].is_null() && interval["upper"].is_null(), "{source}: {interval}");
        }
    }
    let warnings = judged["warnings"].to_string();
    assert!(warnings.contains("unbounded") && warnings.contains("Add coalitions"), "{warnings}");

    // And in a study, on the terminal and in the report.
    let study = TinyStudy::edited(&[("count = 6", "count = 2")]);
    let words = study.complete("out", &[]).stdout;
    assert_eq!(words.matches("(no interval: too few coalitions)").count(), 4, "{words}");
    let report = read_json(&study.path("out/report.json"));
    assert!(report["header"]["notes"].to_string().contains("unbounded"), "{}", report["header"]["notes"]);
    for score in report["behaviors"][0]["scores"].as_array().unwrap() {
        assert!(score["interval"].is_null() && score["standard_error"].is_null(), "{score}");
    }
}
