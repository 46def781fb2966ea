//! A study from a file, a preset and options: `--dataset`, `--data`, `--set`, and both spellings of options.

mod tiny_study;

use tiny_study::{DATASETS, SAMPLE, TRAIN, TinyStudy, UNLEARN, run};

#[test]
fn a_preset_needs_no_file() {
    let study = TinyStudy::new();
    let out = study.path("model");
    let images = format!("{DATASETS}/openclipart32");
    let settings = [
        "train.steps=2",
        "data.resolution=8",
        "data.select.largest=3",
        "model.preset=small",
        "model.block_out_channels=[8, 8]",
    ];
    let preset = ["--dataset", "mnist", "--data", &images, "-q"];
    let arguments = [&preset[..], &settings.map(|key| ["--set", key]).concat()].concat();
    let trained = run(TRAIN, [&arguments[..], &["--out", out.to_str().unwrap()]].concat()).json();
    assert_eq!(trained["steps"], 2);
    let state = std::fs::read_to_string(out.join("state.json")).unwrap();
    // The preset's batch size and learning rate, not the defaults.
    assert!(state.contains("\"batch_size\": 64") || state.contains("\"batch_size\":64"), "{state}");
    assert!(state.contains("0.001"), "{state}");
    // Retraining without leaving anybody out is the same training.
    let again = study.path("again");
    let of_all = ["--method", "retrain", "--members", "0,1,2", "--out", again.to_str().unwrap()];
    let again = run(UNLEARN, [&arguments[..], &of_all].concat()).json();
    assert_eq!(again["hash"], trained["hash"]);
}

#[test]
fn a_preset_may_be_spelled_with_an_underscore() {
    let study = TinyStudy::new();
    let out = study.path("model");
    let images = format!("{DATASETS}/openclipart32");
    let arguments = ["--dataset", "fashion_mnist", "--data", &images, "--out", out.to_str().unwrap(), "-q"];
    // The preset's own format is asked for, which these images are not in.
    run(TRAIN, arguments).refused(2, &[&images, "holds no data set in the format fashion-mnist"]);
}

#[test]
fn options_change_the_file_in_either_spelling() {
    let study = TinyStudy::new();
    let file = study.file();
    let model = study.path("model");
    let train = run(
        TRAIN,
        [file.as_os_str(), "--out".as_ref(), model.as_os_str(), "--set".as_ref(), "train.steps=1".as_ref()],
    );
    assert_eq!(train.succeeded().json()["steps"], 1);
    for (spelling, folder) in [("--num_inference_steps", "a"), ("--num-inference-steps", "b")] {
        let out = study.path(folder);
        let sampled = run(
            SAMPLE,
            [
                file.as_os_str(),
                "--load".as_ref(),
                model.as_os_str(),
                "--out".as_ref(),
                out.as_os_str(),
                "--n_samples=3".as_ref(),
                spelling.as_ref(),
                "3".as_ref(),
            ],
        );
        assert_eq!(sampled.succeeded().json()["count"], 3);
    }
    let image = |folder: &str| std::fs::read(study.path(folder).join("samples.png")).unwrap();
    assert_eq!(image("a"), image("b"));
}

#[test]
fn mistakes_are_named() {
    let study = TinyStudy::new();
    let file = study.file();
    let out = study.path("model");
    let wrong = |arguments: &[&str]| {
        let mut all = vec!["--out", out.to_str().unwrap()];
        all.extend(arguments);
        let refused = run(TRAIN, all).refused(2, &[]);
        refused.stderr
    };
    let file = file.to_str().unwrap();
    assert!(wrong(&[]).contains("--dataset"));
    assert!(wrong(&["--dataset", "imagenet"]).contains("fashion-mnist"));
    assert!(wrong(&["--dataset", "cifar"]).contains("path"));
    assert!(wrong(&[file, "--set", "train.stepz=1"]).contains("stepz"));
    assert!(wrong(&[file, "--set", "train.steps"]).contains("KEY=VALUE"));
    assert!(wrong(&[file, "--set", "prune.ratio=2"]).contains("ratio"));
    assert!(!out.exists());
}
