//! A whole study through the binaries: from pictures to a report, and the records for other programs.

mod json_schema;
mod tiny_study;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use ledger::Record;
use serde_json::Value;
use tiny_study::{
    Background, DATASETS, LDS, Outcome, TRIBUTE, TinyStudy, assert_no_leftovers, copy_folder, files_below,
    products, read_json, records, records_of, reported_scores, run,
};

/// A study run once for all tests that only read it.
fn finished() -> PathBuf {
    static STUDY: OnceLock<TinyStudy> = OnceLock::new();
    STUDY
        .get_or_init(|| {
            let study = TinyStudy::new();
            study.complete("out", &[]);
            study
        })
        .path("out")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_report_is_complete_and_loads_nothing() {
    let out = finished();
    let html = fs::read_to_string(out.join("report.html")).unwrap();
    for loading in ["<link", "<iframe", "@import", "src=\"http", "src=\"//", "url(http", "url(//", "srcset"] {
        assert!(!html.contains(loading), "the report loads something: {loading}");
    }
    for source in html.split("src=\"").skip(1) {
        assert!(source.starts_with("data:"), "src={}", &source[..source.len().min(60)]);
    }
    for name in ["AJ Ashton", "Chris Goerner", "Jakob", "Yutaka Kachi", "for show only"] {
        assert!(html.contains(name), "{name} is not in the report");
    }

    let schema = read_json(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/report/schema/report.schema.json"
    )));
    let report = read_json(&out.join("report.json"));
    let problems = json_schema::problems(&schema, &report);
    assert!(problems.is_empty(), "{problems:#?}");
    let mut spoiled = report.clone();
    spoiled["header"]["colour"] = 1.into();
    spoiled["behaviors"][0]["scores"][0]["rank"] = "first".into();
    spoiled["contributors"][0].as_object_mut().unwrap().remove("name");
    assert_eq!(json_schema::problems(&schema, &spoiled).len(), 3);

    let primary = &report["behaviors"][0];
    assert_eq!(primary["key"], "colourfulness");
    let sum: f64 =
        primary["scores"].as_array().unwrap().iter().map(|score| score["value"].as_f64().unwrap()).sum();
    let change = primary["value_all"].as_f64().unwrap() - primary["value_none"].as_f64().unwrap();
    assert!((sum - change).abs() < 1e-9 * (1.0 + change.abs()), "shares add up to {sum}, not {change}");
}

#[test]
fn status_counts_every_run() {
    let status = run(TRIBUTE, ["status", text(&finished()), "--json"]).json();
    let parts: Vec<(&str, u64)> = status["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            assert_eq!(
                (&part["done"], &part["left"], &part["running"]),
                (&part["total"], &0.into(), &0.into())
            );
            assert_eq!(part["failures"], serde_json::json!([]));
            (part["name"].as_str().unwrap(), part["done"].as_u64().unwrap())
        })
        .collect();
    // Six draws, everybody and nobody; three tests with two seeds; one baseline; without the top, without the bottom.
    let expected = [
        ("coalitions", 8),
        ("retrained test coalitions", 6),
        ("retraining baseline", 1),
        ("retrained without some", 2),
    ];
    assert_eq!(parts, expected);
    let words = run(TRIBUTE, ["status", text(&finished())]).succeeded().stdout;
    assert!(words.contains("6 of    6 done, 0 running, 0 failed, 0 to do"), "{words}");
}

#[test]
fn exported_records_read_back_and_give_the_same_scores() {
    let out = finished();
    let folder = tempfile::tempdir().unwrap();
    let (jsonl, csv) = (folder.path().join("records.jsonl"), folder.path().join("records.csv"));
    run(TRIBUTE, ["export", text(&out), "-o", text(&jsonl)]).succeeded();
    run(TRIBUTE, ["export", text(&out), "-o", text(&csv), "--format", "csv"]).succeeded();

    let recorded: Vec<Record> = records(&out).into_values().collect();
    let lines = fs::read_to_string(&jsonl).unwrap();
    let exported: Vec<Record> = lines
        .lines()
        .map(|line| Record::from_text(line.as_bytes(), &jsonl).unwrap().without_times())
        .collect();
    assert_eq!(exported, recorded);
    let table = fs::read_to_string(&csv).unwrap();
    assert_eq!(table.lines().count(), recorded.len() + 1);
    assert!(table.lines().next().unwrap().contains("behavior.colourfulness"), "{table}");

    let report = read_json(&out.join("report.json"));
    for records in [&jsonl, &out] {
        let judged = run(LDS, ["--train", text(records), "--bootstrap", "100"]).json();
        assert_eq!(judged["training_coalitions"], 6);
        for behavior in report["behaviors"].as_array().unwrap() {
            compare(behavior, &judged["behaviors"][behavior["key"].as_str().unwrap()]);
        }
    }
}

#[test]
fn repeated_draws_count_as_often_as_they_were_drawn() {
    // With this seed, some of the six draws are equal.
    let study = TinyStudy::edited(&[("seed = 5", "seed = 1")]);
    study.complete("out", &[]);
    let (out, jsonl, toml) = (study.path("out"), study.path("records.jsonl"), study.file());
    run(TRIBUTE, ["export", text(&out), "-o", text(&jsonl)]).succeeded();
    let report = read_json(&out.join("report.json"));
    let folder = ["--train", text(&out), "--bootstrap", "100"];
    let file = ["--train", text(&jsonl), "--bootstrap", "100", "--study", text(&toml)];
    for judged in [run(LDS, folder).json(), run(LDS, file).json()] {
        let number = |name: &str| judged[name].as_u64().unwrap();
        assert!(number("training_coalitions") < number("training_draws"), "{judged}");
        assert_eq!(report["behaviors"][0]["coalitions"], judged["training_draws"]);
        for behavior in report["behaviors"].as_array().unwrap() {
            compare(behavior, &judged["behaviors"][behavior["key"].as_str().unwrap()]);
        }
    }
    let unknown = run(LDS, &file[..4]).json();
    assert_eq!(unknown["training_draws"], unknown["training_coalitions"]);
}

/// The report's numbers of a behaviour, and those of tribute-lds.
fn compare(reported: &Value, judged: &Value) {
    let close = |one: &Value, two: f64| {
        let one = one.as_f64().unwrap();
        assert!((one - two).abs() <= 1e-9 * (1.0 + two.abs()), "{}: {one} and {two}", reported["key"]);
    };
    for score in reported["scores"].as_array().unwrap() {
        let contributor = score["contributor"].as_u64().unwrap() as usize;
        close(&judged["scores"]["values"][contributor], score["value"].as_f64().unwrap());
    }
    let lds = &reported["lds"];
    match lds["ours"]["lds"]["status"].as_str().unwrap() {
        "measured" => close(&judged["lds"]["mean"], 100.0 * lds["ours"]["lds"]["value"].as_f64().unwrap()),
        _ => assert!(judged["lds"]["undefined"].is_string(), "{judged}"),
    }
}

#[test]
fn a_finished_study_is_not_computed_again() {
    let study = TinyStudy::new();
    let out = study.path("again");
    copy_folder(&finished(), &out);
    let before = written(&out);
    let scores = reported_scores(&out);
    let words = study.complete("again", &[]).stdout;
    assert_eq!(written(&out), before);
    assert_eq!(reported_scores(&out), scores);
    assert!(words.contains("Shares in Colourfulness") && words.contains("report.html"), "{words}");
}

#[test]
fn the_study_file_in_the_results_continues_the_study_from_anywhere() {
    let study = TinyStudy::edited(&[(&format!("path = \"{DATASETS}/openclipart32\""), "path = \"pack\"")]);
    copy_folder(&Path::new(DATASETS).join("openclipart32"), &study.path("pack"));
    let mut here = Command::new(TRIBUTE);
    here.args(["run", "study.toml", "--out", "out"]).current_dir(study.path(""));
    Outcome::of(&mut here).succeeded();
    let before = written(&study.path("out"));
    run(TRIBUTE, ["run", text(&study.path("out/study.toml")), "--out", text(&study.path("out"))]).succeeded();
    assert_eq!(written(&study.path("out")), before);
}

/// When each record, model and sheet of samples was written.
fn written(out: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let folders = ["ledger", "models", "samples"];
    let files = folders.iter().flat_map(|folder| files_below(&out.join(folder)));
    files.map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap())).collect()
}

#[test]
fn workers_and_threads_do_not_change_a_result() {
    let (expected, files) = (records(&finished()), products(&finished()));
    assert!(!expected.is_empty() && !files.is_empty());
    let study = TinyStudy::new();
    let ways: [(&str, &[&str]); 3] = [
        ("alone", &["--workers", "1", "--threads", "1"]),
        ("threads", &["--workers", "1", "--threads", "2"]),
        ("workers", &["--workers", "2"]),
    ];
    for (out, more) in ways {
        study.complete(out, more);
        assert_eq!(records(&study.path(out)), expected, "{more:?}");
        assert_eq!(products(&study.path(out)), files, "{more:?}");
        assert_eq!(reported_scores(&study.path(out)), reported_scores(&finished()), "{more:?}");
        assert_no_leftovers(&study.path(out));
    }
}

#[test]
#[cfg(unix)]
fn a_second_driver_is_refused_by_name_of_the_first() {
    let study = TinyStudy::new();
    let lock = study.path("out/driver.lock");
    let mut first = Background::start(&mut study.drive("out", &[]));
    let signed = || fs::read_to_string(&lock).is_ok_and(|text| text.ends_with('\n'));
    assert!(first.wait_until(signed), "{:?}", first.end());
    // It cannot finish while the second one looks.
    first.signal("STOP");
    let pid = format!("process {}", first.pid());
    Outcome::of(&mut study.drive("out", &[])).refused(1, &[&pid, "driver.lock", "another output folder"]);
    first.signal("CONT");
    first.end().succeeded();
    assert_eq!(records(&study.path("out")), records(&finished()));
}

#[test]
fn truth_that_comes_with_the_study_is_not_retrained() {
    let study = TinyStudy::edited(&[("test_seeds = 2", "test_seeds = 2\ntruth = \"truth.jsonl\"")]);
    let truth = study.path("truth.jsonl");
    run(TRIBUTE, ["export", text(&finished()), "-o", text(&truth), "--method", "retrain"]).succeeded();
    study.complete("shipped", &[]);
    let out = study.path("shipped");
    let retrained = records_of(&out, "retrain");
    assert!(retrained.len() == 1 && retrained[0].key().coalition.is_full(), "{retrained:?}");
    assert_eq!(reported_scores(&out), reported_scores(&finished()));
    let notes = read_json(&out.join("report.json"))["header"]["notes"].to_string();
    assert!(notes.contains("retrained models were not trained here"), "{notes}");

    study.complete("shipped", &["--truth", "recompute"]);
    assert_eq!(records(&out), records(&finished()));
}
