//! What the layers of a network did in a forward pass, for gradients of each image on its own.
//!
//! The gradient of a layer's parameters for one image needs only the layer's input and the gradient of its result at that
//! image. [`record_layer_calls`] hands out both: while it runs, every layer adds a tensor of zeros, the *probe*, to its
//! result; the probe's gradient after the backward pass is the gradient of the result.

use std::cell::RefCell;

use burn::module::ParamId;
use burn::tensor::Tensor;

/// One call of a layer. Inputs are without autodiff; probes are leaves that require gradients.
#[derive(Debug, Clone)]
pub enum LayerCall {
    /// A convolution.
    Conv2d {
        /// Identity of the weight, `[out, in, kernel, kernel]`.
        weight: ParamId,
        /// Identity of the bias, `[out]`.
        bias: ParamId,
        /// Side of the kernel.
        kernel: usize,
        /// Stride in both directions.
        stride: usize,
        /// Padding on all sides.
        padding: usize,
        /// `[batch, in, height, width]`
        input: Tensor<4>,
        /// `[batch, out, height', width']`
        probe: Tensor<4>,
    },
    /// An affine map.
    Linear {
        /// Identity of the weight, `[out, in]`.
        weight: ParamId,
        /// Identity of the bias, `[out]`.
        bias: ParamId,
        /// `[batch, in]`
        input: Tensor<2>,
        /// `[batch, out]`
        probe: Tensor<2>,
    },
    /// A group norm, before the activation that may follow it.
    GroupNorm {
        /// Identity of the scale, `[channels]`.
        weight: ParamId,
        /// Identity of the shift, `[channels]`.
        bias: ParamId,
        /// Number of groups.
        groups: usize,
        /// Added to the variance.
        epsilon: f64,
        /// `[batch, channels, height, width]`
        input: Tensor<4>,
        /// The same shape.
        probe: Tensor<4>,
    },
}

thread_local! {
    static CALLS: RefCell<Option<Vec<LayerCall>>> = const { RefCell::new(None) };
}

/// Does `work` and gives, beside its result, the calls of layers in it, in their order. Layers must be called from this
/// thread, with inputs on an autodiff device. A recording inside another takes its calls from the outer one.
pub fn record_layer_calls<R>(work: impl FnOnce() -> R) -> (R, Vec<LayerCall>) {
    /// Puts the outer recording back, after a panic too.
    struct Restore(Option<Vec<LayerCall>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CALLS.set(self.0.take());
        }
    }
    let restore = Restore(CALLS.replace(Some(Vec::new())));
    let result = work();
    let calls = CALLS.take().unwrap_or_default();
    drop(restore);
    (result, calls)
}

/// Whether calls are recorded on this thread.
pub(super) fn recording() -> bool {
    CALLS.with_borrow(Option::is_some)
}

/// Adds a probe to `output`, and the call that `call` makes of the probe to the recording, if there is one.
pub(super) fn probed<const D: usize>(
    output: Tensor<D>,
    call: impl FnOnce(Tensor<D>) -> LayerCall,
) -> Tensor<D> {
    if !recording() {
        return output;
    }
    let probe = Tensor::zeros(output.dims(), &output.device()).require_grad();
    CALLS.with_borrow_mut(|calls| {
        if let Some(calls) = calls {
            calls.push(call(probe.clone()));
        }
    });
    output + probe
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::nn::Linear;
    use crate::{StateDict, TensorF32};

    fn layer(device: &Device) -> Linear {
        let tensor = |shape: Vec<usize>, data: Vec<f32>| TensorF32::new(shape, data).unwrap();
        let weights = StateDict::from_iter([
            ("l.weight".to_owned(), tensor(vec![1, 2], vec![3.0, -2.0])),
            ("l.bias".to_owned(), tensor(vec![1], vec![0.5])),
        ]);
        Linear::load(&weights, "l", device).unwrap()
    }

    #[test]
    fn probes_get_the_gradient_of_the_result_and_change_nothing() {
        let device = Device::flex().autodiff();
        let layer = layer(&device);
        let x = Tensor::<2>::from_data([[1.0, 2.0], [4.0, 0.0]], &device);
        let plain = layer.forward(x.clone()).into_data();
        let (y, calls) = record_layer_calls(|| layer.forward(x.clone()));
        assert_eq!(y.clone().into_data(), plain);
        // d(sum y^2)/dy = 2 y
        let mut gradients = (y.clone() * y).sum().backward();
        let [LayerCall::Linear { weight, input, probe, .. }] = calls.as_slice() else { panic!("{calls:?}") };
        assert_eq!(*weight, layer.weight.id);
        assert_eq!(input.clone().into_data(), x.into_data());
        let gradient = probe.grad_remove(&mut gradients).unwrap().try_into_vec_as::<f32>().unwrap();
        assert_eq!(gradient, [-1.0, 25.0]);
    }

    #[test]
    fn recordings_end_with_their_scope() {
        let device = Device::flex().autodiff();
        let layer = layer(&device);
        let forward = || layer.forward(Tensor::<2>::from_data([[1.0, 2.0]], &device));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            record_layer_calls(|| panic!("on purpose"))
        }));
        assert!(panicked.is_err() && !recording());
        let ((_, inner), outer) = record_layer_calls(|| {
            forward();
            record_layer_calls(forward)
        });
        assert_eq!((inner.len(), outer.len()), (1, 1));
        forward();
        assert!(!recording());
    }
}
