//! `tribute-unlearn`: every method on pruned and unpruned models, alone and in studies, and every option.

mod tiny_study;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tiny_study::{
    DATASETS, Outcome, PRUNE, SAMPLE, TRAIN, TinyStudy, UNLEARN, assert_no_leftovers, read_json, records,
    records_of, run,
};

const ATTENTION: (&str, &str) = ("mid_attention = false", "mid_attention = true");

/// A study of a network with attention, with the full, the pruned, and the pruned and not yet fine-tuned model beside it;
/// shared by all tests.
static STUDY: LazyLock<TinyStudy> = LazyLock::new(|| {
    let study = TinyStudy::edited(&[ATTENTION]);
    let path = |name: &str| study.path(name).display().to_string();
    let file = path("study.toml");
    run(TRAIN, [&file, "--out", &path("full"), "-q"]).succeeded();
    run(PRUNE, [&path("full"), "--out", &path("pruned"), "--ratio", "0.3", "--fine-tune", &file, "-q"])
        .succeeded();
    run(PRUNE, [&path("full"), "--out", &path("only pruned"), "--ratio", "0.3"]).succeeded();
    study
});

fn path(name: &str) -> String {
    STUDY.path(name).display().to_string()
}

fn ask(name: &str, arguments: &[&str]) -> Outcome {
    let (file, out) = (path("study.toml"), path(name));
    run(UNLEARN, [&[file.as_str(), "--outdir", &out, "-q"], arguments].concat())
}

/// The model `name` of contributors 0 and 2, from the pruned model.
fn of_two(name: &str, arguments: &[&str]) -> Value {
    let pruned = path("pruned");
    ask(name, &[&["--load", &pruned, "--members", "0,2"], arguments].concat()).json()
}

fn bytes(name: &str, file: &str) -> Vec<u8> {
    fs::read(STUDY.path(name).join(file)).unwrap()
}

#[test]
fn every_method_works_on_the_pruned_and_on_the_unpruned_model() {
    let (pruned, full) = (path("pruned"), path("full"));
    let mut hashes = BTreeSet::new();
    for method in ["gd", "ga", "iu", "lora"] {
        for (parent, suffix) in [(&pruned, ""), (&full, "_u")] {
            let word = format!("{method}{suffix}");
            let arguments = ["--method", &word, "--load", parent, "--members", "0,2"];
            let made = ask(&word, &arguments).json();
            assert_eq!(made["method"], *word);
            let config = read_json(&STUDY.path(&word).join("config.json"));
            assert_eq!(config.get("pruned_channels").is_some(), suffix.is_empty(), "{word}");
            hashes.insert(made["hash"].as_str().unwrap().to_owned());
            // The finished model is loaded, and a study samples from it.
            assert_eq!(ask(&word, &arguments).json(), made);
            let (file, samples) = (path("study.toml"), path(&format!("{word} samples")));
            run(SAMPLE, [&file, "--model", &path(&word), "--out", &samples, "-q"]).succeeded();
            assert_no_leftovers(&STUDY.path(&word));
        }
    }
    assert_eq!(hashes.len(), 8);
    // One jump: the average is the new weights themselves.
    assert_eq!(bytes("iu", "ema.safetensors"), bytes("iu", "diffusion_pytorch_model.safetensors"));
    let adapter = read_json(&STUDY.path("lora_u").join("adapter/adapter_config.json"));
    assert_eq!((&adapter["peft_type"], &adapter["r"]), (&json!("LORA"), &json!(16)));
    assert!(!bytes("lora_u", "adapter/adapter_model.safetensors").is_empty());
    // The folder is another model's now.
    ask("iu", &["--method", "iu", "--load", &pruned, "--members", "0,2", "--iu_ratio", "0.1"])
        .refused(1, &["identity.iu", "another folder"]);
    ask("lora", &["--method", "lora", "--load", &pruned, "--members", "0,2", "--gd_steps", "3"])
        .refused(1, &["identity.steps", "another folder"]);
}

#[test]
fn everybody_remaining_leaves_ascent_and_influence_at_the_parent() {
    let pruned = path("pruned");
    for method in ["ga", "iu"] {
        let name = format!("{method} of all");
        ask(&name, &["--method", method, "--load", &pruned, "--removal_dist", "none"]).json();
        assert_eq!(bytes(&name, "ema.safetensors"), bytes("pruned", "ema.safetensors"), "{method}");
    }
}

#[test]
fn each_setting_changes_its_method() {
    let cases = [
        ("gd", "--gd_steps", "1"),
        ("ga", "--ga_ratio", "0.25"),
        ("iu", "--iu_ratio", "0.25"),
        ("iu", "--iu_damping", "0.01"),
        ("iu", "--iu_variant", "reference"),
        ("lora", "--gd_steps", "1"),
        ("lora", "--lora_rank", "3"),
        ("lora", "--lora_dropout", "0.5"),
    ];
    for method in ["gd", "ga", "iu", "lora"] {
        let plain = of_two(&format!("plain {method}"), &["--method", method]);
        for (of, flag, value) in cases {
            if of == method {
                let changed = of_two(&format!("{method} {flag}"), &["--method", method, flag, value]);
                assert_ne!(changed["hash"], plain["hash"], "{method} {flag}");
            }
        }
    }
    // The step count of ascent follows from the removed images: 100 batches a batch.
    let steps = |name: &str| read_json(&STUDY.path(name).join("state.json"))["step"].as_u64().unwrap();
    assert_eq!(steps("ga --ga_ratio"), 4 * steps("plain ga"));
    assert_eq!((steps("gd --gd_steps"), steps("plain gd")), (1, 2));
}

#[test]
fn options_of_training_reach_the_method_and_leave_their_logs() {
    let plain = of_two("untouched", &["--method", "gd"]);
    for (name, options, key, value) in [
        ("bf16", &["--mixed_precision", "bf16"][..], "/training/mixed_precision", json!("bf16")),
        (
            "slices",
            &["--gradient_accumulation_steps", "2"],
            "/training/gradient_accumulation_steps",
            json!(2),
        ),
        ("eight", &["--use_8bit_optimizer"], "/training/optimizer/bits", json!(8)),
        ("decay", &["--ema_max_decay", "0.1"], "/training/ema/max_decay", json!(0.1)),
        ("gamma", &["--ema_inv_gamma", "2.0"], "/training/ema/inv_gamma", json!(2.0)),
        ("power", &["--ema_power", "0.5"], "/training/ema/power", json!(0.5)),
    ] {
        let changed = of_two(name, &[&["--method", "gd"], options].concat());
        let state = read_json(&STUDY.path(name).join("state.json"));
        assert_eq!(state["settings"].pointer(key), Some(&value), "{name}: {}", state["settings"]);
        // The states of a few steps fit 8 bits exactly where they are small tensors only.
        assert!(name == "eight" || changed["hash"] != plain["hash"], "{name}");
    }
    let again = of_two("again", &["--method", "gd", "--gradient_checkpointing"]);
    assert_eq!(again["hash"], plain["hash"], "it changes no number");
    assert_ne!(of_two("other seed", &["--method", "gd", "--opt_seed", "9"])["hash"], plain["hash"]);

    let log = ["--log_freq", "1", "--keep_all_ckpts", "--checkpoint_every", "1", "--save_null_model"];
    for method in ["gd", "lora"] {
        let name = format!("logged {method}");
        let plain = of_two(&format!("untouched {method}"), &["--method", method]);
        let logged =
            of_two(&name, &[&["--method", method, "--set", "train.log.sample_every=2"], &log[..]].concat());
        assert_eq!(logged["hash"], plain["hash"], "what is left beside changes nothing");
        let folder = STUDY.path(&format!("{name}-log"));
        let rows = fs::read_to_string(folder.join("metrics.csv")).unwrap();
        assert!(rows.starts_with("step,loss,gradient_norm,images_per_second,skipped_steps\n1,"), "{rows}");
        assert_eq!(rows.lines().count(), 3);
        let events = fs::metadata(folder.join("events.out.tfevents.0000000000")).unwrap();
        assert!(events.len() > 200, "{method}: {}", events.len());
        assert!(folder.join("checkpoints/0000001/state.json").is_file());
        assert!(folder.join("samples/0000002.png").is_file());
        assert!(folder.join("null/config.json").is_file());
        assert_no_leftovers(&folder);
    }
    // Adapters that have not learnt anything leave the parent as it is.
    assert_eq!(
        bytes("logged lora-log/null", "diffusion_pytorch_model.safetensors"),
        bytes("logged gd-log/null", "diffusion_pytorch_model.safetensors")
    );

    // Retraining by the settings of [train]; those who are left out by name; what finds a pruned model in the reference.
    let pruned = path("pruned");
    let shorter = ["--mixed_precision", "bf16", "--num_train_steps", "500"];
    ask("scratch", &[&["--method", "retrain", "--members", "0,2"], &shorter[..]].concat()).succeeded();
    let state = read_json(&STUDY.path("scratch/state.json"));
    assert_eq!(state["settings"]["training"]["mixed_precision"], "bf16");
    assert_eq!(state["settings"]["schedule"]["num_train_timesteps"], 500);
    let same = ["--method", "gd", "--load", &pruned, "--excluded_class", "Chris Goerner,3"];
    let found = ["--pruning_ratio", "0.3", "--pruner", "magnitude", "--thr", "0.05"];
    let excluded = ask("excluded", &[&same[..], &found].concat()).json();
    assert_eq!((&excluded["coalition"], &excluded["hash"]), (&plain["coalition"], &plain["hash"]));
}

#[test]
fn coalitions_are_drawn_from_every_distribution() {
    let remaining = |name: &str, arguments: &[&str]| -> Vec<u64> {
        let pruned = path("pruned");
        let made = ask(name, &[&["--load", &pruned, "--gd_steps", "1"], arguments].concat()).json();
        let text = made["coalition"].as_str().unwrap();
        let bits = u64::from_str_radix(text.strip_prefix("4:").unwrap(), 16).unwrap();
        (0..4).filter(|member| bits >> member & 1 == 1).collect()
    };
    let dist = |name: &str, dist: &str, seed: &str| {
        remaining(&format!("{name} {seed}"), &["--removal_dist", dist, "--removal_seed", seed])
    };
    assert_eq!(dist("loo", "loo", "1"), [0, 2, 3]);
    assert_eq!(dist("aoi", "add_one_in", "2"), [2]);
    assert_eq!(dist("none", "none", "5"), [0, 1, 2, 3]);
    for (alpha, count) in [("0.25", 1), ("0.5", 2), ("0.75", 3)] {
        let who = remaining(
            &format!("alpha {alpha}"),
            &["--removal_dist", "datamodel", "--datamodel_alpha", alpha],
        );
        assert_eq!(who.len(), count);
    }
    // The study draws from `shapley`, too.
    let own = remaining("own 3", &["--removal_seed", "3"]);
    assert_eq!(dist("shapley", "datashapley", "3"), own);
    let uniform: BTreeSet<Vec<u64>> =
        ["0", "1", "2", "4"].map(|seed| dist("uniform", "uniform", seed)).into();
    assert!(uniform.len() > 1, "{uniform:?}");
}

#[test]
fn the_stage_before_unlearning_is_a_method_too() {
    let parent = path("only pruned");
    let made = ask("tuned", &["--method", "prune_fine_tune", "--load", &parent]).json();
    assert_eq!(made["method"], "prune_fine_tune");
    assert_eq!(bytes("tuned", "ema.safetensors"), bytes("pruned", "ema.safetensors"));
    ask("tuned some", &["--method", "prune_fine_tune", "--load", &parent, "--members", "0"])
        .refused(2, &["everybody", "`gd`"]);
}

/// The records of a file.
fn lines(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(STUDY.path(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_database_gets_one_record_of_what_was_measured() {
    let db = path("db.jsonl");
    let record = |name: &str, more: &[&str]| of_two(name, &[&["--db", &db], more].concat());
    let first = record("record", &[]);
    assert_eq!((&first["added"], lines("db.jsonl").len()), (&json!(true), 1));
    let line = &lines("db.jsonl")[0];
    assert_eq!((&line["id"], &line["behaviors"]), (&first["run"], &first["behaviors"]));
    assert_eq!(line["key"]["settings"]["sample"]["count"], 8);
    // The same again, and with another sampling batch, is the same run.
    for more in [&[][..], &["--batch_size", "3"]] {
        let again = record("record", more);
        assert_eq!((&again["run"], &again["behaviors"]), (&first["run"], &first["behaviors"]));
        assert_eq!(again["added"], false);
    }
    let cases: [(&[&str], &str, Value); 4] = [
        (&["--exp_name", "trial"], "/exp_name", json!("trial")),
        (&["--n_samples", "5"], "/sample/count", json!(5)),
        (&["--num_inference_steps", "3"], "/sample/num_inference_steps", json!(3)),
        (&["--n_noises", "50"], "/measure/noises", json!(50)),
    ];
    for (more, place, value) in &cases {
        let other = record("record", more);
        assert_ne!(other["run"], first["run"]);
        assert_eq!(other["behaviors"] != first["behaviors"], more[0] != "--exp_name", "{more:?}");
        let line = lines("db.jsonl").pop().unwrap();
        assert_eq!((&line["id"], line["key"]["settings"].pointer(place)), (&other["run"], Some(value)));
    }
    // Samples can be kept.
    record("record", &["--samples", &path("kept")]);
    assert!(STUDY.path("kept/samples.png").is_file());

    // The average lags behind the trained weights.
    let trained = record("record", &["--gd_steps", "2", "--use_ema", "false"]);
    assert_ne!(trained["behaviors"], first["behaviors"]);
    assert_eq!(lines("db.jsonl").pop().unwrap()["key"]["settings"]["weights"], "trained");
    assert_eq!(record("record", &["--use_ema"])["run"], first["run"]);
    assert_eq!(lines("db.jsonl").len(), 6);

    // A torn line is never written over.
    let whole = fs::read(&db).unwrap();
    fs::write(path("torn.jsonl"), &whole[..whole.len() - 9]).unwrap();
    let torn = path("torn.jsonl");
    let refused = ask("record", &["--load", &path("pruned"), "--members", "0,2", "--db", &torn]);
    refused.refused(1, &["torn.jsonl"]);
    assert_eq!(fs::read(&torn).unwrap(), whole[..whole.len() - 9]);
}

#[test]
fn reference_images_are_those_of_the_given_folder() {
    let db = path("reference.jsonl");
    let measured = |more: &[&str]| {
        let behaviors = r#"behaviors=["fid_squeezenet_64px"]"#;
        of_two("reference", &[&["--db", &db, "--set", behaviors], more].concat())
    };
    let own = measured(&[]);
    let other = measured(&["--reference_dir", &format!("{DATASETS}/openmoji-people32")]);
    assert_ne!(own["behaviors"], other["behaviors"]);
    let settings = |line: &Value| line["key"]["settings"]["measure"].clone();
    let lines = lines("reference.jsonl");
    assert!(settings(&lines[0]).get("reference").is_none());
    assert!(settings(&lines[1])["reference"].is_string());
    let missing = ["--load", &path("pruned"), "--members", "0", "--reference_dir", "nowhere"];
    ask("nothing", &missing).refused(1, &["nowhere"]);
}

#[test]
fn local_behaviours_are_about_the_pictures_of_the_full_model() {
    let (db, full, pruned) = (path("local.jsonl"), path("full"), path("pruned"));
    let local = |name: &str, more: &[&str]| {
        ask(name, &[&["--members", "0,2", "--db", &db, "--model_behavior", "local"], more].concat())
    };
    let one = local("local", &["--load", &pruned, "--full", &full]).json();
    for name in ["mse", "nrmse", "ssim", "diffusion_loss"] {
        let values: Vec<f64> =
            one["behaviors"][name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        assert_eq!(values.len(), 8, "{name}");
        let mean = values.iter().sum::<f64>() / 8.0;
        let told = one["behaviors"][format!("avg_{name}")].as_f64().unwrap();
        assert!((mean - told).abs() < 1e-12 && values.iter().any(|&value| value != values[0]), "{name}");
    }
    assert!(one["behaviors"].get("colourfulness").is_none());
    // More noises change the loss alone.
    let more = local("local", &["--load", &pruned, "--full", &full, "--n_noises", "50"]).json();
    assert_ne!(more["behaviors"]["diffusion_loss"], one["behaviors"]["diffusion_loss"]);
    assert_eq!(more["behaviors"]["mse"], one["behaviors"]["mse"]);
    // A model that is the full one draws its pictures.
    let same = local("same", &["--method", "ga_u", "--load", &full, "--ga_ratio", "1000"]).json();
    assert_eq!((&same["behaviors"]["avg_mse"], &same["behaviors"]["avg_ssim"]), (&json!(0.0), &json!(1.0)));
    assert_ne!(one["behaviors"]["avg_mse"], 0.0);
    local("refused local", &["--load", &pruned]).refused(2, &["--full"]);
    ask("refused local", &["--load", &pruned, "--members", "0", "--db", &db, "--full", &full])
        .refused(2, &["--model-behavior local"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let (pruned, full) = (path("pruned"), path("full"));
    let refused = |parent: &str, arguments: &[&str], parts: &[&str]| {
        ask("refused", &[&["--load", parent], arguments].concat()).refused(2, parts);
    };
    let two = ["--members", "0,2"];
    for (method, flag, value, key) in [
        ("ga", "--ga_ratio", "0", "ga_ratio"),
        ("iu", "--iu_ratio", "-1", "iu_ratio"),
        ("iu", "--iu_damping", "0", "iu_damping"),
        ("iu", "--iu_variant", "fast", "fast"),
        ("lora", "--lora_rank", "0", "lora_rank"),
        ("lora", "--lora_dropout", "1", "lora_dropout"),
        ("gd", "--gd_steps", "0", "unlearn.steps"),
        ("gd", "--n_noises", "0", "measures.noises"),
        ("gd", "--n_samples", "1", "sample.count"),
    ] {
        let flag = format!("{flag}={value}");
        refused(&pruned, &["--method", method, "--members", "0,2", &flag], &[key]);
    }
    refused(&pruned, &["--method", "iu", "--coalition", "4:0"], &["`iu`", "nobody"]);
    refused(&pruned, &["--method", "ga_u", two[0], two[1]], &["ga_u", "pruned"]);
    refused(&full, &["--method", "ga", "--pruned", two[0], two[1]], &["--pruned"]);
    refused(&pruned, &["--method", "ga"], &["--coalition", "--members", "--draw", "--removal-dist"]);
    refused(&pruned, &["--removal_dist", "loo", "--removal_seed", "4"], &["4"]);
    refused(&pruned, &["--removal_dist", "loo", "--datamodel_alpha", "0.5"], &["datamodel"]);
    refused(&pruned, &["--removal_dist", "datamodel", "--datamodel_alpha", "1.5"], &["1.5"]);
    ask("refused", &["--method", "lora", "--members", "0"]).refused(2, &["`lora`", "none was given"]);
    assert!(!STUDY.path("refused").exists());
    ask("marked", &["--load", &pruned, "--pruned", "--method", "ga", "--members", "0"]).succeeded();

    for (more, part) in [(["--repetition", "1"], "--repetition"), (["--use_ema", "false"], "--use-ema")] {
        let conditional = ["--method", "conditional", two[0], two[1]];
        refused(&pruned, &[&conditional[..], &more].concat(), &[part, "`conditional`"]);
    }
    refused(&pruned, &["--method", "conditional", "--coalition", "4:0"], &["`conditional`", "nobody"]);
    refused(&pruned, &["--mixed_precision", "fp8", two[0], two[1]], &["fp8", "bf16"]);
    refused(&pruned, &["--method", "lora", two[0], two[1], "--lora_rank", "65537"], &["lora_rank"]);

    // A network without attention.
    let plain = TinyStudy::new();
    let [file, model, out] = ["study.toml", "full", "out"].map(|name| plain.path(name).display().to_string());
    run(TRAIN, [&file, "--out", &model, "-q"]).succeeded();
    run(UNLEARN, [&file, "--out", &out, "--method", "lora_u", "--load", &model, "--members", "0"])
        .refused(2, &["attention", "mid_attention"]);
    let stage = TinyStudy::edited(&[("method = \"gd\"", "method = \"prune_fine_tune\"")]);
    Outcome::of(&mut stage.drive("out", &[])).refused(2, &["unlearn.method", "prune_fine_tune"]);
}

/// A whole study by a method, with any number of workers, and one of its runs by `tribute-unlearn`.
fn study_by(method: &str) {
    let set = format!("method = \"{method}\"");
    let study = TinyStudy::edited(&[ATTENTION, ("method = \"gd\"", &set)]);
    study.complete("out", &["--workers", "1"]);
    study.complete("other", &["--workers", "2"]);
    let (out, other): (PathBuf, PathBuf) = (study.path("out"), study.path("other"));
    assert_eq!(records(&out), records(&other));
    let made = records_of(&out, method);
    assert!(made.len() > 5, "{}", made.len());
    let everybody = made.iter().find(|record| record.key().coalition.is_full());
    let record = made.iter().find(|record| !record.key().coalition.is_full()).unwrap();
    assert_ne!(record.behaviors, everybody.unwrap().behaviors);

    // The runs are still there when the study is continued.
    let before = fs::read_dir(out.join("ledger/records")).unwrap().count();
    study.complete("out", &[]);
    assert_eq!(fs::read_dir(out.join("ledger/records")).unwrap().count(), before);

    // Alone, from the study's own pruned model, the run is the same one.
    let pruned = fs::read_dir(out.join("models")).unwrap().map(|entry| entry.unwrap().path());
    let pruned = pruned.filter(|path| read_json(&path.join("config.json")).get("pruned_channels").is_some());
    let [file, model, db] =
        ["study.toml", "model", "db.jsonl"].map(|name| study.path(name).display().to_string());
    let parent = pruned.last().unwrap().display().to_string();
    let coalition = record.key().coalition.to_string();
    let alone = ["--out", &model, "--load", &parent, "--coalition", &coalition, "--db", &db];
    let alone = run(UNLEARN, [&[file.as_str()], &alone[..]].concat()).json();
    assert_eq!(alone["run"], json!(record.id()));
    assert_eq!(alone["behaviors"], serde_json::to_value(&record.behaviors).unwrap());
}

#[test]
fn a_study_by_gradient_ascent() {
    study_by("ga");
}

#[test]
fn a_study_by_influence_unlearning() {
    study_by("iu");
}

#[test]
fn a_study_by_low_rank_adaptation() {
    study_by("lora");
}
