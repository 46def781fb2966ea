//! Channels ranked by gradients, over all groups and in several steps: what Torch-Pruning keeps.
//!
//! Fixtures and what they were made with: `fixtures/generate_rankings.py`.

mod synthetic_weights;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;
use diffusion_core::unet::layout::Layout;
use diffusion_core::{NoiseScheduleConfig, StateDict, TensorF32, UNet2DConfig, UNet2DModel};
use serde::Deserialize;
use sparsify::{
    AccumulatedGradients, CalibrationBatch, DependencyGraph, Evidence, Importance, KeptChannels, Plan,
    PruningSettings, Ratio, Scope, Side, SparsifyError, Threshold, accumulate_gradients, prune,
    spread_timesteps, stopping_step,
};
use streams::Streams;
use synthetic_weights::{synthetic, weights};

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn json<T: for<'a> Deserialize<'a>>(path: &str) -> T {
    serde_json::from_str(&fs::read_to_string(fixture(path)).unwrap()).unwrap()
}

fn config(name: &str) -> UNet2DConfig {
    let text = fs::read_to_string(fixture(&format!("{name}/config.json"))).unwrap();
    UNet2DConfig::from_json(&text, name).unwrap()
}

fn map(config: &UNet2DConfig, value: impl Fn(&str, &[usize]) -> TensorF32) -> StateDict {
    let shapes = Layout::of(config).unwrap().parameter_shapes();
    shapes.into_iter().map(|(name, shape)| (name.clone(), value(&name, &shape))).collect()
}

/// Kept output channels of each layer.
type Kept = BTreeMap<String, KeptChannels>;

fn kept_by_layer(config: &UNet2DConfig, plan: &Plan) -> Kept {
    let graph = DependencyGraph::of(config).unwrap();
    let mut kept: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for group in graph.groups() {
        for slice in group.slices.iter().filter(|slice| slice.side != Side::Input) {
            let channels = plan.groups[&group.name].kept.as_slice().iter().map(|c| slice.offset + c);
            kept.entry(slice.layer.clone()).or_default().extend(channels);
        }
    }
    for layer in graph.layout().layers() {
        kept.entry(layer.name.clone()).or_insert_with(|| (0..layer.outputs).collect());
    }
    let sorted = |mut channels: Vec<usize>| {
        channels.sort_unstable();
        KeptChannels::new(channels).unwrap()
    };
    kept.into_iter().map(|(layer, channels)| (layer, sorted(channels))).collect()
}

/// The square of each weight: gradients that are those of the pruned network when taken of its weights.
fn squares(weights: &StateDict) -> StateDict {
    let square = |tensor: &TensorF32| {
        let values = tensor.data().iter().map(|w| w * w).collect();
        TensorF32::new(tensor.shape(), values).unwrap()
    };
    weights.iter().map(|(name, tensor)| (name.to_owned(), square(tensor))).collect()
}

#[test]
fn torch_pruning_keeps_the_same_channels() {
    for name in ["single_head", "no_attention", "several_heads", "one_layer"] {
        let cases: BTreeMap<String, Kept> = json(&format!("rankings/{name}.json"));
        assert_eq!(cases.len(), 13);
        let config = config(name);
        let weights = weights(&config);
        let named = map(&config, |name, shape| synthetic(&format!("{name}.gradient"), shape));
        for (case, theirs) in cases {
            let [importance, scope, steps, ratio] = case.split('/').collect::<Vec<_>>()[..] else {
                panic!("{case}");
            };
            let settings = PruningSettings {
                importance: importance.parse().unwrap(),
                scope: scope.parse().unwrap(),
                iterative_steps: steps.parse().unwrap(),
                ..PruningSettings::new(ratio.parse().unwrap())
            };
            let mut asked = 0;
            let pruned = prune(&config, &weights, settings, &Streams::new(0), &mut |_, weights| {
                asked += 1;
                Ok::<_, SparsifyError>(Arc::new(if steps == "1" { named.clone() } else { squares(weights) }))
            })
            .unwrap();
            let ours = kept_by_layer(&config, &pruned.plan);
            for (layer, kept) in &theirs {
                assert_eq!(&ours[layer], kept, "{name} {case}: {layer}");
            }
            assert_eq!(ours.len(), theirs.len());
            let steps = settings.iterative_steps;
            assert_eq!(asked, if settings.importance.needs_gradients() { steps } else { 0 });
            // At once is the plan by itself.
            if steps == 1 {
                let evidence = Evidence::from(&weights).with_gradients(&named);
                assert_eq!(Plan::new(&config, evidence, settings).unwrap(), pruned.plan);
            } else {
                let error = Plan::new(&config, &weights, settings).unwrap_err().to_string();
                assert!(error.contains("3 iterative steps"), "{error}");
            }
            assert_eq!(Plan::from_json(&pruned.plan.to_json(), "plan").unwrap(), pruned.plan);
        }
    }
}

/// The plan of several steps is in the numbers of the network before the first, so that it can be carried out on it.
#[test]
fn several_steps_are_one_plan() {
    let config = config("several_heads");
    let weights = weights(&config);
    for (scope, importance) in [(Scope::Group, Importance::Magnitude), (Scope::Global, Importance::Taylor)] {
        let settings = PruningSettings {
            scope,
            importance,
            iterative_steps: 4,
            ..PruningSettings::new(Ratio::new(0.6).unwrap())
        };
        let pruned = prune(&config, &weights, settings, &Streams::new(0), &mut |_, weights| {
            Ok::<_, SparsifyError>(Arc::new(squares(weights)))
        })
        .unwrap();
        let (cut_config, cut) = sparsify::surgery(&config, &weights, &pruned.plan).unwrap();
        assert_eq!((cut_config, cut), (pruned.config, pruned.weights));
        assert!(pruned.plan.whole_groups().count() < pruned.plan.groups.len());
    }
}

#[test]
fn random_ranks_follow_the_seed_and_reinit_draws_new_weights() {
    let config = config("single_head");
    let weights = weights(&config);
    let with = |importance, seed, iterative_steps| {
        let settings =
            PruningSettings { importance, iterative_steps, ..PruningSettings::new(Ratio::new(0.3).unwrap()) };
        let mut none = |_: &UNet2DConfig, _: &StateDict| -> Result<Arc<StateDict>, SparsifyError> {
            panic!("no gradients are needed")
        };
        prune(&config, &weights, settings, &Streams::new(seed), &mut none).unwrap()
    };
    let random = with(Importance::Random, 1, 1);
    assert_eq!(random, with(Importance::Random, 1, 1));
    assert_ne!(random.plan.groups, with(Importance::Random, 2, 1).plan.groups);
    assert_ne!(random.plan.groups, with(Importance::Magnitude, 1, 1).plan.groups);
    assert_ne!(with(Importance::Random, 1, 2).plan.groups, random.plan.groups);

    let fresh = with(Importance::Reinit, 1, 1);
    assert_eq!(fresh.plan.groups, random.plan.groups);
    assert_eq!(fresh.config, random.config);
    fresh.weights.check_shapes(&Layout::of(&fresh.config).unwrap().parameter_shapes()).unwrap();
    for (name, tensor) in fresh.weights.iter() {
        assert_ne!(tensor, random.weights.get(name).unwrap(), "{name}");
        if name.ends_with("norm1.weight") {
            assert!(tensor.data().iter().all(|&w| w == 1.0), "{name}");
        }
    }
}

#[derive(Deserialize)]
struct Curve {
    losses: Vec<f32>,
    stops: BTreeMap<String, Option<usize>>,
}

#[test]
fn accumulation_stops_where_numpy_says() {
    let curves: Vec<Curve> = json("stopping.json");
    let mut stopped = 0;
    for curve in &curves {
        for (threshold, &stop) in &curve.stops {
            assert_eq!(stopping_step(&curve.losses, threshold.parse().unwrap()), stop, "{threshold}");
            stopped += usize::from(stop.is_some());
        }
    }
    assert!(stopped >= 10, "{stopped}");
}

#[derive(Deserialize)]
struct TorchGradients {
    losses: Vec<f32>,
    stopped_at: BTreeMap<String, Option<usize>>,
    kept: BTreeMap<String, Kept>,
}

fn accumulate(threshold: Option<Threshold>) -> AccumulatedGradients {
    let config = config("one_layer");
    let model = UNet2DModel::from_state_dict(&config, &weights(&config), &Device::flex()).unwrap();
    let shape = [2, 3, config.sample_size, config.sample_size];
    // Divided and multiplied in 32 bits, as PyTorch does.
    let images = synthetic("sample", &shape).data().iter().map(|v| v / 1.5).collect();
    let noise = synthetic("noise.weight", &shape).data().iter().map(|v| v * 20.0).collect();
    let batch = CalibrationBatch::with_noise(images, noise, shape).unwrap();
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let timesteps = spread_timesteps(1000, Some(100));
    accumulate_gradients(&model, &batch, &schedule, &timesteps, threshold, &mut |_| ControlFlow::Continue(()))
        .unwrap()
}

/// Losses within 1e-5 and gradients within 2e-4 of PyTorch's, relative to their mean size: both sum 100 backward passes
/// in 32 bits in different orders.
#[test]
fn gradients_are_those_of_torch_and_rank_the_same() {
    let theirs: TorchGradients = json("gradients.json");
    let tensors = StateDict::read(&fixture("gradients.safetensors")).unwrap();
    let config = config("one_layer");
    let weights = weights(&config);
    for threshold in ["all", "0.92", "0.95"] {
        let found = accumulate(threshold.parse().ok());
        for (ours, loss) in found.losses.iter().zip(&theirs.losses) {
            assert!((ours.loss - loss).abs() < 1e-5 * loss, "{threshold}: {ours:?} {loss}");
        }
        match theirs.stopped_at.get(threshold) {
            None => assert_eq!((found.losses.len(), found.stopped_at), (100, None)),
            Some(stopped) => {
                assert!(stopped.is_some_and(|stopped| stopped < 990));
                assert_eq!(found.stopped_at, *stopped);
                assert_eq!(found.losses.last().map(|last| last.timestep), *stopped);
            }
        }
        let mut compared = 0;
        for (key, values) in tensors.iter() {
            let Some((_, name)) = key.split_once('/').filter(|(of, _)| *of == threshold) else { continue };
            let gradient = found.gradients.get(name).unwrap();
            let sum: f64 = gradient.data().iter().map(|&g| f64::from(g)).sum();
            let size: f64 = gradient.data().iter().map(|&g| f64::from(g.abs())).sum();
            // The gradient of the keys' biases is zero but for rounding: softmax does not see them.
            let size = size.max(1e-3 * gradient.len() as f64);
            let mean = size / gradient.len() as f64;
            let [their_sum, their_size, first @ ..] = values.data() else { panic!("{key}") };
            assert!((sum - f64::from(*their_sum)).abs() < 2e-4 * size, "{key}: {sum} {their_sum}");
            assert!(
                (size - f64::from(*their_size)).abs() < 2e-4 * size || name.ends_with("to_k.bias"),
                "{key}: {size} {their_size}"
            );
            for (ours, theirs) in gradient.data().iter().zip(first) {
                assert!(f64::from(ours - theirs).abs() < 2e-4 * mean, "{key}: {ours} {theirs}, mean {mean}");
            }
            compared += 1;
        }
        assert_eq!(compared, if threshold == "all" { weights.len() } else { 2 });
        for importance in [Importance::Taylor, Importance::DiffPruning] {
            let settings = PruningSettings { importance, ..PruningSettings::new(Ratio::new(0.3).unwrap()) };
            let evidence = Evidence::from(&weights).with_gradients(&found.gradients);
            let plan = Plan::new(&config, evidence, settings).unwrap();
            let kept = &theirs.kept[&format!("{importance}/{threshold}")];
            assert_eq!(&kept_by_layer(&config, &plan), kept, "{importance} up to {threshold}");
        }
    }
}

#[test]
fn images_and_timesteps_that_do_not_fit_are_refused() {
    let config = UNet2DConfig::small(8, &[8]);
    let model = UNet2DModel::new(&config, &Device::flex(), &Streams::new(0)).unwrap();
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let refused = |size: usize, timesteps: &[usize], flow: ControlFlow<()>| {
        let shape = [1, 3, size, size];
        let batch = CalibrationBatch::new(vec![0.1; 3 * size * size], shape, &Streams::new(0)).unwrap();
        let found = accumulate_gradients(&model, &batch, &schedule, timesteps, None, &mut |_| flow);
        found.unwrap_err().to_string()
    };
    let go = ControlFlow::Continue(());
    assert!(refused(16, &[0], go).contains("[3, 8, 8]"), "{}", refused(16, &[0], go));
    assert!(refused(8, &[], go).contains("at least one"), "{}", refused(8, &[], go));
    assert!(refused(8, &[1000], go).contains("1000"), "{}", refused(8, &[1000], go));
    let stopped = refused(8, &[0, 1], ControlFlow::Break(()));
    assert!(stopped.contains("1 of 2 timesteps"), "{stopped}");

    let mut broken = model.state_dict().unwrap();
    broken.get_mut("conv_out.bias").unwrap().data_mut()[0] = f32::NAN;
    let model = UNet2DModel::from_state_dict(&config, &broken, &Device::flex()).unwrap();
    let batch = CalibrationBatch::new(vec![0.1; 192], [1, 3, 8, 8], &Streams::new(0)).unwrap();
    let error = accumulate_gradients(&model, &batch, &schedule, &[7], None, &mut |_| go).unwrap_err();
    assert!(error.to_string().contains("timestep 7"), "{error}");
}
