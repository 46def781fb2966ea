//! Products of weights and gradients, summed by output and by input channel.

use diffusion_core::unet::layout::LayerKind;
use diffusion_core::{StateDict, TensorF32};
use rayon::prelude::*;

use super::channel_sums::{ChannelSums, group_means};
use crate::{DependencyGraph, SparsifyError};

/// When the absolute value is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terms {
    /// Of the sum over a channel's weights: all of them are removed together.
    OfChannels,
    /// Of each weight's product, before they are summed.
    OfWeights,
}

/// [`Importance::Taylor`](super::Importance::Taylor) or [`Importance::DiffPruning`](super::Importance::DiffPruning) of
/// every channel.
pub(super) fn scores(
    graph: &DependencyGraph,
    weights: &StateDict,
    gradients: &StateDict,
    terms: Terms,
) -> Result<Vec<Vec<f64>>, SparsifyError> {
    let sums: Vec<ChannelSums> = graph
        .layout()
        .layers()
        .par_iter()
        .map(|layer| match layer.kind {
            LayerKind::GroupNorm { .. } => Ok(ChannelSums::default()),
            _ => {
                let name = format!("{}.weight", layer.name);
                let (weight, gradient) = (weights.get(&name)?, gradients.get(&name)?);
                products(weight, gradient, terms).ok_or_else(|| not_finite(&name, weight, gradient))
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(group_means(graph, &sums))
}

/// The error for weights or gradients whose products are not numbers.
fn not_finite(name: &str, weight: &TensorF32, gradient: &TensorF32) -> SparsifyError {
    let bad = |tensor: &TensorF32| tensor.data().iter().position(|value| !value.is_finite());
    let (tensor, index, value) = match (bad(weight), bad(gradient)) {
        (Some(index), _) => (name.to_owned(), index, weight.data()[index]),
        (None, Some(index)) => (format!("gradient of {name}"), index, gradient.data()[index]),
        // Both are finite: a product overflows.
        (None, None) => {
            let products = weight.data().iter().zip(gradient.data()).map(|(w, g)| w * g);
            let (index, value) =
                products.enumerate().find(|(_, product)| !product.is_finite()).unwrap_or((0, f32::NAN));
            (format!("{name} times its gradient"), index, value)
        }
    };
    SparsifyError::NonFinite { tensor, index, value }
}

/// Sums of `weight * gradient`, both `[outputs, inputs, ...]`: one pass over them, in the order of memory. The products are
/// rounded to 32 bits, as PyTorch forms them, and added in 64. `None` if a sum is not finite.
fn products(weight: &TensorF32, gradient: &TensorF32, terms: Terms) -> Option<ChannelSums> {
    let &[output_count, input_count, ..] = weight.shape() else { return Some(ChannelSums::default()) };
    let columns = weight.len() / output_count.max(1);
    let mut outputs = Vec::with_capacity(output_count);
    let mut total = vec![0f64; columns];
    let rows = weight.data().chunks_exact(columns.max(1)).zip(gradient.data().chunks_exact(columns.max(1)));
    for (weights, gradients) in rows {
        outputs.push(match terms {
            Terms::OfChannels => add_products(weights, gradients, &mut total, |product| product),
            Terms::OfWeights => add_products(weights, gradients, &mut total, f32::abs),
        });
    }
    let mut inputs: Vec<f64> =
        total.chunks(columns / input_count.max(1)).map(|kernel| kernel.iter().sum()).collect();
    // Infinities of both signs give NaN, so one that is not finite shows in both.
    let finite = inputs.iter().chain(&outputs).all(|sum| sum.is_finite());
    inputs.iter_mut().chain(&mut outputs).for_each(|sum| *sum = sum.abs());
    finite.then_some(ChannelSums { outputs, inputs })
}

/// Independent sums along a row: enough to hide the latency of the additions.
const LANES: usize = 8;

/// Adds a row's products to `columns`, and returns their sum.
fn add_products(
    weights: &[f32],
    gradients: &[f32],
    columns: &mut [f64],
    term: impl Fn(f32) -> f32 + Copy,
) -> f64 {
    let (weight_chunks, weight_rest) = weights.as_chunks::<LANES>();
    let (gradient_chunks, gradient_rest) = gradients.as_chunks::<LANES>();
    let (column_chunks, column_rest) = columns.as_chunks_mut::<LANES>();
    let mut lanes = [0f64; LANES];
    for ((weights, gradients), columns) in weight_chunks.iter().zip(gradient_chunks).zip(column_chunks) {
        for lane in 0..LANES {
            let product = f64::from(term(weights[lane] * gradients[lane]));
            columns[lane] += product;
            lanes[lane] += product;
        }
    }
    let mut sum: f64 = lanes.iter().sum();
    for ((weight, gradient), column) in weight_rest.iter().zip(gradient_rest).zip(column_rest) {
        let product = f64::from(term(weight * gradient));
        *column += product;
        sum += product;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_definition() {
        for shape in [[37, 5, 3, 3], [16, 8, 1, 1], [3, 19, 3, 3], [1, 1, 1, 1]] {
            let [outputs, inputs, height, width] = shape;
            let kernel = height * width;
            let count: usize = shape.iter().product();
            let tensor = |step: usize| {
                let data = (0..count).map(|i| ((i * step) % 101) as f32 - 50.0).collect::<Vec<f32>>();
                TensorF32::new(shape, data).unwrap()
            };
            let (weight, gradient) = (tensor(7919), tensor(104_729));
            let product = |i: usize| f64::from(weight.data()[i]) * f64::from(gradient.data()[i]);
            let of = |o: usize, i: usize| (o * inputs + i) * kernel..(o * inputs + i + 1) * kernel;
            let by_channel = products(&weight, &gradient, Terms::OfChannels).unwrap();
            let by_weight = products(&weight, &gradient, Terms::OfWeights).unwrap();
            for o in 0..outputs {
                let row = || (0..inputs).flat_map(|i| of(o, i)).map(product);
                assert_eq!(by_channel.outputs[o], row().sum::<f64>().abs());
                assert_eq!(by_weight.outputs[o], row().map(f64::abs).sum::<f64>());
            }
            for i in 0..inputs {
                let column = || (0..outputs).flat_map(|o| of(o, i)).map(product);
                assert_eq!(by_channel.inputs[i], column().sum::<f64>().abs());
                assert_eq!(by_weight.inputs[i], column().map(f64::abs).sum::<f64>());
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_named() {
        let tensor = |values: [f32; 2]| TensorF32::new([1, 2], values.to_vec()).unwrap();
        for (weight, gradient, needle) in [
            ([1.0, f32::NAN], [1.0, 1.0], "`w` holds NaN at index 1"),
            ([1.0, 1.0], [f32::INFINITY, f32::NEG_INFINITY], "`gradient of w` holds inf at index 0"),
            ([1.0, 1e30], [1.0, 1e30], "`w times its gradient` holds inf at index 1"),
        ] {
            let (weight, gradient) = (tensor(weight), tensor(gradient));
            for terms in [Terms::OfChannels, Terms::OfWeights] {
                assert_eq!(products(&weight, &gradient, terms), None);
                let error = not_finite("w", &weight, &gradient).to_string();
                assert!(error.contains(needle), "{error}");
            }
        }
    }
}
