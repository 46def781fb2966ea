//! Kernel SHAP at n = 20, 258 and 1,000 contributors, and its bootstrap at n = 258.

use std::hint::black_box;

use attribution_lds::{Bootstrap, FnGame, Game, KernelShap, Observations};
use criterion::{Criterion, criterion_group, criterion_main};
use removal::{Coalition, RemovalDistribution};
use streams::Streams;

/// `draws` observations of a game that is neither additive nor symmetric.
fn observations(n: usize, draws: usize) -> Observations {
    let game = FnGame::new(n, |coalition: &Coalition| {
        coalition.members().map(|member| (member as f64).sin()).sum::<f64>().tanh() + coalition.len() as f64
    });
    game.observe(RemovalDistribution::Shapley, draws, &Streams::new(1)).expect("a finite game")
}

fn kernel_shap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel_shap");
    group.sample_size(10);
    for (n, draws) in [(20, 500), (258, 2000), (1000, 3000)] {
        let observations = observations(n, draws);
        let settings = KernelShap { bootstrap: None, ..KernelShap::default() };
        group.bench_function(format!("fit_n{n}_m{draws}"), |bencher| {
            bencher.iter(|| black_box(settings.fit(&observations).expect("a fit")));
        });
    }
    for (n, draws, resamples) in [(20, 500, 1000), (258, 2000, 1000)] {
        let observations = observations(n, draws);
        let settings =
            KernelShap { bootstrap: Some(Bootstrap { resamples, seed: 0 }), ..KernelShap::default() };
        group.bench_function(format!("bootstrap{resamples}_n{n}_m{draws}"), |bencher| {
            bencher.iter(|| black_box(settings.fit(&observations).expect("a fit")));
        });
    }
    group.finish();
}

criterion_group!(benches, kernel_shap);
criterion_main!(benches);
