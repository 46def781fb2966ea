//! One denoising step of DDIM: a forward pass without autodiff and the sampler's formula.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use diffusion_core::samplers::{SampleConfig, sample};
use diffusion_core::schedule::NoiseScheduleConfig;
use diffusion_core::{Device, UNet2DConfig, UNet2DModel};
use streams::Streams;

fn sampling_step(criterion: &mut Criterion) {
    let demo = UNet2DConfig { norm_num_groups: 8, ..UNet2DConfig::small(16, &[16, 32, 32]) };
    let medium = UNet2DConfig { norm_num_groups: 32, ..UNet2DConfig::small(32, &[64, 128, 128]) };
    let medium = UNet2DConfig { layers_per_block: 2, ..medium.with_attention_at(&[1]) };
    let cases = [("demo", &demo, 32), ("demo", &demo, 64), ("64-128-128 at 32 px", &medium, 8)];
    let schedule = NoiseScheduleConfig::default().build().expect("the default schedule");
    let mut group = criterion.benchmark_group("sampling step");
    for (name, config, batch_size) in cases {
        let model = UNet2DModel::new(config, &Device::flex(), &Streams::new(0)).expect("a valid network");
        let settings = SampleConfig { steps: 1, batch_size, ..SampleConfig::default() };
        let indices: Vec<u64> = (0..batch_size as u64).collect();
        group.bench_function(format!("{name}, batch {batch_size}"), |bencher| {
            bencher.iter(|| {
                let watch = &mut |_| ControlFlow::Continue(());
                let images =
                    sample(&model, &schedule, &settings, black_box(&indices), &Streams::new(2), watch);
                images.expect("finite pixels")
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = sampling_step
}
criterion_main!(benches);
