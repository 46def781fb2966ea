//! The activation `SiLU`.

pub(crate) mod kernel;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, activation};

use crate::dispatch::{Operation, apply};
use crate::flex::{tensor, values};

/// `silu(x) = x / (1 + e^-x)`, element by element.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match apply(Silu, [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => activation::silu(Tensor::from_dispatch(x)),
    }
}

#[derive(Clone, Debug)]
struct Silu;

impl Operation<1> for Silu {
    type Saved = FlexTensor;

    fn forward(&self, inputs: [FlexTensor; 1]) -> (FlexTensor, Self::Saved) {
        let [x] = inputs;
        let y = tensor(kernel::forward(values(&x)), x.layout().shape().clone());
        (y, x)
    }

    fn backward(&self, x: Self::Saved, gradient: FlexTensor, needed: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [needed[0].then(|| {
            let dx = kernel::backward(values(&x), values(&gradient));
            tensor(dx, x.layout().shape().clone())
        })]
    }
}
