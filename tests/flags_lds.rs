//! Options of `tribute-lds`: the reference system's databases, and records of changed studies.

mod tiny_study;

use std::fs;
use std::path::{Path, PathBuf};

use removal::Coalition;
use serde_json::{Value, json};
use tempfile::TempDir;
use tiny_study::{LDS, Outcome, TRIBUTE, TinyStudy, game, read_json, run};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/ledger/tests/fixtures/reference");

fn fixture(name: &str) -> String {
    format!("{FIXTURES}/{name}")
}

/// The command that a user of the reference gives, with further options.
fn reference(more: &[&str]) -> Outcome {
    let [train, full, null, test, classes] =
        ["train.jsonl", "full.jsonl", "null.jsonl", "test.jsonl", "classes.txt"].map(fixture);
    let usual = [
        ["--train_db", &train],
        ["--train_exp_name", "sft"],
        ["--full_db", &full],
        ["--null_db", &null],
        ["--test_db", &test],
        ["--test_exp_name", "retrain"],
        ["--dataset", "cifar20"],
        ["--classes", &classes],
        ["--num_bootstrap_iters", "20"],
    ];
    run(LDS, usual.as_flattened().iter().chain(more))
}

/// Relative to the larger of the number and 1.
fn close(found: &Value, expected: f64, what: &str) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found}"));
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        "{what}: {found}, expected {expected}"
    );
}

#[test]
fn reference_databases_give_what_numpy_and_scipy_give() {
    let cases = read_json(Path::new(&fixture("expected.json")));
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 12);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap().to_owned();
        let (distribution, behavior) = (text("removal_dist"), text("behavior"));
        let mut more = vec!["--by_class", "--removal_dist", &distribution, "--model_behavior_key", &behavior];
        let size = case["max_train_size"].as_u64().map(|size| size.to_string());
        if let Some(size) = &size {
            more.extend(["--max_train_size", size]);
        }
        let images = case["n_samples"].as_u64().map(|images| images.to_string());
        if let Some(images) = &images {
            more.extend(["--n_samples", images]);
        }
        let told = reference(&more).json();
        let judged = &told["behaviors"][&behavior];
        let what = format!("{distribution} {behavior} {size:?} {images:?}");
        assert_eq!(told["dropped_training_coalitions"], case["dropped"], "{what}");
        assert_eq!(judged["training_coalitions"], case["training_coalitions"], "{what}");
        close(&judged["lds"]["mean"], case["mean"].as_f64().unwrap(), &what);
        close(&judged["lds"]["half_width"], case["half_width"].as_f64().unwrap(), &what);
        for (found, expected) in
            judged["lds"]["sets"].as_array().unwrap().iter().zip(case["sets"].as_array().unwrap())
        {
            close(found, expected.as_f64().unwrap(), &what);
        }
        let scores = &judged["scores"];
        let scores = if scores.is_array() { scores.clone() } else { json!([scores]) };
        let expected = case["scores"].as_array().unwrap();
        assert_eq!(scores.as_array().unwrap().len(), expected.len(), "{what}");
        for (fit, expected) in scores.as_array().unwrap().iter().zip(expected) {
            for (found, expected) in
                fit["values"].as_array().unwrap().iter().zip(expected.as_array().unwrap())
            {
                close(found, expected.as_f64().unwrap(), &what);
            }
        }
    }
}

#[test]
fn all_behaviours_and_sizes_at_once_with_a_bootstrap() {
    let options =
        ["--by_class", "--removal_dist", "shapley", "--bootstrapped", "--max_train_size", "15", "30", "1000"];
    let outcome = reference(&options).succeeded();
    // A table on stderr, JSON on stdout.
    for part in ["1.96 sd/sqrt(3)", "bootstrapped", "fid_value", "asked for, there are 5"] {
        assert!(outcome.stderr.contains(part), "{part}: {}", outcome.stderr);
    }
    let told = outcome.json();
    assert_eq!(told["contributors"], 10);
    assert_eq!(told["test_sets"], 3);
    assert_eq!(told["test_coalitions"], 32);
    let behaviors = told["behaviors"].as_object().unwrap();
    assert_eq!(behaviors.len(), 6);
    for (key, judged) in behaviors {
        let curve = judged["curve"].as_array().unwrap();
        assert_eq!(curve.len(), 3, "{key}");
        assert_eq!(curve[2]["lds"], judged["lds"], "{key}");
        let bootstrapped = &judged["lds"]["bootstrapped"];
        assert_eq!(bootstrapped["resamples"], 20, "{key}");
        assert!(bootstrapped["standard_error"].as_f64().unwrap() > 0.0, "{key}");
    }
    // The other name of a behaviour.
    let again =
        reference(&["--by_class", "--removal_dist", "shapley", "--model_behavior_key", "diversity_score"])
            .json();
    let (one, other) = (&again["behaviors"]["diversity_score"], &told["behaviors"]["entropy"]);
    assert_eq!(one["scores"]["values"], other["scores"]["values"]);
}

#[test]
fn torn_and_repeated_lines_are_named_and_other_experiments_left_out() {
    let outcome =
        reference(&["--by_class", "--removal_dist", "datashapley", "--model_behavior_key", "is"]).succeeded();
    let train = fs::read_to_string(fixture("train.jsonl")).unwrap();
    let lines: Vec<&str> = train.lines().collect();
    let told = outcome.told();
    let databases = told["databases"].as_array().unwrap();
    let database = databases.iter().find(|d| d["path"].as_str().unwrap().ends_with("train.jsonl")).unwrap();
    let damaged = database["damaged_lines"].as_array().unwrap();
    assert_eq!(damaged.len(), 2);
    for damaged in damaged {
        let number = damaged["line"].as_u64().unwrap() as usize;
        assert!(serde_json::from_str::<Value>(lines[number - 1]).is_err(), "line {number} is whole");
        assert!(outcome.stderr.contains(&format!("line {number} (it is torn")), "{}", outcome.stderr);
    }
    let repeated = database["repeated_lines"].as_array().unwrap();
    assert_eq!(
        repeated.iter().map(|r| r["line"].as_u64().unwrap() as usize).collect::<Vec<_>>(),
        [lines.len() - 1, lines.len()]
    );
    assert_eq!((&repeated[0]["same_results"], &repeated[1]["same_results"]), (&json!(true), &json!(false)));
    assert!(outcome.stderr.contains("with other results"), "{}", outcome.stderr);
    // The line with NaN, and the two draws that are test coalitions.
    assert!(outcome.stderr.contains("`is` is missing in 1 training record: "), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("2 of 57 training coalitions are test coalitions, too"),
        "{}",
        outcome.stderr
    );
    let missing = told["behaviors"]["is"]["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1);
    let place = missing[0]["place"].as_str().unwrap();
    let number: usize = place.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(lines[number - 1].contains("\"is\": NaN"), "{place}");
    assert!(told["training_lines_of_other_experiments"].as_u64().unwrap() > 50);
}

#[test]
fn lines_that_must_not_be_mixed_are_refused_by_name() {
    let shapley = ["--by_class", "--removal_dist", "shapley"];
    let [train, test] = ["train.jsonl", "test.jsonl"].map(fixture);
    // Without choosing: several experiments, several distributions.
    run(LDS, ["--train_db", &train, "--test_db", &test])
        .refused(2, &["`exp_name` is sft", "trial", "--train-exp-name"]);
    run(LDS, ["--train_db", &train, "--test_db", &test, "--train_exp_name", "sft"])
        .refused(2, &["`removal_dist`", "shapley", "loo", "--removal-dist"]);
    // Steps: the reference's default among several, and said.
    let outcome = reference(&shapley).succeeded();
    assert!(outcome.stderr.contains("`gd_steps` is 1000, the default; others are"), "{}", outcome.stderr);
    reference(&[&shapley[..], &["--gd_steps", "2000"]].concat())
        .refused(2, &["no training line whose `gd_steps` is 2000", "500"]);
    reference(&[&shapley[..], &["--method", "lora"]].concat()).refused(2, &["`method` is lora", "it is gd"]);
    reference(&["--removal_dist", "uniform"]).refused(2, &["`removal_dist` is uniform", "datamodel"]);
    // Settings without an option of their own.
    let folder = tempfile::tempdir().unwrap();
    let mixed = folder.path().join("mixed.jsonl");
    let text = fs::read_to_string(&train).unwrap();
    let (first, rest) = text.split_at(text.len() / 2);
    fs::write(&mixed, first.replace("\"pruning_ratio\": 0.3", "\"pruning_ratio\": 0.5") + rest).unwrap();
    let mixed = mixed.display().to_string();
    let [classes, full, null] = ["classes.txt", "full.jsonl", "null.jsonl"].map(fixture);
    let databases = ["--train_db", &mixed, "--test_db", &test, "--full_db", &full, "--null_db", &null];
    let mut again = [&databases[..], &shapley, &["--train_exp_name", "sft", "--classes", &classes]].concat();
    run(LDS, &again).refused(2, &["`pruning_ratio` is 0.3", "0.5", "--where pruning_ratio=VALUE"]);
    again.extend(["--where", "pruning_ratio=0.3"]);
    assert!(run(LDS, &again).json()["training_coalitions"].as_u64().unwrap() > 10);
}

#[test]
fn classes_that_do_not_fit_are_refused() {
    let train = fixture("train.jsonl");
    run(LDS, ["--train_db", &train, "--by_class"]).refused(2, &["--classes FILE"]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let text = fs::read_to_string(fixture("classes.txt")).unwrap();
    let short = file("short.txt", &text[..text.len() / 2]);
    let reversed: Vec<&str> = text.lines().rev().collect();
    let reversed = file("reversed.txt", &reversed.join("\n"));
    for (classes, part) in
        [(short, "it is of 30 images, the classes are of 15"), (reversed, "only a part of class")]
    {
        let [test, full] = ["test.jsonl", "full.jsonl"].map(fixture);
        let usual =
            ["--train_exp_name", "sft", "--removal_dist", "shapley", "--by_class", "--test_db", &test];
        let arguments = [
            &["--train_db", &train, "--full_db", &full, "--null_db", &full, "--classes", &classes],
            &usual[..],
        ];
        run(LDS, arguments.concat()).refused(2, &["train.jsonl line", part]);
    }
    // Without classes, the images are the contributors: fewer coalitions than unknowns, which is said.
    let [test, full, null] = ["test.jsonl", "full.jsonl", "null.jsonl"].map(fixture);
    let usual = ["--train_exp_name", "sft", "--removal_dist", "shapley", "--behavior", "entropy"];
    let databases = ["--train_db", &train, "--test_db", &test, "--full_db", &full, "--null_db", &null];
    let outcome = run(LDS, [&databases[..], &usual].concat()).succeeded();
    assert!(
        outcome.stderr.contains("one choice of many") && outcome.stderr.contains("unbounded"),
        "{outcome:?}"
    );
    assert_eq!(outcome.told()["contributors"], 30);
}

#[test]
fn images_by_the_ten_thousand_work_on_bits_or_need_classes() {
    let n = 20_001;
    let line = |method: &str, distribution: &str, seed: usize| {
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            (0..n).partition(|image| (image * (seed + 3)) % 7 < 3);
        json!({
            "method": method, "removal_dist": distribution, "removal_seed": seed, "exp_name": "x", "is": seed as f64,
            "remaining_idx": inside, "removed_idx": outside,
        })
    };
    let lines = (0..6)
        .map(|seed| if seed < 3 { line("gd", "uniform", seed) } else { line("retrain", "datamodel", seed) });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.jsonl");
    fs::write(&path, lines.map(|line| line.to_string() + "\n").collect::<String>()).unwrap();
    let path = path.display().to_string();
    run(LDS, ["--train_db", &path, "--estimator", "lasso"]).refused(
        2,
        &["20001 contributors", "--by-class", "banzhaf_sample_reuse", "`banzhaf` suits these draws"],
    );
    // Whose matrix would have 400 million entries.
    let outcome = run(LDS, ["--train_db", &path, "--bootstrap", "50"]).succeeded();
    assert!(outcome.stderr.contains("solved on bit masks"), "{}", outcome.stderr);
    let scores = &outcome.told()["behaviors"]["is"]["scores"];
    assert_eq!(scores["values"].as_array().unwrap().len(), n);
    assert_eq!(scores["diagnostics"]["large"]["converged"], true);
}

#[test]
fn large_games_have_the_scores_of_small_ones_without_intervals() {
    for (distribution, estimator) in
        [("shapley", "kernel_shap"), ("shapley", "kernel_shap_size_adjusted"), ("uniform", "banzhaf")]
    {
        let judge = |more: &[&str]| {
            let usual = ["--by_class", "--model_behavior_key", "entropy", "--removal_dist", distribution];
            reference(&[&usual[..], &["--estimator", estimator], more].concat())
        };
        let dense = judge(&[]);
        if dense.code != Some(0) {
            // The database has no draws of this distribution.
            assert_eq!(distribution, "uniform", "{dense:?}");
            continue;
        }
        let (dense, large) = (dense.json(), judge(&["--large-beyond", "0"]).json());
        let [dense, large] = [dense, large].map(|told| told["behaviors"]["entropy"].clone());
        let values = |told: &Value| told["scores"]["values"].as_array().unwrap().clone();
        let largest = values(&dense).iter().map(|v| v.as_f64().unwrap().abs()).fold(0.0, f64::max);
        for (one, two) in values(&large).iter().zip(values(&dense)) {
            assert!((one.as_f64().unwrap() - two.as_f64().unwrap()).abs() < 1e-7 * largest, "{estimator}");
        }
        assert!(large["scores"]["closed_form"].is_null() && large["scores"]["bootstrap"].is_null());
        assert!(dense["scores"]["closed_form"].is_object());
        assert_eq!(large["lds"]["mean"], dense["lds"]["mean"]);
        assert!(large["warnings"].to_string().contains("no intervals"), "{}", large["warnings"]);
        let half = &large["stability"]["split_half"]["correlation"];
        assert!(half.as_f64().unwrap() > 0.3, "{half}");
        assert!(large["stability"]["resampled"]["undefined"].is_string());
        let tau = dense["stability"]["resampled"]["kendall_tau"].as_f64().unwrap();
        assert!(tau > 0.3 && tau <= 1.0, "{tau}");
        assert_eq!(dense["stability"]["resampled"]["top"], 3);
        let top = judge(&["--top", "2"]).json();
        assert_eq!(top["behaviors"]["entropy"]["stability"]["resampled"]["top"], 2);
    }
    reference(&["--by_class", "--top", "0"]).refused(2, &["--top is 0"]);
}

#[test]
fn missing_endpoints_and_too_few_tests_are_said() {
    let [train, test, classes] = ["train.jsonl", "test.jsonl", "classes.txt"].map(fixture);
    let usual = [
        "--train_db",
        &train,
        "--test_db",
        &test,
        "--train_exp_name",
        "sft",
        "--by_class",
        "--classes",
        &classes,
    ];
    let with = |more: &[&str]| run(LDS, usual.iter().chain(more));
    with(&["--removal_dist", "shapley"]).refused(2, &["no record of everybody", "--full"]);
    // A datamodel needs neither end.
    let judged = with(&["--removal_dist", "datamodel", "--behavior", "entropy"]).json();
    assert_eq!(judged["behaviors"]["entropy"]["estimator"], "datamodel");
    let lasso =
        with(&["--removal_dist", "datamodel", "--behavior", "entropy", "--estimator", "lasso"]).json();
    assert!(lasso["behaviors"]["entropy"]["lds"]["mean"].as_f64().unwrap() > 80.0);
    let one =
        with(&["--removal_dist", "datamodel", "--behavior", "entropy", "--num_test_subset", "1"]).succeeded();
    assert!(one.stderr.contains("a correlation needs at least 3"), "{}", one.stderr);
    assert!(one.told()["behaviors"]["entropy"]["lds"]["undefined"].is_string());
    with(&["--removal_dist", "datamodel", "--behavior", "charm"]).refused(2, &["`charm`", "entropy"]);
    with(&["--removal_dist", "datamodel", "--num_test_subset", "0"]).refused(2, &["--num-test-subset is 0"]);
    with(&["--removal_dist", "datamodel", "--datamodel_alpha", "1.5"]).refused(2, &["below 1"]);
}

#[test]
fn test_coalitions_are_chosen_by_number_and_share() {
    let of = |more: &[&str]| {
        let usual = ["--by_class", "--removal_dist", "shapley", "--model_behavior_key", "entropy"];
        reference(&[&usual[..], more].concat()).json()
    };
    assert_eq!(of(&[])["test_coalitions"], 32);
    assert_eq!(of(&["--num_test_subset", "40"])["test_coalitions"], 40);
    assert_eq!(of(&["--num_test_subset", "8"])["test_coalitions"], 8);
    let fifth = of(&["--datamodel_alpha", "0.2"]);
    assert_eq!((&fifth["test_coalitions"], &fifth["test_sets"]), (&json!(5), &json!(1)));
    let two = of(&["--test_repetitions", "42,44"]);
    assert_eq!((&two["test_coalitions"], &two["test_sets"]), (&json!(32), &json!(2)));
}

// ------------------------------------------------------------------------------------------------ Records of Tribute

/// A game of 4 contributors, some of whose records lack `charm`.
fn of_four(utility: impl Fn(&Coalition) -> f64, lacking: &[&[usize]]) -> (TempDir, PathBuf) {
    game(4, &[&[0], &[1], &[2], &[3], &[0, 1, 2], &[1, 2, 3], &[0, 1]], lacking, utility)
}

fn additive(coalition: &Coalition) -> f64 {
    coalition.members().map(|member| (member + 1) as f64).sum()
}

#[test]
fn records_that_lack_a_behaviour_are_counted_and_named() {
    let (_folder, path) = of_four(additive, &[&[1], &[0, 1, 2]]);
    let path = path.display().to_string();
    let outcome = run(LDS, ["--train", &path, "--behavior", "charm", "--bootstrap", "50"]).succeeded();
    assert!(
        outcome.stderr.contains("`charm` is missing in 2 training records: record "),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("1 of 7 training coalitions are test coalitions, too"),
        "{}",
        outcome.stderr
    );
    let told = outcome.told();
    assert_eq!(told["dropped_training_coalitions"], 1);
    let charm = &told["behaviors"]["charm"];
    assert_eq!(charm["training_coalitions"], 4);
    assert_eq!(charm["missing"].as_array().unwrap().len(), 2);
    let quiet = run(LDS, ["--train", &path, "--behavior", "charm", "--bootstrap", "50", "-q"]).succeeded();
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.stdout, outcome.stdout);
    run(LDS, ["--train", &path, "--behavior", "charms"]).refused(2, &["`charms`", "charm"]);
}

#[test]
fn estimators_agree_on_an_additive_game() {
    let (_folder, path) = of_four(additive, &[]);
    let path = path.display().to_string();
    for (given, name) in [
        ("shapley", "kernel_shap"),
        ("size-adjusted-shapley", "kernel_shap_size_adjusted"),
        ("banzhaf", "banzhaf"),
        ("aoi", "add_one_in"),
    ] {
        let judged = run(LDS, ["--train", &path, "--estimator", given, "--bootstrap", "50"]).json();
        let charm = &judged["behaviors"]["charm"];
        assert_eq!(charm["estimator"], name);
        for (place, value) in charm["scores"]["values"].as_array().unwrap().iter().enumerate() {
            close(value, (place + 1) as f64, given);
        }
        close(&charm["lds"]["mean"], 100.0, given);
    }
    run(LDS, ["--train", &path, "--estimator", "loo"]).refused(1, &["missing for contributors"]);
    run(LDS, ["--train", &path, "--estimator", "luck"]).refused(2, &["luck", "kernel_shap", "lasso"]);
    run(LDS, ["--train", &path, "--estimator", "banzhaf", "--removal-dist", "shapley"])
        .refused(2, &["`banzhaf` does not estimate from coalitions of the distribution shapley"]);
}

#[test]
fn every_estimator_scores_draws_that_it_takes() {
    let judge = |distribution: &str, estimator: &str| {
        let usual = ["--by_class", "--model_behavior_key", "entropy"];
        reference(&[&usual[..], &["--removal_dist", distribution, "--estimator", estimator]].concat())
    };
    for (distribution, estimators) in [
        (
            "shapley",
            &["kernel_shap_size_adjusted", "sample_reuse", "regression_adjusted", "tree_adjusted", "lasso"][..],
        ),
        ("shapley", &["beta_shapley", "datamodel"]),
        ("datamodel", &["lasso", "datamodel"]),
    ] {
        for estimator in estimators {
            let judged = judge(distribution, estimator).json();
            let entropy = &judged["behaviors"]["entropy"];
            assert_eq!(entropy["estimator"], *estimator);
            assert_eq!(entropy["scores"]["values"].as_array().unwrap().len(), 10, "{estimator}");
            let lds = entropy["lds"]["mean"].as_f64().unwrap();
            // Plain sample reuse is far noisier than the others.
            assert!(lds > if *estimator == "sample_reuse" { 20.0 } else { 75.0 }, "{estimator}: {lds}");
        }
    }
    judge("shapley", "permutation")
        .refused(2, &["`permutation` does not estimate from coalitions of", "shapley"]);
    judge("shapley", "banzhaf_msr").refused(2, &["`banzhaf_sample_reuse`", "`kernel_shap` suits them"]);
}

#[test]
fn a_studys_draws_choose_the_estimator() {
    let study = TinyStudy::new();
    study.complete("out", &[]);
    let out = study.path("out").display().to_string();
    let judge = |more: &[&str]| {
        let usual = ["--train", &out, "--bootstrap", "20", "--behavior", "colourfulness"];
        run(LDS, [&usual[..], more].concat())
    };
    let judged = judge(&[]).json();
    assert_eq!(judged["behaviors"]["colourfulness"]["estimator"], "kernel_shap_size_adjusted");
    judge(&["--estimator", "permutation"])
        .refused(2, &["`permutation` does not estimate", "distribution shapley"]);
    judge(&["--estimator", "regression_adjusted"]).refused(1, &["independent draws", "add coalitions"]);
}

#[test]
fn records_of_a_changed_study_are_not_mixed() {
    let study = TinyStudy::new();
    study.complete("out", &[]);
    let out = study.path("out").display().to_string();
    let before = run(LDS, ["--train", &out, "--bootstrap", "20"]).json();

    // Another length of fine-tuning, and started again in the same folder.
    let text = fs::read_to_string(study.file()).unwrap();
    assert_eq!(text.matches("parent = \"pruned\"\nsteps = 2").count(), 1);
    fs::write(study.file(), text.replace("parent = \"pruned\"\nsteps = 2", "parent = \"pruned\"\nsteps = 3"))
        .unwrap();
    study.complete("out", &[]);
    let outcome = run(LDS, ["--train", &out, "--bootstrap", "20"]).succeeded();
    let changed = outcome.told();
    assert!(outcome.stderr.contains("training.steps is 2, there 3"), "{}", outcome.stderr);
    assert_eq!(changed["training_draws"], before["training_draws"]);
    let scores = |told: &Value| told["behaviors"]["colourfulness"]["scores"]["values"].clone();
    assert_ne!(scores(&changed), scores(&before));
    // Those before, by name.
    for choice in [&["--where", "training.steps=2"] as &[&str], &["--gd_steps", "2"]] {
        let again = run(LDS, ["--train", &out, "--bootstrap", "20"].iter().chain(choice)).json();
        assert_eq!(scores(&again), scores(&before), "{choice:?}");
    }
    run(LDS, ["--train", &out, "--gd_steps", "7"])
        .refused(2, &["no training record has training.steps = 7", "2, 3"]);

    // In a file without its study, nobody knows which are meant.
    let file = study.path("all.jsonl").display().to_string();
    run(TRIBUTE, ["export", &out, "-o", &file]).succeeded();
    run(LDS, ["--train", &file])
        .refused(2, &["training.steps is 2 (", "or 3 (", "must not be mixed", "--where NAME=VALUE"]);
    let chosen = run(
        LDS,
        ["--train", &file, "--where", "training.steps=3", "--study", &study.file().display().to_string()],
    );
    assert_eq!(scores(&chosen.json()), scores(&changed));
}

#[test]
fn records_and_scores_are_exported_as_tables() {
    let study = TinyStudy::new();
    study.complete("out", &[]);
    let out = study.path("out").display().to_string();
    let path = |name: &str| study.path(name).display().to_string();
    let report = read_json(&study.path("out/report.json"));
    let people = report["contributors"].as_array().unwrap();

    // The scores of the report, in all three formats.
    for name in ["scores.csv", "scores.jsonl", "scores.parquet"] {
        run(TRIBUTE, ["export", &out, "--what", "scores", "-o", &path(name)]).succeeded();
    }
    let text = fs::read_to_string(path("scores.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let behaviors = report["behaviors"].as_array().unwrap();
    assert_eq!(rows.len(), behaviors.len() * people.len());
    for behavior in behaviors {
        for score in behavior["scores"].as_array().unwrap() {
            let place = score["contributor"].as_u64().unwrap() as usize;
            let row = rows
                .iter()
                .find(|row| row["behavior"] == behavior["key"] && row["contributor"] == place)
                .unwrap();
            assert_eq!(row["score"], score["value"]);
            assert_eq!(row["name"], people[place]["name"]);
            assert_eq!(row["lower"], score["interval"]["low"]);
        }
    }
    let csv = fs::read_to_string(path("scores.csv")).unwrap();
    assert!(csv.starts_with("behavior,contributor,name,score,"), "{csv}");
    assert_eq!(csv.lines().count(), rows.len() + 1);
    let parquet = |name: &str| {
        let bytes = fs::read(path(name)).unwrap();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{name}");
        bytes
    };
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    let scores = parquet("scores.parquet");
    assert!(people.iter().all(|person| holds(&scores, person["name"].as_str().unwrap())));

    // Records: the format by the file's name, or as said.
    run(TRIBUTE, ["export", &out, "-o", &path("records.parquet"), "--method", "gd"]).succeeded();
    assert!(holds(&parquet("records.parquet"), "behavior.colourfulness"));
    run(TRIBUTE, ["export", &out, "-o", &path("records.txt"), "--format", "parquet"]).succeeded();
    parquet("records.txt");
    run(TRIBUTE, ["export", &out, "-o", &path("x.csv"), "--method", "gd_v"])
        .refused(2, &["`gd_v`", "there are", "gd, ", "retrain"]);
    run(TRIBUTE, ["export", &out, "-o", &path("x.csv"), "--what", "scores", "--method", "gd"])
        .refused(2, &["--method chooses records"]);

    // tribute-lds writes its own.
    let judged = run(LDS, ["--train", &out, "--bootstrap", "20", "--scores", &path("own.jsonl")]).json();
    let text = fs::read_to_string(path("own.jsonl")).unwrap();
    let own: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(own.len(), rows.len());
    for row in &own {
        let scores = &judged["behaviors"][row["behavior"].as_str().unwrap()]["scores"];
        assert_eq!(row["score"], scores["values"][row["contributor"].as_u64().unwrap() as usize]);
        assert_eq!(row["name"], people[row["contributor"].as_u64().unwrap() as usize]["name"]);
    }
    run(LDS, ["--train", &out, "--scores", &path("own.xls")]).refused(2, &["own.xls", ".parquet"]);
    fs::remove_file(study.path("out/report.json")).unwrap();
    run(TRIBUTE, ["export", &out, "-o", &path("x.csv"), "--what", "scores"])
        .refused(2, &["no report yet", "`tribute run`"]);
    assert!(!study.path("x.csv").exists());
}

#[test]
fn a_folder_without_a_study_is_met_with_the_right_advice() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere").display().to_string();
    let advice = ["nowhere", "there is no such folder", "`tribute run`", "--out"];
    run(TRIBUTE, ["status", &nowhere]).refused(2, &advice);
    run(TRIBUTE, ["export", &nowhere, "-o", "x.jsonl"]).refused(2, &advice);
    assert!(!Path::new(&nowhere).exists());
    let empty = folder.path().display().to_string();
    let refused = run(TRIBUTE, ["status", &empty]).refused(2, &["no state.json", "`tribute run`"]);
    assert!(!refused.stderr.contains("empty or new folder"), "{}", refused.stderr);
}
