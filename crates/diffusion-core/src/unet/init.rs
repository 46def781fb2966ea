//! Weights of a network that has not been trained.

use streams::{Streams, uniform};

use super::layout::{LayerKind, Layout};
use crate::{DiffusionError, StateDict, TensorF32, UNet2DConfig};

/// Fresh weights, distributed as PyTorch's default initialisation.
///
/// Weights and biases of convolutions and linear layers are uniform in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`, where
/// `fan_in` is the number of inputs to one output (PyTorch's `kaiming_uniform_` with `a = sqrt(5)`); norms start as the
/// identity. The values of a parameter come from stream `(its name, 0)` alone, so they are the same on every device and
/// do not depend on the rest of the network.
///
/// # Errors
/// As [`UNet2DConfig::validate`].
pub fn initial_weights(config: &UNet2DConfig, streams: &Streams) -> Result<StateDict, DiffusionError> {
    initial_weights_of(&Layout::of(config)?, streams)
}

/// Fresh weights of the layers of any layout, as [`initial_weights`] has them.
pub(crate) fn initial_weights_of(layout: &Layout, streams: &Streams) -> Result<StateDict, DiffusionError> {
    let mut weights = StateDict::new();
    for layer in layout.layers() {
        let shape = layer.weight_shape();
        let (weight, bias) = match layer.kind {
            LayerKind::GroupNorm { .. } => {
                (TensorF32::filled(shape, 1.0), TensorF32::filled([layer.outputs], 0.0))
            }
            LayerKind::Conv { .. } | LayerKind::Linear => {
                let fan_in: usize = shape[1..].iter().product();
                let bound = 1.0 / (fan_in as f64).sqrt();
                (
                    uniform_tensor(shape, bound, streams, &format!("{}.weight", layer.name))?,
                    uniform_tensor(vec![layer.outputs], bound, streams, &format!("{}.bias", layer.name))?,
                )
            }
        };
        weights.insert(format!("{}.weight", layer.name), weight);
        weights.insert(format!("{}.bias", layer.name), bias);
    }
    Ok(weights)
}

pub(crate) fn uniform_tensor(
    shape: Vec<usize>,
    bound: f64,
    streams: &Streams,
    name: &str,
) -> Result<TensorF32, DiffusionError> {
    let mut rng = streams.rng(name, 0);
    let count = shape.iter().product();
    let values = (0..count).map(|_| ((2.0 * uniform(&mut rng) - 1.0) * bound) as f32).collect();
    TensorF32::new(shape, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_that_of_pytorch() {
        let weights = initial_weights(&UNet2DConfig::small(16, &[32, 64]), &Streams::new(7)).unwrap();
        let weight = weights.get("mid_block.resnets.0.conv1.weight").unwrap();
        let bound = 1.0 / (64.0f32 * 9.0).sqrt();
        let n = weight.len() as f32;
        let mean = weight.data().iter().sum::<f32>() / n;
        let variance = weight.data().iter().map(|w| w * w).sum::<f32>() / n;
        assert!(weight.data().iter().all(|w| w.abs() <= bound));
        // Standard errors of the mean and of the mean square of n uniform values; five of them.
        assert!(mean.abs() < 5.0 * bound / (3.0 * n).sqrt(), "{mean}");
        assert!((variance / (bound * bound) - 1.0 / 3.0).abs() < 5.0 * (4.0 / 45.0 / n).sqrt(), "{variance}");
        assert!(weights.get("conv_norm_out.weight").unwrap().data().iter().all(|&w| w == 1.0));
        assert!(weights.get("conv_norm_out.bias").unwrap().data().iter().all(|&w| w == 0.0));
    }

    #[test]
    fn a_parameter_depends_on_seed_and_name_only() {
        let a = initial_weights(&UNet2DConfig::small(16, &[8, 16]), &Streams::new(1)).unwrap();
        let deeper = initial_weights(&UNet2DConfig::small(16, &[8, 16, 16]), &Streams::new(1)).unwrap();
        let other = initial_weights(&UNet2DConfig::small(16, &[8, 16]), &Streams::new(2)).unwrap();
        assert_eq!(a.get("conv_in.weight").unwrap(), deeper.get("conv_in.weight").unwrap());
        assert_ne!(a.get("conv_in.weight").unwrap(), other.get("conv_in.weight").unwrap());
    }
}
