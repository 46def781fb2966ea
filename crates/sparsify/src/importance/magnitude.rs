//! Sums of squared weights by output and by input channel.

use diffusion_core::unet::layout::LayerKind;
use diffusion_core::{StateDict, TensorF32};
use rayon::prelude::*;

use super::channel_sums::{ChannelSums, group_means};
use crate::{DependencyGraph, SparsifyError};

/// [`Importance::Magnitude`](super::Importance::Magnitude) of every channel.
pub(super) fn scores(graph: &DependencyGraph, weights: &StateDict) -> Result<Vec<Vec<f64>>, SparsifyError> {
    let sums: Vec<ChannelSums> = graph
        .layout()
        .layers()
        .par_iter()
        .map(|layer| match layer.kind {
            LayerKind::GroupNorm { .. } => Ok(ChannelSums::default()),
            _ => {
                let name = format!("{}.weight", layer.name);
                squares(weights.get(&name)?).ok_or_else(|| diverged(&name, weights))
            }
        })
        .collect::<Result<_, _>>()?;

    Ok(group_means(graph, &sums))
}

/// The error for weights whose squares are not numbers.
fn diverged(name: &str, weights: &StateDict) -> SparsifyError {
    let tensor = match weights.get(name) {
        Ok(tensor) => tensor.data(),
        Err(error) => return error.into(),
    };
    let square_overflows = |v: &f32| !(v * v).is_finite();
    let index = tensor.iter().position(square_overflows).unwrap_or(0);
    SparsifyError::NonFinite { tensor: name.to_owned(), index, value: tensor[index] }
}

/// Rows whose column sums are kept in single precision before they go into the double-precision total.
const ROWS: usize = 16;
/// Independent sums along a row: enough to hide the latency of the additions.
const LANES: usize = 16;

/// Sums of squares of a weight `[outputs, inputs, ...]`: one pass over it, in the order of memory. `None` if a sum is not
/// finite.
fn squares(weight: &TensorF32) -> Option<ChannelSums> {
    let &[output_count, input_count, ..] = weight.shape() else { return Some(ChannelSums::default()) };
    let columns = weight.len() / output_count.max(1);
    let mut outputs = Vec::with_capacity(output_count);
    let mut total = vec![0f64; columns];
    let mut partial = vec![0f32; columns];
    for rows in weight.data().chunks(ROWS * columns.max(1)) {
        partial.fill(0.0);
        for row in rows.chunks_exact(columns) {
            outputs.push(add_squares(row, &mut partial));
        }
        for (total, partial) in total.iter_mut().zip(&partial) {
            *total += f64::from(*partial);
        }
    }
    let inputs: Vec<f64> =
        total.chunks(columns / input_count.max(1)).map(|kernel| kernel.iter().sum()).collect();
    // All terms are positive, so one that is not finite shows in both.
    let finite = inputs.iter().chain(&outputs).all(|sum| sum.is_finite());
    finite.then_some(ChannelSums { outputs, inputs })
}

/// Adds the squares of a row to `columns`, and returns their sum.
fn add_squares(row: &[f32], columns: &mut [f32]) -> f64 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let (column_chunks, column_rest) = columns.as_chunks_mut::<LANES>();
    let mut lanes = [0f32; LANES];
    for (values, columns) in chunks.iter().zip(column_chunks) {
        for ((value, column), lane) in values.iter().zip(columns).zip(&mut lanes) {
            let square = value * value;
            *column += square;
            *lane += square;
        }
    }
    let mut sum: f64 = lanes.iter().map(|&lane| f64::from(lane)).sum();
    for (value, column) in rest.iter().zip(column_rest) {
        let square = value * value;
        *column += square;
        sum += f64::from(square);
    }
    sum
}

#[cfg(test)]
mod tests {
    use diffusion_core::UNet2DConfig;
    use diffusion_core::unet::layout::Layout;

    use super::*;

    fn weights(config: &UNet2DConfig, value: impl Fn(&str, usize) -> f32) -> StateDict {
        let shapes = Layout::of(config).unwrap().parameter_shapes();
        let tensor = |name: &str, shape: Vec<usize>| {
            let data = (0..shape.iter().product()).map(|i| value(name, i)).collect();
            TensorF32::new(shape, data).unwrap()
        };
        shapes.into_iter().map(|(name, shape)| (name.clone(), tensor(&name, shape))).collect()
    }

    #[test]
    fn sums_are_those_of_the_definition() {
        for shape in [[37, 5, 3, 3], [16, 8, 1, 1], [3, 19, 3, 3], [1, 1, 1, 1]] {
            let [outputs, inputs, height, width] = shape;
            let data: Vec<f32> =
                (0..shape.iter().product()).map(|i: usize| ((i * 7919) % 101) as f32 - 50.0).collect();
            let sums = squares(&TensorF32::new(shape, data.clone()).unwrap()).unwrap();
            let one = |o: usize, i: usize| -> f64 {
                let kernel = height * width;
                let at = (o * inputs + i) * kernel;
                data[at..at + kernel].iter().map(|&v| f64::from(v).powi(2)).sum()
            };
            for o in 0..outputs {
                assert_eq!(sums.outputs[o], (0..inputs).map(|i| one(o, i)).sum::<f64>());
            }
            for i in 0..inputs {
                assert_eq!(sums.inputs[i], (0..outputs).map(|o| one(o, i)).sum::<f64>());
            }
        }
    }

    /// The doubled weights of two channels show, each in its group, with the mean of the group at one.
    #[test]
    fn scores_average_the_slices_of_a_group() {
        let config = UNet2DConfig::small(16, &[16, 32]);
        let graph = DependencyGraph::of(&config).unwrap();
        // conv1 of 32 -> 32 channels: 288 weights to an output; its reader conv2 the same; time_emb_proj 64.
        let name = "mid_block.resnets.0.conv1.weight";
        let dict = weights(&config, |n, i| if n == name && i / 288 == 5 { 2.0 } else { 1.0 });
        let scores = super::scores(&graph, &dict).unwrap();
        let at = |name: &str| graph.groups().iter().position(|group| group.name == name).unwrap();
        let score = &scores[at("mid_block.resnets.0.conv1")];
        let plain = 288.0 + 288.0 + 64.0;
        let mean = (31.0 * plain + plain + 3.0 * 288.0) / 32.0;
        assert!((score[0] - plain / mean).abs() < 1e-12);
        assert!((score[5] - (plain + 3.0 * 288.0) / mean).abs() < 1e-12);
        assert_eq!(score[31], score[0]);
        // Biases and norms count nowhere.
        let other = weights(&config, |n, i| match n {
            n if n.ends_with("bias") || n.contains("norm") => 100.0 + i as f32,
            n if n == name && i / 288 == 5 => 2.0,
            _ => 1.0,
        });
        assert_eq!(super::scores(&graph, &other).unwrap(), scores);
        // All zero: equal, and no division by zero.
        let zeros = super::scores(&graph, &weights(&config, |_, _| 0.0)).unwrap();
        assert!(zeros.iter().flatten().all(|&s| s == 0.0));
    }

    #[test]
    fn weights_that_are_not_numbers_are_named() {
        let config = UNet2DConfig::small(16, &[16, 32]);
        let graph = DependencyGraph::of(&config).unwrap();
        for value in [f32::NAN, f32::INFINITY, 1e30] {
            let dict = weights(&config, |n, i| if n == "conv_out.weight" && i == 17 { value } else { 1.0 });
            let error = super::scores(&graph, &dict).unwrap_err().to_string();
            assert!(error.contains("`conv_out.weight`") && error.contains("index 17"), "{error}");
        }
    }
}
