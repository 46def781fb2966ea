//! Doubling the resolution.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use crate::cpu::InstructionSet;
use crate::dispatch::{Operation, apply};
use crate::flex::{tensor, values};
use crate::parallel;
use crate::simd::{Simd, each_vector, for_every_set, load, store};
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
        let set = InstructionSet::current();
        let plane = self.height * self.width;
        let mut output = Output::new(4 * x.len());
        let place = output.pointer();
        parallel::for_each(self.planes, 8 * plane, |p| {
            // SAFETY: each plane is written by its own call.
            unsafe { double_plane(set, self.width, &x[p * plane..][..plane], place.at(4 * p * plane)) };
        });
        // SAFETY: all planes were written.
        unsafe { output.finish() }
    }

    fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        let set = InstructionSet::current();
        let plane = self.height * self.width;
        let mut output = Output::new(gradient.len() / 4);
        let place = output.pointer();
        parallel::for_each(self.planes, 8 * plane, |p| {
            let gradient = &gradient[4 * p * plane..][..4 * plane];
            // SAFETY: each plane is written by its own call.
            unsafe { halve_plane(set, self.width, gradient, place.at(p * plane)) };
        });
        // SAFETY: all planes were written.
        unsafe { output.finish() }
    }
}

for_every_set! {
    /// Writes each number of a plane four times.
    ///
    /// # Safety
    /// `x` holds whole rows, and `to` has room for four times as many numbers.
    unsafe fn double_plane(width: usize, x: &[f32], to: *mut f32) = double
}

for_every_set! {
    /// Adds up blocks of 2x2.
    ///
    /// # Safety
    /// `gradient` holds pairs of rows of `2 width`, and `to` has room for a quarter as many numbers.
    unsafe fn halve_plane(width: usize, gradient: &[f32], to: *mut f32) = halve
}

#[inline(always)]
unsafe fn double<S: Simd>(width: usize, x: &[f32], to: *mut f32) {
    // SAFETY (whole body): by the caller.
    unsafe {
        for (y, row) in x.chunks_exact(width).enumerate() {
            let to = to.add(4 * y * width);
            each_vector!(S, width, |at, count| {
                let value = load::<S>(row.as_ptr().add(at), count);
                let (low, high) = S::interleave(value, value);
                let first = (2 * count).min(S::LANES);
                for to in [to.add(2 * at), to.add(2 * width + 2 * at)] {
                    store::<S>(to, low, first);
                    if 2 * count > S::LANES {
                        store::<S>(to.add(S::LANES), high, 2 * count - S::LANES);
                    }
                }
            });
        }
    }
}

#[inline(always)]
unsafe fn halve<S: Simd>(width: usize, gradient: &[f32], to: *mut f32) {
    // SAFETY (whole body): by the caller.
    unsafe {
        for (y, rows) in gradient.chunks_exact(4 * width).enumerate() {
            let to = to.add(y * width);
            each_vector!(S, width, |at, count| {
                let mut pairs = [(S::splat(0.0), S::splat(0.0)); 2];
                for (row, pair) in pairs.iter_mut().enumerate() {
                    let from = rows.as_ptr().add(row * 2 * width + 2 * at);
                    let low = load::<S>(from, (2 * count).min(S::LANES));
                    let high = if 2 * count > S::LANES {
                        load::<S>(from.add(S::LANES), 2 * count - S::LANES)
                    } else {
                        S::splat(0.0)
                    };
                    *pair = S::deinterleave(low, high);
                }
                let [(upper, upper_odd), (lower, lower_odd)] = pairs;
                let sum = S::add(S::add(upper, lower), S::add(upper_odd, lower_odd));
                store::<S>(to.add(at), sum, count);
            });
        }
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
