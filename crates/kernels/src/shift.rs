//! Adding one number to each channel of each image.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use crate::dispatch::{Operation, apply};
use crate::flex::{tensor, values};
use crate::parallel;
use crate::storage::Output;

/// `y[n, c, ..] = x[n, c, ..] + shift[n, c]`, as a residual block adds its time embedding; `x` is
/// `[batch, channels, height, width]` and `shift` `[batch, channels]`.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn add_per_channel(x: Tensor<4>, shift: Tensor<2>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    assert!(
        shift.dims() == [batch, channels],
        "add per channel: {batch} images of {channels} channels need a shift for each, not {:?}",
        shift.dims()
    );
    let operation = Shift { shape: [batch, channels, height, width] };
    if batch * channels * height * width == 0 {
        return x;
    }
    match apply(operation, [x.into_dispatch(), shift.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, shift]) => {
            let shift = Tensor::<2>::from_dispatch(shift).reshape([batch, channels, 1, 1]);
            Tensor::<4>::from_dispatch(x) + shift
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Shift {
    shape: [usize; 4],
}

impl Operation<2> for Shift {
    type Saved = ();

    fn forward(&self, inputs: [FlexTensor; 2]) -> (FlexTensor, ()) {
        let [batch, channels, height, width] = self.shape;
        let plane = height * width;
        let (x, shift) = (values(&inputs[0]), values(&inputs[1]));
        let mut output = Output::new(x.len());
        let place = output.pointer();
        parallel::for_each(batch * channels, 2 * plane, |p| {
            // SAFETY: each plane is written by its own call, before anything reads it.
            let to = unsafe { place.slice(p * plane, plane) };
            for (to, value) in to.iter_mut().zip(&x[p * plane..][..plane]) {
                *to = value + shift[p];
            }
        });
        // SAFETY: all planes were written.
        (tensor(unsafe { output.finish() }, self.shape), ())
    }

    fn backward(&self, (): (), gradient: FlexTensor, needed: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let [batch, channels, height, width] = self.shape;
        let plane = height * width;
        let shift = needed[1].then(|| {
            let gradient = values(&gradient);
            let mut output = Output::new(batch * channels);
            let place = output.pointer();
            parallel::for_each(batch * channels, plane, |p| {
                let sum = crate::reduce::sum(&gradient[p * plane..][..plane]);
                // SAFETY: each plane has a sum of its own.
                unsafe { *place.at(p) = sum };
            });
            // SAFETY: all sums were written.
            tensor(unsafe { output.finish() }, [batch, channels])
        });
        [needed[0].then_some(gradient), shift]
    }
}
