//! Cheaper utilities: one conditional network for all coalitions, and what unlearning each contributor does to likelihoods.

mod tiny_study;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tiny_study::{
    Outcome, TRAIN, TRIBUTE, TinyStudy, UNLEARN, products, read_json, records, records_of, run,
};

const INFLUENCE: &str = env!("CARGO_BIN_EXE_tribute-influence");

/// Pruned, the tiny network has one channel a group, and its norms take off all that a timestep or a condition adds.
const OF_FULL: (&str, &str) = (
    "method = \"gd\"\nparent = \"pruned\"",
    "method = \"conditional\"\nparent = \"full\"\nconditional_steps = 200",
);

fn scores(report: &Value) -> Vec<f64> {
    let scores = report["behaviors"][0]["scores"].as_array().unwrap();
    scores.iter().map(|score| score["value"].as_f64().unwrap()).collect()
}

#[test]
fn a_study_samples_one_network_for_all_coalitions() {
    let study = TinyStudy::edited(&[OF_FULL]);
    study.complete("out", &["--workers", "1"]);
    study.complete("other", &["--workers", "2"]);
    let out = study.path("out");
    assert_eq!(records(&out), records(&study.path("other")));
    assert_eq!(products(&out), products(&study.path("other")));
    let made = records_of(&out, "conditional_u");
    assert!(made.len() > 5, "{}", made.len());
    // Different members, different pictures and losses.
    for key in ["colourfulness", "diffusion_loss"] {
        let value = |place: usize| made[place].behaviors[key].as_slice()[0];
        assert!((1..made.len()).any(|place| value(place) != value(0)), "{key}");
    }
    let report = read_json(&out.join("report.json"));
    assert_eq!(report["behaviors"][0]["method"], "conditional-Shapley");
    assert!(report["costs"].to_string().contains("Teaching the model its contributors"));
    assert!(scores(&report).iter().any(|score| *score != 0.0));

    // One network in one folder, for any number of coalitions; another length of its training is another network.
    let conditional = |out: &str| -> Vec<u64> {
        let networks = networks(&study.path(out), true).into_iter();
        networks.map(|path| read_json(&path.join("state.json"))["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(conditional("out"), [200]);
    let before = records(&out);
    study.complete("out", &["--coalitions", "9"]);
    assert_eq!(conditional("out"), [200]);
    assert!(before.keys().all(|name| records(&out).contains_key(name)));
    study.complete("longer", &["--set", "unlearn.conditional_steps=5"]);
    assert_eq!(conditional("longer"), [5]);
    assert_ne!(scores(&read_json(&study.path("longer/report.json"))), scores(&report));

    let refused = |flags: &[&str], parts: &[&str]| {
        Outcome::of(&mut study.drive("none", flags)).refused(2, parts);
    };
    refused(&["--set", "unlearn.conditional_steps=0"], &["unlearn.conditional_steps"]);
}

/// The folders of a study's models whose networks have conditions, or have none.
fn networks(out: &Path, conditional: bool) -> Vec<PathBuf> {
    let folders = fs::read_dir(out.join("models")).unwrap().map(|one| one.unwrap().path());
    folders
        .filter(|path| read_json(&path.join("config.json")).get("conditions").is_some() == conditional)
        .collect()
}

#[test]
fn one_network_serves_many_machines_and_single_coalitions() {
    let study = TinyStudy::edited(&[OF_FULL]);
    study.complete("alone", &[]);
    let (file, alone, shared) = (study.file(), study.path("alone"), study.path("shared"));
    let plan = run(TRIBUTE, ["plan".as_ref(), file.as_os_str(), "--out".as_ref(), shared.as_os_str()]).json();
    let stages: Vec<&str> =
        plan["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["train", "condition", "coalitions", "retrain"]);
    let list = shared.join("work.json").display().to_string();
    let work = |stage: &str, index: &str, count: &str| {
        let place = ["--plan", &list, "--stage", stage, "--index", index, "--count", count, "-q"];
        run(TRIBUTE, [&["work"], &place[..]].concat())
    };
    work("condition", "0", "1").refused(1, &["--stage train"]);
    work("train", "0", "1").succeeded();
    work("coalitions", "1", "2").refused(1, &["--stage condition"]);
    // A study from the full model has no pruning, and asking for it is harmless.
    assert_eq!(work("prune", "0", "1").json()["tasks"], 0);
    assert_eq!(work("condition", "0", "1").json()["tasks"], 1);
    assert_eq!(work("condition", "1", "2").json()["tasks"], 0);
    for (stage, index) in [("coalitions", "1"), ("retrain", "0"), ("coalitions", "0"), ("retrain", "1")] {
        work(stage, index, "2").succeeded();
    }
    run(TRIBUTE, ["run".as_ref(), file.as_os_str(), "--out".as_ref(), shared.as_os_str()]).succeeded();
    assert_eq!(records(&shared), records(&alone));
    assert_eq!(products(&shared), products(&alone));
    assert_eq!(networks(&shared, true).len(), 1);

    // By the stage binary: the first call makes the network, the next ones find it.
    let parent = networks(&alone, false);
    assert_eq!(parent.len(), 1);
    let [network, db] = ["network", "db.jsonl"].map(|name| study.path(name).display().to_string());
    let made = records_of(&alone, "conditional_u");
    let (file, parent) = (file.display().to_string(), parent[0].display().to_string());
    let mut hashes = Vec::new();
    for record in made.iter().filter(|record| !record.key().coalition.is_full()).take(2) {
        let coalition = record.key().coalition.to_string();
        let told = run(
            UNLEARN,
            [
                &file,
                "--out",
                &network,
                "--load",
                &parent,
                "--coalition",
                &coalition,
                "--db",
                &db,
                "--log_freq",
                "50",
                "-q",
            ],
        )
        .json();
        assert_eq!(told["run"], record.id().to_string());
        assert_eq!(told["behaviors"], serde_json::to_value(&record.behaviors).unwrap());
        hashes.push(told["hash"].clone());
    }
    assert_ne!(hashes[0], hashes[1]);
    let trained = read_json(&study.path("network/state.json"));
    let theirs = read_json(&networks(&alone, true)[0].join("state.json"));
    assert_eq!((&trained["step"], &trained["files"]), (&theirs["step"], &theirs["files"]));
    let rows = fs::read_to_string(study.path("network-log/metrics.csv")).unwrap();
    assert_eq!(rows.lines().count(), 5, "{rows}");
}

#[test]
fn unlearning_each_contributor_scores_all_and_stands_in_a_comparison() {
    let study = TinyStudy::new();
    let [file, model, out] =
        ["study.toml", "model", "out"].map(|name| study.path(name).display().to_string());
    run(TRAIN, [&file, "--out", &model]).succeeded();
    let guda = |more: &[&str]| {
        let usual = [&file, "--model", &model, "--methods", "guda"].map(|text| text as &str);
        run(INFLUENCE, [&usual[..], more].concat()).json()["methods"][0]["scores"].clone()
    };
    let by_ascent = guda(&["--set", "unlearn.method=ga", "--set", "unlearn.parent=full"]);
    assert_eq!(by_ascent.as_array().unwrap().len(), 4);
    // Ascent on a contributor's images: what the model drew becomes less likely, whoever it was.
    assert!(by_ascent.as_array().unwrap().iter().all(|score| score.as_f64().unwrap() > 0.0), "{by_ascent}");
    let by_descent = guda(&[]);
    assert_ne!(by_descent, by_ascent);
    assert_eq!(guda(&["--threads", "1"]), by_descent);
    // Retraining without each needs no model to begin with.
    assert_ne!(guda(&["--set", "unlearn.method=retrain"]), by_descent);

    run(
        TRIBUTE,
        [
            "compare",
            &file,
            "--out",
            &out,
            "--quiet",
            "--methods",
            "gd,conditional",
            "--estimators",
            "kernel_shap",
            "--influence",
            "guda,trak,renormalised_influence,d_trak",
            "--counterfactual",
        ],
    )
    .succeeded();
    let compared = read_json(&study.path("out/compare.json"));
    let rows = compared["comparison"]["methods"].as_array().unwrap();
    let row = |name: &str| {
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {rows:?}"))
    };
    assert_eq!(row("GUDA")["models"], 5);
    assert!(row("GUDA")["macs"].as_f64().unwrap() > 0.0);
    assert_eq!(row("GUDA")["lds"]["colourfulness"]["status"], "measured");
    let conditional = row("conditional + Kernel SHAP");
    // Pruned to one channel a group, its pictures are alike to the last bit; its losses are not.
    assert_eq!(conditional["lds"]["diffusion_loss"]["status"], "measured", "{conditional}");
    // What two rows share is made once and said; what is one row's own is not.
    let shares = |name: &str| row(name)["explanation"].as_str().unwrap().contains("that other rows use too");
    assert!(shares("TRAK") && shares("Renormalised influence") && !shares("D-TRAK"));
}
