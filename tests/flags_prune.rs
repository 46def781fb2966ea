//! `tribute-prune`: every importance, scope and number of steps, the reference's options, and the scan.

mod tiny_study;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use tiny_study::{Background, DATASETS, Outcome, PRUNE, TRAIN, TinyStudy, run};

/// A study with a trained model in `full`; shared by all tests.
static STUDY: LazyLock<TinyStudy> = LazyLock::new(|| {
    let study = TinyStudy::new();
    let (file, full) = (study.file(), study.path("full"));
    run(TRAIN, [file.as_os_str(), "--out".as_ref(), full.as_os_str(), "-q".as_ref()]).succeeded();
    study
});

fn path(name: &str) -> String {
    STUDY.path(name).display().to_string()
}

/// `tribute-prune full` with these arguments.
fn prune(arguments: &[&str]) -> Outcome {
    let mut all = vec![path("full")];
    all.extend(arguments.iter().map(|&argument| argument.to_owned()));
    run(PRUNE, all)
}

/// `tribute-prune full --out NAME`, and what it printed.
fn pruned(name: &str, arguments: &[&str]) -> Value {
    let out = path(name);
    prune(&[&["--out", &out, "-q"], arguments].concat()).json()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The widths of the layers of a pruned model.
fn widths(name: &str) -> Value {
    read_json(&STUDY.path(name).join("config.json"))["pruned_channels"].clone()
}

#[test]
fn the_references_options_prune_by_magnitude() {
    let plain = pruned("plain", &["--ratio", "0.3"]);
    let full = path("full");
    for (name, dashes) in [("reference", "_"), ("kebab", "-")] {
        let out = path(name);
        let spelled = |option: &str| option.replace('_', dashes);
        let ratio = spelled("--pruning_ratio");
        let steps = spelled("--num_inference_steps");
        let arguments = [
            "--load",
            &full,
            "--outdir",
            &out,
            "--dataset",
            "cifar",
            &ratio,
            "0.3",
            "--pruner",
            "magnitude",
            "--thr",
            "0.05",
            &steps,
            "100",
        ];
        let made = run(PRUNE, arguments).json();
        assert_eq!(made["hash"], plain["hash"]);
        assert_eq!(widths(name), widths("plain"));
    }
    assert!(plain["parameters"]["after"].as_u64() < plain["parameters"]["before"].as_u64());
    assert!(plain["macs"]["after"].as_u64() < plain["macs"]["before"].as_u64());
    // What decides the ratio: the option, the study, or 0.3.
    assert_eq!(pruned("default", &[])["hash"], plain["hash"]);
    let study = path("study.toml");
    assert_eq!(pruned("of study", &["--study", &study])["hash"], plain["hash"]);
    let half = pruned("half", &["--study", &study, "--ratio", "0.5", "--rounding", "down"]);
    assert_eq!((half["ratio"].as_f64(), half["rounding"].as_str()), (Some(0.5), Some("down")));
}

#[test]
fn importances_by_gradients_use_the_images_of_the_study() {
    let study = path("study.toml");
    let taylor = ["--study", &study, "--pruner", "taylor", "--timesteps", "3", "--batch_size", "4"];
    let made = pruned("taylor", &taylor);
    assert_eq!(made["gradients"][0]["timesteps"], 3);
    assert_eq!(made["gradients"][0]["stopped_at"], Value::Null);
    assert!(made["gradients"][0]["largest_loss"].as_f64().unwrap() > 0.0);
    // On one thread as on all.
    assert_eq!(pruned("taylor again", &[&taylor[..], &["--threads", "1"]].concat())["hash"], made["hash"]);
    assert_ne!(pruned("taylor seed", &[&taylor[..], &["--seed", "6"]].concat())["hash"], made["hash"]);

    let diff = ["--study", &study, "--pruner", "diff_pruning", "--timesteps", "20", "--batch-size", "4"];
    let whole = pruned("diff", &[&diff[..], &["--thr", "0"]].concat());
    assert_eq!(whole["gradients"][0]["timesteps"], 20);
    // So high a threshold ends it at the first loss that is lower than the largest one.
    let short = pruned("diff short", &[&diff[..], &["--thr", "0.9999"]].concat());
    assert!(short["gradients"][0]["timesteps"].as_u64().unwrap() < 20);
    assert!(short["gradients"][0]["stopped_at"].is_number());
    assert_eq!((short["threshold"].as_f64(), &short["pruner"]), (Some(0.9999), &"diff-pruning".into()));
    assert_ne!(whole["hash"], short["hash"]);

    // Before each step the gradients of what is left.
    let steps =
        pruned("taylor steps", &[&taylor[..], &["--iterative_steps", "2", "--ratio", "0.6"]].concat());
    assert_eq!(steps["gradients"].as_array().unwrap().len(), 2);
}

#[test]
fn random_ranks_scopes_and_plans() {
    let plan = path("plan.json");
    let random = pruned("random", &["--pruner", "random", "--seed", "1", "--plan", &plan]);
    let other = pruned("random 2", &["--pruner", "random", "--seed", "2"]);
    let reinit = pruned("reinit", &["--pruner", "reinit", "--seed", "1"]);
    assert_eq!(random["parameters"], other["parameters"]);
    assert_eq!(random["parameters"], reinit["parameters"]);
    assert_ne!(random["hash"], other["hash"]);
    assert_ne!(random["hash"], reinit["hash"]);
    let plan = read_json(Path::new(&plan));
    assert_eq!(plan["importance"], "random");
    assert!(plan.get("scope").is_none() && plan.get("iterative_steps").is_none());

    let plan = path("global.json");
    let global = ["--scope", "global", "--iterative-steps", "3", "--ratio", "0.4", "--plan", &plan];
    let global = pruned("global", &global);
    assert_eq!((&global["scope"], &global["iterative_steps"]), (&"global".into(), &3.into()));
    let plan = read_json(Path::new(&plan));
    assert_eq!((&plan["scope"], &plan["iterative_steps"]), (&"global".into(), &3.into()));
    assert_ne!(widths("global"), widths("random"));
}

#[test]
fn options_of_fine_tuning_reach_it() {
    let study = path("study.toml");
    let tune = |name: &str, more: &[&str]| pruned(name, &[&["--fine-tune", &study], more].concat());
    let plain = tune("tuned", &[]);
    let state = read_json(&STUDY.path("tuned/state.json"));
    assert_eq!(state["step"], 4);
    let ema = ["--ema_inv_gamma", "2.0", "--ema_power", "0.25", "--ema_max_decay", "0.5"];
    let decay = tune("tuned decay", &[&ema[..], &["--gradient_accumulation_steps", "2"]].concat());
    assert_ne!(plain["hash"], decay["hash"]);
    let state = read_json(&STUDY.path("tuned decay/state.json"));
    let training = &state["settings"]["training"];
    for (place, value) in [
        ("/ema/inv_gamma", 2.0),
        ("/ema/power", 0.25),
        ("/ema/max_decay", 0.5),
        ("/gradient_accumulation_steps", 2.0),
    ] {
        assert_eq!(training.pointer(place).unwrap().as_f64(), Some(value), "{place}: {training}");
    }
    tune("tuned half", &["--mixed_precision", "bf16", "--use_8bit_optimizer"]);
    let state = read_json(&STUDY.path("tuned half/state.json"));
    assert_eq!(state["settings"]["training"]["mixed_precision"], "bf16");
    assert_eq!(state["settings"]["training"]["optimizer"]["bits"], 8);
    let again = tune("tuned again", &["--gradient_checkpointing"]);
    assert_eq!(again["hash"], plain["hash"], "it changes no number");
    // The study once, with --study.
    let same = pruned("tuned same", &["--study", &study, "--fine-tune"]);
    assert_eq!(same["hash"], plain["hash"]);
    // Without fine-tuning they do nothing, and that is said.
    let out = path("untuned");
    let note = prune(&["--out", &out, "--ema_power", "0.5"]).succeeded();
    assert!(note.stderr.contains("--ema-power has no effect"), "{}", note.stderr);
    let note = prune(&["--out", &path("untuned again"), "--gradient_checkpointing"]).succeeded();
    assert!(note.stderr.contains("--gradient-checkpointing has no effect"), "{}", note.stderr);
    let note = prune(&["--out", &path("untuned too"), "--mixed_precision", "fp16"]).succeeded();
    assert!(note.stderr.contains("--mixed-precision has no effect"), "{}", note.stderr);
}

#[test]
fn a_scan_is_a_table() {
    let (study, csv) = (path("study.toml"), path("scan.csv"));
    let scan =
        ["--scan", "--study", &study, "--ratios", "0.2,0.4,0.5,0.8", "--timed-steps", "1", "--csv", &csv];
    let output = prune(&scan).succeeded();
    assert_eq!(output.stderr.lines().filter(|line| line.contains('%')).count(), 5, "{}", output.stderr);
    let scanned = output.json();
    let rows = scanned["rows"].as_array().unwrap();
    let ratios: Vec<f64> = rows.iter().map(|row| row["ratio"].as_f64().unwrap()).collect();
    assert_eq!(ratios, [0.0, 0.2, 0.4, 0.5, 0.8]);
    // At 0.8 every block of two channels would lose both, and so the groups with norms stay whole.
    for pair in rows[..4].windows(2) {
        for key in ["parameters", "macs"] {
            assert!(pair[1][key].as_u64() <= pair[0][key].as_u64(), "{key}: {pair:?}");
        }
    }
    for row in rows {
        assert!(row["loss"].as_f64().unwrap() > 0.0 && row["step_seconds"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(rows[0]["parameters_left"], 1.0);
    let whole: Vec<u64> = rows.iter().map(|row| row["whole_groups"].as_u64().unwrap()).collect();
    assert!(whole[3] < whole[4] && whole[4] < whole[0], "{whole:?}");
    // What the scan says of a ratio is what pruning by it gives.
    let half = pruned("scanned", &["--study", &study, "--ratio", "0.5"]);
    assert_eq!(half["parameters"]["after"], rows[3]["parameters"]);
    assert_eq!(half["macs"]["after"], rows[3]["macs"]);
    assert_eq!(half["macs"]["before"], rows[0]["macs"]);
    let lines = fs::read_to_string(csv).unwrap();
    assert_eq!(lines.lines().count(), 6);

    let taylor = ["--scan", "--study", &study, "--pruner", "taylor", "--timesteps", "2", "-q"];
    let output = prune(&[&taylor[..], &["--timed-steps", "0"]].concat()).succeeded();
    assert_eq!(output.stderr, "");
    let rows = output.json()["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 10);
    assert!(rows.iter().all(|row| row["step_seconds"].is_null()));
    let losses: Vec<f64> = rows.iter().map(|row| row["loss"].as_f64().unwrap()).collect();
    assert!(losses.iter().any(|loss| *loss != losses[0]), "{losses:?}");
}

/// A study that prunes by gradients gives the stages' models, and does not rank channels again when it continues.
#[test]
fn a_study_prunes_by_gradients() {
    let gradients = "ratio = 0.3\npruner = \"diff-pruning\"\nthreshold = 0.5\ntimesteps = 4\nbatch_size = 4";
    let study = TinyStudy::edited(&[("ratio = 0.3", gradients)]);
    study.complete("out", &[]);
    let folders = || -> Vec<_> {
        fs::read_dir(study.path("out/models")).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let is_pruned = |folder: &Path| read_json(&folder.join("config.json")).get("pruned_channels").is_some();
    let pruned = folders().into_iter().find(|folder| is_pruned(folder)).unwrap();
    let weights = |folder: &Path| fs::read(folder.join("ema.safetensors")).unwrap();

    let [full, out, file] =
        [path("full"), study.path("pruned").display().to_string(), study.file().display().to_string()];
    let made = run(PRUNE, [&full, "--fine-tune", &file, "--out", &out, "-q"]).json();
    assert!(made["gradients"][0]["timesteps"].as_u64().unwrap() <= 4);
    assert_eq!(weights(Path::new(&out)), weights(&pruned));

    // The finished model is loaded, and the report made again.
    let report = fs::read(study.path("out/report.json")).unwrap();
    fs::remove_file(study.path("out/report.json")).unwrap();
    study.complete("out", &[]);
    assert_eq!(folders().len(), 2);
    assert_eq!(fs::read(study.path("out/report.json")).unwrap(), report);
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let (study, full, out) = (path("study.toml"), path("full"), path("stopped"));
    let csv = path("stopped.csv");
    let ranking: &[&str] = &["--out", &out];
    let scan: &[&str] = &["--scan", "--csv", &csv];
    for goal in [ranking, scan] {
        let mut command = Command::new(PRUNE);
        // A million timesteps: far more than there is time for.
        command
            .args([&full, "--study", &study, "--pruner", "taylor", "--iterative-steps", "1000"])
            .args(goal);
        let running = Background::start(&mut command);
        std::thread::sleep(Duration::from_secs(2));
        running.signal("INT");
        let stopped = running.end().refused(1, &["stopped; nothing was written"]);
        assert!(stopped.stderr.contains("stopping after this step"), "{}", stopped.stderr);
    }
    assert!(!Path::new(&out).exists() && !Path::new(&csv).exists());
}

#[test]
fn mistakes_are_named() {
    let (study, out) = (path("study.toml"), path("never"));
    let refused = |arguments: &[&str], parts: &[&str]| {
        prune(&[&["--out", &out], arguments].concat()).refused(2, parts);
    };
    refused(&["--ratio", "1"], &["1", "between 0 and 1"]);
    refused(&["--pruning_ratio", "-0.1"], &["-0.1", "between 0 and 1"]);
    refused(&["--pruner", "diff-pruning", "--thr", "1"], &["threshold 1", "below 1"]);
    refused(&["--pruner", "diff-pruning", "--thr", "-0.5"], &["threshold -0.5", "0 or more"]);
    refused(&["--thr", "0.1"], &["prune.threshold", "diff-pruning"]);
    refused(&["--pruner", "taylor", "--thr", "0.1", "--study", &study], &["prune.threshold", "diff-pruning"]);
    refused(&["--pruner", "taylor"], &["`taylor`", "--study", "--dataset"]);
    refused(&["--pruner", "taylor", "--dataset", "cifar"], &["path"]);
    refused(&["--scope", "layer"], &["`layer`", "global"]);
    refused(&["--rounding", "half"], &["`half`", "down"]);
    refused(&["--iterative_steps", "0"], &["0 iterative steps", "1 to 1000"]);
    refused(&["--study", &study, "--timesteps", "0"], &["prune.timesteps", "1 or more"]);
    refused(&["--study", &study, "--timesteps", "1001"], &["prune.timesteps", "num_train_timesteps"]);
    refused(&["--study", &study, "--batch-size", "0"], &["prune.batch_size", "1 or more"]);
    refused(&["--set", "prune.ratio=0.2"], &["--dataset"]);
    refused(&["--study", &study, "--fine-tune", &study], &["not with both"]);
    assert!(!STUDY.path("never").exists());

    let scan = |arguments: &[&str], parts: &[&str]| {
        prune(&[&["--scan", "--study", &study], arguments].concat()).refused(2, parts);
    };
    scan(&["--ratios", "0.5,1.5"], &["1.5", "between 0 and 1"]);
    scan(&["--set", "data.held_out=0", "--set", "behaviors=['colourfulness']"], &["data.held_out", "scan"]);
    let other_size = ["--set", "data.resolution=16"];
    scan(&other_size, &["[3, 16, 16]", "the network takes [3, 8, 8]"]);
    refused(
        &[&["--study", &study, "--pruner", "taylor"], &other_size[..]].concat(),
        &["[3, 16, 16]", "the network takes [3, 8, 8]"],
    );
    prune(&["--scan"]).refused(2, &["--dataset"]);
    prune(&[]).refused(2, &["--out"]);
    let images = format!("{DATASETS}/openclipart32");
    run(PRUNE, ["--load", "nowhere", "--out", &out]).refused(1, &["nowhere"]);
    run(PRUNE, ["--load", &images, "--out", &out]).refused(1, &["config.json"]);
}
