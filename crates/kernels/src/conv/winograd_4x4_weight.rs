//! The weight gradient of 3x3 convolutions with stride and padding one by minimal filtering of larger blocks.
//!
//! The transpose of the forward pass: `dg = G^T [sum over blocks of (B^T d B) . (A dY A^T)] G`, with the
//! matrices of [`super::winograd_4x4`]; for each of the 36 places the sum is one matrix product.

use super::backward::WeightTasks;
use super::geometry::Geometry;
use super::winograd_4x4::{A, B, PLACES, Plan, READ, SIDE, SPARE, fits, transform_blocks};
use crate::cpu::InstructionSet;
use crate::gemm::{LeftRows, Product, RightRows, Start, lanes, multiply};
use crate::parallel;
use crate::simd::{Simd, for_every_set};
use crate::storage::{Output, Scratch, SharedMut, with_scratch};
use crate::transpose::transpose_part;

/// Whether this way is faster than the others.
pub(super) fn pays(g: &Geometry) -> bool {
    // Each sum is kept for every place, which few blocks do not pay for.
    const FEWEST_BLOCKS: usize = 96;
    fits(g)
        && g.channels >= 8
        && g.outputs >= 8
        && g.batch * g.height * g.width >= FEWEST_BLOCKS * SIDE * SIDE
}

/// The gradient of the weight, `[outputs, channels, 3, 3]`.
pub(super) fn weight_gradient(g: &Geometry, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    let set = InstructionSet::current();
    let pixels = g.height * g.width;
    assert_eq!(gradient.len(), g.batch * g.outputs * pixels);
    assert_eq!(input.len(), g.batch * g.channels * pixels);
    assert!(fits(g));
    let padded = g.outputs.next_multiple_of(lanes(set));
    let tasks = WeightTasks::of(g, padded);
    let mut sums = Output::new(tasks.batches * PLACES * g.channels * padded);
    let place = sums.pointer();
    let operations = g.flops() * g.batch / (4 * tasks.batches * tasks.channels);
    parallel::for_each(tasks.batches * tasks.channels, operations, |task| {
        let images = parallel::part(g.batch, tasks.batches, task / tasks.channels);
        let channels = parallel::part(g.channels, tasks.channels, task % tasks.channels);
        let plan = Plan::of(set, g);
        let plan = Plan { rows: images.end * plan.down, ..plan };
        let blocks = plan.blocks();
        let rows_together = plan.vectors * plan.rows_in_vector;
        let (left_stride, right_stride) = (channels.len() * blocks + SPARE, blocks * padded + SPARE);
        let row_pixels = SIDE * g.width;
        with_scratch(Scratch::Transposed, PLACES * left_stride, |left| {
            with_scratch(Scratch::Partial, PLACES * right_stride, |right| {
                let start = images.start * plan.down;
                for first in (start..plan.rows).step_by(rows_together) {
                    let end = (first + rows_together).min(plan.rows);
                    // SAFETY: there is room for the blocks of these channels at each place.
                    unsafe {
                        let left = left.as_mut_ptr();
                        transform_blocks(set, g, &plan, input, first, channels.clone(), left_stride, left);
                    }
                    with_scratch(Scratch::Image, row_pixels * padded, |turned| {
                        for row in first..end {
                            let (n, y) = (row / plan.down, row % plan.down * SIDE);
                            let from = &gradient[n * g.outputs * pixels + y * g.width..];
                            transpose_part(set, from, pixels, g.outputs, row_pixels, padded, turned);
                            // SAFETY: `turned` holds the row of blocks, and `right` has room for it at each place.
                            unsafe {
                                let to = right.as_mut_ptr().add((row - first) * plan.across * padded);
                                spread(set, &plan, turned, padded, right_stride, to);
                            }
                        }
                    });
                    for at in 0..PLACES {
                        let sum =
                            ((task / tasks.channels * PLACES + at) * g.channels + channels.start) * padded;
                        // SAFETY: the slices have the sizes made above; each task has its own channels of
                        // its own sum.
                        unsafe {
                            let product = Product {
                                m: channels.len(),
                                n: padded,
                                k: (end - first) * plan.across,
                                a: left.as_ptr().add(at * left_stride),
                                a_rows: LeftRows::Stride(blocks),
                                a_step: 1,
                                b: right.as_ptr().add(at * right_stride),
                                b_rows: RightRows::Stride(padded),
                                c: place.at(sum),
                                c_stride: padded,
                                start: if first == start { Start::Zero } else { Start::Previous },
                            };
                            multiply(set, &product);
                        }
                    }
                }
            });
        });
    });
    // SAFETY: no range of the batch is empty, so the first blocks of each task wrote all of its part.
    let sums = unsafe { sums.finish() };
    add_and_turn_back(g, &sums, tasks.batches, padded)
}

for_every_set! {
    /// Writes `A dY A^T` of a row of blocks to `to[place][block][output]`.
    ///
    /// # Safety
    /// `turned` is `[four rows of pixels, padded]` with `padded` a multiple of every vector's length, and `to` has room for
    /// the row's blocks of `padded` numbers at 36 places, `place_stride` apart.
    unsafe fn spread(
        plan: &Plan, turned: &[f32], padded: usize, place_stride: usize, to: *mut f32,
    ) = spread_blocks
}

#[inline(always)]
unsafe fn spread_blocks<S: Simd>(
    plan: &Plan,
    turned: &[f32],
    padded: usize,
    place_stride: usize,
    to: *mut f32,
) {
    let width = SIDE * plan.across;
    // SAFETY (whole body): by the caller.
    unsafe {
        for block in 0..plan.across {
            for lane in (0..padded).step_by(S::LANES) {
                let from = turned.as_ptr().add(SIDE * block * padded + lane);
                let to = to.add(block * padded + lane);
                let zero = S::splat(0.0);
                let mut rows = [[zero; SIDE]; READ];
                for p in 0..SIDE {
                    let mut y = [zero; SIDE];
                    for (q, y) in y.iter_mut().enumerate() {
                        *y = S::load(from.add((q * width + p) * padded));
                    }
                    for (row, value) in rows.iter_mut().zip(evaluate::<S>(y)) {
                        row[p] = value;
                    }
                }
                for (i, row) in rows.into_iter().enumerate() {
                    for (j, value) in evaluate::<S>(row).into_iter().enumerate() {
                        S::store(to.add((i * READ + j) * place_stride), value);
                    }
                }
            }
        }
    }
}

/// `A y`: the polynomial with coefficients `y` at each point, and its leading coefficient.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
unsafe fn evaluate<S: Simd>(y: [S::V; SIDE]) -> [S::V; READ] {
    // SAFETY: by the caller.
    unsafe {
        let (a2, b2) = (S::splat(A * A), S::splat(2.0));
        let (even_a, odd_a) = (S::mul_add(a2, y[2], y[0]), S::mul_add(a2, y[3], y[1]));
        let (even_b, odd_b) = (S::mul_add(b2, y[2], y[0]), S::mul_add(b2, y[3], y[1]));
        [
            y[0],
            S::mul_add(S::splat(A), odd_a, even_a),
            S::mul_add(S::splat(-A), odd_a, even_a),
            S::mul_add(S::splat(B), odd_b, even_b),
            S::mul_add(S::splat(-B), odd_b, even_b),
            y[3],
        ]
    }
}

/// Adds the sums (`[count, 36, channels, padded]`) in order and brings them back to kernels.
fn add_and_turn_back(g: &Geometry, sums: &[f32], count: usize, padded: usize) -> Vec<f32> {
    let set = InstructionSet::current();
    assert_eq!(sums.len(), count * PLACES * g.channels * padded);
    let mut output = Output::new(g.outputs * g.channels * 9);
    let place = output.pointer();
    parallel::for_each(g.channels, g.outputs * PLACES * (count + 4) / 4, |c| {
        // SAFETY: each channel's taps are written by its own call.
        unsafe { turn_channel_back(set, g, sums, count, padded, c, place) };
    });
    // SAFETY: all taps of all kernels were written.
    unsafe { output.finish() }
}

for_every_set! {
    /// Adds the sums of channel `c` and writes its taps in all kernels.
    ///
    /// # Safety
    /// `sums` is `[count, 36, channels, padded]` with `padded` a multiple of every vector's length, and `to`
    /// `[outputs, channels, 9]`.
    unsafe fn turn_channel_back(
        g: &Geometry, sums: &[f32], count: usize, padded: usize, c: usize, to: SharedMut,
    ) = turn_back
}

#[inline(always)]
unsafe fn turn_back<S: Simd>(
    g: &Geometry,
    sums: &[f32],
    count: usize,
    padded: usize,
    c: usize,
    to: SharedMut,
) {
    // SAFETY (whole body): by the caller.
    unsafe {
        let zero = S::splat(0.0);
        let (place_len, sum_len) = (g.channels * padded, PLACES * g.channels * padded);
        for first in (0..g.outputs).step_by(S::LANES) {
            let mut columns = [[zero; 3]; READ];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut total = [zero; READ];
                for (i, total) in total.iter_mut().enumerate() {
                    let from = sums.as_ptr().add((i * READ + j) * place_len + c * padded + first);
                    *total = S::load(from);
                    for task in 1..count {
                        *total = S::add(*total, S::load(from.add(task * sum_len)));
                    }
                }
                *column = back::<S>(total);
            }
            for u in 0..3 {
                let mut row = [zero; READ];
                for (row, column) in row.iter_mut().zip(columns) {
                    *row = column[u];
                }
                for (v, values) in back::<S>(row).into_iter().enumerate() {
                    let mut lanes = [0.0f32; 16];
                    S::store(lanes.as_mut_ptr(), values);
                    for (o, value) in (first..g.outputs.min(first + S::LANES)).zip(lanes) {
                        *to.at((o * g.channels + c) * 9 + u * 3 + v) = value;
                    }
                }
            }
        }
    }
}

/// `G^T`.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
unsafe fn back<S: Simd>(u: [S::V; READ]) -> [S::V; 3] {
    // SAFETY: by the caller.
    unsafe {
        let (third, sixth) = (S::splat(-2.0 / 3.0), S::splat(1.0 / 6.0));
        let (near, near_gap) = (S::mul(third, S::add(u[1], u[2])), S::mul(third, S::sub(u[1], u[2])));
        let (far, far_gap) = (S::mul(sixth, S::add(u[3], u[4])), S::mul(sixth, S::sub(u[3], u[4])));
        [
            S::add(S::add(u[0], near), far),
            S::mul_add(S::splat(A), near_gap, S::mul(S::splat(B), far_gap)),
            S::mul_add(S::splat(0.5), near, S::mul_add(S::splat(2.0), far, u[5])),
        ]
    }
}
