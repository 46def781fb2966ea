//! Doubling the resolution.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use crate::dispatch::{Operation, apply};
use crate::flex::{tensor, values};
use crate::parallel;
use crate::storage::Output;

/// Nearest-neighbour upsampling by two: `y[n, c, i, j] = x[n, c, i / 2, j / 2]`, from
/// `[batch, channels, height, width]` to `[batch, channels, 2 height, 2 width]`.
pub fn upsample_nearest_2x(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let double = Double { planes: batch * channels, height, width, shape: [batch, channels] };
    match apply(double, [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => plain(Tensor::from_dispatch(x)),
    }
}

/// The same by burn's own operations.
fn plain(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch * channels, height, 1, width, 1])
        .expand([batch * channels, height, 2, width, 2])
        .reshape([batch, channels, 2 * height, 2 * width])
}

#[derive(Clone, Copy, Debug)]
struct Double {
    planes: usize,
    height: usize,
    width: usize,
    /// Batch and channels.
    shape: [usize; 2],
}

impl Double {
    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let plane = self.height * self.width;
        let mut output = Output::new(4 * x.len());
        let place = output.pointer();
        parallel::for_each(self.planes, 8 * plane, |p| {
            // SAFETY: each plane is written by its own call, before anything reads it.
            let to = unsafe { place.slice(4 * p * plane, 4 * plane) };
            let rows = x[p * plane..][..plane].chunks_exact(self.width);
            for (row, to) in rows.zip(to.chunks_exact_mut(4 * self.width)) {
                let (upper, lower) = to.split_at_mut(2 * self.width);
                for (value, pair) in row.iter().zip(upper.chunks_exact_mut(2)) {
                    pair.fill(*value);
                }
                lower.copy_from_slice(upper);
            }
        });
        // SAFETY: all planes were written.
        unsafe { output.finish() }
    }

    fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        let plane = self.height * self.width;
        let mut output = Output::new(gradient.len() / 4);
        let place = output.pointer();
        parallel::for_each(self.planes, 8 * plane, |p| {
            // SAFETY: each plane is written by its own call, before anything reads it.
            let to = unsafe { place.slice(p * plane, plane) };
            let rows = gradient[4 * p * plane..][..4 * plane].chunks_exact(4 * self.width);
            for (row, to) in rows.zip(to.chunks_exact_mut(self.width)) {
                let (upper, lower) = row.split_at(2 * self.width);
                let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                for ((upper, lower), to) in pairs.zip(to) {
                    *to = (upper[0] + lower[0]) + (upper[1] + lower[1]);
                }
            }
        });
        // SAFETY: all planes were written.
        unsafe { output.finish() }
    }
}

impl Operation<1> for Double {
    type Saved = ();

    fn forward(&self, inputs: [FlexTensor; 1]) -> (FlexTensor, ()) {
        let [batch, channels] = self.shape;
        let y = if self.planes * self.height * self.width == 0 {
            Vec::new()
        } else {
            Double::forward(self, values(&inputs[0]))
        };
        let shape = [batch, channels, 2 * self.height, 2 * self.width];
        (tensor(y, shape), ())
    }

    fn backward(&self, (): (), gradient: FlexTensor, needed: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let [batch, channels] = self.shape;
        [needed[0].then(|| {
            let dx = if self.planes * self.height * self.width == 0 {
                Vec::new()
            } else {
                Double::backward(self, values(&gradient))
            };
            tensor(dx, [batch, channels, self.height, self.width])
        })]
    }
}
