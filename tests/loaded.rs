//! Studies of models that were trained elsewhere: `train.load`.

mod tiny_study;

use std::fs;
use std::path::{Path, PathBuf};

use diffusion_core::model_folder::{hash, read_averaged_or_trained};
use tiny_study::{
    TRAIN, TRIBUTE, TinyStudy, files_below, products, read_json, records, records_of, reported_scores, run,
};

const PIPELINES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/diffusion-core/tests/fixtures/pipeline");
const MODEL: &str = "[model]\nblock_out_channels = [8, 8]\nnorm_num_groups = 4\nmid_attention = false\n";

/// The tiny study of a loaded model, without `[model]` and `[diffusion]`.
fn loading(pipeline: &str, train: &str, more: &[(&str, &str)]) -> TinyStudy {
    let train = format!("[train]\nload = \"{PIPELINES}/{pipeline}\"\n{train}");
    TinyStudy::edited(&[&[(MODEL, ""), ("[train]\nsteps = 6", train.as_str())], more].concat())
}

/// Folders of full models that the study made.
fn full_models(out: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(out.join("models")).unwrap().map(|entry| entry.unwrap().path());
    folders.filter(|path| read_json(&path.join("config.json")).get("pruned_channels").is_none()).collect()
}

#[test]
fn a_loaded_model_is_attributed_as_it_is() {
    let study = loading("half", "steps = 0\nretrain_steps = 4", &[]);
    study.complete("out", &[]);
    let out = study.path("out");
    let theirs = Path::new(PIPELINES).join("half");
    let full = full_models(&out);
    assert_eq!(full.len(), 1);
    assert_eq!(read_averaged_or_trained(&full[0]).unwrap(), read_averaged_or_trained(&theirs).unwrap());

    let loaded = records_of(&out, "loaded");
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].key().parent, Some(hash(&theirs).unwrap()));
    // Retrained models have the loaded architecture, and everybody's is among them to compare others with.
    let retrained = records_of(&out, "retrain");
    let everybody: Vec<_> = retrained.iter().filter(|record| record.key().coalition.is_full()).collect();
    assert_eq!((everybody.len(), everybody[0].key().seeds["repetition"]), (1, 0));
    for record in &retrained {
        let settings = &record.key().settings;
        assert_eq!(settings["training"]["steps"], 4);
        assert_eq!(settings["model"]["block_out_channels"], serde_json::json!([4, 4]));
    }
    assert!(!records_of(&out, "gd").is_empty());
    let report = read_json(&out.join("report.json"));
    assert_eq!(report["models"]["full"]["steps"], 0);
    let hashes = report["provenance"]["hashes"].to_string();
    assert!(hashes.contains(&hash(&theirs).unwrap()), "{hashes}");
    // Counterfactuals are relative to the retrained model of everybody.
    let primary = &report["behaviors"][0];
    let reference = everybody[0].behaviors["colourfulness"].scalar();
    assert_eq!(primary["counterfactuals"][0]["reference"].as_f64(), reference, "{primary}");

    // The same weights in another form are the same study; finished, nothing is made again.
    let before = records(&out);
    let other_form = format!("train.load={PIPELINES}/bin_sharded");
    study.complete("out", &["--set", &other_form]);
    assert_eq!(records(&out), before);
    // Its parts shared out make the same records.
    let folder = study.path("shared");
    let (file, plan) = (study.file(), folder.join("work.json"));
    run(TRIBUTE, ["plan", file.to_str().unwrap(), "--out", folder.to_str().unwrap()]).succeeded();
    let tasks = read_json(&plan)["stages"].to_string();
    assert!(tasks.contains("4:f#0"), "{tasks}");
    for stage in ["train", "prune", "coalitions", "retrain"] {
        run(
            TRIBUTE,
            ["work", "--plan", plan.to_str().unwrap(), "--stage", stage, "--index", "0", "--count", "1"],
        )
        .succeeded();
    }
    study.complete("shared", &[]);
    assert_eq!(products(&folder), products(&out));
    assert_eq!(reported_scores(&folder), reported_scores(&out));
}

#[test]
fn other_weights_make_other_runs() {
    let study = loading("whole", "steps = 2", &[]);
    let (file, trained) = (study.file().display().to_string(), study.path("trained").display().to_string());
    study.complete("out", &[]);
    // The full model went on from the loaded one, as `tribute-train` does.
    let told = run(TRAIN, [&file, "--out", &trained]).json();
    let out = study.path("out");
    let full = full_models(&out);
    let read = |path: &Path| read_averaged_or_trained(path).unwrap();
    assert_eq!((full.len(), told["steps"].as_u64()), (1, Some(2)));
    assert_eq!(read(&full[0]), read(Path::new(&trained)));
    assert_ne!(read(&full[0]).1, read(&Path::new(PIPELINES).join("whole")).1);

    let before = records(&out);
    study.complete("out", &["--set", &format!("train.load={trained}")]);
    let after = records(&out);
    assert!(before.iter().all(|(name, record)| after.get(name) == Some(record)));
    let loaded = records_of(&out, "loaded");
    assert_eq!((loaded.len(), full_models(&out).len()), (2, 2));
    assert_ne!(loaded[0].key().parent, loaded[1].key().parent);
    // Retrained models do not depend on it; only whom to leave out follows from the scores.
    let tests = |all: &std::collections::BTreeMap<String, ledger::Record>| -> Vec<String> {
        let of_test = |record: &ledger::Record| {
            record.key().method == "retrain" && record.key().seeds["repetition"] > 0
        };
        all.iter().filter(|(_, record)| of_test(record)).map(|(name, _)| name.clone()).collect()
    };
    assert_eq!((tests(&before).len(), tests(&after)), (6, tests(&before)));
    // Of a coalition, and with --load beside the key.
    let coalition = study.path("coalition").display().to_string();
    run(TRAIN, [&file, "--out", &coalition, "--members", "0,1"]).json();
    let state = read_json(&study.path("coalition/state.json"));
    assert!(state["settings"]["identity"].get("parent").is_none(), "from scratch: {state}");
    run(TRAIN, [&file, "--out", &study.path("no").display().to_string(), "--load", &trained])
        .refused(2, &["train.load", "--load"]);
}

#[test]
fn what_contradicts_the_loaded_model_is_refused_by_both_names() {
    let study = loading("half", "steps = 0\nretrain_steps = 4", &[]);
    let file = study.file().display().to_string();
    let refused = |set: &[&str], parts: &[&str]| {
        let out = study.path("out").display().to_string();
        let mut arguments = vec!["run", &file, "--out", &out];
        set.iter().for_each(|set| arguments.extend(["--set", set]));
        run(TRIBUTE, arguments).refused(2, parts);
        assert!(!study.path("out").exists());
    };
    let folder = format!("{PIPELINES}/half");
    refused(
        &["model.block_out_channels=[8, 8]"],
        &[&folder, "block_out_channels = [4,4]", "[model] says [8,8]", "leave [model] out"],
    );
    refused(&["diffusion.beta_schedule=cosine"], &[&folder, "[diffusion] says", "cosine"]);
    refused(&["data.resolution=16"], &[&folder, "3 x 8 x 8", "3 x 16 x 16", "data.resolution"]);
    refused(&["train.load=nowhere"], &["train.load", "nowhere", "save_pretrained"]);
    refused(&["train.retrain_steps=0"], &["train.retrain_steps", "from scratch"]);
    let plain = TinyStudy::edited(&[(MODEL, "")]);
    run(TRIBUTE, ["run", plain.file().to_str().unwrap()]).refused(2, &["`model`", "missing", "train.load"]);
    let zero = loading("half", "steps = 0", &[]);
    run(TRIBUTE, ["run", zero.file().to_str().unwrap()]).refused(2, &["train.retrain_steps", "missing"]);
    let without = TinyStudy::edited(&[("steps = 6", "steps = 6\nretrain_steps = 3")]);
    run(TRIBUTE, ["run", without.file().to_str().unwrap()])
        .refused(2, &["train.retrain_steps", "train.load"]);
}

#[test]
fn the_forward_process_is_the_loaded_one() {
    let study = loading("legacy", "steps = 1", &[]);
    let out = study.path("out");
    run(TRAIN, [study.file().display().to_string(), "--out".to_owned(), out.display().to_string()]).json();
    let scheduler = read_json(&out.join("scheduler_config.json"));
    assert_eq!(scheduler["beta_schedule"], "squaredcos_cap_v2");
    assert_eq!(scheduler["num_train_timesteps"], 500);
}

#[test]
fn a_pipeline_of_latents_is_attributed_in_its_latent_space() {
    let steps = "num_inference_steps = 2";
    let sampler = format!("{steps}\nsampler = {{ kind = \"ddim\", clip_sample = false }}");
    // Also a behaviour that compares with the loaded model's pictures.
    let measured =
        (r#"["colourfulness", "diffusion_loss"]"#, r#"["colourfulness", "diffusion_loss", "avg_mse"]"#);
    for pipeline in ["ldm", "ldm_kl"] {
        let study = loading(pipeline, "steps = 0\nretrain_steps = 3", &[(steps, &sampler), measured]);
        study.complete("out", &[]);
        let out = study.path("out");
        let loaded = records_of(&out, "loaded").remove(0);
        assert_eq!(loaded.behaviors["avg_mse"].scalar(), Some(0.0), "its own pictures");
        for record in records_of(&out, "gd") {
            assert_eq!(
                record.key().settings["measure"]["local"]["loaded"],
                *loaded.key().parent.as_ref().unwrap()
            );
        }
        let report = read_json(&out.join("report.json"));
        let (network, _) = read_averaged_or_trained(&Path::new(PIPELINES).join(pipeline)).unwrap();
        let macs = diffusion_core::unet::macs(&network, 4, 4).unwrap();
        assert_eq!(report["models"]["full"]["macs"].as_u64(), Some(macs));
        let index = read_json(&full_models(&out)[0].join("model_index.json"));
        assert_eq!(index["_class_name"], "LDMPipeline");
        let sheets = files_below(&out.join("samples"));
        let sheet = image::open(&sheets[0]).unwrap();
        assert_eq!((sheet.width(), sheet.height()), (8 * 8, 8), "pictures are decoded");
    }
}
