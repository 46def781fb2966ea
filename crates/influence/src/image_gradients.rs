//! The gradient of each image's own loss, all from one backward pass.
//!
//! Images do not meet in the network, so the gradient of the sum of their losses with respect to a layer's result is, image
//! by image, that of the image's own loss. From it and the layer's input follows the gradient of the layer's parameters
//! for each image (Goodfellow 2015, <https://arxiv.org/abs/1510.01799>, for affine maps; Rochette et al. 2019,
//! <https://arxiv.org/abs/1912.06015>, for convolutions). Only one layer's gradients are in memory at a time.

use std::collections::BTreeMap;

use burn::module::ParamId;
use burn::tensor::ops::PadMode;
use burn::tensor::{Gradients, Int, Tensor, TensorData, s};
use diffusion_core::nn::{LayerCall, ops, record_layer_calls};
use diffusion_core::parameters::{ParameterInfo, module_device, parameter_infos};
use diffusion_core::{Denoiser, Device, DiffusionError};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::InfluenceError;

/// What of a model's prediction the gradient is taken of, for a noisy image x_t of C H W values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The loss, `|epsilon - epsilon_theta(x_t, t)|^2 / (C H W)`.
    Loss,
    /// The mean squared output, `|epsilon_theta(x_t, t)|^2 / (C H W)` (Zheng et al. 2024, section 3.3).
    SquaredOutput,
}

/// Noisy images in groups of equal size, one group an image: noisy image i belongs to image i / (group size).
#[derive(Debug, Clone)]
pub struct NoisyImages<'a> {
    /// x_t, row-major `[noisy images, channels, height, width]`.
    pub noisy: &'a [f32],
    /// The noise in them, of the same shape.
    pub noise: &'a [f32],
    /// t of each noisy image.
    pub timesteps: &'a [usize],
    /// Number of images; divides the number of noisy images.
    pub images: usize,
}

/// Gets the place of a parameter and its gradients `[images, values]`.
pub type TakeGradients<'a> = &'a mut dyn FnMut(usize, ArrayView2<'_, f32>) -> Result<(), InfluenceError>;

/// A model made ready to give gradients of single images.
#[derive(Debug)]
pub struct GradientModel<M: Denoiser> {
    model: M,
    device: Device,
    parameters: Vec<ParameterInfo>,
    places: BTreeMap<ParamId, usize>,
}

impl<M: Denoiser> GradientModel<M> {
    /// Takes a model, on a device with or without autodiff.
    ///
    /// # Errors
    /// If the model has no parameters.
    pub fn new(model: &M) -> Result<Self, InfluenceError> {
        let model = model.clone();
        let model = if module_device(&model)?.is_autodiff() { model } else { model.train() };
        // The parameters' summed gradients are not needed.
        let model = model.no_grad();
        let device = module_device(&model)?;
        let parameters = parameter_infos(&model);
        let places = parameters.iter().enumerate().map(|(place, info)| (info.id, place)).collect();
        Ok(Self { model, device, parameters, places })
    }

    /// The parameters in the model's order.
    pub fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters
    }

    /// Shape `[channels, height, width]` of an image.
    pub fn sample_shape(&self) -> [usize; 3] {
        self.model.sample_shape()
    }

    /// For each layer, calls `take` with the place of a parameter among [`Self::parameters`] and its gradients `[images,
    /// values]`: image i's is the gradient of `scale` times the sum of the target over the image's noisy images. A
    /// parameter that is used twice is taken twice; the gradient is the sum.
    ///
    /// # Errors
    /// Arrays of other lengths; [`InfluenceError::NotFinite`] naming parameter and image; a failing device.
    pub fn for_each_layer(
        &self,
        batch: &NoisyImages<'_>,
        target: Target,
        scale: f64,
        take: TakeGradients<'_>,
    ) -> Result<(), InfluenceError> {
        let [channels, height, width] = self.sample_shape();
        let count = batch.timesteps.len();
        let expected = count * channels * height * width;
        for (what, found) in [("noisy values", batch.noisy.len()), ("noise values", batch.noise.len())] {
            if found != expected || count == 0 {
                return Err(InfluenceError::Mismatch { what, expected, found });
            }
        }
        if batch.images == 0 || !count.is_multiple_of(batch.images) {
            let (what, expected) = ("noisy images, not a multiple of the images", batch.images);
            return Err(InfluenceError::Mismatch { what, expected, found: count });
        }
        let shape = [count, channels, height, width];
        let tensor =
            |values: &[f32]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), &self.device);
        let times: Vec<i32> = batch.timesteps.iter().map(|&t| t as i32).collect();
        let times = Tensor::<1, Int>::from_data(TensorData::new(times, [count]), &self.device);
        let noisy = tensor(batch.noisy);
        let (output, calls) = record_layer_calls(|| self.model.predict_noise(noisy, times));
        let output = match target {
            Target::Loss => output - tensor(batch.noise),
            Target::SquaredOutput => output,
        };
        let mean = scale / (channels * height * width) as f64;
        let mut gradients = (output.clone() * output).sum().mul_scalar(mean).backward();
        // From the last layer back, so that each call's tensors are freed once used.
        for call in calls.into_iter().rev() {
            for (id, values) in layer_gradients(call, &mut gradients, batch.images)? {
                let place = *self.places.get(&id).ok_or(InfluenceError::ForeignLayer)?;
                self.deliver(place, values, take)?;
            }
        }
        Ok(())
    }

    fn deliver(
        &self,
        place: usize,
        values: Tensor<2>,
        take: TakeGradients<'_>,
    ) -> Result<(), InfluenceError> {
        let [images, len] = values.dims();
        let values = values
            .try_into_vec_as::<f32>()
            .map_err(|error| DiffusionError::Device { reason: error.to_string() })?;
        if let Some(position) = values.iter().position(|value| !value.is_finite()) {
            return Err(InfluenceError::NotFinite {
                what: format!("the gradients of `{}`", self.parameters[place].name),
                image: position / len,
                value: f64::from(values[position]),
            });
        }
        let rows = ArrayView2::from_shape((images, len), &values).map_err(|_| InfluenceError::Mismatch {
            what: "values of a gradient",
            expected: images * len,
            found: values.len(),
        })?;
        take(place, rows)
    }
}

/// The gradients of a layer's weight and bias, each `[images, values]`.
fn layer_gradients(
    call: LayerCall,
    gradients: &mut Gradients,
    images: usize,
) -> Result<Vec<(ParamId, Tensor<2>)>, InfluenceError> {
    // A layer whose result has no part in the loss has no gradient; none of diffusion-core's networks has such.
    let unused = InfluenceError::ForeignLayer;
    match call {
        LayerCall::Conv2d { weight, bias, kernel, stride, padding, input, probe } => {
            let gradient = probe.grad_remove(gradients).ok_or(unused)?;
            let shift = per_image_rows(gradient.clone(), images).sum_dim(2).flatten(1, 2);
            let values = convolution_gradients(input, gradient, images, kernel, stride, padding);
            Ok(vec![(weight, values), (bias, shift)])
        }
        LayerCall::Linear { weight, bias, input, probe } => {
            let gradient = probe.grad_remove(gradients).ok_or(unused)?;
            let [count, outputs] = gradient.dims();
            let inputs = input.dims()[1];
            let group = count / images;
            let gradient = gradient.reshape([images, group, outputs]);
            let shift = gradient.clone().sum_dim(1).flatten(1, 2);
            let values = gradient.swap_dims(1, 2).matmul(input.reshape([images, group, inputs]));
            Ok(vec![(weight, values.flatten(1, 2)), (bias, shift)])
        }
        LayerCall::GroupNorm { weight, bias, groups, epsilon, input, probe } => {
            let gradient = probe.grad_remove(gradients).ok_or(unused)?;
            let channels = input.dims()[1];
            let device = input.device();
            let (ones, zeros) = (Tensor::ones([channels], &device), Tensor::zeros([channels], &device));
            let normed = ops::group_norm(input, ones, zeros, groups, epsilon, false);
            let scale = per_image_rows(gradient.clone() * normed, images).sum_dim(2).flatten(1, 2);
            let shift = per_image_rows(gradient, images).sum_dim(2).flatten(1, 2);
            Ok(vec![(weight, scale), (bias, shift)])
        }
    }
}

/// `[images * group, channels, height, width]` as `[images, channels, group * height * width]`.
fn per_image_rows(x: Tensor<4>, images: usize) -> Tensor<3> {
    let [count, channels, height, width] = x.dims();
    let (group, pixels) = (count / images, height * width);
    x.reshape([images, group, channels, pixels]).swap_dims(1, 2).reshape([images, channels, group * pixels])
}

/// `dW[o, c, u, v] = sum over pixels of gradient[o, i, j] input[c, i stride + u - padding, j stride + v - padding]`, for each
/// image: tap by tap a matrix product, `[images, out * in * kernel * kernel]`.
fn convolution_gradients(
    input: Tensor<4>,
    gradient: Tensor<4>,
    images: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Tensor<2> {
    let [_, outputs, out_height, out_width] = gradient.dims();
    let channels = input.dims()[1];
    let gradient = per_image_rows(gradient, images);
    if kernel == 1 && stride == 1 && padding == 0 {
        return gradient.matmul(per_image_rows(input, images).swap_dims(1, 2)).flatten(1, 2);
    }
    let padded = if padding == 0 {
        input
    } else {
        input.pad((padding, padding, padding, padding), PadMode::Constant(0.0))
    };
    let (high, wide) = (stride * (out_height - 1) + 1, stride * (out_width - 1) + 1);
    let step = stride as isize;
    let mut taps = Vec::with_capacity(kernel * kernel);
    for u in 0..kernel {
        for v in 0..kernel {
            let seen = padded.clone().slice(s![.., .., u..u + high; step, v..v + wide; step]);
            taps.push(gradient.clone().matmul(per_image_rows(seen, images).swap_dims(1, 2)));
        }
    }
    Tensor::stack::<4>(taps, 3).reshape([images, outputs * channels * kernel * kernel])
}
