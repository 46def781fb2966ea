//! How long Kernel SHAP of a game with thousands of contributors takes, and how much memory, as JSON.
//!
//! `cargo run --release -p attribution-lds --example large_game -- [CONTRIBUTORS [COALITIONS]]`, 10000 and 20000 when left out.
//! The game is additive with values from a standard normal distribution, plus standard normal noise for each coalition.

use std::error::Error;
use std::time::Instant;

use attribution_lds::{LargeGame, Observations, UtilityTable, predict_additive};
use removal::{Coalition, RemovalDistribution};
use streams::{Streams, standard_normal};

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let n = sizes.next().transpose()?.unwrap_or(10_000);
    let m = sizes.next().transpose()?.unwrap_or(20_000);
    let streams = Streams::new(1);
    let normal = |name: &str, count| standard_normal(&mut streams.rng(name, 0), count);
    let truth: Vec<f64> = normal("values", n).into_iter().map(f64::from).collect();

    let start = Instant::now();
    let mut table = UtilityTable::new(n);
    for (index, noise) in normal("noise", m).into_iter().enumerate() {
        let coalition = RemovalDistribution::Shapley.draw(n, &streams, index as u64)?.coalition;
        let utility = predict_additive(&truth, &coalition) + f64::from(noise);
        table.push(coalition, utility)?;
    }
    let full = predict_additive(&truth, &Coalition::full(n));
    let observations = Observations::new(table, vec![full], vec![0.0])?;
    let seconds_draw = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let fit = LargeGame::default().fit_shapley(&observations)?;
    let seconds_fit = start.elapsed().as_secs_f64();

    let squares: f64 = fit.values.iter().zip(&truth).map(|(value, truth)| (value - truth).powi(2)).sum();
    let numbers = serde_json::json!({
        "contributors": n,
        "coalitions": m,
        "threads": std::thread::available_parallelism()?.get(),
        "seconds_draw": seconds_draw,
        "seconds_fit": seconds_fit,
        "iterations": fit.iterations,
        "residual": fit.residual,
        "converged": fit.converged,
        "root_mean_square_error": (squares / n as f64).sqrt(),
        "peak_rss_mib": peak_rss_mib(),
    });
    println!("{numbers:#}");
    Ok(())
}

/// The process's largest resident memory so far (`VmHWM`); `None` where the system does not tell.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes / 1024.0)
}
