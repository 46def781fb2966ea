//! Optimizer steps against the same formula in `f64`.

use burn::tensor::{Device, Tensor, TensorData};
use kernels::{AdamStep, AdamTensors, InstructionSet, adam_step, squared_norm};

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|i| {
            ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 7919) >> 8) % 2001) as f32 / 1000.0 - 1.0
        })
        .collect()
}

fn vector(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().expect("tensors here are f32")
}

/// Parameter, moments and average after `steps` steps in `f64`.
fn reference(mut step: AdamStep, steps: u64, start: &[f32], gradients: &[Vec<f32>]) -> [Vec<f64>; 4] {
    let mut p: Vec<f64> = start.iter().map(|p| f64::from(*p)).collect();
    let (mut m, mut v, mut average) = (vec![0.0; p.len()], vec![0.0; p.len()], p.clone());
    for t in 1..=steps {
        step.step = t;
        for i in 0..p.len() {
            let mut g = f64::from(gradients[t as usize - 1][i]) * step.gradient_scale;
            if step.decoupled {
                p[i] *= 1.0 - step.learning_rate * step.weight_decay;
            } else {
                g += step.weight_decay * p[i];
            }
            m[i] = step.beta1 * m[i] + (1.0 - step.beta1) * g;
            v[i] = step.beta2 * v[i] + (1.0 - step.beta2) * g * g;
            let (c1, c2) = (1.0 - step.beta1.powi(t as i32), 1.0 - step.beta2.powi(t as i32));
            p[i] -= step.learning_rate / c1 * m[i] / (v[i].sqrt() / c2.sqrt() + step.epsilon);
            average[i] = step.average_decay * average[i] + (1.0 - step.average_decay) * p[i];
        }
    }
    [p, m, v, average]
}

#[test]
fn an_average_in_the_same_pass_has_the_bits_of_one_of_its_own() {
    const LEN: usize = 1037;
    let device = Device::flex();
    let row = |seed| Tensor::<1>::from_data(TensorData::new(numbers(LEN, seed), [LEN]), &device);
    let step = AdamStep {
        step: 3,
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.1,
        decoupled: true,
        gradient_scale: 0.7,
        average_decay: 0.95,
    };
    let tensors = |average| AdamTensors {
        parameter: row(1),
        first_moment: row(2),
        second_moment: row(3).abs(),
        average,
    };
    for set in InstructionSet::available() {
        set.force(|| {
            let together = adam_step(&step, tensors(Some(row(4))), row(5));
            let alone = adam_step(&step, tensors(None), row(5));
            // As the average is updated where the optimiser does not do it.
            let change = (row(4) - alone.parameter.clone()).mul_scalar(1.0 - step.average_decay);
            let average = row(4) - change;
            for (together, alone) in [
                (together.parameter, alone.parameter),
                (together.first_moment, alone.first_moment),
                (together.second_moment, alone.second_moment),
                (together.average.unwrap(), average),
            ] {
                let bits = |row| vector(row).into_iter().map(f32::to_bits).collect::<Vec<_>>();
                assert_eq!(bits(together), bits(alone), "{set:?}");
            }
        });
    }
}

#[test]
fn steps_follow_the_formula() {
    const LEN: usize = 20_011;
    const STEPS: u64 = 5;
    let start = numbers(LEN, 1);
    let gradients: Vec<_> = (0..STEPS as u32).map(|t| numbers(LEN, 2 + t)).collect();
    let device = Device::flex();
    for set in InstructionSet::available() {
        for (weight_decay, decoupled) in [(0.0, false), (0.1, false), (0.1, true)] {
            let mut step = AdamStep {
                step: 1,
                learning_rate: 1e-2,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay,
                decoupled,
                gradient_scale: 0.5,
                average_decay: 0.9,
            };
            let expected = reference(step, STEPS, &start, &gradients);
            let parameter = Tensor::<1>::from_data(TensorData::new(start.clone(), [LEN]), &device);
            let zeros = Tensor::<1>::zeros([LEN], &device);
            let mut tensors = AdamTensors {
                parameter: parameter.clone(),
                first_moment: zeros.clone(),
                second_moment: zeros.clone(),
                average: Some(parameter.clone()),
            };
            set.force(|| {
                for t in 1..=STEPS {
                    step.step = t;
                    let gradient = TensorData::new(gradients[t as usize - 1].clone(), [LEN]);
                    tensors = adam_step(&step, tensors.clone(), Tensor::from_data(gradient, &device));
                }
            });
            // The tensors that were shared are as before.
            assert_eq!(vector(parameter), start);
            assert!(vector(zeros).iter().all(|zero| *zero == 0.0));
            let ours =
                [tensors.parameter, tensors.first_moment, tensors.second_moment, tensors.average.unwrap()];
            for (ours, expected) in ours.map(vector).iter().zip(&expected) {
                for (ours, expected) in ours.iter().zip(expected) {
                    assert!((f64::from(*ours) - expected).abs() < 1e-6, "{set:?}: {ours} for {expected}");
                }
            }
        }
    }
}

#[test]
fn other_number_types_step_too() {
    let device = Device::flex();
    let double = |values: Vec<f32>| {
        Tensor::<1>::from_data(TensorData::new(values, [9]), &device).cast(burn::tensor::DType::F64)
    };
    let step = AdamStep {
        step: 1,
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.1,
        decoupled: true,
        gradient_scale: 0.5,
        average_decay: 0.9,
    };
    let gradient = numbers(9, 2);
    let expected = reference(step, 1, &numbers(9, 1), std::slice::from_ref(&gradient));
    let tensors = AdamTensors {
        parameter: double(numbers(9, 1)),
        first_moment: double(vec![0.0; 9]),
        second_moment: double(vec![0.0; 9]),
        average: Some(double(numbers(9, 1))),
    };
    let tensors = adam_step(&step, tensors, double(gradient));
    let ours = tensors.parameter.into_data().try_to_vec::<f64>().unwrap();
    for (ours, expected) in ours.iter().zip(&expected[0]) {
        assert!((ours - expected).abs() < 1e-7);
    }
}

#[test]
fn norms_are_sums_of_squares_for_every_number_of_threads() {
    let values = numbers(30_001, 5);
    let expected: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
    let device = Device::flex();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let tensor = Tensor::<1>::from_data(TensorData::new(values.clone(), [values.len()]), &device);
        pool.install(|| squared_norm(tensor))
    };
    assert!((run(1) - expected).abs() < 1e-5 * expected);
    assert_eq!(run(1).to_bits(), run(3).to_bits());
}
