//! Threads and processes on one ledger: every run recorded once, whoever is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use ledger::{Ledger, LedgerError, Next, Record, RunKey};
use removal::Coalition;

fn keys(runs: u64) -> Vec<RunKey> {
    (0..runs).map(|seed| RunKey::new("gd", Coalition::full(8)).seed("optimizer", seed)).collect()
}

/// The example `worker`, which cargo builds along with the tests.
fn worker_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let build = test.parent().and_then(Path::parent).unwrap();
    let program = build.join("examples").join(format!("worker{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.exists(),
        "{} is not built: run the tests with `cargo test` or `cargo nextest run`",
        program.display()
    );
    program
}

fn start_worker(folder: &Path, runs: u64, milliseconds: u64) -> Child {
    let arguments = [folder.display().to_string(), runs.to_string(), milliseconds.to_string()];
    Command::new(worker_program()).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
}

/// All records, times aside, by file name.
fn contents(ledger: &Ledger) -> BTreeMap<String, String> {
    let records = ledger.iter().unwrap().map(|record| record.unwrap().without_times());
    records.map(|record| (record.id().to_string(), record.to_text().unwrap())).collect()
}

/// Names of all files that are not records.
fn litter(folder: &Path) -> Vec<String> {
    let names = ["records", "claims", "failures"]
        .iter()
        .flat_map(|name| std::fs::read_dir(folder.join(name)).unwrap());
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(".json")).collect()
}

#[test]
fn racing_threads_do_every_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(60);
    let ids: Vec<_> = keys.iter().map(|key| key.id().unwrap()).collect();
    let worked: Vec<AtomicUsize> = ids.iter().map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let ledger = Ledger::open(folder.path()).unwrap();
                loop {
                    match ledger.next_claim(&ids, 1).unwrap() {
                        Next::Claimed(claim) => {
                            worked[claim.index()].fetch_add(1, Ordering::SeqCst);
                            let record = Record::new(keys[claim.index()].clone()).unwrap();
                            ledger.put(&record.behavior("index", claim.index() as f64)).unwrap();
                        }
                        Next::Busy { .. } => std::thread::yield_now(),
                        Next::Finished { failed } => {
                            assert_eq!(failed, 0);
                            break;
                        }
                    }
                }
            });
        }
    });
    assert!(worked.iter().all(|times| times.load(Ordering::SeqCst) == 1), "{worked:?}");
    assert_eq!(Ledger::open(folder.path()).unwrap().status(&ids).unwrap().done, 60);
    assert_eq!(litter(folder.path()), [""; 0]);
}

#[test]
fn racing_writers_leave_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    for key in keys(20) {
        let outcomes: Vec<Result<(), LedgerError>> = std::thread::scope(|scope| {
            let put = |result: f64| {
                let record = Record::new(key.clone()).unwrap().behavior("entropy", result);
                let ledger = &ledger;
                scope.spawn(move || ledger.put(&record))
            };
            let threads: Vec<_> = (0..4).map(|thread| put(f64::from(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winner = outcomes.iter().position(Result::is_ok).unwrap();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(LedgerError::Conflict { .. }))));
        let standing = ledger.get(key.id().unwrap()).unwrap();
        assert_eq!(standing.behaviors["entropy"].scalar(), Some(winner as f64));
    }
    assert_eq!(ledger.ids().unwrap().len(), 20);
    assert_eq!(litter(folder.path()), [""; 0]);
}

#[test]
fn racing_processes_do_every_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let workers: Vec<_> = (0..3).map(|_| start_worker(folder.path(), 40, 1)).collect();
    let mut done = Vec::new();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success());
        let lines = String::from_utf8(output.stdout).unwrap();
        done.extend(
            lines
                .lines()
                .filter_map(|line| line.strip_prefix("done "))
                .map(|index| index.parse::<u64>().unwrap()),
        );
    }
    done.sort_unstable();
    assert_eq!(done, (0..40).collect::<Vec<_>>());
    assert_eq!(litter(folder.path()), [""; 0]);
}

#[test]
fn a_killed_worker_loses_only_its_run() {
    let clean_folder = tempfile::tempdir().unwrap();
    assert!(start_worker(clean_folder.path(), 12, 0).wait().unwrap().success());

    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<_> = keys(12).iter().map(|key| key.id().unwrap()).collect();
    let ledger = Ledger::open(folder.path()).unwrap();
    for killed in 0..3 {
        // This one takes an hour for a run after two quick ones done by another worker.
        let mut worker = start_worker(folder.path(), 12, 3_600_000);
        let mut line = String::new();
        BufReader::new(worker.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let status = ledger.status(&ids).unwrap();
        assert_eq!((status.done, status.running.len()), (2 * killed, 1), "{line}");
        assert_eq!(status.running[0].pid, Some(worker.id()));
        let claimed: usize = line.trim().strip_prefix("begin ").unwrap().parse().unwrap();
        assert_eq!(status.running[0].id, ids[claimed]);
        worker.kill().unwrap();
        worker.wait().unwrap();
        let status = ledger.status(&ids).unwrap();
        assert_eq!((status.done, status.running.len(), status.left), (2 * killed, 0, 12 - 2 * killed));
        for _ in 0..2 {
            let Next::Claimed(claim) = ledger.next_claim(&ids, 1).unwrap() else { panic!("runs are left") };
            let record = Record::new(keys(12)[claim.index()].clone()).unwrap();
            ledger.put(&record.behavior("index", claim.index() as f64)).unwrap();
        }
    }
    assert!(start_worker(folder.path(), 12, 0).wait().unwrap().success());
    assert_eq!(contents(&ledger), contents(&Ledger::open(clean_folder.path()).unwrap()));
}

#[test]
fn killed_at_random_moments_the_records_are_those_of_a_clean_run() {
    let clean_folder = tempfile::tempdir().unwrap();
    assert!(start_worker(clean_folder.path(), 200, 0).wait().unwrap().success());
    let folder = tempfile::tempdir().unwrap();
    for milliseconds in [3, 7, 11, 5, 17, 9, 13, 4, 8, 21] {
        let mut workers = [(); 2].map(|()| start_worker(folder.path(), 200, 1));
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        for worker in &mut workers {
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
    }
    assert!(start_worker(folder.path(), 200, 0).wait().unwrap().success());
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(contents(&ledger), contents(&Ledger::open(clean_folder.path()).unwrap()));
    let status = ledger.status(&keys(200).iter().map(|key| key.id().unwrap()).collect::<Vec<_>>()).unwrap();
    assert_eq!((status.done, status.total()), (200, 200));
}
