//! Two-dimensional convolution.

mod backward;
mod few_outputs;
mod forward;
mod geometry;
mod pack;
mod winograd;
mod winograd_4x4;
mod winograd_4x4_weight;
mod winograd_weight;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;

use crate::dispatch::{Operation, apply};
use crate::flex::{dims, tensor, values};
use geometry::Geometry;

/// Convolution (cross-correlation, as PyTorch's `conv2d`) with one stride and one zero padding
/// for both directions:
///
/// `y[n, o, i, j] = bias[o] + sum_{c, u, v} weight[o, c, u, v] x[n, c, i stride + u - padding, j stride + v - padding]`.
///
/// `x` is `[batch, channels, height, width]`, `weight` `[outputs, channels, kernel height, kernel
/// width]`, `bias` `[outputs]`. On Flex in `f32` this runs the kernels of this crate, elsewhere
/// burn's convolution.
///
/// # Panics
/// As burn's convolution does, when the shapes do not fit each other.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let Some(geometry) = geometry(&x, &weight, bias.as_ref(), stride, padding) else {
        return plain(x, weight, bias, stride, padding);
    };
    let operation = Conv2d { geometry };
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    match bias {
        Some(bias) => match apply(operation, [x, weight, bias.into_dispatch()]) {
            Ok(y) => Tensor::from_dispatch(y),
            Err([x, weight, bias]) => plain(
                Tensor::from_dispatch(x),
                Tensor::from_dispatch(weight),
                Some(Tensor::from_dispatch(bias)),
                stride,
                padding,
            ),
        },
        None => match apply(operation, [x, weight]) {
            Ok(y) => Tensor::from_dispatch(y),
            Err([x, weight]) => {
                plain(Tensor::from_dispatch(x), Tensor::from_dispatch(weight), None, stride, padding)
            }
        },
    }
}

/// [`conv2d`] plus `added`, of the result's shape: what a residual block ends with, without a pass of its own.
///
/// # Panics
/// As [`conv2d`], and if `added` is of another shape.
pub fn conv2d_added(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
    added: Tensor<4>,
) -> Tensor<4> {
    let geometry = geometry(&x, &weight, Some(&bias), stride, padding)
        .filter(|g| added.dims() == [g.batch, g.outputs, g.out_height(), g.out_width()]);
    let Some(geometry) = geometry else {
        return plain(x, weight, Some(bias), stride, padding) + added;
    };
    let inputs = [x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch(), added.into_dispatch()];
    match apply(Conv2d { geometry }, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, weight, bias, added]) => {
            let bias = Some(Tensor::from_dispatch(bias));
            plain(Tensor::from_dispatch(x), Tensor::from_dispatch(weight), bias, stride, padding)
                + Tensor::from_dispatch(added)
        }
    }
}

/// The same by burn's own operation.
fn plain(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
    module::conv2d(x, weight, bias, options)
}

/// The extents, if they fit each other, are not empty, and offsets into an image fit 32 bits.
fn geometry(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Option<Geometry> {
    let [batch, channels, height, width] = x.dims();
    let [outputs, weight_channels, kernel_height, kernel_width] = weight.dims();
    let g =
        Geometry { batch, channels, height, width, outputs, kernel_height, kernel_width, stride, padding };
    let fits = weight_channels == channels
        && bias.is_none_or(|bias| bias.dims() == [outputs])
        && stride > 0
        && height + 2 * padding >= kernel_height
        && width + 2 * padding >= kernel_width
        && batch * channels * height * width * outputs * kernel_height * kernel_width > 0;
    if !fits {
        return None;
    }
    let largest = channels.max(outputs) * (height + 2 * padding) * (width + 2 * padding);
    (largest.checked_mul(kernel_width * stride)? < u32::MAX as usize / 2).then_some(g)
}

/// On input, weight, bias if there are three, and what is added if there are four.
#[derive(Clone, Debug)]
struct Conv2d {
    geometry: Geometry,
}

impl<const N: usize> Operation<N> for Conv2d {
    /// The input and the weight.
    type Saved = (FlexTensor, FlexTensor);

    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved) {
        let g = &self.geometry;
        let [bias, added] = [2, 3].map(|i| inputs.get(i).map(values));
        let output = forward::forward(g, values(&inputs[0]), values(&inputs[1]), bias, added);
        let output = tensor(output, [g.batch, g.outputs, g.out_height(), g.out_width()]);
        (output, (inputs[0].clone(), inputs[1].clone()))
    }

    fn backward(
        &self,
        (input, weight): Self::Saved,
        gradient: FlexTensor,
        needed: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let g = &self.geometry;
        std::array::from_fn(|i| {
            needed[i].then(|| match i {
                0 => {
                    let dx = backward::input_gradient(g, values(&gradient), values(&weight));
                    tensor(dx, dims::<4>(&input))
                }
                1 => {
                    let dw = backward::weight_gradient(g, values(&gradient), values(&input));
                    tensor(dw, dims::<4>(&weight))
                }
                2 => tensor(backward::bias_gradient(g, values(&gradient)), [g.outputs]),
                _ => gradient.clone(),
            })
        })
    }
}
