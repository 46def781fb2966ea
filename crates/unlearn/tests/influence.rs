//! Influence unlearning against the explicit inverse of the Fisher matrix, on networks of a few parameters.

mod support;

use std::ops::ControlFlow;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use data::Batches;
use diffusion_core::parameters::{state_dict_of, take_flat_gradients};
use diffusion_core::training::noise_loss;
use diffusion_core::{Denoiser, DiffusionError};
use nalgebra::{DMatrix, DVector};
use serde_json::{Value, json};
use streams::{Streams, standard_normal};
use support::{architecture, batches, distance, images_of, loss_on, pruned, schedule, trained, values};
use unlearn::influence::{Influence, influence_unlearn};
use unlearn::{InfluenceSettings, InfluenceVariant, UnlearnError};

const BATCH: usize = 5;

/// Noise as a linear map of the three colours, and a shift by the timestep: 15 parameters.
#[derive(Module, Debug)]
struct Linear {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    time: Param<Tensor<1>>,
}

impl Linear {
    fn new() -> Self {
        let device = Device::flex();
        let numbers = standard_normal(&mut Streams::new(4).rng("linear", 0), 15);
        let part = |range: std::ops::Range<usize>| numbers[range].to_vec();
        Self {
            weight: Param::from_data(TensorData::new(part(0..9), [3, 3]), &device),
            bias: Param::from_data(TensorData::new(part(9..12), [3]), &device),
            time: Param::from_data(TensorData::new(part(12..15), [3]), &device),
        }
    }

    /// All parameters in the order in which a module gives them.
    fn row(&self) -> DVector<f64> {
        let parts =
            [values(self.weight.val().reshape([-1])), values(self.bias.val()), values(self.time.val())];
        DVector::from_iterator(15, parts.concat().into_iter().map(f64::from))
    }
}

impl Denoiser for Linear {
    fn predict_noise(&self, x: Tensor<4>, timesteps: Tensor<1, Int>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let colours = x.reshape([batch, channels, height * width]);
        let weight = self.weight.val().reshape([1, 3, 3]);
        let mapped = weight.expand([batch, 3, 3]).matmul(colours).reshape([batch, 3, height, width]);
        let time = timesteps.float().div_scalar(1000.0).reshape([batch, 1, 1, 1]);
        mapped + self.bias.val().reshape([1, 3, 1, 1]) + time * self.time.val().reshape([1, 3, 1, 1])
    }

    fn config_json(&self) -> Result<Value, DiffusionError> {
        Ok(json!({"_class_name": "Linear"}))
    }

    fn sample_shape(&self) -> [usize; 3] {
        [3, support::SIZE, support::SIZE]
    }
}

fn jump<M: Denoiser>(
    model: &M,
    remaining: Option<&Batches>,
    removed: Option<&Batches>,
    settings: &InfluenceSettings,
) -> Result<M, UnlearnError> {
    let schedule = schedule();
    let streams = Streams::new(21);
    let images = Influence { remaining, removed, batch_size: BATCH, schedule: &schedule, streams: &streams };
    influence_unlearn(model, &images, settings, &mut |_, _| ControlFlow::Continue(()))
}

/// The gradient of each batch of one pass, by another way than the library's: a row a batch, with the batch's images.
fn gradients(images: &Batches, streams: &Streams) -> Vec<(DVector<f64>, usize)> {
    let model = Linear::new().train();
    let batch = |number: usize| {
        let batch = images.of_pass(number, BATCH).unwrap();
        let loss = noise_loss(&model, &batch, number as u64, &schedule(), streams).unwrap();
        let parts = take_flat_gradients(&model, &mut loss.backward());
        let row: Vec<f32> = parts.into_iter().flat_map(|part| values(part.unwrap())).collect();
        (DVector::from_iterator(15, row.into_iter().map(f64::from)), batch.indices.len())
    };
    (0..images.per_pass(BATCH)).map(batch).collect()
}

fn mean(gradients: &[(DVector<f64>, usize)]) -> DVector<f64> {
    let images: usize = gradients.iter().map(|(_, count)| count).sum();
    gradients.iter().map(|(row, count)| row * (*count as f64 / images as f64)).sum()
}

#[test]
fn the_jump_is_that_of_the_explicit_inverse() {
    let (remaining, removed) = (batches(&images_of(&[1])), batches(&images_of(&[0])));
    let of_remaining = gradients(&remaining, &Streams::new(21).child("remaining", 0));
    let of_removed = gradients(&removed, &Streams::new(21).child("removed", 0));
    // Twelve images in batches of five: the last batch is smaller, and counts for less.
    assert_eq!(of_remaining.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [5, 5, 2]);
    let direction = (mean(&of_removed) - mean(&of_remaining)) * 0.5;
    let m = of_remaining.len() as f64;
    for (ratio, damping) in [(0.5, 1.0), (0.1, 0.01), (2.0, 0.3)] {
        let settings = InfluenceSettings { ratio, damping, variant: InfluenceVariant::Exact };
        let mut fisher = DMatrix::identity(15, 15) * damping;
        for (row, _) in &of_remaining {
            fisher += row * row.transpose() / m;
        }
        let expected = Linear::new().row() + fisher.lu().solve(&direction).unwrap() * ratio;
        let ours = jump(&Linear::new(), Some(&remaining), Some(&removed), &settings).unwrap().row();
        let moved = (&expected - Linear::new().row()).norm();
        let error = (&ours - &expected).norm() / moved;
        // Parameters are of 32 bits, so the jump itself is rounded to 6e-8 of them.
        assert!(error < 1e-5, "ratio {ratio}, damping {damping}: off by {error} of {moved}");
    }
    let reference = InfluenceSettings { variant: InfluenceVariant::Reference, ..Default::default() };
    let ours = jump(&Linear::new(), Some(&remaining), Some(&removed), &reference).unwrap();
    let exact = jump(&Linear::new(), Some(&remaining), Some(&removed), &Default::default()).unwrap();
    assert!((ours.row() - exact.row()).norm() > 1e-3);
}

#[test]
fn a_network_forgets_the_removed_and_keeps_the_remaining() {
    let full = trained(&architecture(), 80);
    for parent in [full.clone(), pruned(&full)] {
        let (remaining, removed) = (images_of(&[1]), images_of(&[0]));
        let made =
            jump(&parent, Some(&batches(&remaining)), Some(&batches(&removed)), &Default::default()).unwrap();
        let risen = loss_on(&made, &removed) - loss_on(&parent, &removed);
        let kept = loss_on(&made, &remaining) - loss_on(&parent, &remaining);
        assert!(risen > 0.0 && risen > kept, "removed {risen:+}, remaining {kept:+}");
        assert_eq!(made.config(), parent.config());
    }
}

#[test]
fn nobody_removed_is_the_parent_and_nobody_remaining_is_refused() {
    let parent = trained(&architecture(), 2);
    let some = batches(&images_of(&[0]));
    let same = jump(&parent, Some(&some), None, &Default::default()).unwrap();
    assert_eq!(distance(&state_dict_of(&same).unwrap(), &state_dict_of(&parent).unwrap()), 0.0);
    let refused = jump(&parent, None, Some(&some), &Default::default()).unwrap_err();
    assert!(matches!(refused, UnlearnError::NothingRemains { .. }) && refused.is_configuration());
    let settings = InfluenceSettings { damping: 0.0, ..Default::default() };
    assert!(jump(&parent, Some(&some), None, &settings).unwrap_err().to_string().contains("iu_damping"));
}

#[test]
fn it_stops_when_asked() {
    let (remaining, removed) = (batches(&images_of(&[1])), batches(&images_of(&[0])));
    let mut seen = Vec::new();
    let (schedule, streams) = (schedule(), Streams::new(21));
    let images = Influence {
        remaining: Some(&remaining),
        removed: Some(&removed),
        batch_size: BATCH,
        schedule: &schedule,
        streams: &streams,
    };
    let stopped = influence_unlearn(&Linear::new(), &images, &Default::default(), &mut |done, total| {
        seen.push((done, total));
        if done == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(UnlearnError::Stopped)));
    assert_eq!(seen, [(1, 6), (2, 6), (3, 6), (4, 6)]);
}
