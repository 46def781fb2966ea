//! What a study's scores are estimated from: every distribution, chosen coalitions, and when there is enough.

mod tiny_study;

use std::fs;

use ledger::Record;
use serde_json::Value;
use tiny_study::{LDS, Outcome, TRIBUTE, TinyStudy, UNLEARN, read_json, records, records_of, run};

fn scores(report: &Value) -> Vec<f64> {
    let scores = report["behaviors"][0]["scores"].as_array().unwrap();
    scores.iter().map(|score| score["value"].as_f64().unwrap()).collect()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    for (one, two) in found.iter().zip(expected) {
        assert!((one - two).abs() <= 1e-9 * largest, "{found:?} {expected:?}");
    }
}

/// The scores of `tribute-lds` from the study's folder.
fn judged(out: &str, more: &[&str]) -> Value {
    let usual = ["--train", out, "--behavior", "colourfulness", "--bootstrap", "100"];
    run(LDS, [&usual[..], more].concat()).json()["behaviors"]["colourfulness"].clone()
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn every_distribution_has_scores_by_an_estimator_that_suits_it() {
    let study = TinyStudy::edited(&[("retrain_coalitions = 1", "retrain_coalitions = 0")]);
    for (distribution, count, estimator, name) in [
        ("shapley_paired", 12, "kernel_shap_size_adjusted", "sFT-Shapley"),
        ("leverage", 12, "kernel_shap_size_adjusted", "sFT-Shapley"),
        ("leverage_paired", 12, "kernel_shap_size_adjusted", "sFT-Shapley"),
        ("uniform", 12, "banzhaf", "sFT-Banzhaf"),
        ("datamodel", 12, "datamodel", "sFT-datamodel"),
        ("permutation", 30, "permutation", "sFT-Shapley"),
        ("loo", 4, "leave_one_out", "sFT-leave-one-out"),
        ("add_one_in", 4, "add_one_in", "sFT-add-one-in"),
    ] {
        let alpha = ["--datamodel_alpha", "0.75"];
        let more: &[&str] = if distribution == "datamodel" { &alpha } else { &[] };
        let count = count.to_string();
        let flags = ["--removal_dist", distribution, "--coalitions", &count];
        study.complete(distribution, &[&flags, more].concat());
        let out = study.path(distribution);
        let report = read_json(&out.join("report.json"));
        let found = scores(&report);
        assert_eq!(report["behaviors"][0]["method"], name);
        assert!(found.iter().any(|value| *value != found[0]), "{distribution}: {found:?}");
        // Recomputed from the records alone.
        let judged = judged(out.to_str().unwrap(), &[]);
        assert_eq!(judged["estimator"], estimator, "{distribution}");
        close(&numbers(&judged["scores"]["values"]), &found);
        let stability = &judged["stability"];
        assert!(stability["split_half"].is_object() && stability["resampled"].is_object(), "{stability}");
    }

    // By hand.
    let value = |method: &str, coalition: &str| {
        let of = |record: &Record| record.key().coalition.to_string() == coalition;
        let records = records_of(&study.path("loo"), method);
        records.iter().find(|record| of(record)).unwrap().behaviors["colourfulness"].as_slice()[0]
    };
    let everybody = value("gd", "4:f");
    let without = ["4:e", "4:d", "4:b", "4:7"].map(|coalition| everybody - value("gd", coalition));
    close(&scores(&read_json(&study.path("loo/report.json"))), &without);
    let words = study.complete("loo", &["--removal_dist", "loo", "--coalitions", "4"]).stdout;
    assert!(words.contains("(no interval: one model each)"), "{words}");
}

#[test]
fn other_estimators_can_be_asked_for_and_wrong_ones_are_refused() {
    let study = TinyStudy::edited(&[("retrain_coalitions = 1", "retrain_coalitions = 0")]);
    study.complete("out", &["--coalitions", "12", "--estimator", "kernel_shap"]);
    let report = read_json(&study.path("out/report.json"));
    let judged = judged(study.path("out").to_str().unwrap(), &["--estimator", "kernel_shap"]);
    close(&numbers(&judged["scores"]["values"]), &scores(&report));

    let refused = |flags: &[&str], parts: &[&str]| {
        Outcome::of(&mut study.drive("none", flags)).refused(2, parts);
        assert!(!study.path("none").exists());
    };
    refused(
        &["--removal_dist", "uniform", "--estimator", "permutation"],
        &["coalitions.estimator", "permutation", "uniform", "permutation_antithetic"],
    );
    refused(&["--removal_dist", "none"], &["coalitions.distribution", "none"]);
    refused(&["--removal_dist", "loo"], &["coalitions.count", "is 6", "must be 4"]);
    refused(&["--removal_dist", "loo", "--coalitions", "4", "--choice", "active"], &["coalitions.choice"]);
    refused(&["--choice", "active", "--candidates", "0"], &["coalitions.candidates"]);
    refused(&["--until", "kendall_tau=2"], &["coalitions.until", "least is 2", "at most 1"]);
    refused(&["--until", "luck=1"], &["half_width=X"]);
    refused(&["--datamodel_alpha", "0.5"], &["--removal-dist"]);
    refused(&["--estimator", "luck"], &["luck", "kernel_shap"]);
    let one = TinyStudy::new();
    Outcome::of(&mut one.drive("none", &["--removal_dist", "loo", "--coalitions", "4"]))
        .refused(2, &["evaluation.retrain_coalitions", "is 1", "must be 4"]);
}

#[test]
fn chosen_coalitions_are_the_same_whoever_makes_them_and_a_study_can_grow() {
    let study = TinyStudy::edited(&[("retrain_coalitions = 1", "retrain_coalitions = 0")]);
    let active = ["--choice", "active", "--candidates", "8"];
    study.complete("small", &[&active[..], &["--workers", "1"]].concat());
    let before = records(&study.path("small"));
    // Twice the draws, by two workers: what there was is kept.
    study.complete("small", &[&active[..], &["--coalitions", "12", "--workers", "2"]].concat());
    study.complete("large", &[&active[..], &["--coalitions", "12", "--workers", "1"]].concat());
    let (small, large) = (records(&study.path("small")), records(&study.path("large")));
    assert!(before.keys().all(|name| small.contains_key(name)));
    assert_eq!(small, large);
    let report = |out: &str| read_json(&study.path(out).join("report.json"));
    assert_eq!(scores(&report("small")), scores(&report("large")));
    let judged = judged(study.path("small").to_str().unwrap(), &[]);
    close(&numbers(&judged["scores"]["values"]), &scores(&report("small")));

    // Not the plain draws; a draw by its number is the study's.
    study.complete("plain", &["--coalitions", "12"]);
    let coalitions = |out: &str| {
        let all = records_of(&study.path(out), "gd");
        all.iter().map(|record| record.key().coalition.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_ne!(coalitions("plain"), coalitions("large"));
    let file = study.file();
    let model = study.path("model");
    let made = run(
        UNLEARN,
        [
            file.to_str().unwrap(),
            "--method",
            "retrain",
            "--draw",
            "7",
            "--out",
            model.to_str().unwrap(),
            "--set",
            "coalitions.choice=active",
            "--set",
            "coalitions.candidates=8",
        ],
    );
    let coalition = made.json()["coalition"].as_str().unwrap().to_owned();
    assert!(coalitions("large").contains(&coalition), "{coalition}");
}

#[test]
fn a_study_stops_when_its_scores_are_sure_and_comes_to_the_same_end_again() {
    let study = TinyStudy::edited(&[("retrain_coalitions = 1", "retrain_coalitions = 0")]);
    let out = study.path("out");
    let flags = ["--coalitions", "40", "--until", "kendall_tau=0.05"];
    study.complete("out", &flags);
    let stopped = read_json(&out.join("stopped.json"));
    let draws = stopped["draws"].as_u64().unwrap();
    assert!(draws < 40 && stopped["stopping"]["reached"] == true, "{stopped}");
    let report = read_json(&out.join("report.json"));
    let notes = report["header"]["notes"].to_string();
    assert!(notes.contains(&format!("{draws} of 40 draws were enough")), "{notes}");
    let used = report["behaviors"][0]["coalitions"].as_u64().unwrap();
    assert!(used <= draws, "{used}");
    let names: Vec<&str> = report["behaviors"][0]["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.contains("Kendall")), "{names:?}");
    assert!(names.iter().any(|name| name.contains("first 3")), "{names:?}");
    let told = run(LDS, ["--train", out.to_str().unwrap(), "--bootstrap", "50"]).json();
    assert_eq!(told["training_draws"], used);

    // Again, and from a part of the records: the same end.
    let before = records(&out);
    study.complete("out", &flags);
    assert_eq!(records(&out), before);
    for (place, name) in before.keys().enumerate().filter(|(place, _)| place % 3 == 0) {
        fs::remove_file(out.join("ledger/records").join(name))
            .unwrap_or_else(|error| panic!("{place}: {error}"));
    }
    study.complete("out", &flags);
    assert_eq!(records(&out), before);
    assert_eq!(read_json(&out.join("stopped.json")), stopped);

    // What is never reached makes all draws, and says so; without a rule nothing is said.
    study.complete("out", &["--coalitions", "12", "--until", "half_width=1e-9"]);
    let all = read_json(&out.join("stopped.json"));
    assert_eq!((&all["draws"], &all["stopping"]["reached"]), (&12.into(), &false.into()));
    let notes = read_json(&out.join("report.json"))["header"]["notes"].to_string();
    assert!(notes.contains("12 of 12 draws were not enough"), "{notes}");
    study.complete("out", &["--coalitions", "12"]);
    assert!(!out.join("stopped.json").exists());
    run(TRIBUTE, ["status", out.to_str().unwrap()]).succeeded();
}
