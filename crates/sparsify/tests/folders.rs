//! Folders that diffusers wrote, of shapes that are no preset: read, pruned, run, and counted.
//!
//! Fixtures and what they were made with: `fixtures/generate_folders.py`.

mod synthetic_weights;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::unet::layout::Layout;
use diffusion_core::{StateDict, UNet2DConfig, UNet2DModel, model_folder};
use serde::Deserialize;
use sparsify::{
    DependencyGraph, KeptChannels, NetworkSize, Plan, PruningReport, PruningSettings, Side, surgery,
};
use synthetic_weights::synthetic;

const NAMES: [&str; 3] = ["latents", "lopsided", "hollow"];

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/folders").join(path)
}

fn json<T: for<'a> Deserialize<'a>>(path: &str) -> T {
    serde_json::from_str(&fs::read_to_string(fixture(path)).unwrap()).unwrap()
}

fn forward(config: &UNet2DConfig, weights: &StateDict) -> Vec<f32> {
    let device = Device::flex();
    let shape = [2, config.in_channels, config.sample_size, config.sample_size];
    let sample = TensorData::new(synthetic("sample", &shape).data().to_vec(), shape);
    let timesteps = Tensor::<1, Int>::from_data([7, 640], &device);
    let model = UNet2DModel::from_state_dict(config, weights, &device).unwrap();
    model.forward(Tensor::<4>::from_data(sample, &device), timesteps).into_data().try_to_vec::<f32>().unwrap()
}

/// Kept output channels of each layer.
fn kept_by_layer(graph: &DependencyGraph, plan: &Plan) -> BTreeMap<String, KeptChannels> {
    let mut kept: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for group in graph.groups() {
        for slice in group.slices.iter().filter(|slice| slice.side != Side::Input) {
            let channels = plan.groups[&group.name].kept.as_slice().iter().map(|c| slice.offset + c);
            kept.entry(slice.layer.clone()).or_default().extend(channels);
        }
    }
    let outputs = graph.layout().layer("conv_out").unwrap().outputs;
    kept.insert("conv_out".to_owned(), (0..outputs).collect());
    let sorted = |mut channels: Vec<usize>| {
        channels.sort_unstable();
        KeptChannels::new(channels).unwrap()
    };
    kept.into_iter().map(|(layer, channels)| (layer, sorted(channels))).collect()
}

/// Outputs within 1e-4 of PyTorch's, relative to their largest: 32-bit sums in other orders, through up to 40 layers.
#[test]
fn pruned_folders_compute_what_torch_computes() {
    let outputs = StateDict::read(&fixture("outputs.safetensors")).unwrap();
    let kept: BTreeMap<String, BTreeMap<String, KeptChannels>> = json("kept.json");
    assert_eq!((outputs.len(), kept.len()), (9, 6));
    let parent = tempfile::tempdir().unwrap();
    for (key, theirs) in outputs.iter() {
        let (name, ratio) = key.split_once('/').unwrap();
        let (mut config, mut weights) = model_folder::read(&fixture(name)).unwrap();
        if ratio != "0" {
            let plan = Plan::new(&config, &weights, PruningSettings::new(ratio.parse().unwrap())).unwrap();
            let graph = DependencyGraph::of(&config).unwrap();
            assert_eq!(kept_by_layer(&graph, &plan), kept[key], "{key}");
            let (pruned, pruned_weights) = surgery(&config, &weights, &plan).unwrap();
            // Through a folder of our own.
            let folder = parent.path().join(key);
            model_folder::write(&folder, &pruned, &pruned_weights, None).unwrap();
            (config, weights) = model_folder::read(&folder).unwrap();
            assert_eq!((&config, &weights), (&pruned, &pruned_weights));
        }
        let ours = forward(&config, &weights);
        let theirs = theirs.data();
        assert_eq!(ours.len(), theirs.len());
        let largest = theirs.iter().fold(0f32, |largest, v| largest.max(v.abs()));
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((ours - theirs).abs() < 1e-4 * largest, "{key}: {ours} {theirs}");
        }
    }
}

/// At the size of what the network works on, which for a latent model is the latent and not the picture.
#[test]
fn multiply_accumulates_are_counted_at_the_sample_size() {
    let counts: BTreeMap<String, u64> = json("macs.json");
    let mut configs: BTreeMap<String, UNet2DConfig> = NAMES
        .iter()
        .map(|name| ((*name).to_owned(), model_folder::read_config(&fixture(name)).unwrap()))
        .collect();
    configs.insert("celeba".to_owned(), UNet2DConfig::celeba_latent());
    assert_eq!(configs["celeba"].sample_size, 64);
    for (name, config) in configs {
        let layout = Layout::of(&config).unwrap();
        // The products of attention are no layer's.
        let attention: u64 = layout
            .attentions()
            .iter()
            .map(|block| {
                let side = (config.sample_size >> block.level) as u64;
                side.pow(4) * (block.query + block.value) as u64
            })
            .sum();
        let size = NetworkSize::of(&config).unwrap();
        assert_eq!(size.macs, counts[&name] + attention, "{name}");
        assert_eq!(PruningReport::of(&config, &config).unwrap().macs_left(), 1.0);
        // The picture that a latent of this size stands for is four times as wide.
        let wider = 4 * config.sample_size;
        assert!(layout.macs(wider, wider).unwrap() > 15 * size.macs, "{name}");
    }
}

#[test]
fn networks_of_other_kinds_are_refused_by_key() {
    let text = fs::read_to_string(fixture("latents/config.json")).unwrap();
    for (key, from, to) in [
        ("resnet_time_scale_shift", "\"default\"", "\"scale_shift\""),
        ("down_block_types", "\"DownBlock2D\"", "\"SkipDownBlock2D\""),
        ("num_class_embeds", "\"num_class_embeds\": null", "\"num_class_embeds\": 10"),
    ] {
        assert!(text.contains(from), "{key}");
        let error =
            UNet2DConfig::from_json(&text.replacen(from, to, 1), "config.json").unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}
