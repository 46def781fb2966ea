//! Optimizer steps.

mod kernel;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use crate::dispatch::{unwrap_plain, wrap_plain};
use crate::flex::{contiguous, owned, values};

/// The scalars of one step of Adam or AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The number of this step, from 1.
    pub step: u64,
    /// Step length.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Weight decay, 0 for none.
    pub weight_decay: f64,
    /// Whether the decay acts on the parameter (AdamW) and not through the gradient (Adam).
    pub decoupled: bool,
    /// Factor on the gradient, as from clipping; 1 for none.
    pub gradient_scale: f64,
    /// Decay of the moving average of the parameters; without effect where there is none.
    pub average_decay: f64,
}

impl AdamStep {
    /// `1 - beta1^step`.
    pub fn first_correction(&self) -> f64 {
        1.0 - self.beta1.powf(self.step as f64)
    }

    /// `1 - beta2^step`.
    pub fn second_correction(&self) -> f64 {
        1.0 - self.beta2.powf(self.step as f64)
    }
}

/// A parameter and what the optimizer keeps of it.
#[derive(Clone, Debug)]
pub struct AdamTensors<const D: usize> {
    /// The parameter.
    pub parameter: Tensor<D>,
    /// The running mean `m` of the gradient.
    pub first_moment: Tensor<D>,
    /// The running mean `v` of the squared gradient.
    pub second_moment: Tensor<D>,
    /// The moving average of the parameter, if one is kept.
    pub average: Option<Tensor<D>>,
}

/// One step, in the order of operations of PyTorch's `Adam` and `AdamW`. With `g` the gradient
/// times its scale (plus `weight_decay p` in Adam; AdamW first shrinks `p` by
/// `1 - learning_rate weight_decay`):
///
/// `m = m + (1 - beta1) (g - m)`, `v = beta2 v + (1 - beta2) g^2`,
/// `p = p - learning_rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)`, and
/// `average = average - (1 - average_decay) (average - p)`.
///
/// The tensors are those of the inner backend (without autodiff). On Flex in `f32` this is one
/// pass over memory that writes in place wherever a tensor has no other owner.
/// (D. Kingma and J. Ba, "Adam", ICLR 2015; I. Loshchilov and F. Hutter, "Decoupled Weight Decay
/// Regularization", ICLR 2019.)
///
/// # Panics
/// If the shapes differ.
pub fn adam_step<const D: usize>(
    step: &AdamStep,
    tensors: AdamTensors<D>,
    gradient: Tensor<D>,
) -> AdamTensors<D> {
    let shape = tensors.parameter.shape();
    let others = [&tensors.first_moment, &tensors.second_moment, &gradient];
    assert!(
        others.into_iter().chain(&tensors.average).all(|other| other.shape() == shape),
        "adam step: the gradient, the moments and the average must have the parameter's shape {shape:?}"
    );
    let AdamTensors { parameter, first_moment, second_moment, average } = tensors;
    let main = [parameter, first_moment, second_moment, gradient].map(Tensor::into_dispatch);
    let average = average.map(Tensor::into_dispatch);
    match average {
        None => match unwrap_plain(main) {
            Ok([p, m, v, g]) => {
                let [p, m, v] = run(step, [p, m, v], &g);
                assemble([p, m, v].map(wrap_plain).map(Tensor::from_dispatch), None)
            }
            Err(main) => plain(step, main.map(Tensor::from_dispatch), None),
        },
        Some(average) => {
            let [p, m, v, g] = main;
            match unwrap_plain([p, m, v, average, g]) {
                Ok([p, m, v, average, g]) => {
                    let [p, m, v, average] = run(step, [p, m, v, average], &g);
                    let main = [p, m, v].map(wrap_plain).map(Tensor::from_dispatch);
                    assemble(main, Some(Tensor::from_dispatch(wrap_plain(average))))
                }
                Err([p, m, v, average, g]) => {
                    plain(step, [p, m, v, g].map(Tensor::from_dispatch), Some(Tensor::from_dispatch(average)))
                }
            }
        }
    }
}

/// The sum of the squares of all elements, added in an order that the shape alone fixes. For
/// clipping by a global norm, add these over the parameters in their fixed order.
pub fn squared_norm<const D: usize>(tensor: Tensor<D>) -> f64 {
    match unwrap_plain([tensor.into_dispatch()]) {
        Ok([tensor]) => kernel::squared_norm(values(&contiguous(tensor))),
        Err([tensor]) => {
            let tensor = Tensor::<D>::from_dispatch(tensor);
            tensor.powi_scalar(2).sum().into_scalar::<f64>()
        }
    }
}

/// Parameter, moments and perhaps the average, updated.
fn run<const N: usize>(step: &AdamStep, tensors: [FlexTensor; N], gradient: &FlexTensor) -> [FlexTensor; N] {
    let gradient = contiguous(gradient.clone());
    let mut tensors = tensors.map(owned);
    let mut slices = tensors.iter_mut().map(|tensor| tensor.storage_mut::<f32>());
    if let (Some(parameter), Some(first), Some(second)) = (slices.next(), slices.next(), slices.next()) {
        kernel::step(step, parameter, first, second, slices.next(), values(&gradient));
    }
    tensors
}

fn assemble<const D: usize>(main: [Tensor<D>; 3], average: Option<Tensor<D>>) -> AdamTensors<D> {
    let [parameter, first_moment, second_moment] = main;
    AdamTensors { parameter, first_moment, second_moment, average }
}

/// The same by burn's own operations.
fn plain<const D: usize>(
    step: &AdamStep,
    [p, m, v, g]: [Tensor<D>; 4],
    average: Option<Tensor<D>>,
) -> AdamTensors<D> {
    let mut g = g * step.gradient_scale;
    let mut p = p;
    if step.weight_decay != 0.0 {
        if step.decoupled {
            p = p * (1.0 - step.learning_rate * step.weight_decay);
        } else {
            g = g + p.clone() * step.weight_decay;
        }
    }
    let m = m.clone() + (g.clone() - m) * (1.0 - step.beta1);
    let v = v * step.beta2 + g.clone() * g * (1.0 - step.beta2);
    let denominator = v.clone().sqrt() / step.second_correction().sqrt() + step.epsilon;
    let p = p - m.clone() * (step.learning_rate / step.first_correction()) / denominator;
    let average = average.map(|average| average.clone() - (average - p.clone()) * (1.0 - step.average_decay));
    assemble([p, m, v], average)
}
