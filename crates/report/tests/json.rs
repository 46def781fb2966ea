//! `report.json` and its schema.

#[path = "../examples/sample_report/sample/mod.rs"]
mod sample;

use report::{Number, ReportData, render_json, schema};
use serde_json::Value;

fn rendered(data: &ReportData) -> Value {
    serde_json::from_str(&render_json(data).expect("the sample is valid")).expect("JSON")
}

#[test]
fn the_committed_schema_is_current() {
    let committed: Value = serde_json::from_str(include_str!("../schema/report.schema.json"))
        .expect("the committed schema is JSON");
    assert_eq!(
        committed,
        schema(),
        "run `cargo run -p report --example schema > schema/report.schema.json` in crates/report"
    );
}

#[test]
fn a_rendered_report_follows_the_schema() {
    let validator = jsonschema::draft202012::new(&schema()).expect("a valid schema");
    let data = sample::sample().expect("the sample builds");
    let json = rendered(&data);
    let errors: Vec<String> =
        validator.iter_errors(&json).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");

    // Missing numbers are null, not absent and not NaN.
    let missing = json["behaviors"][1]["scores"][11]["value"].clone();
    assert_eq!(missing, Value::Null);

    for (pointer, wrong) in [
        ("/format", Value::from("one")),
        ("/behaviors/0/scores/0/value", Value::from("0.3")),
        ("/behaviors/0/lds/ceiling/status", Value::from("perhaps")),
        ("/behaviors/0/direction", Value::from("up")),
    ] {
        let mut broken = json.clone();
        *broken.pointer_mut(pointer).expect("the field exists") = wrong;
        assert!(!validator.is_valid(&broken), "{pointer} should be refused");
    }
    let mut unknown = json;
    unknown["header"]["colour"] = Value::from("red");
    assert!(!validator.is_valid(&unknown), "an unknown field should be refused");
}

#[test]
fn a_report_reads_back_equal_but_for_the_bytes_of_its_pictures() {
    let data = sample::sample().expect("the sample builds");
    let text = render_json(&data).expect("the sample is valid");
    assert!(text.len() < 100_000, "{} bytes: pictures should not be in it", text.len());
    let back: ReportData = serde_json::from_str(&text).expect("its own layout");
    assert_eq!(render_json(&back).expect("still valid"), text);
    assert_eq!(back.models.full.samples.as_ref().map(|s| (s.width(), s.png().is_none())), Some((192, true)));
    let page = report::render_html(&back).expect("a page without pictures");
    assert!(!page.contains("<img") && page.contains("Work 1 by Annika Berg"));
}

#[test]
fn contradictions_are_refused_by_name() {
    type Break = fn(&mut ReportData);
    let cases: [(&str, Break); 10] = [
        ("format", |d| d.format = 99),
        ("contributors[3].name", |d| d.contributors[3].name = "  ".into()),
        ("occurs twice", |d| d.contributors[3].name = d.contributors[0].name.clone()),
        ("mark exactly one", |d| d.behaviors[1].primary = true),
        ("scores[0].rank: is 2, but 0 scores are better", |d| d.behaviors[0].scores[0].rank = 2),
        ("give one each", |d| d.behaviors[0].scores.truncate(11)),
        ("lds.ours.lds: is 61, must lie in -1..=1 (not times 100)", |d| {
            if let Some(lds) = &mut d.behaviors[0].lds {
                lds.ours.lds = report::Estimate::measured(61.0, None);
            }
        }),
        ("names contributor 12, but there are only 12", |d| d.models.coalitions[0].members.push(12)),
        ("comparison[\"fid\"]: names no behaviour", |d| {
            if let Some(comparison) = &mut d.comparison {
                comparison.methods[0].lds.insert("fid".into(), report::Estimate::NotMeasured);
            }
        }),
        ("help.scores: must be 12 x 12", |d| {
            if let Some(help) = &mut d.help {
                help.scores[0].push(Number::MISSING);
            }
        }),
    ];
    for (message, spoil) in cases {
        let mut data = sample::sample().expect("the sample builds");
        spoil(&mut data);
        let error = render_json(&data).expect_err(message).to_string();
        assert!(error.contains(message), "expected \"{message}\" in \"{error}\"");
    }
}
