//! Studies that are killed or stopped continue to the records of an undisturbed run.

#![cfg(unix)]

mod tiny_study;

use std::fs;
use std::time::Duration;

use tiny_study::{Background, TinyStudy, assert_no_leftovers, products, records, reported_scores};

const KILLS: usize = 10;

#[test]
fn killed_at_ten_moments_a_study_ends_with_the_records_of_a_clean_run() {
    let study = TinyStudy::new();
    study.complete("clean", &[]);
    let clean = records(&study.path("clean"));

    let out = study.path("killed");
    for kill in 0..KILLS {
        // From just after the start to while the report is written: by progress, not time, so that a busy machine meets
        // the same stages.
        let done = clean.len() * kill / (KILLS - 1);
        let later = Duration::from_millis(3 * (kill as u64 % 4));
        let mut attempts = 0;
        while !killed_with(&study, done, later) {
            // It ended before it could be killed: try this moment anew from the beginning.
            attempts += 1;
            assert!(attempts < 10, "{attempts} studies ended before they could be killed at {done} records");
            assert_eq!(records(&out), clean);
            assert_no_leftovers(&out);
            fs::remove_dir_all(&out).unwrap();
        }
        let found = records(&out);
        assert!(
            found.iter().all(|(id, record)| clean.get(id) == Some(record)),
            "after kill {kill}, a record is not that of a clean run"
        );
    }
    study.complete("killed", &[]);
    assert_eq!(records(&out), clean);
    assert_eq!(products(&out), products(&study.path("clean")));
    assert_eq!(reported_scores(&out), reported_scores(&study.path("clean")));
    assert_no_leftovers(&out);
}

/// Starts or continues the study, and kills it once it has `done` records and some time has passed. `false` if it ended
/// before that.
fn killed_with(study: &TinyStudy, done: usize, later: Duration) -> bool {
    let out = study.path("killed");
    let mut running = Background::start(&mut study.drive("killed", &[]));
    let pid = running.pid().to_string();
    let at_work = || fs::read_to_string(out.join("driver.lock")).is_ok_and(|text| text.trim() == pid);
    running.wait_until(|| at_work() && records(&out).len() >= done) && running.killed_after(later)
}

#[test]
fn a_stopped_study_says_how_to_continue_and_does() {
    let study = TinyStudy::new();
    study.complete("clean", &[]);
    let clean = records(&study.path("clean"));

    let out = study.path("stopped");
    for attempt in 1.. {
        let mut running = Background::start(&mut study.drive("stopped", &[]));
        // From now on a dozen models are made.
        let begun = running.wait_until(|| !records(&out).is_empty());
        if begun {
            running.signal("INT");
        }
        let outcome = running.end();
        if outcome.code != Some(0) {
            outcome.refused(1, &["stopping after this step", "the same command continues from here"]);
            break;
        }
        // On a busy machine the signal may come too late.
        assert!(attempt < 10, "{attempt} studies ended before they could be stopped");
        fs::remove_dir_all(&out).unwrap();
    }
    let found = records(&out);
    assert!(found.len() < clean.len() && found.iter().all(|(id, record)| clean.get(id) == Some(record)));
    assert_no_leftovers(&out);

    study.complete("stopped", &[]);
    assert_eq!(records(&out), clean);
    assert_eq!(products(&out), products(&study.path("clean")));
}
