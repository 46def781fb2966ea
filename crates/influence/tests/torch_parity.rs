//! Against PyTorch's gradients of single images, and against dattri, traker and NumPy on given gradients; see
//! `fixtures/generate_torch.py`.

use std::collections::BTreeMap;

use diffusion_core::{Device, StateDict, TensorF32, UNet2DConfig, UNet2DModel};
use influence::{GradientModel, Kernel, NoisyImages, Target, gradient_similarity};
use ndarray::Array2;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

fn floats(view: &TensorView<'_>) -> Vec<f32> {
    view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn doubles(view: &TensorView<'_>) -> Vec<f64> {
    view.data().as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b)).collect()
}

#[test]
fn gradients_of_single_images_are_those_of_vmap() {
    let file = SafeTensors::deserialize(include_bytes!("fixtures/image_gradients.safetensors")).unwrap();
    let weights: StateDict = file
        .tensors()
        .into_iter()
        .filter_map(|(name, view)| {
            let name = name.strip_prefix("weights.")?.to_owned();
            Some((name, TensorF32::new(view.shape().to_vec(), floats(&view)).unwrap()))
        })
        .collect();
    let config = include_str!("fixtures/image_gradients.config.json");
    let config = UNet2DConfig::from_json(config, "config.json").unwrap();
    let model = UNet2DModel::from_state_dict(&config, &weights, &Device::flex()).unwrap();
    let model = GradientModel::new(&model).unwrap();
    let (noisy, noise) = (floats(&file.tensor("noisy").unwrap()), floats(&file.tensor("noise").unwrap()));
    let times = file.tensor("timesteps").unwrap();
    let timesteps: Vec<usize> =
        times.data().as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b) as usize).collect();
    let [images, group] = times.shape().try_into().unwrap();
    for (target, name) in [(Target::Loss, "loss"), (Target::SquaredOutput, "squared_output")] {
        let batch = NoisyImages { noisy: &noisy, noise: &noise, timesteps: &timesteps, images };
        let mut found: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        model
            .for_each_layer(&batch, target, 1.0 / group as f64, &mut |place, rows| {
                let name = model.parameters()[place].name.clone();
                assert!(found.insert(name, rows.iter().copied().collect()).is_none());
                Ok(())
            })
            .unwrap();
        assert_eq!(found.len(), weights.iter().count());
        let scale: f64 = found.values().flatten().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        for (parameter, found) in found {
            let expected = floats(&file.tensor(&format!("{name}.{parameter}")).unwrap());
            assert_eq!(found.len(), expected.len());
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
            let difference = norm(&mut found.iter().zip(&expected).map(|(&a, &b)| f64::from(a - b)));
            let length = norm(&mut expected.iter().map(|&x| f64::from(x)));
            // 32-bit network against 64 bits; the keys' bias has no gradient but rounding, hence the floor.
            assert!(
                difference <= 1e-5 * length + 1e-7 * scale,
                "{name} {parameter}: {difference} of {length}"
            );
        }
    }
}

#[test]
fn scores_are_those_of_dattri_traker_and_numpy() {
    let file = SafeTensors::deserialize(include_bytes!("fixtures/scores.safetensors")).unwrap();
    let rows = |name: &str| {
        let view = file.tensor(name).unwrap();
        let [images, dimension] = view.shape().try_into().unwrap();
        Array2::from_shape_vec((images, dimension), doubles(&view)).unwrap()
    };
    let (train, targets) = (rows("train"), rows("targets"));
    let kernel = Kernel::new(&train, doubles(&file.tensor("damping").unwrap())[0]).unwrap();
    let close = |found: &[f64], name: &str, tolerance: f64| {
        let expected = doubles(&file.tensor(name).unwrap());
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{name}: {found:?} {expected:?}");
        }
    };
    let trak = kernel.trak(&targets).unwrap();
    // All in 64 bits, each with another way to solve.
    close(&trak, "dattri_trak", 1e-12);
    close(&kernel.relative_influence(&targets).unwrap(), "relative_influence", 1e-12);
    close(&kernel.renormalised_influence(&targets).unwrap(), "renormalised_influence", 1e-12);
    close(&gradient_similarity(&train, &targets).unwrap(), "gradient_similarity", 1e-12);
    // traker computes in 32 bits and up to a positive factor.
    let traker = doubles(&file.tensor("traker_trak").unwrap());
    let length = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let scaled: Vec<f64> = trak.iter().map(|x| x * length(&traker) / length(&trak)).collect();
    close(&scaled, "traker_trak", 2e-6);
}
