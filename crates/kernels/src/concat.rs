//! Joining feature maps channel after channel.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use crate::dispatch::{Operation, apply};
use crate::flex::{tensor, values};
use crate::parallel;
use crate::storage::Output;

/// The channels of `first` and then those of `second`, image by image: `[batch, a, height, width]` and
/// `[batch, b, height, width]` to `[batch, a + b, height, width]`. The gradient is cut in one pass too.
///
/// # Panics
/// If batch, height or width differ.
pub fn concat_channels(first: Tensor<4>, second: Tensor<4>) -> Tensor<4> {
    let ([batch, a, height, width], [other_batch, b, other_height, other_width]) =
        (first.dims(), second.dims());
    assert!(
        [batch, height, width] == [other_batch, other_height, other_width],
        "joining channels: {:?} and {:?} must have the same batch, height and width",
        first.dims(),
        second.dims()
    );
    let concat = Concat { channels: [a, b], shape: [batch, a + b, height, width] };
    match apply(concat, [first.into_dispatch(), second.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err(inputs) => Tensor::cat(inputs.map(Tensor::from_dispatch).to_vec(), 1),
    }
}

#[derive(Clone, Copy, Debug)]
struct Concat {
    channels: [usize; 2],
    /// Of the result.
    shape: [usize; 4],
}

impl Concat {
    /// Numbers of one image in each part.
    fn sizes(&self) -> [usize; 2] {
        self.channels.map(|channels| channels * self.shape[2] * self.shape[3])
    }
}

impl Operation<2> for Concat {
    type Saved = ();

    fn forward(&self, inputs: [FlexTensor; 2]) -> (FlexTensor, ()) {
        let [a, b] = self.sizes();
        let (first, second) = (values(&inputs[0]), values(&inputs[1]));
        let mut output = Output::new(first.len() + second.len());
        let place = output.pointer();
        parallel::for_each(self.shape[0], a + b, |n| {
            // SAFETY: each image is written by its own call, before anything reads it.
            let to = unsafe { place.slice(n * (a + b), a + b) };
            to[..a].copy_from_slice(&first[n * a..][..a]);
            to[a..].copy_from_slice(&second[n * b..][..b]);
        });
        // SAFETY: all images were written.
        (tensor(unsafe { output.finish() }, self.shape), ())
    }

    fn backward(&self, (): (), gradient: FlexTensor, needed: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let sizes = self.sizes();
        let whole = sizes[0] + sizes[1];
        let [batch, _, height, width] = self.shape;
        let gradient = values(&gradient);
        std::array::from_fn(|part| {
            needed[part].then(|| {
                let (start, size) = (part * sizes[0], sizes[part]);
                let mut output = Output::new(batch * size);
                let place = output.pointer();
                parallel::for_each(batch, size, |n| {
                    // SAFETY: as above.
                    let to = unsafe { place.slice(n * size, size) };
                    to.copy_from_slice(&gradient[n * whole + start..][..size]);
                });
                // SAFETY: all images were written.
                tensor(unsafe { output.finish() }, [batch, self.channels[part], height, width])
            })
        })
    }
}
