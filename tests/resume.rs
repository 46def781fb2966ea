//! Studies that are killed or stopped continue to the records of an undisturbed run.

#![cfg(unix)]

mod tiny_study;

use std::fs;
use std::time::Duration;

use tiny_study::{Background, TinyStudy, assert_no_leftovers, products, records, reported_scores};

const KILLS: u32 = 10;

#[test]
fn killed_at_ten_moments_a_study_ends_with_the_records_of_a_clean_run() {
    let study = TinyStudy::new();
    study.complete("clean", &[]);
    let clean = records(&study.path("clean"));
    assert!(clean.len() > KILLS as usize, "each start must have a record left to make: {}", clean.len());

    let out = study.path("killed");
    for kill in 0..KILLS {
        let before = records(&out).len();
        let mut running = Background::start(&mut study.drive("killed", &[]));
        // The first is killed while the full model trains, the others some time after they made one record more: progress,
        // not time, so that a busy machine meets the same stages.
        let met = match kill {
            0 => running.wait_until(|| out.join("models").is_dir()),
            _ => running.wait_until(|| records(&out).len() > before),
        };
        assert!(met, "start {kill} ended before it could be killed");
        running.killed_after(Duration::from_millis(u64::from(3 * kill)));
        let found = records(&out);
        assert!(
            found.iter().all(|(id, record)| clean.get(id) == Some(record)),
            "after kill {kill}, a record is not that of a clean run"
        );
    }
    assert!(records(&out).len() >= KILLS as usize - 1);
    study.complete("killed", &[]);
    assert_eq!(records(&out), clean);
    assert_eq!(products(&out), products(&study.path("clean")));
    assert_eq!(reported_scores(&out), reported_scores(&study.path("clean")));
    assert_no_leftovers(&out);
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
