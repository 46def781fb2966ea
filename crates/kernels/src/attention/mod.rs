//! Attention.

pub(crate) mod kernel;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, activation};

use crate::dispatch::{Operation, apply};
use crate::flex::{tensor, values};
use kernel::Attention;

/// Attention among the pixels of an image, channels first.
///
/// `q`, `k` and `v` are `[batch, channels, height, width]` (or `[batch, channels, length]`), their
/// channels cut into `heads` equal runs. In each head, with one column of `size` channels for each
/// pixel: `y_i = sum_j softmax_j(scale q_i . k_j) v_j`. The result has the shape of `q`. Query, key
/// and value come from 1x1 convolutions, so nothing has to be transposed.
/// (A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.)
///
/// # Panics
/// If the shapes differ or `heads` does not divide the channels.
pub fn pixel_attention<const D: usize>(
    q: Tensor<D>,
    k: Tensor<D>,
    v: Tensor<D>,
    heads: usize,
    scale: f64,
) -> Tensor<D> {
    let shape = q.dims();
    assert!(
        k.dims() == shape && v.dims() == shape,
        "attention: queries {shape:?}, keys {:?} and values {:?} must have one shape",
        k.dims(),
        v.dims()
    );
    assert!(
        heads > 0 && shape[1].is_multiple_of(heads),
        "attention: {} channels cannot be cut into {heads} equal heads; choose a number of heads that divides the channels",
        shape[1]
    );
    let attention = Attention {
        heads: shape[0] * heads,
        size: shape[1] / heads,
        length: shape[2..].iter().product(),
        scale: scale as f32,
    };
    if shape.contains(&0) {
        return q;
    }
    match apply(attention, [q, k, v].map(Tensor::into_dispatch)) {
        Ok(y) => Tensor::from_dispatch(y),
        Err(inputs) => plain(inputs.map(Tensor::from_dispatch), attention, scale),
    }
}

/// Attention among rows: `q`, `k` and `v` are `[batch, heads, length, size]`, the result too; see
/// [`pixel_attention`], which is faster where channels come first anyway.
///
/// # Panics
/// If the shapes differ.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64) -> Tensor<4> {
    let [batch, heads, length, size] = q.dims();
    let [q, k, v] = [q, k, v].map(|rows| {
        let [batch, heads, length, size] = rows.dims();
        rows.swap_dims(2, 3).reshape([batch, heads * size, length])
    });
    pixel_attention(q, k, v, heads, scale).reshape([batch, heads, size, length]).swap_dims(2, 3)
}

/// The same by burn's own operations.
pub(crate) fn plain<const D: usize>(inputs: [Tensor<D>; 3], attention: Attention, scale: f64) -> Tensor<D> {
    let shape = inputs[0].dims();
    let [q, k, v] = inputs.map(|input| input.reshape([attention.heads, attention.size, attention.length]));
    // [heads, keys, queries]
    let scores = k.swap_dims(1, 2).matmul(q) * scale;
    v.matmul(activation::softmax(scores, 1)).reshape(shape)
}

impl Operation<3> for Attention {
    /// Queries, keys, values and the result, and the logarithms of the sums.
    type Saved = ([FlexTensor; 4], Vec<f32>);

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let [q, k, v] = inputs;
        let (y, logs) = Attention::forward(self, values(&q), values(&k), values(&v));
        let y = tensor(y, q.layout().shape().clone());
        (y.clone(), ([q, k, v, y], logs))
    }

    fn backward(
        &self,
        (tensors, logs): Self::Saved,
        gradient: FlexTensor,
        needed: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let slices = tensors.each_ref().map(values);
        let gradients = Attention::backward(self, slices, &logs, values(&gradient));
        let mut needed = needed.into_iter();
        gradients.map(|gradient| {
            needed.next().unwrap_or(false).then(|| tensor(gradient, tensors[0].layout().shape().clone()))
        })
    }
}
