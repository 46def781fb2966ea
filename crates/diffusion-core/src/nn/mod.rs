//! The layers that the network is made of, with PyTorch's parameter names and layouts.
//!
//! Each is a thin `burn` module around one function of [`ops`], so that the path of a parameter is its diffusers key.

mod conv2d;
mod gradient_checkpointing;
mod group_norm;
mod layer_calls;
mod linear;
pub mod ops;
mod precision;
mod scoped;

pub use conv2d::Conv2d;
pub(crate) use gradient_checkpointing::{
    Segment, SegmentInput, checkpointed, checkpoints, with_gradient_checkpointing,
};
pub use group_norm::GroupNorm;
pub use layer_calls::{LayerCall, record_layer_calls};
pub use linear::Linear;
pub use precision::{MixedPrecision, with_precision};

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use crate::{DiffusionError, TensorF32};

/// A trainable parameter of rank `D` on `device`, with the values of `tensor`.
pub(crate) fn parameter<const D: usize>(
    name: &str,
    tensor: &TensorF32,
    device: &Device,
) -> Result<Param<Tensor<D>>, DiffusionError> {
    if tensor.shape().len() != D {
        return Err(DiffusionError::ShapeMismatch {
            tensor: name.to_owned(),
            expected: vec![0; D],
            actual: tensor.shape().to_vec(),
        });
    }
    let data = TensorData::new(tensor.data().to_vec(), tensor.shape().to_vec());
    Ok(Param::from_tensor(Tensor::from_data(data, device)))
}
