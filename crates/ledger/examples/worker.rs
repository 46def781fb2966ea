//! A worker that shares a ledger with others: claims runs until none is left, and makes up their results.
//!
//! `worker FOLDER RUNS MILLISECONDS`: RUNS runs that take MILLISECONDS each. It prints the index of each run that it
//! recorded. Kill it at any time and start it again: nothing is lost but the run it was at.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use ledger::{Ledger, Next, Record, RunKey};
use removal::Coalition;

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next =
        |name: &str| arguments.next().ok_or(format!("missing {name}: worker FOLDER RUNS MILLISECONDS"));
    let (folder, runs, milliseconds) =
        (next("FOLDER")?, next("RUNS")?.parse()?, next("MILLISECONDS")?.parse()?);

    let ledger = Ledger::open(folder)?;
    let keys: Vec<RunKey> =
        (0..runs).map(|seed| RunKey::new("gd", Coalition::full(8)).seed("optimizer", seed)).collect();
    let ids = keys.iter().map(RunKey::id).collect::<Result<Vec<_>, _>>()?;
    loop {
        match ledger.next_claim(&ids, 3)? {
            Next::Claimed(claim) => {
                println!("begin {}", claim.index());
                std::thread::sleep(Duration::from_millis(milliseconds));
                let record = Record::new(keys[claim.index()].clone())?;
                ledger.put(&record.behavior("index", claim.index() as f64).seconds("sleep", 0.001))?;
                println!("done {}", claim.index());
            }
            // Another worker is at the last runs; should it die, they are ours.
            Next::Busy { .. } => std::thread::sleep(Duration::from_millis(2)),
            Next::Finished { .. } => return Ok(()),
        }
    }
}
