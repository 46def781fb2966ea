//! Low-rank adaptation: what it learns, what it keeps, and what PEFT makes of it.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::parameters::{parameter_infos, state_dict_of};
use diffusion_core::training::{Silent, Trainer, TrainingConfig};
use diffusion_core::unet::{Projection, ProjectionAdapter};
use diffusion_core::{Denoiser, DiffusionError, StateDict, UNet2DConfig, UNet2DModel, model_folder};
use serde_json::Value;
use streams::{Streams, standard_normal};
use support::{
    architecture, batches, distance, images_of, loss_on, pruned, schedule, trained, training, values,
};
use unlearn::lora::{ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, LoraUNet};
use unlearn::{LoraSettings, UnlearnError};

const PLAIN: LoraSettings = LoraSettings { rank: 4, alpha: 8.0, dropout: 0.0, learning_rate_ratio: 16.0 };
const DROPPING: LoraSettings = LoraSettings { dropout: 0.3, ..PLAIN };

fn input() -> (Tensor<4>, Tensor<1, Int>) {
    let device = Device::flex();
    let x = standard_normal(&mut Streams::new(6).rng("x", 0), 2 * 3 * 64);
    (
        Tensor::from_data(TensorData::new(x, [2, 3, 8, 8]), &device),
        Tensor::from_data(TensorData::new(vec![5, 600], [2]), &device),
    )
}

fn prediction(model: &impl Denoiser) -> Vec<f32> {
    let (x, t) = input();
    values(model.predict_noise(x, t))
}

fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn adapted(parent: &UNet2DModel, settings: &LoraSettings) -> LoraUNet {
    LoraUNet::new(parent, settings, &Streams::new(8)).unwrap()
}

fn trainer(parent: &UNet2DModel, settings: &LoraSettings) -> Trainer<LoraUNet> {
    Trainer::new(adapted(parent, settings), training(1e-3), schedule(), Streams::new(5)).unwrap()
}

fn everything(trainer: &Trainer<LoraUNet>) -> [StateDict; 3] {
    [
        state_dict_of(trainer.model()).unwrap(),
        trainer.ema().state_dict().unwrap(),
        trainer.optimizer().state_dict().unwrap(),
    ]
}

#[test]
fn training_begins_at_the_parent_and_merging_changes_nothing() {
    let full = trained(&architecture(), 40);
    for parent in [full.clone(), pruned(&full)] {
        let mut trainer = trainer(&parent, &DROPPING);
        let before = prediction(&trainer.ema_model().unwrap());
        assert!(largest_difference(&before, &prediction(&parent)) < 1e-6);
        let source = batches(&images_of(&[1]));
        trainer.step_to(&source, 30, &mut Silent).unwrap();

        let average = trainer.ema_model().unwrap();
        let (adapted, merged) = (prediction(&average), average.merged().unwrap());
        assert!(largest_difference(&adapted, &before) > 1e-2);
        assert!(largest_difference(&adapted, &prediction(&merged)) < 1e-5);
        assert_eq!(merged.config(), parent.config());
        // Only the adapted weights changed.
        let (ours, parents) = (merged.state_dict().unwrap(), parent.state_dict().unwrap());
        for (name, tensor) in ours.iter() {
            let may_change =
                [".to_q.weight", ".to_k.weight", ".to_v.weight"].iter().any(|end| name.ends_with(end));
            assert_eq!(tensor != parents.get(name).unwrap(), may_change, "{name}");
        }
        let names = parameter_infos(trainer.model());
        assert!(names.iter().all(|info| info.name.ends_with("lora_a") || info.name.ends_with("lora_b")));
    }
}

#[test]
fn stopping_and_resuming_changes_no_bit() {
    let parent = trained(&architecture(), 5);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("adapters");
    let source = batches(&images_of(&[1]));
    let mut straight = trainer(&parent, &DROPPING);
    straight.step_to(&source, 9, &mut Silent).unwrap();
    let mut first = trainer(&parent, &DROPPING);
    first.step_to(&source, 4, &mut Silent).unwrap();
    first.save(&dir).unwrap();
    let mut second = trainer(&parent, &DROPPING).restore(&dir).unwrap();
    assert_eq!(second.step(), 4);
    second.step_to(&source, 9, &mut Silent).unwrap();
    assert_eq!(everything(&second), everything(&straight));

    // The checkpoint is bound to settings and parent.
    let refused = |trainer: Trainer<LoraUNet>| trainer.restore(&dir).unwrap_err().to_string();
    let faster = LoraSettings { learning_rate_ratio: 4.0, ..DROPPING };
    assert!(refused(trainer(&parent, &faster)).contains("learning_rate_ratio"));
    let other = refused(trainer(&trained(&architecture(), 6), &DROPPING));
    assert!(other.contains("lora.parent"), "{other}");
}

#[test]
fn gradient_checkpointing_changes_no_bit() {
    let full = trained(&architecture(), 5);
    let source = batches(&images_of(&[1]));
    for parent in [pruned(&full), full] {
        let [kept, again] = [false, true].map(|gradient_checkpointing| {
            let settings = TrainingConfig { gradient_checkpointing, ..training(1e-3) };
            let network = adapted(&parent, &DROPPING);
            let mut trainer = Trainer::new(network, settings, schedule(), Streams::new(5)).unwrap();
            trainer.step_to(&source, 3, &mut Silent).unwrap();
            everything(&trainer)
        });
        assert_eq!(again, kept);
    }
}

#[test]
fn dropout_is_of_training_alone_and_b_learns_faster() {
    let parent = trained(&architecture(), 5);
    let source = batches(&images_of(&[1]));
    let after = |settings: &LoraSettings, steps| {
        let mut trainer = trainer(&parent, settings);
        trainer.step_to(&source, steps, &mut Silent).unwrap();
        trainer
    };
    assert_ne!(everything(&after(&PLAIN, 3)), everything(&after(&DROPPING, 3)));
    let network = after(&DROPPING, 3).ema_model().unwrap();
    assert_eq!(prediction(&network), prediction(&network));

    // Adam's first step moves every parameter that has a gradient by its learning rate.
    let one = state_dict_of(after(&PLAIN, 1).model()).unwrap();
    let even = LoraSettings { learning_rate_ratio: 1.0, ..PLAIN };
    let slow = state_dict_of(after(&even, 1).model()).unwrap();
    let largest = |weights: &StateDict| {
        let of_b = weights.iter().filter(|(name, _)| name.ends_with("lora_b"));
        of_b.flat_map(|(_, t)| t.data()).fold(0.0f32, |m, v| m.max(v.abs()))
    };
    assert!((largest(&one) - 16e-3).abs() < 1e-5 && (largest(&slow) - 1e-3).abs() < 1e-6);
}

/// Full fine-tuning of the layers that LoRA adapts: W + D with D free.
#[derive(Module, Debug)]
struct FullRank {
    deltas: Vec<Param<Tensor<2>>>,
    #[module(skip)]
    blocks: Vec<String>,
    #[module(skip)]
    parent: Arc<[UNet2DModel; 2]>,
}

impl ProjectionAdapter for FullRank {
    fn delta(&self, block: &str, projection: Projection, input: &Tensor<4>) -> Option<Tensor<4>> {
        let place = self.blocks.iter().position(|name| name == block)? * 3 + projection as usize;
        let delta = self.deltas[place].val();
        let [outputs, inputs] = delta.dims();
        let [batch, _, height, width] = input.dims();
        let flat = input.clone().reshape([batch, inputs, height * width]);
        let delta = delta.reshape([1, outputs, inputs]).expand([batch, outputs, inputs]);
        Some(delta.matmul(flat).reshape([batch, outputs, height, width]))
    }
}

impl Denoiser for FullRank {
    fn predict_noise(&self, x: Tensor<4>, timesteps: Tensor<1, Int>) -> Tensor<4> {
        let parent = &self.parent[usize::from(x.device().is_autodiff())];
        parent.forward_adapted(x, timesteps, Some(self))
    }

    fn config_json(&self) -> Result<Value, DiffusionError> {
        self.parent[0].config_json()
    }

    fn sample_shape(&self) -> [usize; 3] {
        self.parent[0].sample_shape()
    }
}

#[test]
fn full_rank_without_dropout_learns_like_fine_tuning_those_layers() {
    let parent = trained(&architecture(), 60);
    let remaining = images_of(&[1]);
    let before = loss_on(&parent, &remaining);

    let mut blocks: Vec<String> = adapted(&parent, &PLAIN)
        .adapter_files()
        .map(|files| StateDict::from_safetensors(&files[1].1, "adapter").unwrap())
        .unwrap()
        .names()
        .filter_map(|name| name.strip_prefix("base_model.model.")?.split_once(".to_q."))
        .map(|(block, _)| block.to_owned())
        .collect();
    blocks.dedup();
    let width = 16;
    let deltas = (0..3 * blocks.len())
        .map(|_| Param::from_tensor(Tensor::zeros([width, width], &Device::flex())))
        .collect();
    let both = [parent.clone(), parent.clone().freeze().train()];
    let full = FullRank { deltas, blocks, parent: Arc::new(both) };
    let mut full = Trainer::new(full, training(3e-3), schedule(), Streams::new(5)).unwrap();
    full.step_to(&batches(&remaining), 300, &mut Silent).unwrap();
    let by_fine_tuning = before - loss_on(&full.ema_model().unwrap(), &remaining);

    let settings = LoraSettings { rank: width, alpha: width as f64, dropout: 0.0, learning_rate_ratio: 1.0 };
    let mut low =
        Trainer::new(adapted(&parent, &settings), training(3e-3), schedule(), Streams::new(5)).unwrap();
    low.step_to(&batches(&remaining), 300, &mut Silent).unwrap();
    let by_adapters = before - loss_on(&low.ema_model().unwrap().merged().unwrap(), &remaining);

    assert!(by_fine_tuning > 0.01 * before, "{before}: fine-tuning gains {by_fine_tuning}");
    let share = by_adapters / by_fine_tuning;
    assert!((0.8..1.25).contains(&share), "adapters gain {by_adapters}, fine-tuning {by_fine_tuning}");
}

#[test]
fn a_model_without_attention_is_refused() {
    let config = UNet2DConfig { add_attention: false, ..UNet2DConfig::small(8, &[8, 8]) };
    let refused = LoraUNet::new(&support::fresh(&config), &PLAIN, &Streams::new(0)).unwrap_err();
    assert!(matches!(refused, UnlearnError::NoAttention) && refused.is_configuration());
    assert!(refused.to_string().contains("attention_levels"));
    let settings = LoraSettings { rank: 0, ..PLAIN };
    let refused = LoraUNet::new(&support::fresh(&architecture()), &settings, &Streams::new(0)).unwrap_err();
    assert!(refused.to_string().contains("lora_rank"));
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft").join(name)
}

fn fixture_parent() -> UNet2DModel {
    let (config, weights) = model_folder::read(&fixture("parent")).unwrap();
    UNet2DModel::from_state_dict(&config, &weights, &Device::flex()).unwrap()
}

#[test]
fn an_adapter_of_peft_predicts_what_it_does_in_peft() {
    let parent = fixture_parent();
    let network = LoraUNet::with_adapter(&parent, &fixture("adapter")).unwrap();
    assert_eq!(
        (network.settings().rank, network.settings().alpha, network.settings().dropout),
        (3, 12.0, 0.25)
    );
    let case = StateDict::read(&fixture("case.safetensors")).unwrap();
    let get = |name| case.get(name).unwrap();
    let device = Device::flex();
    let x =
        Tensor::<4>::from_data(TensorData::new(get("x").data().to_vec(), get("x").shape().to_vec()), &device);
    let t: Vec<i32> = get("timesteps").data().iter().map(|&t| t as i32).collect();
    let t = Tensor::<1, Int>::from_data(TensorData::new(t, [2]), &device);
    let merged = network.merged().unwrap();
    for (name, predicted) in [
        ("of_parent", parent.forward(x.clone(), t.clone())),
        ("predicted", network.predict_noise(x.clone(), t.clone())),
        ("predicted", merged.forward(x, t)),
    ] {
        let error = largest_difference(&values(predicted), get(name).data());
        assert!(error < 1e-5, "{name} differs by {error}");
    }
}

#[test]
fn our_adapters_have_peft_s_names_shapes_and_settings() {
    let settings = LoraSettings { rank: 3, alpha: 12.0, dropout: 0.25, ..PLAIN };
    let network = adapted(&fixture_parent(), &settings);
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in network.adapter_files().unwrap() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let shapes = |path: &Path| -> Vec<(String, Vec<usize>)> {
        let dict = StateDict::read(path).unwrap();
        dict.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect()
    };
    let weights = |folder: &Path| shapes(&folder.join(ADAPTER_WEIGHTS_FILE));
    assert_eq!(weights(folder.path()), weights(&fixture("adapter")));
    let json = |folder: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(folder.join(ADAPTER_CONFIG_FILE)).unwrap()).unwrap()
    };
    let (ours, mut theirs) = (json(folder.path()), json(&fixture("adapter")));
    // PEFT keeps a set, in no particular order.
    theirs["target_modules"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    for (key, value) in ours.as_object().unwrap() {
        assert_eq!(value, &theirs[key], "{key}");
    }

    let read = LoraUNet::with_adapter(&fixture_parent(), folder.path()).unwrap();
    let (left, right) = (state_dict_of(&read).unwrap(), state_dict_of(&network).unwrap());
    assert_eq!(distance(&left, &right), 0.0);
}

#[test]
fn adapters_of_another_kind_are_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let parent = fixture_parent();
    let text = std::fs::read_to_string(fixture("adapter").join(ADAPTER_CONFIG_FILE)).unwrap();
    std::fs::copy(fixture("adapter").join(ADAPTER_WEIGHTS_FILE), folder.path().join(ADAPTER_WEIGHTS_FILE))
        .unwrap();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(folder.path().join(ADAPTER_CONFIG_FILE), text.replace(from, to)).unwrap();
        LoraUNet::with_adapter(&parent, folder.path()).unwrap_err().to_string()
    };
    assert!(refused("\"LORA\"", "\"IA3\"").contains("peft_type"));
    assert!(refused("\"use_dora\": false", "\"use_dora\": true").contains("use_dora"));
    assert!(refused("\"r\": 3", "\"r\": \"three\"").contains("`r`"));
    assert!(refused("\"lora_dropout\": 0.25", "\"lora_dropout\": 1.5").contains("lora_dropout"));
    let shape = refused("\"r\": 3", "\"r\": 5");
    assert!(shape.contains(ADAPTER_WEIGHTS_FILE) && shape.contains("lora_A"), "{shape}");
    let missing = LoraUNet::with_adapter(&parent, &folder.path().join("nowhere")).unwrap_err().to_string();
    assert!(missing.contains(ADAPTER_CONFIG_FILE), "{missing}");
}
