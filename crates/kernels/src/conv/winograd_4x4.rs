//! 3x3 convolutions with stride and padding one by minimal filtering of larger blocks.
//!
//! As [`super::winograd`], with blocks of 4x4 results from 6x6 inputs: 36 products in place of 144.
//! (A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section
//! 4.2, `F(4x4, 3x3)`.) Filters are interpolated at 0, infinity, and the two pairs `+-a`, `+-b`
//! with `a^2 = 1/2` and `b^2 = 2`, which leaves half the rounding error of the usual +-1 and +-2
//! and a fifth of their largest one: about 1e-6 of the largest result, a few times that of the
//! direct sum. (B. Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd
//! Convolution for Deep Neural Networks", TOMS 2020.)
//!
//! A vector's lanes are neighbouring blocks, in whole rows of blocks and across images. A NaN or an
//! infinity in the input reaches all sixteen results of each block that reads it.

use super::geometry::Geometry;
use crate::cpu::InstructionSet;
use crate::gemm::{LeftRows, Product, RightRows, Start, lanes, multiply};
use crate::parallel;
use crate::simd::{Simd, each_vector, for_every_set, store};
use crate::storage::{Output, Scratch, SharedMut, with_scratch};

/// Places in a transformed block.
pub(super) const PLACES: usize = 36;
/// Results of a block in each direction.
pub(super) const SIDE: usize = 4;
/// Inputs of a block in each direction.
pub(super) const READ: usize = 6;
/// Blocks handled together at most: as many as a row of tiles of the matrix product has columns.
const BLOCKS: usize = 64;
/// Products held at a time (to stay in the cache).
const HELD: usize = 128 * 1024;
/// Spare numbers between places, so that they do not share lines of the cache.
pub(super) const SPARE: usize = 16;
/// The points `a` and `b`.
pub(super) const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
pub(super) const B: f32 = std::f32::consts::SQRT_2;

/// Whether this way is faster than the others, judged by one image alone, so that an image's
/// result is the same in every batch.
pub(crate) fn pays(g: &Geometry) -> bool {
    let wide = g.channels * g.outputs > 96 * 96;
    // Transformed weights are four times as many, which single blocks do not pay for.
    fits(g) && g.channels >= 8 && g.outputs >= 8 && (!wide || g.width * g.height >= 4 * SIDE * SIDE)
}

/// Whether blocks and vectors divide the image.
pub(super) fn fits(g: &Geometry) -> bool {
    g.kernel_height == 3
        && g.kernel_width == 3
        && g.stride == 1
        && g.padding == 1
        && g.width.is_multiple_of(SIDE)
        && g.height.is_multiple_of(SIDE)
        && lanes(InstructionSet::current()).is_multiple_of(g.width / SIDE)
}

/// Where the blocks lie: rows of blocks are numbered through the batch.
pub(super) struct Plan {
    /// Blocks across an image.
    pub(super) across: usize,
    /// Rows of blocks in an image.
    pub(super) down: usize,
    /// Rows of blocks up to the last image.
    pub(super) rows: usize,
    /// Rows of blocks in a vector.
    pub(super) rows_in_vector: usize,
    /// Numbers in a vector.
    pub(super) lanes: usize,
    /// Vectors of a task.
    pub(super) vectors: usize,
}

impl Plan {
    pub(super) fn of(set: InstructionSet, g: &Geometry) -> Self {
        let lanes = lanes(set);
        let (across, down) = (g.width / SIDE, g.height / SIDE);
        let rows = g.batch * down;
        let all = (rows * across).div_ceil(lanes);
        // Some tasks for every thread; which one computes a block does not change it.
        let vectors = all.div_ceil(4).clamp(1, BLOCKS / lanes);
        Self { across, down, rows, rows_in_vector: lanes / across, lanes, vectors }
    }

    fn tasks(&self) -> usize {
        (self.rows * self.across).div_ceil(self.lanes).div_ceil(self.vectors)
    }

    /// Blocks of a task.
    pub(super) fn blocks(&self) -> usize {
        self.vectors * self.lanes
    }
}

/// 3x3 kernels as they lie in memory.
#[derive(Clone, Copy)]
pub(crate) struct Kernels<'a> {
    /// `[outputs, channels, 3, 3]`, or `[channels, outputs, 3, 3]` if they are turned.
    pub(crate) weight: &'a [f32],
    /// Whether they are turned round, as for the gradient of the input of a convolution with this weight.
    pub(crate) turned: bool,
}

/// The forward pass; `added` is of the result's shape.
pub(crate) fn forward(
    g: &Geometry,
    input: &[f32],
    kernels: Kernels,
    bias: Option<&[f32]>,
    added: Option<&[f32]>,
) -> Vec<f32> {
    let set = InstructionSet::current();
    assert_eq!(input.len(), g.batch * g.channels * g.height * g.width);
    assert_eq!(kernels.weight.len(), g.outputs * g.channels * 9);
    assert!(bias.is_none_or(|bias| bias.len() == g.outputs));
    assert!(added.is_none_or(|added| added.len() == g.batch * g.outputs * g.height * g.width));
    assert!(pays(g));
    let plan = Plan::of(set, g);
    let weights = transform_weights(g, kernels);
    let mut output = Output::new(g.batch * g.outputs * g.height * g.width);
    let place = output.pointer();
    let blocks = plan.blocks();
    let held = (HELD / (PLACES * blocks)).clamp(1, g.outputs);
    let (left_stride, right_stride) = (held * blocks + SPARE, g.channels * blocks + SPARE);
    let operations = PLACES * 2 * g.channels * g.outputs * blocks;
    parallel::for_each(plan.tasks(), operations, |task| {
        let first = task * plan.vectors * plan.rows_in_vector;
        with_scratch(Scratch::Transposed, PLACES * right_stride, |transformed| {
            // SAFETY: there is room for the blocks of all channels at each place.
            unsafe {
                let to = transformed.as_mut_ptr();
                transform_blocks(set, g, &plan, input, first, 0..g.channels, right_stride, to);
            }
            with_scratch(Scratch::Partial, PLACES * left_stride, |products| {
                for start in (0..g.outputs).step_by(held) {
                    let outputs = start..(start + held).min(g.outputs);
                    for at in 0..PLACES {
                        let product = Product {
                            m: outputs.len(),
                            n: blocks,
                            k: g.channels,
                            a: weights[(at * g.outputs + start) * g.channels..].as_ptr(),
                            a_rows: LeftRows::Stride(g.channels),
                            a_step: 1,
                            b: transformed[at * right_stride..].as_ptr(),
                            b_rows: RightRows::Stride(blocks),
                            c: products[at * left_stride..].as_mut_ptr(),
                            c_stride: blocks,
                            start: Start::Zero,
                        };
                        // SAFETY: the slices have the sizes made above.
                        unsafe { multiply(set, &product) };
                    }
                    // SAFETY: each task writes its own blocks.
                    unsafe {
                        finish_blocks(
                            set,
                            g,
                            &plan,
                            products,
                            left_stride,
                            first,
                            outputs,
                            bias,
                            added,
                            place,
                        )
                    };
                }
            });
        });
    });
    // SAFETY: the tasks cover all rows of blocks of all outputs.
    unsafe { output.finish() }
}

/// `[36, outputs, channels]`: `G g G^T` for each kernel.
fn transform_weights(g: &Geometry, kernels: Kernels) -> Vec<f32> {
    let set = InstructionSet::current();
    let mut output = Output::new(PLACES * g.outputs * g.channels);
    let place = output.pointer();
    parallel::for_each(g.outputs, g.channels * 40, |o| {
        // SAFETY: each output's run of channels is written by its own call.
        unsafe { transform_kernels(set, g, kernels, o, place.at(o * g.channels)) };
    });
    // SAFETY: all places of all kernels were written.
    unsafe { output.finish() }
}

for_every_set! {
    /// Writes `G g G^T` of the kernels of output `o` to `to[place][0][channel]`.
    ///
    /// # Safety
    /// `to` is the output's place in `[36, outputs, channels]`.
    unsafe fn transform_kernels(g: &Geometry, kernels: Kernels, o: usize, to: *mut f32) = transform_each
}

#[inline(always)]
unsafe fn transform_each<S: Simd>(g: &Geometry, kernels: Kernels, o: usize, to: *mut f32) {
    // SAFETY (whole body): by the caller; no vector is longer than the lanes.
    unsafe {
        let zero = S::splat(0.0);
        let place_stride = g.outputs * g.channels;
        each_vector!(S, g.channels, |first, count| {
            let mut lanes = [[0.0f32; 16]; 9];
            for lane in 0..count {
                let c = first + lane;
                let number = if kernels.turned { c * g.outputs + o } else { o * g.channels + c };
                let kernel = &kernels.weight[number * 9..][..9];
                for (tap, lanes) in lanes.iter_mut().enumerate() {
                    lanes[lane] = kernel[if kernels.turned { 8 - tap } else { tap }];
                }
            }
            let mut taps = [zero; 9];
            for (tap, lanes) in taps.iter_mut().zip(&lanes) {
                *tap = S::load(lanes.as_ptr());
            }
            let mut rows = [[zero; 3]; READ];
            for x in 0..3 {
                let column = sample::<S>(taps[x], taps[x + 3], taps[x + 6]);
                for (row, value) in rows.iter_mut().zip(column) {
                    row[x] = value;
                }
            }
            for (i, [x, y, z]) in rows.into_iter().enumerate() {
                let row = sample::<S>(x, y, z);
                for (j, value) in row.into_iter().enumerate() {
                    store::<S>(to.add((i * READ + j) * place_stride + first), value, count);
                }
            }
        });
    }
}

/// `G`: the value of the filter at each point over the product of its distances from the others.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
unsafe fn sample<S: Simd>(x: S::V, y: S::V, z: S::V) -> [S::V; READ] {
    // SAFETY: by the caller.
    unsafe {
        let even_a = S::mul(S::splat(-2.0 / 3.0), S::mul_add(S::splat(0.5), z, x));
        let even_b = S::mul(S::splat(1.0 / 6.0), S::mul_add(S::splat(2.0), z, x));
        [
            x,
            S::mul_add(S::splat(A * (-2.0 / 3.0)), y, even_a),
            S::mul_add(S::splat(A * (2.0 / 3.0)), y, even_a),
            S::mul_add(S::splat(B * (1.0 / 6.0)), y, even_b),
            S::mul_add(S::splat(B * (-1.0 / 6.0)), y, even_b),
            z,
        ]
    }
}

for_every_set! {
    /// Writes `B^T d B` of a task's blocks of some channels to `to[place][channel][block]`, places `place_stride`
    /// apart; blocks in rows past the last one are zero.
    ///
    /// # Safety
    /// `to` has room for the blocks of these channels at 36 places.
    pub(super) unsafe fn transform_blocks(
        g: &Geometry, plan: &Plan, input: &[f32], first_row: usize, channels: std::ops::Range<usize>,
        place_stride: usize, to: *mut f32,
    ) = transform_all
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn transform_all<S: Simd>(
    g: &Geometry,
    plan: &Plan,
    input: &[f32],
    first_row: usize,
    channels: std::ops::Range<usize>,
    place_stride: usize,
    to: *mut f32,
) {
    // SAFETY (whole body): rows inside the image are read, and the caller made the room.
    unsafe {
        let rows = Rows::of(g, plan, first_row, g.channels);
        // Lanes whose block has a left (right) neighbour in its row.
        let inner = ((1u64 << plan.across) - 2) as u32;
        let mut has_left = 0u32;
        for row in 0..plan.rows_in_vector {
            has_left |= inner << (row * plan.across);
        }
        for (place, c) in channels.enumerate() {
            let plane = input.as_ptr().wrapping_add(c * g.height * g.width);
            for v in 0..plan.vectors {
                let to = to.add(place * plan.blocks() + v * S::LANES);
                let rows = &rows.0[v * plan.rows_in_vector..][..plan.rows_in_vector];
                match g.width / S::LANES {
                    0 => transform_vector::<S, 0>(g, plane, rows, has_left, place_stride, to),
                    1 => transform_vector::<S, 1>(g, plane, rows, has_left, place_stride, to),
                    2 => transform_vector::<S, 2>(g, plane, rows, has_left, place_stride, to),
                    _ => transform_vector::<S, 4>(g, plane, rows, has_left, place_stride, to),
                }
            }
        }
    }
}

/// A row of blocks.
#[derive(Clone, Copy)]
struct Row {
    /// Where its first row of pixels starts in the first channel of its image.
    start: usize,
    /// Its first row of pixels; the image's height if there is no such row of blocks.
    y: usize,
}

/// The rows of blocks of a task.
struct Rows([Row; BLOCKS]);

impl Rows {
    /// Of images of `channels` planes.
    fn of(g: &Geometry, plan: &Plan, first_row: usize, channels: usize) -> Self {
        Self(std::array::from_fn(|i| {
            let row = first_row + i;
            let (n, y) = (row / plan.down, row % plan.down * SIDE);
            let start = (n * channels * g.height + y) * g.width;
            Row { start, y: if row < plan.rows { y } else { g.height } }
        }))
    }
}

/// Transforms the blocks of one vector in one channel. `VECTORS` of them make a row of pixels, or one holds a few rows if it
/// is 0.
///
/// # Safety
/// As `transform_blocks`; `plane` is the channel in the first image.
#[inline(always)]
unsafe fn transform_vector<S: Simd, const VECTORS: usize>(
    g: &Geometry,
    plane: *const f32,
    rows: &[Row],
    has_left: u32,
    place_stride: usize,
    to: *mut f32,
) {
    // SAFETY (whole body): by the caller.
    unsafe {
        let zero = S::splat(0.0);
        let mut d = [[zero; SIDE]; READ];
        for (i, d) in d.iter_mut().enumerate() {
            *d = phases::<S, VECTORS>(g, plane, rows, i);
        }
        // Down, then across.
        let mut filtered = [[zero; SIDE]; READ];
        for p in 0..SIDE {
            let column = filter::<S>([d[0][p], d[1][p], d[2][p], d[3][p], d[4][p], d[5][p]]);
            for (row, value) in filtered.iter_mut().zip(column) {
                row[p] = value;
            }
        }
        for (i, [p0, p1, p2, p3]) in filtered.into_iter().enumerate() {
            let before = S::keep(S::rotate_up(p3), has_left);
            let after = S::keep(S::rotate_down(p0), has_left >> 1);
            for (j, value) in filter::<S>([before, p0, p1, p2, p3, after]).into_iter().enumerate() {
                S::store(to.add((i * READ + j) * place_stride), value);
            }
        }
    }
}

/// What lies outside the image.
static ZEROS: [f32; BLOCKS] = [0.0; BLOCKS];

/// Row `i` of the pixels that a row of blocks reads.
#[inline(always)]
fn row_start(g: &Geometry, plane: *const f32, row: &Row, i: usize) -> *const f32 {
    let inside = (row.y + i).wrapping_sub(1) < g.height && row.y < g.height;
    let start = plane.wrapping_add(row.start + i * g.width).wrapping_sub(g.width);
    if inside { start } else { ZEROS.as_ptr() }
}

/// A vector of a few rows, of `width` numbers each, from where `start` says.
///
/// # Safety
/// As the methods of `S`; there are `width` numbers at each start.
#[inline(always)]
unsafe fn few_rows<S: Simd>(width: usize, rows: &[Row], start: impl Fn(&Row) -> *const f32) -> S::V {
    // SAFETY: by the caller.
    unsafe {
        let mut joined = S::splat(0.0);
        for (place, row) in rows.iter().enumerate() {
            let first = place * width;
            let part = S::load_range(start(row).wrapping_sub(first), first, first + width);
            joined = if place == 0 { part } else { S::or(joined, part) };
        }
        joined
    }
}

/// Of each block in a vector of them, row `i` of what it reads without the outermost columns: one vector a column.
///
/// # Safety
/// As `transform_vector`.
#[inline(always)]
unsafe fn phases<S: Simd, const VECTORS: usize>(
    g: &Geometry,
    plane: *const f32,
    rows: &[Row],
    i: usize,
) -> [S::V; SIDE] {
    // SAFETY (whole body): only rows inside the image are read.
    unsafe {
        // Loops, as closures would be compiled without the features of `S`.
        let mut pieces = [S::splat(0.0); SIDE];
        for (k, piece) in pieces.iter_mut().enumerate() {
            if VECTORS > 0 {
                let from = row_start(g, plane, rows.get_unchecked(k / VECTORS.max(1)), i);
                *piece = S::load(from.add(k % VECTORS.max(1) * S::LANES));
            } else {
                let count = S::LANES / g.width;
                let rows = rows.get_unchecked(k * count..(k + 1) * count);
                *piece = few_rows::<S>(g.width, rows, |row| row_start(g, plane, row, i));
            }
        }
        let (even, odd) = S::deinterleave(pieces[0], pieces[1]);
        let (next_even, next_odd) = S::deinterleave(pieces[2], pieces[3]);
        let (p0, p2) = S::deinterleave(even, next_even);
        let (p1, p3) = S::deinterleave(odd, next_odd);
        [p0, p1, p2, p3]
    }
}

/// `B^T d`.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
unsafe fn filter<S: Simd>(d: [S::V; READ]) -> [S::V; READ] {
    // SAFETY: by the caller.
    unsafe {
        let (a2, b2) = (S::splat(-A * A), S::splat(-2.0));
        let middle = S::splat(-2.5);
        let (even_a, odd_a) = (S::mul_add(b2, d[2], d[4]), S::mul_add(b2, d[1], d[3]));
        let (even_b, odd_b) = (S::mul_add(a2, d[2], d[4]), S::mul_add(a2, d[1], d[3]));
        [
            S::mul_add(middle, d[2], S::add(d[0], d[4])),
            S::mul_add(S::splat(A), odd_a, even_a),
            S::mul_add(S::splat(-A), odd_a, even_a),
            S::mul_add(S::splat(B), odd_b, even_b),
            S::mul_add(S::splat(-B), odd_b, even_b),
            S::mul_add(middle, d[3], S::add(d[1], d[5])),
        ]
    }
}

/// `A^T m`.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
unsafe fn collect<S: Simd>(m: [S::V; READ]) -> [S::V; SIDE] {
    // SAFETY: by the caller.
    unsafe {
        let (sum_a, gap_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum_b, gap_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], sum_a), sum_b),
            S::mul_add(S::splat(B), gap_b, S::mul(S::splat(A), gap_a)),
            S::mul_add(S::splat(2.0), sum_b, S::mul(S::splat(A * A), sum_a)),
            S::mul_add(S::splat(2.0 * B), gap_b, S::mul_add(S::splat(0.5 * A), gap_a, m[5])),
        ]
    }
}

for_every_set! {
    /// Writes the results of a task's blocks for some outputs.
    ///
    /// # Safety
    /// `products` holds the blocks of those outputs for 36 places, `place_stride` apart; `to` is the whole result, of
    /// which nobody else writes these blocks.
    unsafe fn finish_blocks(
        g: &Geometry, plan: &Plan, products: &[f32], place_stride: usize, first_row: usize,
        outputs: std::ops::Range<usize>, bias: Option<&[f32]>, added: Option<&[f32]>, to: SharedMut,
    ) = finish_all
}

#[allow(clippy::too_many_arguments)]
#[inline(always)]
unsafe fn finish_all<S: Simd>(
    g: &Geometry,
    plan: &Plan,
    products: &[f32],
    place_stride: usize,
    first_row: usize,
    outputs: std::ops::Range<usize>,
    bias: Option<&[f32]>,
    added: Option<&[f32]>,
    to: SharedMut,
) {
    // SAFETY (whole body): rows of the image are written, and reads are the caller's.
    unsafe {
        let rows = Rows::of(g, plan, first_row, g.outputs);
        for (held, o) in outputs.enumerate() {
            let start = o * g.height * g.width;
            let plane = SharedMut(to.0.wrapping_add(start));
            let added = added.map(|added| added.as_ptr().wrapping_add(start));
            let bias = S::splat(bias.map_or(0.0, |bias| bias[o]));
            for v in 0..plan.vectors {
                let from = products.as_ptr().add(held * plan.blocks() + v * S::LANES);
                let rows = &rows.0[v * plan.rows_in_vector..][..plan.rows_in_vector];
                match g.width / S::LANES {
                    0 => finish_vector::<S, 0>(g, from, place_stride, rows, bias, added, plane),
                    1 => finish_vector::<S, 1>(g, from, place_stride, rows, bias, added, plane),
                    2 => finish_vector::<S, 2>(g, from, place_stride, rows, bias, added, plane),
                    _ => finish_vector::<S, 4>(g, from, place_stride, rows, bias, added, plane),
                }
            }
        }
    }
}

/// The results of the blocks of one vector in one output; `VECTORS` as in `transform_vector`.
///
/// # Safety
/// As `finish_blocks`; `plane` is the output in the first image, and `added` what is added to it.
#[inline(always)]
unsafe fn finish_vector<S: Simd, const VECTORS: usize>(
    g: &Geometry,
    from: *const f32,
    place_stride: usize,
    rows: &[Row],
    bias: S::V,
    added: Option<*const f32>,
    plane: SharedMut,
) {
    // SAFETY (whole body): by the caller.
    unsafe {
        let mut half = [[S::splat(0.0); READ]; SIDE];
        for j in 0..READ {
            let mut m = [S::splat(0.0); READ];
            for (i, m) in m.iter_mut().enumerate() {
                *m = S::load(from.add((i * READ + j) * place_stride));
            }
            for (half, value) in half.iter_mut().zip(collect::<S>(m)) {
                half[j] = value;
            }
        }
        for (q, half) in half.into_iter().enumerate() {
            let [p0, p1, p2, p3] = collect::<S>(half);
            let (even, next_even) = S::interleave(S::add(p0, bias), S::add(p2, bias));
            let (odd, next_odd) = S::interleave(S::add(p1, bias), S::add(p3, bias));
            let (first, second) = S::interleave(even, odd);
            let (third, fourth) = S::interleave(next_even, next_odd);
            for (k, piece) in [first, second, third, fourth].into_iter().enumerate() {
                if VECTORS > 0 {
                    let row = rows.get_unchecked(k / VECTORS.max(1));
                    if row.y < g.height {
                        let at = row.start + q * g.width + k % VECTORS.max(1) * S::LANES;
                        let piece = match added {
                            Some(added) => S::add(piece, S::load(added.add(at))),
                            None => piece,
                        };
                        S::store(plane.0.add(at), piece);
                    }
                } else {
                    let count = S::LANES / g.width;
                    let rows = rows.get_unchecked(k * count..(k + 1) * count);
                    let piece = match added {
                        Some(added) => {
                            let start = |row: &Row| {
                                let there = added.wrapping_add(row.start + q * g.width);
                                if row.y < g.height { there } else { ZEROS.as_ptr() }
                            };
                            S::add(piece, few_rows::<S>(g.width, rows, start))
                        }
                        None => piece,
                    };
                    let mut joined = [0.0f32; 16];
                    S::store(joined.as_mut_ptr(), piece);
                    for (place, row) in rows.iter().enumerate() {
                        if row.y < g.height {
                            let to = plane.0.add(row.start + q * g.width);
                            let from = joined.as_ptr().add(place * g.width);
                            // Four or eight numbers.
                            to.cast::<[f32; 4]>().write_unaligned(from.cast::<[f32; 4]>().read_unaligned());
                            if g.width == 8 {
                                let (to, from) = (to.add(4), from.add(4));
                                to.cast::<[f32; 4]>()
                                    .write_unaligned(from.cast::<[f32; 4]>().read_unaligned());
                            }
                        }
                    }
                }
            }
        }
    }
}
