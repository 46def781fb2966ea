//! The network against diffusers' `UNet2DModel`: outputs and all gradients on fixtures computed in float64.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use diffusion_core::unet::layout::Layout;
use diffusion_core::{StateDict, TensorF32, UNet2DConfig, UNet2DModel, model_folder, unet};
use support::{gradients_by_name, relative_error};

const NAMES: [&str; 6] = ["cifar", "celeba", "mnist", "small", "options", "no_mid_attention"];

/// Largest difference of an output, as a fraction of the largest magnitude of its tensor.
const TOLERANCE: f64 = 1e-5;
/// The same for the gradients of parameters, in which more rounding gathers.
const GRADIENT_TOLERANCE: f64 = 3e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/unet").join(name)
}

fn tensor<const D: usize>(values: &TensorF32, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.data().to_vec(), values.shape().to_vec()), device)
}

#[test]
fn output_loss_and_gradients_are_those_of_diffusers() {
    for name in NAMES {
        let (config, weights) = model_folder::read(&fixture(name)).unwrap();
        let case = StateDict::read(&fixture(name).join("case.safetensors")).unwrap();
        let device = Device::flex().autodiff();
        let model = UNet2DModel::from_state_dict(&config, &weights, &device).unwrap();
        let x: Tensor<4> = tensor::<4>(case.get("x").unwrap(), &device).require_grad();
        let noise: Tensor<4> = tensor(case.get("noise").unwrap(), &device);
        let steps: Vec<i32> = case.get("timesteps").unwrap().data().iter().map(|&t| t as i32).collect();
        let steps = Tensor::<1, Int>::from_data(steps.as_slice(), &device);

        let output = model.forward(x.clone(), steps);
        let loss = (output.clone() - noise).square().mean();
        let gradients = loss.backward();

        let check = |what: &str, actual: &[f32]| {
            let error = relative_error(actual, case.get(what).unwrap().data());
            assert!(error <= TOLERANCE, "{name}: {what} differs by {error:.1e}");
        };
        let values = |t: Tensor<4>| t.try_into_vec_as::<f32>().unwrap();
        check("output", &values(output));
        check("loss", &loss.try_into_vec_as::<f32>().unwrap());
        check("grad.x", &values(x.grad(&gradients).unwrap()));

        let found = gradients_by_name(&model, &gradients);
        let mut names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            weights.names().collect::<Vec<_>>(),
            "{name}: parameters must have diffusers' keys"
        );
        for (parameter, gradient) in &found {
            check_gradient(name, &case, parameter, gradient);
        }
    }
}

/// Checks one gradient. Two kinds are zero in exact arithmetic, because what follows takes out the mean over positions
/// or keys: their stored values are rounding, and so must ours be.
fn check_gradient(fixture: &str, case: &StateDict, parameter: &str, gradient: &[f32]) {
    let expected = case.get(&format!("grad.{parameter}")).unwrap().data();
    let largest = expected.iter().fold(0.0f32, |m, e| m.max(e.abs()));
    if largest < 1e-12 {
        assert!(parameter.ends_with("to_k.bias"), "{fixture}: {parameter} has no gradient");
        assert!(gradient.iter().all(|g| g.abs() < 1e-6), "{fixture}: {parameter} has a gradient");
        return;
    }
    let error = relative_error(gradient, expected);
    assert!(error <= GRADIENT_TOLERANCE, "{fixture}: the gradient of {parameter} differs by {error:.1e}");
}

#[test]
fn weights_survive_the_network_and_the_folder() {
    let temporary = tempfile::tempdir().unwrap();
    for name in NAMES {
        let (config, weights) = model_folder::read(&fixture(name)).unwrap();
        let model = UNet2DModel::from_state_dict(&config, &weights, &Device::flex()).unwrap();
        assert_eq!(model.parameter_count(), weights.parameter_count());
        let folder = temporary.path().join(name);
        model_folder::write(&folder, model.config(), &model.state_dict().unwrap(), None).unwrap();
        let again = model_folder::read(&folder).unwrap();
        assert_eq!(again, (config.clone(), weights.clone()));
        assert_eq!(model_folder::hash(&folder).unwrap(), model_folder::model_hash(&config, &weights));
    }
}

#[test]
fn small_network_is_the_constructor_of_that_name() {
    let (config, _) = model_folder::read(&fixture("small")).unwrap();
    assert_eq!(config, UNet2DConfig::small(8, &[8, 8, 16]));
}

#[test]
fn cifar_network_has_the_size_of_diffusers() {
    // `sum(p.numel() for p in model.parameters())` in diffusers, and multiply-accumulates counted there by forward hooks
    // on every Conv2d, Linear and Attention.
    let config = UNet2DConfig::cifar();
    assert_eq!(Layout::of(&config).unwrap().parameter_count(), 35_746_307);
    assert_eq!(unet::macs(&config, 32, 32).unwrap(), 6_221_856_768);
    assert_eq!(unet::macs(&UNet2DConfig::celeba_latent(), 64, 64).unwrap(), 101_200_031_744);
    assert_eq!(unet::macs(&UNet2DConfig::mnist(), 32, 32).unwrap(), 4_397_531_136);
}

#[test]
fn pruned_attention_computes_what_zeroed_channels_do() {
    // Two heads of 4 channels; the last channel of each is dropped from queries and keys, the last two from values.
    let (config, mut full) = model_folder::read(&fixture("celeba")).unwrap();
    let block = "mid_block.attentions.0";
    let kept = |per_head: usize| (0..8).filter(|c| c % 4 < per_head).collect::<Vec<usize>>();
    let mut pruned = full.clone();
    let mut widths = config.pruned_channels.clone();
    for (part, per_head) in [("to_q", 3), ("to_k", 3), ("to_v", 2)] {
        for kind in ["weight", "bias"] {
            let key = format!("{block}.{part}.{kind}");
            let original = full.get(&key).unwrap().clone();
            pruned.insert(key.clone(), original.select(0, &kept(per_head)).unwrap());
            let row = original.len() / 8;
            for (i, value) in full.get_mut(&key).unwrap().data_mut().iter_mut().enumerate() {
                if i / row % 4 >= per_head {
                    *value = 0.0;
                }
            }
        }
        widths.insert(format!("{block}.{part}"), 2 * per_head);
    }
    let key = format!("{block}.to_out.0.weight");
    let columns = full.get(&key).unwrap().select(1, &kept(2)).unwrap();
    pruned.insert(key, columns);
    let pruned_config = UNet2DConfig { pruned_channels: widths, ..config.clone() };
    assert_eq!(UNet2DConfig::from_json(&pruned_config.to_json(), "config.json").unwrap(), pruned_config);

    let case = StateDict::read(&fixture("celeba").join("case.safetensors")).unwrap();
    let device = Device::flex();
    let forward = |config: &UNet2DConfig, weights: &StateDict| -> Vec<f32> {
        let model = UNet2DModel::from_state_dict(config, weights, &device).unwrap();
        let steps = Tensor::<1, Int>::from_data([0, 37, 999], &device);
        model.forward(tensor(case.get("x").unwrap(), &device), steps).try_into_vec_as::<f32>().unwrap()
    };
    let masked = forward(&config, &full);
    let error = relative_error(&forward(&pruned_config, &pruned), &masked);
    assert!(error <= TOLERANCE, "{error:.1e}");
    let unmasked = forward(&config, &model_folder::read(&fixture("celeba")).unwrap().1);
    assert!(relative_error(&masked, &unmasked) > 1e-3, "the mask must matter for the test to mean anything");
}

#[test]
fn wrong_weights_are_refused_by_name() {
    let (config, weights) = model_folder::read(&fixture("small")).unwrap();
    let load = |weights: &StateDict| {
        UNet2DModel::from_state_dict(&config, weights, &Device::flex()).map(drop).unwrap_err().to_string()
    };

    let mut missing = weights.clone();
    missing.remove("mid_block.attentions.0.to_out.0.bias");
    assert!(load(&missing).contains("no tensor `mid_block.attentions.0.to_out.0.bias`"));

    let mut misshapen = weights.clone();
    misshapen.insert("conv_in.weight", TensorF32::filled([8, 3, 1, 1], 0.0));
    let error = load(&misshapen);
    assert!(
        error.contains("`conv_in.weight` has shape [8, 3, 1, 1]") && error.contains("[8, 3, 3, 3]"),
        "{error}"
    );

    let mut surplus = weights;
    surplus.insert("class_embedding.weight", TensorF32::filled([1], 0.0));
    assert!(load(&surplus).contains("`class_embedding.weight`"));
}

#[test]
fn broken_folders_are_refused_by_file_and_key() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let error = model_folder::read(&folder.join("absent")).unwrap_err().to_string();
    assert!(error.contains("absent") && error.contains("config.json"), "{error}");

    let source = fixture("small");
    let config = fs::read_to_string(source.join("config.json")).unwrap();
    let weights = fs::read(source.join("diffusion_pytorch_model.safetensors")).unwrap();
    let attempt = |config: &str, weights: &[u8]| {
        fs::write(folder.join("config.json"), config).unwrap();
        fs::write(folder.join("diffusion_pytorch_model.safetensors"), weights).unwrap();
        model_folder::read(folder).map(drop)
    };
    attempt(&config, &weights).unwrap();

    let error = attempt(&config, &weights[..weights.len() / 2]).unwrap_err().to_string();
    assert!(error.contains("diffusion_pytorch_model.safetensors is not a whole safetensors file"), "{error}");
    let error = attempt(&config.replace("\"silu\"", "\"gelu\""), &weights).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("`act_fn`"), "{error}");
    let error =
        attempt(&config.replace("\"UpBlock2D\"", "\"SkipUpBlock2D\""), &weights).unwrap_err().to_string();
    assert!(error.contains("`up_block_types[0]`") && error.contains("SkipUpBlock2D"), "{error}");
    let error = attempt(&config.replace("\"layers_per_block\": 1", "\"layers_per_block\": 2"), &weights);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no tensor `down_blocks.0.resnets.1"), "{error}");
    let error = attempt(&config[..40], &weights).unwrap_err().to_string();
    assert!(error.contains("config.json is not a JSON object"), "{error}");
}

/// The numbers in [-1, 1] that `generate_celeba_widths.py` makes for the k-th parameter.
fn formula(k: usize, count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(move |i| {
        let turned = (12.9898 * i as f64 + 78.233 * k as f64).sin() * 43758.5453;
        2.0 * (turned.abs() % 1.0) - 1.0
    })
}

#[test]
fn network_for_latents_of_faces_computes_what_diffusers_does() {
    // Heads of 32 channels at four levels, 32 groups, norms with 1e-5: the layers of the 274 M parameter network, narrower.
    let config = UNet2DConfig {
        sample_size: 16,
        block_out_channels: vec![32, 64, 96, 128],
        ..UNet2DConfig::celeba_latent()
    };
    let text = fs::read_to_string(fixture("celeba_widths.json")).unwrap();
    let case: serde_json::Value = serde_json::from_str(&text).unwrap();
    let layout = Layout::of(&config).unwrap();
    assert_eq!(layout.parameter_count() as u64, case["parameters"].as_u64().unwrap());
    let shapes = layout.parameter_shapes();
    let weights: StateDict = shapes
        .into_iter()
        .enumerate()
        .map(|(k, (name, shape))| {
            let fan_in: usize = shape[1..].iter().product();
            let value = |u: f64| match () {
                () if name.ends_with("bias") => 0.2 * u,
                () if name.contains("norm") => 1.0 + 0.3 * u,
                () => 1.5 / (fan_in as f64).sqrt() * u,
            };
            let values = formula(k, shape.iter().product()).map(|u| value(u) as f32).collect();
            (name.clone(), TensorF32::new(shape, values).unwrap())
        })
        .collect();
    let device = Device::flex();
    let model = UNet2DModel::from_state_dict(&config, &weights, &device).unwrap();
    let x: Vec<f32> = formula(1000, 2 * 3 * 256).map(|u| 2.0 * u as f32).collect();
    let x = Tensor::<4>::from_data(TensorData::new(x, [2, 3, 16, 16]), &device);
    let output = model.forward(x, Tensor::<1, Int>::from_data([7, 950], &device));
    let expected: Vec<f32> =
        case["output"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    let error = relative_error(&output.try_into_vec_as::<f32>().unwrap(), &expected);
    assert!(error <= TOLERANCE, "{error:.1e}");
}
