//! The same three steps on every backend that is compiled in and has a device here.

mod support;

use std::ops::ControlFlow;

use diffusion_core::device::DeviceChoice;
use diffusion_core::schedule::NoiseScheduleConfig;
use diffusion_core::training::{StepReport, Trainer, TrainingConfig};
use diffusion_core::{DiffusionError, UNet2DConfig, UNet2DModel};
use streams::Streams;
use support::Blobs;

fn three_losses(choice: DeviceChoice, gradient_checkpointing: bool) -> Result<Vec<f32>, DiffusionError> {
    let architecture = UNet2DConfig::small(8, &[8, 16]).with_attention_at(&[1]);
    let model = UNet2DModel::new(&architecture, &choice.open()?, &Streams::new(1))?;
    let mut config = TrainingConfig { batch_size: 4, gradient_checkpointing, ..TrainingConfig::default() };
    config.optimizer.learning_rate = 1e-2;
    let schedule = NoiseScheduleConfig::default().build()?;
    let mut trainer = Trainer::new(model, config, schedule, Streams::new(5))?;
    let mut losses = Vec::new();
    let mut watch = |report: &StepReport| {
        losses.push(report.loss);
        ControlFlow::Continue(())
    };
    trainer.step_to(&Blobs { size: 8, spoiled_from: None }, 3, &mut watch)?;
    Ok(losses)
}

#[test]
fn three_steps_have_the_same_losses() {
    let flex = three_losses(DeviceChoice::Flex, false).unwrap();
    assert_eq!(flex.len(), 3);
    assert!(flex[2] < flex[0], "{flex:?}");
    for choice in [DeviceChoice::NdArray, DeviceChoice::Wgpu(None), DeviceChoice::Cuda(None)] {
        match three_losses(choice, false) {
            Ok(losses) => {
                // Parallel sums on a GPU may have another order each time.
                let again = three_losses(choice, true).unwrap();
                for (again, loss) in again.iter().zip(&losses) {
                    assert!((again - loss).abs() < 1e-5 * loss, "{choice}: {losses:?}, {again:?} again");
                }
                for (ours, reference) in losses.iter().zip(&flex) {
                    assert!(
                        (ours - reference).abs() < 1e-4 * reference,
                        "{choice}: {losses:?}, flex: {flex:?}"
                    );
                }
                println!("{choice}: {losses:?}, flex: {flex:?}");
            }
            Err(DiffusionError::BackendMissing { feature, .. }) => {
                println!("{choice}: not compiled in (--features {feature})");
            }
            Err(DiffusionError::NoSuchDevice { .. }) => println!("{choice}: skipped: no adapter"),
            Err(error) => panic!("{choice}: {error}"),
        }
    }
}
