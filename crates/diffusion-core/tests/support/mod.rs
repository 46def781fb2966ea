//! A tiny denoiser and fixed images for the tests of the loop, the samplers and the checkpoints.

#![allow(dead_code, reason = "each test binary uses its own part")]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use data::{BatchSource, DataError, ImageBatch};
use diffusion_core::nn::ops::conv2d;
use diffusion_core::{Denoiser, DiffusionError};
use serde_json::{Value, json};
use streams::{Streams, standard_normal};

/// Reads a JSON fixture.
pub fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The numbers of a JSON array.
pub fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// The largest difference of two rows of numbers, which must be of one length.
pub fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Largest difference as a fraction of the largest magnitude that is expected.
pub fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let largest = expected.iter().fold(0.0, |m: f64, &e| m.max(f64::from(e).abs()));
    let difference =
        actual.iter().zip(expected).fold(0.0, |m: f64, (&a, &e)| m.max((f64::from(a) - f64::from(e)).abs()));
    assert!(actual.iter().all(|a| a.is_finite()) && largest > 0.0);
    difference / largest
}

/// The gradient of every parameter of a model, by the parameter's name.
pub fn gradients_by_name<M: Module>(model: &M, gradients: &Gradients) -> Vec<(String, Vec<f32>)> {
    struct Collect<'a> {
        path: Vec<String>,
        gradients: &'a Gradients,
        found: Vec<(String, Vec<f32>)>,
    }

    impl ModuleVisitor for Collect<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.gradients).expect("every parameter has a part in the loss");
            self.found.push((self.path.join("."), gradient.try_into_vec_as::<f32>().unwrap()));
        }
    }

    let mut collect = Collect { path: Vec::new(), gradients, found: Vec::new() };
    model.visit(&mut collect);
    collect.found
}

/// Two 3x3 convolutions with SiLU between them, and a shift by the timestep.
#[derive(Module, Debug)]
pub struct TinyDenoiser {
    first: Layer,
    time: Param<Tensor<1>>,
    second: Layer,
    #[module(skip)]
    size: usize,
}

#[derive(Module, Debug)]
struct Layer {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
}

impl Layer {
    fn new(inputs: usize, outputs: usize, name: &str, streams: &Streams, device: &Device) -> Self {
        let weight: Vec<f32> = standard_normal(&mut streams.rng(name, 0), outputs * inputs * 9)
            .into_iter()
            .map(|v| v / ((inputs * 9) as f32).sqrt())
            .collect();
        Self {
            weight: Param::from_data(TensorData::new(weight, [outputs, inputs, 3, 3]), device),
            bias: Param::from_tensor(Tensor::zeros([outputs], device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.val(), self.bias.val(), 1, 1)
    }
}

impl TinyDenoiser {
    pub const WIDTH: usize = 8;

    pub fn new(size: usize, seed: u64, device: &Device) -> Self {
        let streams = Streams::new(seed);
        Self {
            first: Layer::new(3, Self::WIDTH, "first", &streams, device),
            time: Param::from_data(TensorData::new(vec![0.1f32; Self::WIDTH], [Self::WIDTH]), device),
            second: Layer::new(Self::WIDTH, 3, "second", &streams, device),
            size,
        }
    }
}

impl Denoiser for TinyDenoiser {
    fn predict_noise(&self, x: Tensor<4>, timesteps: Tensor<1, Int>) -> Tensor<4> {
        let batch = x.dims()[0];
        let time = timesteps.float().div_scalar(1000.0).reshape([batch, 1, 1, 1]);
        let shift = self.time.val().reshape([1, Self::WIDTH, 1, 1]);
        let hidden = self.first.forward(x) + time * shift;
        self.second.forward(burn::tensor::activation::silu(hidden))
    }

    fn config_json(&self) -> Result<Value, DiffusionError> {
        Ok(json!({"_class_name": "TinyDenoiser", "sample_size": self.size}))
    }

    fn sample_shape(&self) -> [usize; 3] {
        [3, self.size, self.size]
    }
}

/// Smooth random images, other ones for each step.
#[derive(Debug, Clone)]
pub struct Blobs {
    pub size: usize,
    /// From this step on, one pixel is NaN.
    pub spoiled_from: Option<u64>,
}

impl BatchSource for Blobs {
    fn batch(&self, step: u64, batch_size: usize) -> Result<ImageBatch, DataError> {
        let plane = self.size * self.size;
        let mut pixels = Vec::with_capacity(batch_size * 3 * plane);
        let shades = standard_normal(&mut Streams::new(9).rng("shades", step), batch_size * 3);
        for shade in shades {
            pixels.extend((0..plane).map(|i| (0.5 * shade + 0.1 * (i % self.size) as f32).clamp(-1.0, 1.0)));
        }
        if self.spoiled_from.is_some_and(|from| step >= from) {
            pixels[0] = f32::NAN;
        }
        Ok(ImageBatch {
            pixels,
            shape: [batch_size, 3, self.size, self.size],
            indices: (0..batch_size).collect(),
        })
    }
}
