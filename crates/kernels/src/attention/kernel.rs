//! Attention among the pixels of one head, block of queries by block of queries.
//!
//! Channels come first (`[size, length]` for each head), so that queries lie side by side in
//! vectors: scores are kept as `[keys, queries]` and their softmax runs down the columns. Only the
//! logarithm of each column's sum is saved; the backward pass computes the scores again.
//! (T. Dao et al., "FlashAttention", NeurIPS 2022, has this scheme.)

use crate::cpu::InstructionSet;
use crate::gemm::{LeftRows, Product, RightRows, Start, multiply};
use crate::parallel;
use crate::simd::{Simd, exp, for_every_set};
use crate::storage::{Output, Scratch, SharedMut, with_scratch};
use crate::transpose::transpose;

/// Queries handled together.
const BLOCK: usize = 64;

/// Extents of an attention over `[images * heads, size, length]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    /// Images times heads.
    pub(crate) heads: usize,
    /// Channels of one head.
    pub(crate) size: usize,
    /// Pixels.
    pub(crate) length: usize,
    /// Factor on the scores.
    pub(crate) scale: f32,
}

impl Attention {
    fn flops(&self) -> usize {
        self.length * self.length * (4 * self.size + 32)
    }

    fn head_len(&self) -> usize {
        self.size * self.length
    }

    /// The result, and the logarithm of the sum of exponentials of each query's scores.
    pub(crate) fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let &Self { heads, length, .. } = self;
        let all = heads * self.head_len();
        assert!(q.len() == all && k.len() == all && v.len() == all);
        let set = InstructionSet::current();
        let mut output = Output::new(all);
        let place = output.pointer();
        let mut logs = vec![0.0f32; heads * length];
        let logs_place = SharedMut(logs.as_mut_ptr());
        let blocks = length.div_ceil(BLOCK);
        let parts = parallel::parts_per_piece(heads).min(blocks);
        parallel::for_each(heads * parts, self.flops() / parts, |piece| {
            let (head, part) = (piece / parts, piece % parts);
            let start = head * self.head_len();
            let [q, k, v] = [q, k, v].map(|all| &all[start..][..self.head_len()]);
            for block in parallel::part(blocks, parts, part) {
                let first = block * BLOCK;
                let count = BLOCK.min(length - first);
                with_scratch(Scratch::Partial, length * BLOCK, |scores| {
                    // SAFETY: the lengths were checked; each piece writes its own queries of its
                    // own head.
                    unsafe {
                        self.scores(set, k, &q[first..], count, scores);
                        let mut sums = [0.0; BLOCK];
                        let maxima = soften(set, scores, self.scale, &mut sums);
                        self.weighted(set, v, scores, count, place.at(start + first));
                        for i in 0..count {
                            for channel in 0..self.size {
                                *place.at(start + channel * length + first + i) /= sums[i];
                            }
                            *logs_place.at(head * length + first + i) = maxima[i] + sums[i].ln();
                        }
                    }
                });
            }
        });
        // SAFETY: every query of every head was written.
        (unsafe { output.finish() }, logs)
    }

    /// The gradients of queries, keys and values.
    pub(crate) fn backward(
        &self,
        [q, k, v, y]: [&[f32]; 4],
        logs: &[f32],
        gradient: &[f32],
    ) -> [Vec<f32>; 3] {
        let &Self { heads, size, length, .. } = self;
        let all = heads * self.head_len();
        assert!([q, k, v, y, gradient].iter().all(|values| values.len() == all));
        assert_eq!(logs.len(), heads * length);
        let set = InstructionSet::current();
        let mut outputs = [(); 3].map(|()| Output::new(all));
        let places = outputs.each_mut().map(Output::pointer);
        parallel::for_each(heads, 5 * self.flops() / 2, |head| {
            let start = head * self.head_len();
            let [q, k, v, y, gradient] = [q, k, v, y, gradient].map(|all| &all[start..][..self.head_len()]);
            let logs = &logs[head * length..][..length];
            let [to_q, to_k, to_v] = places;
            let turned_len = 4 * self.head_len();
            with_scratch(Scratch::Transposed, turned_len, |turned| {
                let (q_turned, turned) = turned.split_at_mut(self.head_len());
                let (gradient_turned, turned) = turned.split_at_mut(self.head_len());
                let (dk, dv) = turned.split_at_mut(self.head_len());
                transpose(set, q, size, length, size, q_turned);
                transpose(set, gradient, size, length, size, gradient_turned);
                with_scratch(Scratch::Partial, 2 * length * BLOCK, |scratch| {
                    let (p, ds) = scratch.split_at_mut(length * BLOCK);
                    for first in (0..length).step_by(BLOCK) {
                        let count = BLOCK.min(length - first);
                        let mut along = [0.0; BLOCK];
                        for channel in 0..size {
                            let at = channel * length + first;
                            for i in 0..count {
                                along[i] += gradient[at + i] * y[at + i];
                            }
                        }
                        let mut shifts = [0.0; BLOCK];
                        shifts[..count].copy_from_slice(&logs[first..first + count]);
                        // SAFETY: the lengths were checked; each head has its own part of the
                        // results.
                        unsafe {
                            self.scores(set, k, &q[first..], count, p);
                            self.scores(set, v, &gradient[first..], count, ds);
                            slopes(set, p, ds, self.scale, &shifts, &along);
                            self.weighted(set, k, ds, count, to_q.at(start + first));
                            let turned = &gradient_turned[first * size..];
                            self.gathered(set, p, turned, count, first == 0, dv);
                            self.gathered(set, ds, &q_turned[first * size..], count, first == 0, dk);
                        }
                    }
                });
                // SAFETY: as above.
                let (to_k, to_v) =
                    unsafe { (to_k.slice(start, self.head_len()), to_v.slice(start, self.head_len())) };
                transpose(set, dk, length, size, length, to_k);
                transpose(set, dv, length, size, length, to_v);
            });
        });
        // SAFETY: every head was written.
        outputs.map(|output| unsafe { output.finish() })
    }

    /// `scores[key][query] = sum over channels of left[channel][key] right[channel][query]`.
    ///
    /// # Safety
    /// Slices as large as the extents say, `count` queries from the start of `right`.
    unsafe fn scores(
        &self,
        set: InstructionSet,
        left: &[f32],
        right: &[f32],
        count: usize,
        scores: &mut [f32],
    ) {
        let product = Product {
            m: self.length,
            n: count,
            k: self.size,
            a: left.as_ptr(),
            a_rows: LeftRows::Stride(1),
            a_step: self.length,
            b: right.as_ptr(),
            b_rows: RightRows::Stride(self.length),
            c: scores.as_mut_ptr(),
            c_stride: BLOCK,
            start: Start::Zero,
        };
        // SAFETY: by the caller.
        unsafe { multiply(set, &product) }
    }

    /// `to[channel][query] = sum over keys of left[channel][key] weights[key][query]`.
    ///
    /// # Safety
    /// As for `scores`; `to` is the first of the queries in a head's result.
    unsafe fn weighted(
        &self,
        set: InstructionSet,
        left: &[f32],
        weights: &[f32],
        count: usize,
        to: *mut f32,
    ) {
        let product = Product {
            m: self.size,
            n: count,
            k: self.length,
            a: left.as_ptr(),
            a_rows: LeftRows::Stride(self.length),
            a_step: 1,
            b: weights.as_ptr(),
            b_rows: RightRows::Stride(BLOCK),
            c: to,
            c_stride: self.length,
            start: Start::Zero,
        };
        // SAFETY: by the caller.
        unsafe { multiply(set, &product) }
    }

    /// Adds to `to[key][channel]` the sum over queries of `weights[key][query]
    /// right[query][channel]`.
    ///
    /// # Safety
    /// As for `scores`.
    unsafe fn gathered(
        &self,
        set: InstructionSet,
        weights: &[f32],
        right: &[f32],
        count: usize,
        is_first: bool,
        to: &mut [f32],
    ) {
        let product = Product {
            m: self.length,
            n: self.size,
            k: count,
            a: weights.as_ptr(),
            a_rows: LeftRows::Stride(BLOCK),
            a_step: 1,
            b: right.as_ptr(),
            b_rows: RightRows::Stride(self.size),
            c: to.as_mut_ptr(),
            c_stride: self.size,
            start: if is_first { Start::Zero } else { Start::Previous },
        };
        // SAFETY: by the caller.
        unsafe { multiply(set, &product) }
    }
}

for_every_set! {
    /// Turns each column of `scores` (rows of `BLOCK`) into exponentials less its maximum; gives
    /// the maxima, and the sums in `sums`.
    ///
    /// # Safety
    /// None beyond the set.
    unsafe fn soften(scores: &mut [f32], scale: f32, sums: &mut [f32; BLOCK]) -> [f32; BLOCK] = soften_columns
}

#[inline(always)]
unsafe fn soften_columns<S: Simd>(scores: &mut [f32], scale: f32, sums: &mut [f32; BLOCK]) -> [f32; BLOCK] {
    let mut maxima = [f32::NEG_INFINITY; BLOCK];
    // SAFETY (whole body): rows hold `BLOCK` numbers, a multiple of every vector's length.
    unsafe {
        let scale = S::splat(scale);
        for at in (0..BLOCK).step_by(S::LANES) {
            let mut most = S::splat(f32::NEG_INFINITY);
            for row in scores.chunks_exact_mut(BLOCK) {
                let place = row.as_mut_ptr().add(at);
                let score = S::mul(S::load(place), scale);
                S::store(place, score);
                most = S::max(most, score);
            }
            let mut sum = S::splat(0.0);
            for row in scores.chunks_exact_mut(BLOCK) {
                let place = row.as_mut_ptr().add(at);
                let weight = exp::<S>(S::sub(S::load(place), most));
                S::store(place, weight);
                sum = S::add(sum, weight);
            }
            S::store(maxima.as_mut_ptr().add(at), most);
            S::store(sums.as_mut_ptr().add(at), sum);
        }
    }
    maxima
}

for_every_set! {
    /// From scores in `p` and the gradients of weights in `ds`: weights in `p`, the gradients of
    /// unscaled scores in `ds`.
    ///
    /// # Safety
    /// Both slices are equally long, with rows of `BLOCK`.
    unsafe fn slopes(
        p: &mut [f32], ds: &mut [f32], scale: f32, shifts: &[f32; BLOCK], along: &[f32; BLOCK],
    ) = slopes_of_columns
}

#[inline(always)]
unsafe fn slopes_of_columns<S: Simd>(
    p: &mut [f32],
    ds: &mut [f32],
    scale: f32,
    shifts: &[f32; BLOCK],
    along: &[f32; BLOCK],
) {
    // SAFETY (whole body): rows hold `BLOCK` numbers, a multiple of every vector's length.
    unsafe {
        let scale = S::splat(scale);
        for (p, ds) in p.chunks_exact_mut(BLOCK).zip(ds.chunks_exact_mut(BLOCK)) {
            for at in (0..BLOCK).step_by(S::LANES) {
                let (p, ds) = (p.as_mut_ptr().add(at), ds.as_mut_ptr().add(at));
                let shift = S::load(shifts.as_ptr().add(at));
                let weight = exp::<S>(S::sub(S::mul(S::load(p), scale), shift));
                S::store(p, weight);
                let level = S::load(along.as_ptr().add(at));
                let slope = S::mul(weight, S::sub(S::load(ds), level));
                S::store(ds, S::mul(slope, scale));
            }
        }
    }
}
