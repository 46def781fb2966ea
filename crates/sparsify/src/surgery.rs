//! Cutting the channels that a plan does not keep.

// A list of ranges may hold one: here that is the usual case of a layer that reads one group.
#![allow(clippy::single_range_in_vec_init)]

use std::collections::BTreeMap;

use diffusion_core::unet::layout::{Layer, Layout};
use diffusion_core::{StateDict, TensorF32, UNet2DConfig};
use rayon::prelude::*;

use crate::{DependencyGraph, GroupPlan, Plan, Side, SparsifyError};

/// The architecture and weights with only the channels that the plan keeps.
///
/// `weights` may be any arrays with the names and shapes of the network's parameters: its weights, their moving
/// average, an optimiser's moments. Values are copied, never changed.
///
/// # Errors
/// [`SparsifyError::Model`] if configuration and weights are not right or not of the same network,
/// [`SparsifyError::PlanMismatch`] if the plan is not for this network or would leave it invalid.
pub fn surgery(
    config: &UNet2DConfig,
    weights: &StateDict,
    plan: &Plan,
) -> Result<(UNet2DConfig, StateDict), SparsifyError> {
    let graph = DependencyGraph::of(config)?;
    let plans = plan.fit(&graph)?;
    weights.check_shapes(&graph.layout().parameter_shapes())?;

    let mut pruned_config = config.clone();
    let mut cuts: BTreeMap<&str, Cut<'_>> = BTreeMap::new();
    for (group, plan) in graph.groups().iter().zip(plans) {
        for slice in &group.slices {
            let cut = cuts.entry(&slice.layer).or_default();
            match slice.side {
                Side::Input => cut.inputs.push((slice.offset, plan)),
                Side::Output | Side::Norm => cut.outputs.push((slice.offset, plan)),
            }
            if slice.side == Side::Output && !plan.is_whole() {
                pruned_config.pruned_channels.insert(slice.layer.clone(), plan.kept.len());
            }
        }
    }

    let whole = Cut::default();
    let pruned: Vec<[(String, TensorF32); 2]> = graph
        .layout()
        .layers()
        .par_iter()
        .map(|layer| cuts.get(layer.name.as_str()).unwrap_or(&whole).apply(layer, weights))
        .collect::<Result<_, _>>()?;
    let pruned: StateDict = pruned.into_iter().flatten().collect();
    pruned.check_shapes(&Layout::of(&pruned_config)?.parameter_shapes())?;
    Ok((pruned_config, pruned))
}

/// The slices of one layer, with the channel at which each begins; none on a side that no plan concerns.
#[derive(Default)]
struct Cut<'a> {
    outputs: Vec<(usize, &'a GroupPlan)>,
    inputs: Vec<(usize, &'a GroupPlan)>,
}

impl Cut<'_> {
    /// The layer's weight and bias without the removed channels.
    fn apply(&self, layer: &Layer, weights: &StateDict) -> Result<[(String, TensorF32); 2], SparsifyError> {
        let outputs = runs(&self.outputs, layer.outputs);
        let names = [format!("{}.weight", layer.name), format!("{}.bias", layer.name)];
        let weight = weights.get(&names[0])?;
        let weight = match weight.shape() {
            [_] => keep(weight, &outputs, &[0..1])?,
            _ => keep(weight, &outputs, &runs(&self.inputs, layer.inputs))?,
        };
        let bias = keep(weights.get(&names[1])?, &outputs, &[0..1])?;
        let [weight_name, bias_name] = names;
        Ok([(weight_name, weight), (bias_name, bias)])
    }
}

/// Neighbouring channels that stay.
type Run = std::ops::Range<usize>;

/// The channels that stay of a side `width` wide, as runs.
fn runs(slices: &[(usize, &GroupPlan)], width: usize) -> Vec<Run> {
    if slices.is_empty() {
        return vec![0..width];
    }
    let mut slices = slices.to_vec();
    slices.sort_unstable_by_key(|(offset, _)| *offset);
    let mut runs: Vec<Run> = Vec::new();
    for (offset, plan) in slices {
        for channel in plan.kept.as_slice().iter().map(|channel| offset + channel) {
            match runs.last_mut() {
                Some(run) if run.end == channel => run.end += 1,
                _ => runs.push(channel..channel + 1),
            }
        }
    }
    runs
}

/// The part of an array `[outputs, inputs, ...]` (or `[outputs]`, for which inputs are the one run `0..1`) that stays.
fn keep(tensor: &TensorF32, outputs: &[Run], inputs: &[Run]) -> Result<TensorF32, SparsifyError> {
    let mut shape = tensor.shape().to_vec();
    let kernel: usize = shape.iter().skip(2).product();
    let row = shape.get(1).copied().unwrap_or(1) * kernel;
    let count = |runs: &[Run]| runs.iter().map(ExactSizeIterator::len).sum::<usize>();
    shape[0] = count(outputs);
    if let Some(width) = shape.get_mut(1) {
        *width = count(inputs);
    }
    let mut data = Vec::with_capacity(shape.iter().product());
    for output in outputs.iter().cloned().flatten() {
        let row = &tensor.data()[output * row..(output + 1) * row];
        for input in inputs {
            data.extend_from_slice(&row[input.start * kernel..input.end * kernel]);
        }
    }
    Ok(TensorF32::new(shape, data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_that_stay() {
        let tensor = TensorF32::new([3, 4, 1, 2], (0u8..24).map(f32::from).collect()).unwrap();
        let kept = keep(&tensor, &[0..1, 2..3], &[1..3]).unwrap();
        assert_eq!(kept.shape(), [2, 2, 1, 2]);
        assert_eq!(kept.data(), [2.0, 3.0, 4.0, 5.0, 18.0, 19.0, 20.0, 21.0]);
        let bias = TensorF32::new([4], vec![5.0, 6.0, 7.0, 8.0]).unwrap();
        assert_eq!(keep(&bias, &[1..2, 3..4], &[0..1]).unwrap().data(), [6.0, 8.0]);
    }

    #[test]
    fn runs_join_across_concatenated_slices() {
        let plan = |kept: &str| GroupPlan { channels: 4, blocks: 1, kept: kept.parse().unwrap() };
        let (first, second) = (plan("0 2-3"), plan("0 3"));
        assert_eq!(runs(&[(4, &second), (0, &first)], 8), [0..1, 2..5, 7..8]);
        assert_eq!(runs(&[], 8), [0..8]);
    }
}
