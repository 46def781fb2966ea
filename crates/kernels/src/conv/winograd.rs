//! 3x3 convolutions with stride one by minimal filtering.
//!
//! A block of 2x2 results is made from a block of 4x4 inputs with 16 products in place of 36:
//! `Y = A^T [(G g G^T) . (B^T d B)] A`, the products being summed over the channels by one matrix
//! product for each of the 16 places. (A. Lavin and S. Gray, "Fast Algorithms for Convolutional
//! Neural Networks", CVPR 2016, section 4.1, `F(2x2, 3x3)`.)
//!
//! All factors are 1 or 1/2, and rounding errors are about those of the direct sum. A NaN or an
//! infinity in the input reaches all four results of each block that reads it.

use super::geometry::Geometry;
use crate::cpu::InstructionSet;
use crate::gemm::{LeftRows, Product, RightRows, Start, multiply};
use crate::parallel;
use crate::simd::{Simd, each_vector, for_every_set, store};
use crate::storage::{Output, Scratch, SharedMut, with_scratch};

/// Places in a transformed block.
pub(super) const PLACES: usize = 16;
/// Numbers of transformed input that a task should hold at most (to stay in the cache).
const HELD: usize = 128 * 1024;
/// Numbers after a row of blocks that vectors may spill into.
pub(super) const SPILL: usize = 16;

/// Whether this way is faster than the direct one, judged by one image alone, so that an image's
/// result is the same in every batch.
pub(crate) fn pays(g: &Geometry) -> bool {
    g.kernel_height == 3
        && g.kernel_width == 3
        && g.stride == 1
        && g.padding <= 2
        && g.channels >= 11
        && g.outputs >= 11
        && g.out_height() >= 7
        && g.out_width() >= 7
}

/// How the blocks of the batch are cut into tasks; by shape alone.
pub(super) struct Plan {
    pub(super) block_rows: usize,
    pub(super) block_columns: usize,
    /// Rows of blocks in a strip of an image.
    pub(super) strip: usize,
    /// Strips in an image.
    pub(super) strips: usize,
    /// Images (if they are one strip) handled together.
    pub(super) together: usize,
}

impl Plan {
    pub(super) fn of(g: &Geometry) -> Self {
        let block_rows = g.out_height().div_ceil(2);
        let block_columns = g.out_width().div_ceil(2);
        let most = (HELD / (PLACES * g.channels)).max(64);
        let strip = (most / block_columns).clamp(1, block_rows);
        let strips = block_rows.div_ceil(strip);
        let together =
            if strips == 1 { (most.min(64) / (block_rows * block_columns)).clamp(1, g.batch) } else { 1 };
        Self { block_rows, block_columns, strip, strips, together }
    }

    /// Blocks in a strip.
    pub(super) fn blocks(&self) -> usize {
        self.strip * self.block_columns
    }
}

/// The forward pass; `weight` is `[outputs, channels, 3, 3]`.
pub(crate) fn forward(g: &Geometry, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let set = InstructionSet::current();
    let image = g.channels * g.height * g.width;
    let pixels = g.out_pixels();
    assert_eq!(input.len(), g.batch * image);
    assert_eq!(weight.len(), g.outputs * g.channels * 9);
    assert!(bias.is_none_or(|bias| bias.len() == g.outputs));
    let plan = Plan::of(g);
    let weights = transform_weights(g, weight);
    let mut output = Output::new(g.batch * g.outputs * pixels);
    let place = output.pointer();
    let tasks = g.batch.div_ceil(plan.together) * plan.strips;
    let blocks = plan.blocks();
    let stride = plan.together * blocks + SPILL;
    // Outputs whose products are held at a time.
    let held = (HELD / 2 / (PLACES * stride)).clamp(1, g.outputs);
    parallel::for_each(tasks, g.flops() * g.batch / tasks / 2, |task| {
        let first = task / plan.strips * plan.together;
        let images = first..(first + plan.together).min(g.batch);
        let first_row = task % plan.strips * plan.strip;
        let size = PLACES * g.channels * stride;
        with_scratch(Scratch::Transposed, size + SPILL, |transformed| {
            for n in images.clone() {
                let to = &mut transformed[(n - first) * blocks..];
                transform_image(set, g, &plan, &input[n * image..][..image], first_row, stride, to);
            }
            with_scratch(Scratch::Partial, PLACES * held * stride + SPILL, |products| {
                let mut start = 0;
                while start < g.outputs {
                    let count = held.min(g.outputs - start);
                    for at in 0..PLACES {
                        let product = Product {
                            m: count,
                            n: images.len() * blocks,
                            k: g.channels,
                            a: weights[(at * g.outputs + start) * g.channels..].as_ptr(),
                            a_rows: LeftRows::Stride(g.channels),
                            a_step: 1,
                            b: transformed[at * g.channels * stride..].as_ptr(),
                            b_rows: RightRows::Stride(stride),
                            c: products[at * held * stride..].as_mut_ptr(),
                            c_stride: stride,
                            start: Start::Zero,
                        };
                        // SAFETY: the slices have the sizes made above.
                        unsafe { multiply(set, &product) };
                    }
                    for n in images.clone() {
                        for o in start..start + count {
                            let from = &products[(o - start) * stride + (n - first) * blocks..];
                            // SAFETY: each task writes its own rows of its own images.
                            unsafe {
                                let to = SharedMut(place.at((n * g.outputs + o) * pixels));
                                let bias = bias.map_or(0.0, |bias| bias[o]);
                                finish_image(set, g, &plan, from, held * stride, first_row, bias, to);
                            }
                        }
                    }
                    start += count;
                }
            });
        });
    });
    // SAFETY: the strips cover every row of every output of every image.
    unsafe { output.finish() }
}

/// `[16, outputs, channels]`: `G g G^T` for each kernel, sixteen channels at a time.
fn transform_weights(g: &Geometry, weight: &[f32]) -> Vec<f32> {
    const LANES: usize = 16;
    type Lanes = [f32; LANES];
    let line = |a: Lanes, b: Lanes, c: Lanes| -> [Lanes; 4] {
        [
            a,
            std::array::from_fn(|i| 0.5 * (a[i] + c[i]) + 0.5 * b[i]),
            std::array::from_fn(|i| 0.5 * (a[i] + c[i]) - 0.5 * b[i]),
            c,
        ]
    };
    let mut output = Output::new(PLACES * g.outputs * g.channels);
    let place = output.pointer();
    parallel::for_each(g.outputs, g.channels * 64, |o| {
        for first in (0..g.channels).step_by(LANES) {
            let count = LANES.min(g.channels - first);
            let kernels = &weight[(o * g.channels + first) * 9..][..count * 9];
            let mut taps = [[0.0; LANES]; 9];
            for (lane, kernel) in kernels.chunks_exact(9).enumerate() {
                for (tap, value) in taps.iter_mut().zip(kernel) {
                    tap[lane] = *value;
                }
            }
            let columns = [0, 1, 2].map(|x| line(taps[x], taps[x + 3], taps[x + 6]));
            for i in 0..4 {
                let [a, b, c] = columns.map(|column| column[i]);
                let row = line(a, b, c);
                for (j, values) in row.iter().enumerate() {
                    let at = ((i * 4 + j) * g.outputs + o) * g.channels + first;
                    // SAFETY: each output's run of channels is written by its own call.
                    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), place.at(at), count) };
                }
            }
        }
    });
    // SAFETY: all places of all kernels were written.
    unsafe { output.finish() }
}

/// Writes `B^T d B` of a strip's blocks to `to[place][channel][block]`, rows `stride` apart.
pub(super) fn transform_image(
    set: InstructionSet,
    g: &Geometry,
    plan: &Plan,
    image: &[f32],
    first_row: usize,
    stride: usize,
    to: &mut [f32],
) {
    let line = (plan.strip + 1) * plan.block_columns;
    assert!(to.len() >= (PLACES * g.channels - 1) * stride + plan.blocks() + SPILL);
    let room = 4 * (2 * line + 2 * SPILL) + 8 * (line + SPILL);
    with_scratch(Scratch::Image, room, |scratch| {
        // SAFETY: the scratch has the room just computed, and `to` that just checked.
        unsafe { transform_channels(set, g, plan, image, first_row, stride, scratch, to) };
    });
}

for_every_set! {
    /// # Safety
    /// As `transform_image` says.
    unsafe fn transform_channels(
        g: &Geometry, plan: &Plan, image: &[f32], first_row: usize, stride: usize,
        scratch: &mut [f32], to: &mut [f32],
    ) = transform_all
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn transform_all<S: Simd>(
    g: &Geometry,
    plan: &Plan,
    image: &[f32],
    first_row: usize,
    stride: usize,
    scratch: &mut [f32],
    to: &mut [f32],
) {
    let line = (plan.strip + 1) * plan.block_columns;
    let room = 2 * line + 2 * SPILL;
    let (rows, lines) = scratch.split_at_mut(4 * room);
    for (c, channel) in image.chunks_exact(g.height * g.width).enumerate() {
        // SAFETY: `transform_image` made the room.
        unsafe {
            filter_rows::<S>(g, plan, channel.as_ptr(), first_row, rows.as_mut_ptr(), room);
            transform_blocks::<S>(
                rows.as_ptr(),
                room,
                lines.as_mut_ptr(),
                line,
                plan.block_columns,
                plan.blocks(),
                to.as_mut_ptr().add(c * stride),
                g.channels * stride,
            );
        }
    }
}

/// For the even and then the odd rows of a strip: each pixel's left neighbour less its right one,
/// and the pixel itself, with zeros outside the image; four runs, `room` apart.
///
/// # Safety
/// `channel` is a plane of the image and `to` has the room.
#[inline(always)]
unsafe fn filter_rows<S: Simd>(
    g: &Geometry,
    plan: &Plan,
    channel: *const f32,
    first_row: usize,
    to: *mut f32,
    room: usize,
) {
    let columns = 2 * plan.block_columns;
    let (padding, width) = (g.padding as isize, g.width as isize);
    let top = 2 * first_row as isize - padding;
    // Vectors of one column after the other, unless the last would spill over the next row.
    let by_column = columns <= S::LANES || columns.is_multiple_of(S::LANES);
    let chunks = columns.div_ceil(S::LANES);
    let (outer, inner) = if by_column { (chunks, 1) } else { (1, chunks) };
    for outer in 0..outer {
        for phase in 0..2 {
            for row in 0..=plan.strip {
                let y = top + (2 * row + phase) as isize;
                for inner in 0..inner {
                    let x = (outer + inner) * S::LANES;
                    let left = x as isize - padding;
                    let to = to.wrapping_add(phase * 2 * room + row * columns + x);
                    // SAFETY: lanes inside the image row are read; vectors past the end of a row
                    // are overwritten by the next row or lie in the spare room.
                    unsafe {
                        if 0 <= y && y < g.height as isize {
                            let from = channel.wrapping_offset(y * width + left);
                            let before = inside::<S>(from, left, width);
                            let middle = inside::<S>(from.wrapping_add(1), left + 1, width);
                            let after = inside::<S>(from.wrapping_add(2), left + 2, width);
                            S::store(to, S::sub(before, after));
                            S::store(to.add(room), middle);
                        } else {
                            S::store(to, S::splat(0.0));
                            S::store(to.add(room), S::splat(0.0));
                        }
                    }
                }
            }
        }
    }
}

/// A vector of an image row from column `left` on, with zeros outside the row.
///
/// # Safety
/// `from` is column `left` of a row of `width` numbers.
#[inline(always)]
unsafe fn inside<S: Simd>(from: *const f32, left: isize, width: isize) -> S::V {
    let lanes = S::LANES as isize;
    let first = (-left).clamp(0, lanes) as usize;
    let end = (width - left).clamp(first as isize, lanes) as usize;
    // SAFETY: lanes `first..end` lie inside the row.
    unsafe { S::load_range(from, first, end) }
}

/// # Safety
/// `rows` holds what `filter_rows` makes; `lines` has room for eight lines and `to` for 16 runs of
/// `blocks`, each with `SPILL` more.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn transform_blocks<S: Simd>(
    rows: *const f32,
    rows_room: usize,
    lines: *mut f32,
    line: usize,
    columns: usize,
    blocks: usize,
    to: *mut f32,
    place_stride: usize,
) {
    // SAFETY (whole body): by the caller.
    unsafe {
        let room = line + SPILL;
        for phase in 0..2 {
            let outer = rows.add(phase * 2 * rows_room);
            let middle = outer.add(rows_room);
            let to = lines.add(phase * 4 * room);
            let mut at = 0;
            while at < line {
                let (x, y) = (2 * at, 2 * at + S::LANES);
                let (first, fourth) = S::deinterleave(S::load(outer.add(x)), S::load(outer.add(y)));
                let (even, odd) = S::deinterleave(S::load(middle.add(x)), S::load(middle.add(y)));
                S::store(to.add(at), first);
                S::store(to.add(room + at), S::add(even, odd));
                S::store(to.add(2 * room + at), S::sub(odd, even));
                S::store(to.add(3 * room + at), fourth);
                at += S::LANES;
            }
        }
        for j in 0..4 {
            let (even, odd) = (lines.add(j * room), lines.add((4 + j) * room));
            let to = to.add(j * place_stride);
            let mut at = 0;
            while at < blocks {
                let (d0, d1) = (S::load(even.add(at)), S::load(odd.add(at)));
                let d2 = S::load(even.add(at + columns));
                let d3 = S::load(odd.add(at + columns));
                S::store(to.add(at), S::sub(d0, d2));
                S::store(to.add(4 * place_stride + at), S::add(d1, d2));
                S::store(to.add(8 * place_stride + at), S::sub(d2, d1));
                S::store(to.add(12 * place_stride + at), S::sub(d1, d3));
                at += S::LANES;
            }
        }
    }
}

/// Writes the rows of one output of one image that a strip makes.
///
/// # Safety
/// `from` holds the products of the strip's blocks for 16 places, `place_stride` apart; `to` is
/// the output's plane.
#[allow(clippy::too_many_arguments)]
unsafe fn finish_image(
    set: InstructionSet,
    g: &Geometry,
    plan: &Plan,
    from: &[f32],
    place_stride: usize,
    first_row: usize,
    bias: f32,
    to: SharedMut,
) {
    let blocks = plan.blocks();
    assert!(from.len() >= (PLACES - 1) * place_stride + blocks);
    let room = 2 * blocks + 4 * SPILL;
    with_scratch(Scratch::Image, 2 * room, |rows| {
        // SAFETY: `rows` has two runs of twice the blocks and a vector to spare; reads beyond the
        // blocks of `from` stay in the scratch space it is part of; `to` is the caller's.
        unsafe {
            finish_blocks(
                set,
                g,
                plan,
                from.as_ptr(),
                place_stride,
                first_row,
                bias,
                rows.as_mut_ptr(),
                room,
                to,
            );
        }
    });
}

for_every_set! {
    /// # Safety
    /// As `finish_image` says; `rows` has room for two runs, `room` apart.
    unsafe fn finish_blocks(
        g: &Geometry, plan: &Plan, from: *const f32, place_stride: usize, first_row: usize,
        bias: f32, rows: *mut f32, room: usize, to: SharedMut,
    ) = finish_all
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn finish_all<S: Simd>(
    g: &Geometry,
    plan: &Plan,
    from: *const f32,
    place_stride: usize,
    first_row: usize,
    bias: f32,
    rows: *mut f32,
    room: usize,
    to: SharedMut,
) {
    let blocks = plan.blocks();
    // SAFETY (whole body): by the caller.
    unsafe {
        let bias = S::splat(bias);
        let mut at = 0;
        while at < blocks {
            let mut upper = [bias; 4];
            let mut lower = [bias; 4];
            for j in 0..4 {
                let m = from.add(j * place_stride + at);
                let (m0, m1) = (S::load(m), S::load(m.add(4 * place_stride)));
                let (m2, m3) = (S::load(m.add(8 * place_stride)), S::load(m.add(12 * place_stride)));
                upper[j] = S::add(S::add(m0, m1), m2);
                lower[j] = S::sub(S::sub(m1, m2), m3);
            }
            for (half, u) in [upper, lower].into_iter().enumerate() {
                let even = S::add(S::add(S::add(u[0], u[1]), u[2]), bias);
                let odd = S::add(S::sub(S::sub(u[1], u[2]), u[3]), bias);
                let (low, high) = S::interleave(even, odd);
                let to = rows.add(half * room + 2 * at);
                S::store(to, low);
                S::store(to.add(S::LANES), high);
            }
            at += S::LANES;
        }
        let (height, width) = (g.out_height(), g.out_width());
        let end = (first_row + plan.strip).min(plan.block_rows);
        for half in 0..2 {
            for block_row in first_row..end {
                let y = 2 * block_row + half;
                if y < height {
                    let columns = 2 * plan.block_columns;
                    let from = rows.add(half * room + (block_row - first_row) * columns);
                    let to = to.at(y * width);
                    each_vector!(S, width, |x, count| {
                        store::<S>(to.add(x), S::load(from.add(x)), count);
                    });
                }
            }
        }
    }
}
