//! `tribute-lds`: contributors' scores from records, judged by retrained models.

mod judge;
mod select;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Map, Value, json};
use terminal::{main_with, parse, print_json, usage};

/// Estimate contributors' scores from records, and judge them by the linear datamodel score
#[derive(Debug, Parser)]
#[command(name = "tribute-lds", version)]
struct Arguments {
    /// Records to estimate from: a study's folder, or a JSONL file of `tribute export`
    #[arg(long, alias = "train-db")]
    train: PathBuf,
    /// Records of retrained models to judge by; those of --train when left out
    #[arg(long, alias = "test-db")]
    test: Option<PathBuf>,
    /// Study file that the training records come from: a coalition then counts as often as the study drew it. The folder of
    /// a study has its own
    #[arg(long)]
    study: Option<PathBuf>,
    /// Method of the training records (gd, gd_u, retrain)
    #[arg(long, default_value = "gd")]
    method: String,
    /// Behaviours to score; all scalar ones when left out
    #[arg(long = "behavior", alias = "model-behavior-key")]
    behaviors: Vec<String>,
    /// Use only this many training coalitions, in the order of their ids
    #[arg(long, alias = "max-train-size")]
    max_train_size: Option<usize>,
    /// Repetitions of retrained models that make the test sets; all but 0 when left out
    #[arg(long, value_delimiter = ',')]
    test_repetitions: Option<Vec<u64>>,
    /// Bootstrap resamples behind each interval
    #[arg(long, alias = "num-bootstrap-iters", default_value_t = 1000)]
    bootstrap: usize,
    /// Coverage of the intervals
    #[arg(long, default_value_t = 0.95)]
    confidence: f64,
    /// Seed of the bootstrap
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    let arguments: Arguments = parse();
    main_with(|| {
        if !(arguments.confidence > 0.0 && arguments.confidence < 1.0) {
            return Err(usage(format!(
                "--confidence is {}, must be above 0 and below 1",
                arguments.confidence
            )));
        }
        if arguments.bootstrap < 2 {
            return Err(usage(format!("--bootstrap is {}, must be 2 or more", arguments.bootstrap)));
        }
        let records = select::Selected::read(&arguments)?;
        let behaviors = if arguments.behaviors.is_empty() {
            records.scalar_behaviors()
        } else {
            arguments.behaviors.clone()
        };
        if behaviors.is_empty() {
            return Err(usage("the training records hold no scalar behaviour; name one with --behavior"));
        }
        let mut scored = Map::new();
        for key in behaviors {
            let value: Value = judge::judge(&records, &key, &arguments)?;
            scored.insert(key, value);
        }
        print_json(&json!({
            "contributors": records.n,
            "training_coalitions": records.train.len(),
            "training_draws": records.draws(),
            "test_coalitions": records.test_coalitions(),
            "test_sets": records.tests.len(),
            "dropped_training_coalitions": records.dropped,
            "behaviors": scored,
        }))
    })
}
