//! Pruned networks run, and compute what they should.

mod synthetic_weights;

use std::fs;
use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::{StateDict, UNet2DConfig, UNet2DModel};
use sparsify::{DependencyGraph, Group, KeptChannels, Plan, PruningSettings, Ratio, Side, surgery};
use synthetic_weights::{synthetic, weights};

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

/// The output for the synthetic input, two images at timesteps 7 and 640.
fn forward(config: &UNet2DConfig, weights: &StateDict) -> Vec<f32> {
    let device = Device::flex();
    let shape = [2, config.in_channels, config.sample_size, config.sample_size];
    let sample = synthetic("sample", &shape).data().to_vec();
    let sample = Tensor::<4>::from_data(TensorData::new(sample, shape), &device);
    let timesteps = Tensor::<1, Int>::from_data([7, 640], &device);
    let model = UNet2DModel::from_state_dict(config, weights, &device).unwrap();
    model.forward(sample, timesteps).into_data().try_to_vec::<f32>().unwrap()
}

/// The largest difference, relative to the largest value.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |a, v| a.max(v.abs()));
    assert!(ours.iter().all(|v| v.is_finite()));
    largest(&mut ours.iter().zip(theirs).map(|(a, b)| a - b)) / largest(&mut theirs.iter().copied())
}

#[test]
fn the_pruned_network_computes_what_torch_computes() {
    let outputs = StateDict::read(&fixture("forward.safetensors")).unwrap();
    assert_eq!(outputs.len(), 24);
    for (key, theirs) in outputs.iter() {
        let (name, ratios) = key.split_once('/').unwrap();
        let text = fs::read_to_string(fixture(&format!("{name}/config.json"))).unwrap();
        let mut config = UNet2DConfig::from_json(&text, name).unwrap();
        let mut weights = weights(&config);
        for ratio in ratios.split('+').filter(|ratio| *ratio != "0") {
            let plan = Plan::new(&config, &weights, PruningSettings::new(ratio.parse().unwrap())).unwrap();
            (config, weights) = surgery(&config, &weights, &plan).unwrap();
        }
        let difference = difference(&forward(&config, &weights), theirs.data());
        assert!(difference < 1e-4, "{key}: {difference}");
    }
}

/// The weights with the removed outputs of each group at zero, weights and biases.
fn mask(graph: &DependencyGraph, weights: &StateDict, plan: &Plan) -> StateDict {
    let mut masked = weights.clone();
    for group in graph.groups() {
        let kept = plan.groups[&group.name].kept.as_slice();
        for slice in group.slices.iter().filter(|slice| slice.side == Side::Output) {
            for (name, _) in slice.parameters() {
                let tensor = masked.get_mut(&name).unwrap();
                let row = tensor.len() / tensor.shape()[0];
                for channel in (0..group.channels).filter(|c| !kept.contains(c)) {
                    tensor.data_mut()[channel * row..(channel + 1) * row].fill(0.0);
                }
            }
        }
    }
    masked
}

/// `plan` for the groups of which this holds; all others stay whole.
fn only(graph: &DependencyGraph, plan: &Plan, chosen: impl Fn(&Group) -> bool) -> Plan {
    let mut plan = plan.clone();
    for group in graph.groups().iter().filter(|group| !chosen(group)) {
        plan.groups.get_mut(&group.name).unwrap().kept = KeptChannels::all(group.channels);
    }
    plan
}

#[test]
fn pruning_is_masking_where_no_norm_looks() {
    let base = UNet2DConfig::small(8, &[8, 16]);
    for config in [
        base.clone(),
        UNet2DConfig { attention_head_dim: Some(4), layers_per_block: 2, ..base.with_attention_at(&[0, 1]) },
    ] {
        let weights = weights(&config);
        let graph = DependencyGraph::of(&config).unwrap();
        let full = forward(&config, &weights);
        for ratio in [0.3, 0.6] {
            let plan =
                Plan::new(&config, &weights, PruningSettings::new(Ratio::new(ratio).unwrap())).unwrap();
            for kind in ["time_embedding", "attentions", "up_blocks", ""] {
                let unseen = |group: &Group| !group.is_normalised() && group.name.contains(kind);
                let plan = only(&graph, &plan, unseen);
                assert!(plan.whole_groups().count() < plan.groups.len(), "{kind}: nothing is pruned");
                let (pruned_config, pruned) = surgery(&config, &weights, &plan).unwrap();
                let pruned = forward(&pruned_config, &pruned);
                let masked = forward(&config, &mask(&graph, &weights, &plan));
                assert!(
                    difference(&pruned, &masked) < 1e-5,
                    "{kind} at {ratio}: {}",
                    difference(&pruned, &masked)
                );
                assert!(difference(&pruned, &full) > 1e-3, "{kind} at {ratio}: the channels did not matter");
            }
        }
    }
}
