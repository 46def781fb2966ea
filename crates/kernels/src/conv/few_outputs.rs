//! The weight gradient of 3x3 convolutions with stride one and few outputs, such as a network's last one.
//!
//! Each number is a sum over pixels of products of two runs in memory, the result's gradient and a shifted copy of the input:
//! vectors hold neighbouring pixels, and nothing is transposed or padded.

use super::backward::WeightTasks;
use super::geometry::Geometry;
use crate::cpu::InstructionSet;
use crate::parallel;
use crate::simd::{Simd, each_vector, for_every_set, load};
use crate::storage::{Output, Scratch, SharedMut, with_scratch};

/// Outputs at most: as many sums of three taps as registers hold.
const MOST: usize = 4;

/// Whether this way is faster than the direct one.
pub(super) fn pays(g: &Geometry) -> bool {
    g.kernel_height == 3 && g.kernel_width == 3 && g.stride == 1 && g.outputs <= MOST
}

/// The gradient of the weight, `[outputs, channels, 3, 3]`.
pub(super) fn weight_gradient(g: &Geometry, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    let set = InstructionSet::current();
    let (pixels, plane) = (g.out_pixels(), g.height * g.width);
    assert_eq!(gradient.len(), g.batch * g.outputs * pixels);
    assert_eq!(input.len(), g.batch * g.channels * plane);
    assert!(pays(g));
    let batches = WeightTasks::of(g, g.outputs).batches;
    let copies = g.input_copies();
    let taps = g.input_taps(&copies, g.channels);
    let len = g.outputs * g.channels * 9;
    let mut sums = Output::new(batches * len);
    let place = sums.pointer();
    parallel::for_each(batches, g.flops() * g.batch / batches, |task| {
        // SAFETY: each task has a sum of its own, which this clears before it is read.
        let sum = unsafe {
            std::ptr::write_bytes(place.at(task * len), 0, len);
            SharedMut(place.at(task * len))
        };
        for n in parallel::part(g.batch, batches, task) {
            let input = &input[n * g.channels * plane..][..g.channels * plane];
            let gradient = &gradient[n * g.outputs * pixels..][..g.outputs * pixels];
            with_scratch(Scratch::Image, copies.len(g.channels), |scratch| {
                copies.make(set, input, scratch);
                // SAFETY: the copies have all taps, and the sums are this task's.
                unsafe { add_products(set, g, gradient, scratch, &taps, sum) };
            });
        }
    });
    // SAFETY: every task wrote its sum.
    let sums = unsafe { sums.finish() };
    let mut total = vec![0.0; len];
    for sum in sums.chunks_exact(len) {
        for (total, value) in total.iter_mut().zip(sum) {
            *total += value;
        }
    }
    total
}

for_every_set! {
    /// Adds the products of one image to `sums` `[outputs, channels, 9]`.
    ///
    /// # Safety
    /// `taps` says where each tap of each channel starts in `copies`.
    unsafe fn add_products(
        g: &Geometry, gradient: &[f32], copies: &[f32], taps: &[u32], sums: SharedMut,
    ) = add_image
}

#[inline(always)]
unsafe fn add_image<S: Simd>(g: &Geometry, gradient: &[f32], copies: &[f32], taps: &[u32], sums: SharedMut) {
    // SAFETY: by the caller.
    unsafe {
        match g.outputs {
            1 => add_outputs::<S, 1>(g, gradient, copies, taps, sums),
            2 => add_outputs::<S, 2>(g, gradient, copies, taps, sums),
            3 => add_outputs::<S, 3>(g, gradient, copies, taps, sums),
            _ => add_outputs::<S, MOST>(g, gradient, copies, taps, sums),
        }
    }
}

/// # Safety
/// As `add_products`, for a gradient of `OUTPUTS` planes.
#[inline(always)]
unsafe fn add_outputs<S: Simd, const OUTPUTS: usize>(
    g: &Geometry,
    gradient: &[f32],
    copies: &[f32],
    taps: &[u32],
    sums: SharedMut,
) {
    // SAFETY (whole body): by the caller; what lies past the last pixel is not read.
    unsafe {
        let pixels = g.out_pixels();
        for (three, taps) in taps.chunks_exact(3).enumerate() {
            let mut products = [[S::splat(0.0); 3]; OUTPUTS];
            each_vector!(S, pixels, |at, count| {
                let mut inputs = [S::splat(0.0); 3];
                for (value, tap) in inputs.iter_mut().zip(taps) {
                    *value = load::<S>(copies.as_ptr().add(*tap as usize + at), count);
                }
                for (o, products) in products.iter_mut().enumerate() {
                    let slope = load::<S>(gradient.as_ptr().add(o * pixels + at), count);
                    for (product, value) in products.iter_mut().zip(inputs) {
                        *product = S::mul_add(slope, value, *product);
                    }
                }
            });
            for (o, products) in products.into_iter().enumerate() {
                for (tap, product) in products.into_iter().enumerate() {
                    *sums.at(o * g.channels * 9 + three * 3 + tap) += S::sum(product);
                }
            }
        }
    }
}
