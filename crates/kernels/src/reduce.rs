//! Sums in a fixed order, the same bits on every instruction set.

use crate::cpu::InstructionSet;
use crate::simd::{Simd, for_every_set};

/// Partial sums kept side by side; their number fixes the order of additions.
const LANES: usize = 16;

/// The sum of `values`: sixteen interleaved partial sums, then those pairwise.
pub(crate) fn sum(values: &[f32]) -> f32 {
    // SAFETY: the set in use is available.
    unsafe { sum_on(InstructionSet::current(), values) }
}

/// The sum of the squares of `values`, in the same order as [`sum`].
pub(crate) fn sum_of_squares(values: &[f32]) -> f32 {
    // SAFETY: as above.
    unsafe { squares_on(InstructionSet::current(), values) }
}

for_every_set! {
    /// # Safety
    /// None but that the set is available.
    unsafe fn sum_on(values: &[f32]) -> f32 = plain_sum
}

for_every_set! {
    /// # Safety
    /// As above.
    unsafe fn squares_on(values: &[f32]) -> f32 = sum_squares
}

#[inline(always)]
unsafe fn plain_sum<S: Simd>(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value;
    }
    pairwise(lanes)
}

#[inline(always)]
unsafe fn sum_squares<S: Simd>(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value * value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value * value;
    }
    pairwise(lanes)
}

/// The sum of sixteen numbers, by halves.
#[inline(always)]
pub(crate) fn pairwise(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_whole_numbers_exactly() {
        for len in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(sum(&values), (len * (len as i64 - 1).max(0) as usize / 2) as f32);
        }
    }
}
