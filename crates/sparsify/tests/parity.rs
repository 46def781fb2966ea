//! The channels that Torch-Pruning keeps, and what its pruned networks compute.
//!
//! Fixtures and what they were made with: `fixtures/generate_torch_pruning.py`.

mod synthetic_weights;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use diffusion_core::unet::layout::Layout;
use diffusion_core::{StateDict, UNet2DConfig};
use sparsify::{DependencyGraph, KeptChannels, Plan, PruningSettings, Ratio, Rounding, Side, surgery};
use synthetic_weights::weights;

const SMALL: [&str; 4] = ["single_head", "no_attention", "several_heads", "one_layer"];
const RATIOS: [&str; 4] = ["0.1", "0.3", "0.5", "0.7"];

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(fixture(path)).unwrap()
}

fn config(name: &str) -> UNet2DConfig {
    UNet2DConfig::from_json(&text(&format!("{name}/config.json")), name).unwrap()
}

fn settings(ratio: &str, rounding: Rounding) -> PruningSettings {
    PruningSettings { rounding, ..PruningSettings::new(ratio.parse::<Ratio>().unwrap()) }
}

type Sides = BTreeMap<String, KeptChannels>;

/// Kept channels of each module side: those of the plan, spread over the slices of its groups.
fn kept_by_module(config: &UNet2DConfig, plan: &Plan) -> BTreeMap<String, Sides> {
    let graph = DependencyGraph::of(config).unwrap();
    let mut kept: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for group in graph.groups() {
        for slice in &group.slices {
            let side = if slice.side == Side::Input { "in" } else { "out" };
            let channels = plan.groups[&group.name].kept.as_slice().iter().map(|c| slice.offset + c);
            kept.entry((&slice.layer, side)).or_default().extend(channels);
        }
    }
    // Sides that no group concerns keep everything.
    for layer in graph.layout().layers() {
        kept.entry((&layer.name, "out")).or_insert_with(|| (0..layer.outputs).collect());
        if layer.weight_shape().len() > 1 {
            kept.entry((&layer.name, "in")).or_insert_with(|| (0..layer.inputs).collect());
        }
    }
    let mut by_module: BTreeMap<String, Sides> = BTreeMap::new();
    for ((layer, side), mut channels) in kept {
        channels.sort_unstable();
        let channels = KeptChannels::new(channels).unwrap();
        by_module.entry(layer.to_owned()).or_default().insert(side.to_owned(), channels);
    }
    by_module
}

fn assert_same_channels(ours: &BTreeMap<String, Sides>, theirs: &BTreeMap<String, Sides>, context: &str) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{context}");
    for (module, sides) in theirs {
        for (side, kept) in sides {
            assert_eq!(&ours[module][side], kept, "{context}: {module} {side}");
        }
    }
}

/// The configuration and weights of a small network, pruned by each of the ratios joined with `+`.
fn prune(name: &str, ratios: &str) -> (UNet2DConfig, StateDict) {
    let config = config(name);
    let weights = weights(&config);
    ratios.split('+').filter(|ratio| *ratio != "0").fold((config, weights), |(config, weights), ratio| {
        let plan = Plan::new(&config, &weights, settings(ratio, Rounding::Up)).unwrap();
        surgery(&config, &weights, &plan).unwrap()
    })
}

#[test]
fn the_same_channels_stay() {
    for name in SMALL {
        let kept: BTreeMap<String, BTreeMap<String, Sides>> =
            serde_json::from_str(&text(&format!("{name}/kept.json"))).unwrap();
        for ratio in RATIOS {
            let config = config(name);
            let plan = Plan::new(&config, &weights(&config), settings(ratio, Rounding::Up)).unwrap();
            assert_same_channels(
                &kept_by_module(&config, &plan),
                &kept[ratio],
                &format!("{name} at {ratio}"),
            );
        }
        // Pruned a second time; Torch-Pruning's channels are numbered as in the once pruned network.
        let (config, weights) = prune(name, "0.3");
        let plan = Plan::new(&config, &weights, settings("0.3", Rounding::Up)).unwrap();
        assert_same_channels(
            &kept_by_module(&config, &plan),
            &kept["0.3+0.3"],
            &format!("{name} pruned twice"),
        );
    }
}

#[test]
fn the_same_channels_stay_in_the_cifar_network() {
    let kept: BTreeMap<String, BTreeMap<String, Sides>> =
        serde_json::from_str(&text("cifar/kept.json")).unwrap();
    let config = config("cifar");
    let weights = weights(&config);
    let plan = Plan::new(&config, &weights, settings("0.3", Rounding::Up)).unwrap();
    assert_same_channels(&kept_by_module(&config, &plan), &kept["0.3"], "cifar");
    assert_eq!(surgery(&config, &weights, &plan).unwrap().1.parameter_count(), 13_949_333);
    // The count that releases before 1.4 give.
    let plan = Plan::new(&config, &weights, settings("0.3", Rounding::Down)).unwrap();
    assert_eq!(surgery(&config, &weights, &plan).unwrap().1.parameter_count(), 19_851_157);
}

#[test]
fn rounding_down_gives_the_widths_of_earlier_releases() {
    for name in SMALL.into_iter().chain(["cifar"]) {
        let widths: BTreeMap<String, BTreeMap<String, usize>> =
            serde_json::from_str(&text(&format!("{name}/widths_before_1_4.json"))).unwrap();
        for (ratio, widths) in widths {
            let config = config(name);
            let weights = weights(&config);
            let plan = Plan::new(&config, &weights, settings(&ratio, Rounding::Down)).unwrap();
            let (config, _) = surgery(&config, &weights, &plan).unwrap();
            let layout = Layout::of(&config).unwrap();
            let ours = layout.layers().iter().map(|layer| (layer.name.clone(), layer.outputs)).collect();
            assert_eq!(widths, ours, "{name} at {ratio}");
        }
    }
}
