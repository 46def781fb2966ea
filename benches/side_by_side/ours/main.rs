//! Our side of the comparison with Python's libraries: does one repetition of a named piece of work whenever it is told.
//!
//! `run.py` starts it and writes one JSON object a line. `{"do": "prepare", "work": ..., "folder": ..., ...}` makes the
//! data (or reads what the other side made), does the work once, and answers with what the other side needs and with the
//! results to compare; `{"do": "run"}` does the work once more and answers `{"seconds": ...}`; `{"do": "drop"}` frees it.
//!
//! `side_by_side steps NETWORK BATCH COUNT [SETTINGS]` instead does a few training steps, prints the loss and the processor
//! seconds of each, and ends: for peak memory, and for the cost of settings (JSON, those of `training` in the library).

mod network;
mod statistics;

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

/// What any step of the comparison may fail with.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Something to be timed.
pub trait Work {
    /// Does it once; the answer may hold results.
    fn run(&mut self) -> Result<Value>;
}

/// What `run.py` asks for.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Prepare { work: Kind, folder: PathBuf },
    Run,
    Drop,
}

/// The pieces of work.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Kind {
    Train { network: network::Network, batch: usize },
    Sample { network: network::Network, images: usize, steps: usize },
    Prune { network: network::Network, ratio: f64 },
    Gemm { size: usize },
    KernelShap { contributors: usize, draws: usize, intervals: bool },
    RidgeCv { contributors: usize, draws: usize },
    Bootstrap { coalitions: usize, resamples: usize },
    Frechet { features: usize },
}

fn prepare(kind: Kind, folder: &std::path::Path) -> Result<(Box<dyn Work>, Value)> {
    std::fs::create_dir_all(folder)?;
    match kind {
        Kind::Train { network, batch } => network::train(network, batch, folder),
        Kind::Sample { network, images, steps } => network::sample(network, images, steps, folder),
        Kind::Prune { network, ratio } => network::prune(network, ratio, folder),
        Kind::Gemm { size } => Ok(network::gemm(size)),
        Kind::KernelShap { contributors, draws, intervals } => {
            statistics::kernel_shap(contributors, draws, intervals, folder)
        }
        Kind::RidgeCv { contributors, draws } => statistics::ridge_cv(contributors, draws, folder),
        Kind::Bootstrap { coalitions, resamples } => statistics::bootstrap(coalitions, resamples, folder),
        Kind::Frechet { features } => statistics::frechet(features, folder),
    }
}

fn serve() -> Result<()> {
    let mut current: Option<Box<dyn Work>> = None;
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Request::Prepare { work, folder } => {
                let (work, answer) = prepare(work, &folder)?;
                current = Some(work);
                answer
            }
            Request::Run => {
                let work = current.as_mut().ok_or("nothing is prepared")?;
                let start = Instant::now();
                let result = work.run()?;
                json!({"seconds": start.elapsed().as_secs_f64(), "result": result})
            }
            Request::Drop => {
                current = None;
                json!({})
            }
        };
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    // With the allocator of all Tribute binaries, set as they set it.
    terminal::main_with(|| program().map_err(|error| anyhow::anyhow!(error)))
}

fn program() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As the binaries do with `--threads`; `RAYON_NUM_THREADS` says how many.
    let pool = rayon::ThreadPoolBuilder::new().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => pool.install(serve),
        ["steps", network, batch, count, settings @ ..] if settings.len() < 2 => {
            let network = serde_json::from_value(Value::from(*network))?;
            let (batch, count) = (batch.parse()?, count.parse()?);
            let settings = serde_json::from_str(settings.first().unwrap_or(&"{}"))?;
            pool.install(|| network::steps(network, batch, count, settings))
        }
        _ => Err("usage: side_by_side [steps NETWORK BATCH COUNT [SETTINGS]]".into()),
    }
}
