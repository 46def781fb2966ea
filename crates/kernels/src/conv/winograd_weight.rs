//! The weight gradient of 3x3 convolutions with stride one by minimal filtering.
//!
//! The transpose of the forward pass: `dg = G^T [sum over blocks of (B^T d B) . (A dY A^T)] G`,
//! with the matrices of [`super::winograd`]; for each of the 16 places the sum is one matrix
//! product.

use super::backward::WeightTasks;
use super::geometry::Geometry;
use super::winograd::{PLACES, Plan, SPILL, transform_image};
use crate::cpu::InstructionSet;
use crate::gemm::{LeftRows, Product, RightRows, Start, lanes, multiply};
use crate::parallel;
use crate::simd::{Simd, for_every_set};
use crate::storage::{Output, Scratch, with_scratch};
use crate::transpose::transpose_part;

/// Whether this way is faster than the direct one.
pub(super) fn pays(g: &Geometry) -> bool {
    let deep = g.channels * g.outputs >= 32 * 1024;
    g.kernel_height == 3
        && g.kernel_width == 3
        && g.stride == 1
        && g.padding <= 2
        && g.channels >= 16
        && g.outputs >= 16
        && g.out_height().min(g.out_width()) >= if deep { 4 } else { 7 }
}

/// The gradient of the weight, `[outputs, channels, 3, 3]`.
pub(crate) fn weight_gradient(g: &Geometry, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    let set = InstructionSet::current();
    let (pixels, plane) = (g.out_pixels(), g.height * g.width);
    assert_eq!(gradient.len(), g.batch * g.outputs * pixels);
    assert_eq!(input.len(), g.batch * g.channels * plane);
    let padded = g.outputs.next_multiple_of(lanes(set));
    let tasks = WeightTasks::of(g, padded);
    let widest = g.channels.div_ceil(tasks.channels).max(padded);
    let plan = Plan::of(&Geometry { channels: widest, ..*g });
    let blocks = plan.blocks();
    let stride = plan.together * blocks + SPILL;
    let mut sums = Output::new(tasks.batches * PLACES * g.channels * padded);
    let place = sums.pointer();
    let operations = g.flops() * g.batch / (2 * tasks.batches * tasks.channels);
    parallel::for_each(tasks.batches * tasks.channels, operations, |task| {
        let images = parallel::part(g.batch, tasks.batches, task / tasks.channels);
        let channels = parallel::part(g.channels, tasks.channels, task % tasks.channels);
        let part = Geometry { channels: channels.len(), ..*g };
        let strip_pixels = 2 * plan.strip * g.out_width();
        let turned_len = strip_pixels * padded;
        let products_len = PLACES * plan.together * blocks * padded;
        let mut is_first = true;
        for first in images.clone().step_by(plan.together) {
            let group = first..(first + plan.together).min(images.end);
            with_scratch(Scratch::Partial, turned_len + products_len, |scratch| {
                let (turned, right) = scratch.split_at_mut(turned_len);
                for strip in 0..plan.strips {
                    let first_row = strip * plan.strip;
                    let left_len = PLACES * channels.len() * stride + SPILL;
                    with_scratch(Scratch::Transposed, left_len, |left| {
                        let k = group.len() * blocks;
                        for n in group.clone() {
                            let start = (n * g.channels + channels.start) * plane;
                            let input = &input[start..][..channels.len() * plane];
                            let at = (n - first) * blocks;
                            transform_image(set, &part, &plan, input, first_row, stride, &mut left[at..]);
                            let from = 2 * first_row * g.out_width();
                            transpose_part(
                                set,
                                &gradient[n * g.outputs * pixels + from..],
                                pixels,
                                g.outputs,
                                strip_pixels.min(pixels - from),
                                padded,
                                turned,
                            );
                            let right = &mut right[at * padded..];
                            // SAFETY: `turned` holds the strip, `right` has room for the blocks of
                            // this one at each place, `k` rows of `padded` apart.
                            unsafe {
                                spread(set, g, &plan, turned, first_row, padded, k * padded, right);
                            }
                        }
                        for at in 0..PLACES {
                            let sum = ((task / tasks.channels * PLACES + at) * g.channels + channels.start)
                                * padded;
                            // SAFETY: the slices have the sizes made above; each task has its own
                            // channels of its own sum.
                            unsafe {
                                let product = Product {
                                    m: channels.len(),
                                    n: padded,
                                    k,
                                    a: left.as_ptr().add(at * channels.len() * stride),
                                    a_rows: LeftRows::Stride(stride),
                                    a_step: 1,
                                    b: right.as_ptr().add(at * k * padded),
                                    b_rows: RightRows::Stride(padded),
                                    c: place.at(sum),
                                    c_stride: padded,
                                    start: if is_first { Start::Zero } else { Start::Previous },
                                };
                                multiply(set, &product);
                            }
                        }
                        is_first = false;
                    });
                }
            });
        }
    });
    // SAFETY: the batch is not empty, so the first strip of each task wrote all of its part.
    let sums = unsafe { sums.finish() };
    add_and_turn_back(g, &sums, tasks.batches, padded)
}

for_every_set! {
    /// Writes `A dY A^T` of a strip's blocks of one image to `to[place][block][output]`.
    ///
    /// # Safety
    /// `turned` is `[pixels of the strip, padded]` with `padded` a multiple of every vector's length, and `to`
    /// has room for the strip's blocks of `padded` numbers at 16 places, `place_stride` apart.
    unsafe fn spread(
        g: &Geometry, plan: &Plan, turned: &[f32], first_row: usize, padded: usize,
        place_stride: usize, to: &mut [f32],
    ) = spread_blocks
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn spread_blocks<S: Simd>(
    g: &Geometry,
    plan: &Plan,
    turned: &[f32],
    first_row: usize,
    padded: usize,
    place_stride: usize,
    to: &mut [f32],
) {
    let (height, width) = (g.out_height(), g.out_width());
    // SAFETY (whole body): pixels outside the image are not read; the rest is the caller's.
    unsafe {
        let zero = S::splat(0.0);
        for row in 0..plan.strip {
            let y = 2 * (first_row + row);
            for column in 0..plan.block_columns {
                let x = 2 * column;
                let to = to.as_mut_ptr().add((row * plan.block_columns + column) * padded);
                let from = turned.as_ptr().wrapping_add((2 * row * width + x) * padded);
                let (right, below) = (x + 1 < width, y + 1 < height);
                let mut lane = 0;
                while lane < padded {
                    let mut pixels = [[zero; 2]; 2];
                    if y < height {
                        pixels[0][0] = S::load(from.wrapping_add(lane));
                        if right {
                            pixels[0][1] = S::load(from.wrapping_add(lane + padded));
                        }
                        if below {
                            let from = from.wrapping_add(lane + width * padded);
                            pixels[1][0] = S::load(from);
                            if right {
                                pixels[1][1] = S::load(from.wrapping_add(padded));
                            }
                        }
                    }
                    let [[a, b], [c, d]] = pixels;
                    let upper = [a, S::add(a, b), S::sub(a, b), S::sub(zero, b)];
                    let lower = [c, S::add(c, d), S::sub(c, d), S::sub(zero, d)];
                    let to = to.add(lane);
                    for j in 0..4 {
                        let (u, l) = (upper[j], lower[j]);
                        S::store(to.add(j * place_stride), u);
                        S::store(to.add((4 + j) * place_stride), S::add(u, l));
                        S::store(to.add((8 + j) * place_stride), S::sub(u, l));
                        S::store(to.add((12 + j) * place_stride), S::sub(zero, l));
                    }
                    lane += S::LANES;
                }
            }
        }
    }
}

/// Adds the sums (`[count, 16, channels, padded]`) in order and brings them back to kernels.
fn add_and_turn_back(g: &Geometry, sums: &[f32], count: usize, padded: usize) -> Vec<f32> {
    const LANES: usize = 8;
    type Lanes = [f32; LANES];
    let line = |u: [Lanes; 4]| -> [Lanes; 3] {
        let half = |sign: f32| -> Lanes { std::array::from_fn(|i| 0.5 * u[1][i] + sign * (0.5 * u[2][i])) };
        let (sum, difference) = (half(1.0), half(-1.0));
        [std::array::from_fn(|i| u[0][i] + sum[i]), difference, std::array::from_fn(|i| sum[i] + u[3][i])]
    };
    let mut output = Output::new(g.outputs * g.channels * 9);
    let place = output.pointer();
    parallel::for_each(g.channels, g.outputs * 16 * (count + 4), |c| {
        for first in (0..g.outputs).step_by(LANES) {
            let mut total = [[[0.0f32; LANES]; 4]; 4];
            for task in 0..count {
                for (at, total) in total.as_flattened_mut().iter_mut().enumerate() {
                    let start = ((task * PLACES + at) * g.channels + c) * padded + first;
                    for (total, value) in total.iter_mut().zip(&sums[start..start + LANES]) {
                        *total += value;
                    }
                }
            }
            let columns = [0, 1, 2, 3].map(|j| line([0, 1, 2, 3].map(|i| total[i][j])));
            for u in 0..3 {
                let row = line(columns.map(|column| column[u]));
                for (v, values) in row.iter().enumerate() {
                    for (o, value) in (first..g.outputs).zip(values) {
                        // SAFETY: each channel's taps are written by its own call.
                        unsafe { *place.at((o * g.channels + c) * 9 + u * 3 + v) = *value };
                    }
                }
            }
        }
    });
    // SAFETY: all taps of all kernels were written.
    unsafe { output.finish() }
}
