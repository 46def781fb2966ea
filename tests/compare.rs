//! `tribute compare` on a small study.

mod tiny_study;

use std::fs;

use serde_json::Value;
use tiny_study::{TRIBUTE, TinyStudy, products, read_json, records, run};

fn methods(comparison: &Value) -> Vec<String> {
    let rows = comparison["comparison"]["methods"].as_array().unwrap();
    rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn methods_of_every_kind_stand_in_one_table() {
    let study = TinyStudy::new();
    let out = study.path("out");
    let (file, out_text) = (study.file(), out.display().to_string());
    let compare = || {
        run(
            TRIBUTE,
            [
                "compare",
                file.to_str().unwrap(),
                "--out",
                &out_text,
                "--quiet",
                "--methods",
                "gd,gd_u,retrain",
                "--estimators",
                "kernel_shap",
                "--influence",
                "pixel_similarity_mean,trak",
                "--counterfactual",
                "0.5",
            ],
        )
        .succeeded()
    };
    let first = compare();
    let saved = read_json(&out.join("compare.json"));
    let names = methods(&saved);
    for name in [
        "gd + Kernel SHAP",
        "gd_u + Kernel SHAP",
        "retrain + Kernel SHAP",
        "Pixel similarity (mean)",
        "TRAK",
        "Images per contributor",
    ] {
        assert!(names.iter().any(|one| one == name), "{name} in {names:?}");
        assert!(first.stdout.contains(name), "{}", first.stdout);
    }
    let rows = saved["comparison"]["methods"].as_array().unwrap();
    let budget = saved["comparison"]["budget_macs"].as_f64().unwrap();
    for row in rows.iter().filter(|row| row["kind"] == "coalitions") {
        let macs = row["macs"].as_f64().unwrap();
        let only_everybody = row["models"] == 1;
        assert!(macs > 0.0 && (only_everybody || macs <= budget * (1.0 + 1e-9)), "{row}");
        assert!(row["seconds"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(rows[0]["lds"]["colourfulness"]["status"], "measured", "{}", rows[0]);
    // The study's own method spends exactly the budget.
    assert!((rows[0]["macs"].as_f64().unwrap() / budget - 1.0).abs() < 1e-9, "{}", rows[0]);
    for row in rows {
        let retrained = row["name"] == "retrain + Kernel SHAP";
        // Here, retraining a single coalition is beyond the budget.
        assert_eq!(row["counterfactual_area"].is_number(), !retrained, "{row}");
        assert!(!retrained || row["lds"]["colourfulness"]["status"] == "undefined", "{row}");
    }
    assert!(
        fs::read_to_string(out.join("report.html")).unwrap().contains("Every method at the same compute")
    );

    // Everything is on record: the second time makes nothing new and says the same.
    let before = records(&out).len();
    compare();
    assert_eq!(records(&out).len(), before);
    let again = read_json(&out.join("compare.json"));
    for (one, two) in rows.iter().zip(again["comparison"]["methods"].as_array().unwrap()) {
        assert_eq!((&one["lds"], &one["models"]), (&two["lds"], &two["models"]));
    }
    // A comparison of other settings is not shown with this study.
    let other = TinyStudy::edited(&[("bootstrap = 100", "bootstrap = 101")]);
    let file = other.file();
    run(TRIBUTE, ["run", file.to_str().unwrap(), "--out", &out_text, "--quiet"]).succeeded();
    assert!(!fs::read_to_string(out.join("report.html")).unwrap().contains("Every method"));
    assert!(!products(&out).is_empty());
}

#[test]
fn what_cannot_be_compared_is_named() {
    let study = TinyStudy::new();
    let out = study.path("out");
    let (file, out_text) = (study.file(), out.display().to_string());
    let compare = |more: &[&str]| {
        run(TRIBUTE, [&["compare", file.to_str().unwrap(), "--out", &out_text][..], more].concat())
    };
    compare(&["--methods", "gdd"]).refused(2, &["gdd"]);
    compare(&["--estimators", "shapely"]).refused(2, &["shapely"]);
    compare(&["--influence", "traak"]).refused(2, &["traak"]);
    compare(&["--counterfactual", "1.5"]).refused(2, &["compare.counterfactual", "1.5"]);
    compare(&["--set", "compare.methods=['gdd']"]).refused(2, &["gdd"]);
    assert!(!out.exists());
}
