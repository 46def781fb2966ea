//! One optimiser update of the training loop: batch, forward, backward, clipping, Adam and average.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use data::{BatchSource, DataError, ImageBatch};
use diffusion_core::schedule::NoiseScheduleConfig;
use diffusion_core::training::{Silent, Trainer, TrainingConfig};
use diffusion_core::{Device, UNet2DConfig, UNet2DModel};
use streams::{Streams, standard_normal};

/// One batch of noise, the same in every step.
struct OneBatch(ImageBatch);

impl OneBatch {
    fn new(batch_size: usize, side: usize) -> Self {
        let shape = [batch_size, 3, side, side];
        let pixels = standard_normal(&mut Streams::new(1).rng("pixels", 0), shape.iter().product());
        Self(ImageBatch { pixels, shape, indices: (0..batch_size).collect() })
    }
}

impl BatchSource for OneBatch {
    fn batch(&self, _step: u64, _batch_size: usize) -> Result<ImageBatch, DataError> {
        Ok(self.0.clone())
    }
}

fn train_step(criterion: &mut Criterion) {
    let demo = UNet2DConfig { norm_num_groups: 8, ..UNet2DConfig::small(16, &[16, 32, 32]) };
    let medium = UNet2DConfig { norm_num_groups: 32, ..UNet2DConfig::small(32, &[64, 128, 128]) };
    let medium = UNet2DConfig { layers_per_block: 2, ..medium.with_attention_at(&[1]) };
    let cases = [("demo", &demo, 32), ("demo", &demo, 64), ("64-128-128 at 32 px", &medium, 8)];
    let mut group = criterion.benchmark_group("train step");
    for (name, config, batch_size) in cases {
        let model = UNet2DModel::new(config, &Device::flex(), &Streams::new(0)).expect("a valid network");
        let training = TrainingConfig { batch_size, ..TrainingConfig::default() };
        let schedule = NoiseScheduleConfig::default().build().expect("the default schedule");
        let mut trainer =
            Trainer::new(model, training, schedule, Streams::new(2)).expect("the default settings");
        let source = OneBatch::new(batch_size, config.sample_size);
        group.bench_function(format!("{name}, batch {batch_size}"), |bencher| {
            bencher.iter(|| {
                let next = trainer.step() + 1;
                black_box(trainer.step_to(&source, next, &mut Silent).expect("a finite loss"))
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
    targets = train_step
}
criterion_main!(benches);
