//! From sums over the channels of each layer to one score for each channel of each group.

use std::collections::BTreeSet;

use crate::{DependencyGraph, Side};

/// A sum for each channel of a convolution or linear layer; empty for norms.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ChannelSums {
    /// For each output, over its whole row.
    pub outputs: Vec<f64>,
    /// For each input, over all rows.
    pub inputs: Vec<f64>,
}

/// Averages the layers' sums over each group's slices, and divides by the mean over the group's channels.
///
/// `sums` are in the order of the layout's layers. The slices of norms do not count, and a layer that reads the group's
/// channels twice counts once in the number of slices with both parts in the sum.
pub(super) fn group_means(graph: &DependencyGraph, sums: &[ChannelSums]) -> Vec<Vec<f64>> {
    let layers = graph.weighted_layers();
    let scores = graph.groups().iter().map(|group| {
        let mut score = vec![0.0; group.channels];
        let mut terms = BTreeSet::new();
        for slice in &group.slices {
            let Some(&layer) = layers.get(slice.layer.as_str()) else { continue };
            let by_channel = match slice.side {
                Side::Output => &sums[layer].outputs,
                Side::Input => &sums[layer].inputs,
                Side::Norm => continue,
            };
            terms.insert((layer, slice.side));
            for (score, sum) in score.iter_mut().zip(&by_channel[slice.offset..]) {
                *score += sum;
            }
        }
        let mean = score.iter().sum::<f64>() / (score.len() * terms.len()) as f64;
        // A group of zeros has equal channels; its mean divides nothing.
        let scale = if mean > 0.0 { 1.0 / (mean * terms.len() as f64) } else { 1.0 };
        score.iter_mut().for_each(|s| *s *= scale);
        score
    });
    scores.collect()
}
