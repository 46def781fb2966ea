//! Plan, importance and surgery on the 35.75 M parameter network for CIFAR and on a small one.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use diffusion_core::unet::layout::Layout;
use diffusion_core::{StateDict, TensorF32, UNet2DConfig};
use sparsify::{DependencyGraph, Evidence, Importance, Plan, PruningSettings, Ratio, surgery};

/// Weights in [-1, 1) without a pattern.
fn weights(config: &UNet2DConfig) -> StateDict {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) as f32 / 2f32.powi(31) - 1.0
    };
    let shapes = Layout::of(config).expect("a valid preset").parameter_shapes();
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let data = (0..shape.iter().product()).map(|_| next()).collect();
        (name, TensorF32::new(shape, data).expect("as many values as the shape says"))
    };
    shapes.into_iter().map(tensor).collect()
}

fn pruning(criterion: &mut Criterion) {
    let networks = [("cifar", UNet2DConfig::cifar()), ("small", UNet2DConfig::small(32, &[32, 64, 64]))];
    for (name, config) in networks {
        let weights = weights(&config);
        let mut group = criterion.benchmark_group(name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        group.bench_function("graph", |b| b.iter(|| DependencyGraph::of(black_box(&config))));
        let graph = DependencyGraph::of(&config).expect("a valid preset");
        group.bench_function("importance", |b| {
            b.iter(|| Importance::Magnitude.scores(&graph, black_box(&weights)))
        });
        group.bench_function("importance by gradients", |b| {
            // Any arrays of the network's shapes will do for gradients.
            let evidence = Evidence::from(&weights).with_gradients(&weights);
            b.iter(|| Importance::Taylor.scores(&graph, black_box(evidence)))
        });
        for ratio in [0.1, 0.3, 0.5, 0.7] {
            let settings = PruningSettings::new(Ratio::new(ratio).expect("between 0 and 1"));
            let plan = Plan::new(&config, &weights, settings).expect("finite weights of this network");
            group.bench_with_input(BenchmarkId::new("plan", ratio), &settings, |b, settings| {
                b.iter(|| Plan::new(&config, black_box(&weights), *settings));
            });
            group.bench_with_input(BenchmarkId::new("surgery", ratio), &plan, |b, plan| {
                b.iter(|| surgery(&config, black_box(&weights), plan));
            });
            group.bench_with_input(BenchmarkId::new("plan and surgery", ratio), &settings, |b, settings| {
                b.iter(|| surgery(&config, &weights, &Plan::new(&config, black_box(&weights), *settings)?));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, pruning);
criterion_main!(benches);
