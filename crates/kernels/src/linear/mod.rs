//! Linear layers.

pub(crate) mod kernel;

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use crate::dispatch::{Operation, apply};
use crate::flex::{tensor, values};
use kernel::Linear;

/// `y = x W^T + b` over the last dimension of `x`, with the weight in PyTorch's layout.
///
/// `x` is `[.., inputs]`, `weight` `[outputs, inputs]`, `bias` `[outputs]`, the result
/// `[.., outputs]`.
///
/// # Panics
/// If the lengths do not fit each other.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let shape = x.dims();
    let [outputs, inputs] = weight.dims();
    assert!(
        shape[D - 1] == inputs && bias.as_ref().is_none_or(|bias| bias.dims() == [outputs]),
        "linear: an input of {} numbers and a bias of {:?} do not fit a weight of {outputs} outputs by {inputs} inputs",
        shape[D - 1],
        bias.map(|bias| bias.dims()[0]),
    );
    let rows = shape[..D - 1].iter().product();
    let operation = Linear { rows, inputs, outputs };
    if rows * inputs * outputs == 0 {
        return plain(x, weight, bias, operation);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    match bias {
        Some(bias) => match apply(operation, [x, weight, bias.into_dispatch()]) {
            Ok(y) => Tensor::from_dispatch(y),
            Err([x, weight, bias]) => plain(
                Tensor::from_dispatch(x),
                Tensor::from_dispatch(weight),
                Some(Tensor::from_dispatch(bias)),
                operation,
            ),
        },
        None => match apply(operation, [x, weight]) {
            Ok(y) => Tensor::from_dispatch(y),
            Err([x, weight]) => {
                plain(Tensor::from_dispatch(x), Tensor::from_dispatch(weight), None, operation)
            }
        },
    }
}

/// The same by burn's own operations.
pub(crate) fn plain<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    operation: Linear,
) -> Tensor<D> {
    let mut shape = x.dims();
    shape[D - 1] = operation.outputs;
    let y = x.reshape([operation.rows, operation.inputs]).matmul(weight.transpose());
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    y.reshape(shape)
}

impl<const N: usize> Operation<N> for Linear {
    /// The input and the weight.
    type Saved = (FlexTensor, FlexTensor);

    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved) {
        let (x, weight) = (&inputs[0], &inputs[1]);
        let y = Linear::forward(self, values(x), values(weight), inputs.get(2).map(values));
        let mut shape = x.layout().shape().clone();
        let last = shape.num_dims() - 1;
        shape[last] = self.outputs;
        (tensor(y, shape), (x.clone(), weight.clone()))
    }

    fn backward(
        &self,
        (x, weight): Self::Saved,
        gradient: FlexTensor,
        needed: [bool; N],
    ) -> [Option<FlexTensor>; N] {
        let gradient = values(&gradient);
        std::array::from_fn(|i| {
            needed[i].then(|| match i {
                0 => tensor(self.input_gradient(gradient, values(&weight)), x.layout().shape().clone()),
                1 => tensor(self.weight_gradient(gradient, values(&x)), [self.outputs, self.inputs]),
                _ => tensor(self.bias_gradient(gradient), [self.outputs]),
            })
        })
    }
}
