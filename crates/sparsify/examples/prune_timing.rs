//! Medians, in milliseconds, of the parts of pruning the 35.75 M parameter network for CIFAR by magnitude at 0.3, as JSON.
//!
//! `cargo run --release -p sparsify --example prune_timing [REPETITIONS]` (20 when left out)

use std::hint::black_box;
use std::time::Instant;

use diffusion_core::UNet2DConfig;
use diffusion_core::unet::initial_weights;
use serde_json::json;
use sparsify::{DependencyGraph, Importance, Plan, PruningSettings, Ratio, surgery};
use streams::Streams;

/// The middle one of `repetitions` durations in milliseconds.
fn median<T>(repetitions: usize, mut work: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..repetitions)
        .map(|_| {
            let start = Instant::now();
            // The result is dropped within the time: its memory is part of the cost.
            drop(black_box(work()));
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_unstable_by(f64::total_cmp);
    times[repetitions / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let repetitions: usize = std::env::args().nth(1).map_or(Ok(20), |text| text.parse())?;
    if repetitions == 0 {
        return Err("give 1 repetition or more".into());
    }
    let config = UNet2DConfig::cifar();
    let weights = initial_weights(&config, &Streams::new(0))?;
    let settings = PruningSettings::new(Ratio::new(0.3)?);
    let graph = DependencyGraph::of(&config)?;
    let plan = Plan::new(&config, &weights, settings)?;
    let result = json!({
        "parameters": weights.parameter_count(),
        "ratio": settings.ratio.get(),
        "importance_name": settings.importance.name(),
        "threads": rayon::current_num_threads(),
        "repetitions": repetitions,
        "milliseconds": {
            "graph": median(repetitions, || DependencyGraph::of(&config)),
            "importance": median(repetitions, || Importance::Magnitude.scores(&graph, &weights)),
            "surgery": median(repetitions, || surgery(&config, &weights, &plan)),
            "all": median(repetitions, || surgery(&config, &weights, &Plan::new(&config, &weights, settings)?)),
        },
    });
    println!("{result}");
    Ok(())
}
