//! Parity of the optimisers, of clipping and of the average with PyTorch and diffusers.

mod support;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use diffusion_core::ema::{Ema, EmaConfig};
use diffusion_core::optim::{
    DynamicMap, Optimizer, OptimizerConfig, StateBits, clip_coefficient, squared_norm,
};
use diffusion_core::parameters::{state_dict_of, take_flat_gradients, with_state_dict};
use diffusion_core::{DiffusionError, StateDict, TensorF32};
use serde_json::Value;
use support::{fixture, floats, largest_difference};

#[derive(Module, Debug)]
struct Pair {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Pair {
    fn new(weight: Vec<f32>, bias: Vec<f32>) -> Self {
        let device = Device::flex().autodiff();
        Self {
            weight: Param::from_data(TensorData::new(weight, [3, 2]), &device),
            bias: Param::from_data(TensorData::new(bias, [3]), &device),
        }
    }

    fn from_json(value: &Value) -> Self {
        Self::new(floats(&value["weight"]), floats(&value["bias"]))
    }
}

fn row(values: Vec<f32>) -> Tensor<1> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), &Device::flex())
}

/// Differs by at most 1e-6 of the larger of 1 and the value.
fn assert_close(ours: &[f32], theirs: &[f32], what: &str) {
    let scale = theirs.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    let largest = largest_difference(ours, theirs) / scale;
    assert!(largest <= 1e-6, "{what} differs by {largest}");
}

fn config_of(run: &Value) -> OptimizerConfig {
    serde_json::from_value(serde_json::json!({
        "kind": run["kind"], "learning_rate": run["learning_rate"], "weight_decay": run["weight_decay"],
    }))
    .unwrap()
}

/// One recorded step: clips if the run does, and checks the norm.
fn step(optimizer: &mut Optimizer, module: Pair, run: &Value, step: &Value) -> Pair {
    let gradients = ["weight", "bias"].map(|name| row(floats(&step["gradients"][name])));
    let mut scale = 1.0;
    if let Some(max_norm) = run["clip"].as_f64() {
        let squares: f32 = gradients.iter().map(|g| squared_norm(g.clone()).into_scalar::<f32>()).sum();
        let norm = squares.sqrt();
        assert_close(&[norm], &[step["norm"].as_f64().unwrap() as f32], "the norm");
        scale = clip_coefficient(norm, max_norm as f32);
    }
    optimizer.step(module, gradients.map(Some).to_vec(), scale).unwrap()
}

#[test]
fn twenty_steps_are_those_of_pytorch() {
    let fixture = fixture("optim/optimizers.json");
    let runs = fixture["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 8);
    let mut clipped = 0;
    for run in runs {
        let what = format!("{} decay {} clip {}", run["kind"], run["weight_decay"], run["clip"]);
        let mut module = Pair::from_json(&run["initial"]);
        let mut optimizer = Optimizer::new(config_of(run), &module).unwrap();
        for recorded in run["steps"].as_array().unwrap() {
            module = step(&mut optimizer, module, run, recorded);
            clipped += usize::from(recorded["norm"].as_f64().is_some_and(|norm| norm > 1.0));
            let weights = state_dict_of(&module).unwrap();
            for name in ["weight", "bias"] {
                let theirs = floats(&recorded["parameters"][name]);
                assert_close(weights.get(name).unwrap().data(), &theirs, &format!("{what}: {name}"));
            }
        }
        assert_eq!(optimizer.steps(), 20);
        let state = optimizer.state_dict().unwrap();
        for name in ["weight", "bias"] {
            for moment in ["exp_avg", "exp_avg_sq"] {
                let ours = state.get(&format!("{moment}.{name}")).unwrap();
                assert_close(
                    ours.data(),
                    &floats(&run["state"][name][moment]),
                    &format!("{what}: {moment} of {name}"),
                );
            }
        }
    }
    assert!(clipped > 20, "the fixture must exercise clipping, but only {clipped} steps are clipped");
}

#[test]
fn a_scaled_learning_rate_is_another_learning_rate_of_that_parameter_alone() {
    let start = || Pair::new(vec![0.5, -0.25, 1.0, 2.0, -1.0, 0.125], vec![0.25, -0.5, 1.0]);
    let trained = |learning_rate: f64, scale: f64| {
        let config = OptimizerConfig { learning_rate, ..OptimizerConfig::default() };
        let module = start();
        let mut optimizer = Optimizer::new(config, &module)
            .unwrap()
            .with_learning_rates_scaled(|name| if name == "bias" { scale } else { 1.0 });
        let gradients = [row(vec![0.5, 1.0, -2.0, 0.25, 3.0, -0.125]), row(vec![1.0, -0.5, 0.75])];
        state_dict_of(&optimizer.step(module, gradients.map(Some).to_vec(), 1.0).unwrap()).unwrap()
    };
    let (slow, fast, mixed) = (trained(1e-3, 1.0), trained(16e-3, 1.0), trained(1e-3, 16.0));
    assert_eq!(mixed.get("weight").unwrap(), slow.get("weight").unwrap());
    assert_eq!(mixed.get("bias").unwrap(), fast.get("bias").unwrap());
    assert_ne!(slow.get("bias").unwrap(), fast.get("bias").unwrap());
}

#[test]
fn saved_state_goes_on_bit_for_bit() {
    let fixture = fixture("optim/optimizers.json");
    let run = &fixture["runs"].as_array().unwrap()[1];
    let steps = run["steps"].as_array().unwrap();
    let mut straight = Pair::from_json(&run["initial"]);
    let mut optimizer = Optimizer::new(config_of(run), &straight).unwrap();
    for recorded in steps {
        straight = step(&mut optimizer, straight, run, recorded);
    }

    let mut module = Pair::from_json(&run["initial"]);
    let mut first = Optimizer::new(config_of(run), &module).unwrap();
    for recorded in &steps[..7] {
        module = step(&mut first, module, run, recorded);
    }
    let bytes = first.state_dict().unwrap().to_safetensors().unwrap();
    let state = StateDict::from_safetensors(&bytes, "optimizer").unwrap();
    let mut module =
        with_state_dict(Pair::new(vec![0.0; 6], vec![0.0; 3]), &state_dict_of(&module).unwrap()).unwrap();
    let mut second = Optimizer::from_state_dict(config_of(run), &module, state).unwrap();
    assert_eq!(second.steps(), 7);
    for recorded in &steps[7..] {
        module = step(&mut second, module, run, recorded);
    }
    assert_eq!(state_dict_of(&module).unwrap(), state_dict_of(&straight).unwrap());
    assert_eq!(second.state_dict().unwrap(), optimizer.state_dict().unwrap());
}

#[test]
fn states_of_other_modules_are_refused_by_name() {
    let module = Pair::new(vec![0.0; 6], vec![0.0; 3]);
    let good = Optimizer::new(OptimizerConfig::default(), &module).unwrap().state_dict().unwrap();
    let refused = |change: &dyn Fn(&mut StateDict)| {
        let mut state = good.clone();
        change(&mut state);
        Optimizer::from_state_dict(OptimizerConfig::default(), &module, state).unwrap_err().to_string()
    };
    assert!(refused(&|s| drop(s.remove("exp_avg.bias"))).contains("bias"));
    assert!(refused(&|s| drop(s.remove("step"))).contains("step"));
    assert!(
        refused(&|s| drop(s.insert("momentum.bias", TensorF32::filled([3], 0.0)))).contains("momentum.bias")
    );
    assert!(refused(&|s| drop(s.insert("exp_avg_sq.bias", TensorF32::filled([4], 0.0)))).contains("[4]"));
    assert!(refused(&|s| drop(s.insert("step", TensorF32::filled([1], 0.5)))).contains("step"));
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &module).unwrap();
    assert!(matches!(optimizer.step(module, vec![None], 1.0), Err(DiffusionError::Setting { .. })));
}

#[test]
fn frozen_parameters_have_no_gradient_and_stay() {
    let mut module = Pair::new(vec![1.0; 6], vec![1.0; 3]);
    module.bias = module.bias.set_require_grad(false);
    let loss =
        (module.weight.val().powi_scalar(2).sum() + module.bias.val().powi_scalar(2).sum()).mul_scalar(0.5);
    let gradients = take_flat_gradients(&module, &mut loss.backward());
    assert!(gradients[1].is_none());
    assert_eq!(gradients[0].clone().unwrap().try_into_vec_as::<f32>().unwrap(), [1.0; 6]);
    let mut optimizer =
        Optimizer::new(OptimizerConfig { weight_decay: 0.1, ..Default::default() }, &module).unwrap();
    let module = optimizer.step(module, gradients, 1.0).unwrap();
    let weights = state_dict_of(&module).unwrap();
    assert_eq!(weights.get("bias").unwrap().data(), [1.0; 3]);
    assert!(weights.get("weight").unwrap().data().iter().all(|&v| v < 1.0));
    assert!(!module.bias.is_require_grad() && module.weight.is_require_grad());
}

#[test]
fn warm_up_decays_are_those_of_diffusers() {
    for case in fixture("optim/ema.json")["decays"].as_array().unwrap() {
        let config = EmaConfig {
            inv_gamma: case["inv_gamma"].as_f64().unwrap(),
            power: case["power"].as_f64().unwrap(),
            max_decay: case["max_decay"].as_f64().unwrap(),
        };
        for (update, decay) in
            case["updates"].as_array().unwrap().iter().zip(case["decays"].as_array().unwrap())
        {
            let ours = config.decay(update.as_u64().unwrap());
            assert!((ours - decay.as_f64().unwrap()).abs() < 1e-12, "{config:?} {update}: {ours}");
        }
    }
}

#[test]
fn averages_are_those_of_diffusers() {
    let fixture = fixture("optim/ema.json");
    let run = &fixture["run"];
    let module = |values: &Value| Pair::new(floats(values), vec![0.0; 3]);
    // The fixture's parameter is [2, 3]; its six numbers serve as the weight's.
    let mut ema = Ema::new(EmaConfig::default(), &module(&run["initial"])).unwrap();
    for (update, step) in run["steps"].as_array().unwrap().iter().enumerate() {
        let trained = module(&step["parameter"]);
        ema.update(&trained).unwrap();
        assert_eq!(ema.updates(), update as u64 + 1);
        let average = ema.apply_to(&trained).unwrap();
        assert!(!average.weight.val().is_autodiff());
        let average = state_dict_of(&average).unwrap();
        assert_eq!(average, ema.state_dict().unwrap());
        assert_close(
            average.get("weight").unwrap().data(),
            &floats(&step["shadow"]),
            &format!("update {update}"),
        );
        // The trained model must not be touched.
        assert_eq!(
            state_dict_of(&trained).unwrap().get("weight").unwrap().data(),
            floats(&step["parameter"])
        );
    }
}

/// Two rows of which the first is long enough for 8 bits.
#[derive(Module, Debug)]
struct Rows {
    long: Param<Tensor<1>>,
    short: Param<Tensor<1>>,
}

impl Rows {
    fn new(long: Vec<f32>) -> Self {
        let device = Device::flex().autodiff();
        let count = long.len();
        Self {
            long: Param::from_data(TensorData::new(long, [count]), &device),
            short: Param::from_data(TensorData::new(vec![1.0f32; 3], [3]), &device),
        }
    }
}

fn eight_bit(block_size: usize) -> OptimizerConfig {
    OptimizerConfig { bits: StateBits::Eight, block_size, ..OptimizerConfig::default() }
}

/// The generator of `generate_adam8bit.py`.
fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut x = seed;
    (0..count)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let power = 10f64.powi(-(((x >> 5) % 7) as i32));
            ((f64::from(x) / 2f64.powi(31) - 1.0) * power) as f32
        })
        .collect()
}

fn codes(value: &Value) -> Vec<u8> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u8).collect()
}

#[test]
fn code_maps_and_codes_are_bitsandbytes() {
    let fixture = fixture("optim/adam8bit.json");
    for (map, key) in [(DynamicMap::signed(), "signed"), (DynamicMap::unsigned(), "unsigned")] {
        assert_eq!(map.values().to_vec(), floats(&fixture[key]), "{key}");
    }
    let ours = DynamicMap::signed().quantize(&numbers(3, 5000), 2048);
    let differing =
        ours.codes.iter().zip(codes(&fixture["quantized_2048"])).filter(|(a, b)| **a != *b).count();
    // Numbers in the middle between two values.
    assert!(differing <= 3, "{differing}");
}

#[test]
fn updates_with_8_bit_states_are_numpys() {
    for run in fixture("optim/adam8bit.json")["runs"].as_array().unwrap() {
        let kind = serde_json::from_value(run["kind"].clone()).unwrap();
        let config = OptimizerConfig {
            kind,
            learning_rate: 1e-2,
            weight_decay: 0.1,
            ..eight_bit(run["block_size"].as_u64().unwrap() as usize)
        };
        let mut rows = Rows::new(numbers(7, 5000));
        let mut optimizer = Optimizer::new(config, &rows).unwrap();
        for step in 1..=6 {
            let gradients = vec![Some(row(numbers(100 + step, 5000))), Some(row(vec![0.5, -0.5, 2.0]))];
            rows = optimizer.step(rows, gradients, 1.0).unwrap();
        }
        let state = optimizer.to_safetensors().unwrap();
        let file = safetensors::SafeTensors::deserialize(&state).unwrap();
        // A last bit (a fused product and sum) can move a number that lies in the middle to the next code.
        for (name, key) in [("exp_avg.long", "first"), ("exp_avg_sq.long", "second")] {
            let ours = file.tensor(name).unwrap().data().to_vec();
            let theirs = codes(&run[key]);
            let differing = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
            let furthest = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(differing <= 10 && furthest <= 1, "{name}: {differing} codes differ, by {furthest}");
        }
        let ours = state_dict_of(&rows).unwrap();
        let ours = ours.get("long").unwrap().data().iter().step_by(4);
        let differences: Vec<f32> =
            ours.zip(floats(&run["parameter"])).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).collect();
        assert_eq!(differences.len(), 1250);
        assert!(differences.iter().filter(|d| **d > 2e-6).count() <= 10, "{differences:?}");
        assert!(differences.iter().all(|d| *d < 1e-2), "{differences:?}");
    }
}

#[test]
fn eight_bit_states_are_small_and_read_back_to_the_bit() {
    let config = diffusion_core::UNet2DConfig {
        layers_per_block: 2,
        ..diffusion_core::UNet2DConfig::small(32, &[32, 64, 64])
    };
    let device = Device::flex().autodiff();
    let model = diffusion_core::UNet2DModel::new(&config, &device, &streams::Streams::new(1)).unwrap();
    let full = Optimizer::new(OptimizerConfig::default(), &model).unwrap().state_bytes();
    assert_eq!(full, 8 * model.parameter_count());
    for block_size in [256, 2048] {
        let bytes = Optimizer::new(eight_bit(block_size), &model).unwrap().state_bytes();
        let share = bytes as f64 / full as f64;
        println!("{} parameters, blocks of {block_size}: {share:.4} of 32 bits", model.parameter_count());
        assert!(share <= 0.28, "{share}");
    }

    let rows = Rows::new(numbers(7, 5000));
    let mut optimizer = Optimizer::new(eight_bit(256), &rows).unwrap();
    let gradients = vec![Some(row(numbers(1, 5000))), Some(row(vec![0.5, -0.5, 2.0]))];
    let rows = optimizer.step(rows, gradients, 1.0).unwrap();
    let bytes = optimizer.to_safetensors().unwrap();
    assert!(bytes.len() < 2 * 5000 + 2000, "{}", bytes.len());
    let again = Optimizer::from_safetensors(eight_bit(256), &rows, &bytes, "x").unwrap();
    assert_eq!(again.to_safetensors().unwrap(), bytes);
    assert_eq!(again.steps(), 1);

    // The other bits, and other blocks, are refused.
    let refused = |config, bytes: &[u8]| {
        Optimizer::from_safetensors(config, &rows, bytes, "opt.safetensors").unwrap_err().to_string()
    };
    let error = refused(OptimizerConfig::default(), &bytes);
    assert!(error.contains("opt.safetensors holds 8-bit") && error.contains("ask for 32"), "{error}");
    let plain = Optimizer::new(OptimizerConfig::default(), &rows).unwrap().to_safetensors().unwrap();
    let error = refused(eight_bit(256), &plain);
    assert!(error.contains("32-bit") && error.contains("optimizer.bits = 32"), "{error}");
    assert!(refused(eight_bit(2048), &bytes).contains("exp_avg_absmax.long"));
}
