//! Studies that are killed or stopped continue to the records of an undisturbed run.

#![cfg(unix)]

mod tiny_study;

use std::fs;
use std::time::Instant;

use tiny_study::{Background, TinyStudy, assert_no_leftovers, products, records, reported_scores};

const KILLS: u32 = 10;

#[test]
fn killed_at_ten_moments_a_study_ends_with_the_records_of_a_clean_run() {
    let study = TinyStudy::new();
    let start = Instant::now();
    study.complete("clean", &[]);
    let whole = start.elapsed();
    let clean = records(&study.path("clean"));

    let out = study.path("killed");
    let (mut kills, mut starts) = (0, 0);
    while kills < KILLS {
        starts += 1;
        assert!(starts <= 4 * KILLS, "only {kills} of {starts} starts were killed before their end");
        let moment = whole.mul_f64(f64::from(kills + 1) / f64::from(KILLS + 1));
        let killed = Background::start(&mut study.drive("killed", &[])).killed_after(moment);
        let found = records(&out);
        assert!(
            found.iter().all(|(id, record)| clean.get(id) == Some(record)),
            "after kill {kills}, a record is not that of a clean run"
        );
        if killed {
            kills += 1;
        } else {
            // What earlier kills left was done before this moment: begin anew, so that late moments are met too.
            assert_eq!(found, clean);
            assert_no_leftovers(&out);
            fs::remove_dir_all(&out).unwrap();
        }
    }
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
