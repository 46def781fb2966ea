//! Shifted copies of an image, so that every tap of a convolution reads a contiguous run.
//!
//! A copy holds the image moved by one horizontal tap, with zeros where the kernel looks outside.
//! Rows are as long as those of the result, so the pixels of the result, in row-major order, lie
//! at consecutive addresses for every tap: a vertical tap is a shift by whole rows. A 3x3 kernel
//! needs three copies in place of the nine of an unfolded image.

use crate::cpu::InstructionSet;
use crate::gemm::OVERREAD;
use crate::simd::{Simd, for_every_set};

/// Which shifted copies of each channel to make.
#[derive(Clone, Debug)]
pub(crate) struct ShiftedCopies {
    /// Extent of the image that is copied.
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// For each horizontal copy, the image column at its left edge (may lie outside).
    pub(crate) left: Vec<isize>,
    /// For each vertical phase, the image row at its top (may lie outside).
    pub(crate) top: Vec<isize>,
    /// Distance in the image between neighbours in a row of a copy.
    pub(crate) step: usize,
    /// Distance in the image between neighbouring rows of a copy.
    pub(crate) row_step: usize,
    /// Extent of one copy.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl ShiftedCopies {
    /// Numbers that the copies of one channel take.
    pub(crate) fn channel_len(&self) -> usize {
        self.left.len() * self.top.len() * self.rows * self.columns
    }

    /// Scratch space for `channels` channels, with what the kernels may read beyond.
    pub(crate) fn len(&self, channels: usize) -> usize {
        channels * self.channel_len() + OVERREAD + 64
    }

    /// Where, in the copies of a channel, the tap reads that uses horizontal copy `copy` and rows
    /// from `row` on in vertical phase `phase`.
    pub(crate) fn tap(&self, copy: usize, phase: usize, row: usize) -> u32 {
        (((copy * self.top.len() + phase) * self.rows + row) * self.columns) as u32
    }

    /// Makes the copies of the channels in `image` (`[channels, height, width]`).
    pub(crate) fn make(&self, set: InstructionSet, image: &[f32], into: &mut [f32]) {
        let channels = image.len() / (self.height * self.width);
        assert!(into.len() >= self.len(channels));
        // SAFETY: `image` holds whole channels, and `into` has the room just checked.
        unsafe { copy_channels(set, self, image, into.as_mut_ptr()) }
    }
}

for_every_set! {
    /// # Safety
    /// `image` holds whole channels of `copies`, `into` has room for their copies.
    unsafe fn copy_channels(copies: &ShiftedCopies, image: &[f32], into: *mut f32) = copy
}

#[inline(always)]
unsafe fn copy<S: Simd>(copies: &ShiftedCopies, image: &[f32], into: *mut f32) {
    let (height, width) = (copies.height as isize, copies.width as isize);
    let step = copies.step as isize;
    let row_step = copies.row_step as isize;
    let mut to = into;
    for channel in image.chunks_exact(copies.height * copies.width) {
        let channel = channel.as_ptr();
        for &left in &copies.left {
            // Columns `first..end` of the copy lie inside the image.
            let first = ((-left).max(0) + step - 1) / step;
            let end = (width - left + step - 1).div_euclid(step);
            let end = end.clamp(0, copies.columns as isize);
            let first = first.min(end);
            for &top in &copies.top {
                for row in 0..copies.rows as isize {
                    let y = top + row * row_step;
                    let (first, end) = if 0 <= y && y < height { (first, end) } else { (0, 0) };
                    let from = channel.wrapping_offset(y * width + left);
                    // SAFETY: lanes `first..end` lie inside the image row `y`. Whole vectors are
                    // stored, the excess being overwritten by the row after it; the space behind
                    // the last row is part of `len`.
                    unsafe {
                        if step == 1 {
                            let mut x = 0;
                            while x < copies.columns {
                                let lane = |at: isize| (at - x as isize).clamp(0, S::LANES as isize) as usize;
                                let (first, end) = (lane(first), lane(end));
                                S::store(to.add(x), S::load_range(from.wrapping_add(x), first, end));
                                x += S::LANES;
                            }
                        } else if step == 2 {
                            let mut x = 0;
                            while x < copies.columns {
                                // Numbers `2 x..2 x + 2 LANES` from the left edge, those at even places.
                                let lane = |at: isize| {
                                    let at = 2 * (at - x as isize);
                                    at.clamp(0, 2 * S::LANES as isize) as usize
                                };
                                let (first, end) = (lane(first), lane(end).max(1) - 1);
                                let from = from.wrapping_add(2 * x);
                                let end = end.max(first);
                                let (low, high) =
                                    (S::LANES.min(end), S::LANES.max(first).min(end.max(S::LANES)));
                                let low = S::load_range(from, first.min(low), low);
                                let from = from.wrapping_add(S::LANES);
                                let high = S::load_range(from, high - S::LANES, end.max(S::LANES) - S::LANES);
                                let (even, _) = S::deinterleave(low, high);
                                S::store(to.add(x), even);
                                x += S::LANES;
                            }
                        } else {
                            for x in 0..copies.columns as isize {
                                let inside = first <= x && x < end;
                                *to.offset(x) = if inside { *from.wrapping_offset(x * step) } else { 0.0 };
                            }
                        }
                        to = to.add(copies.columns);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_the_image_moved_with_zeros_outside() {
        let (height, width) = (3, 19);
        let image: Vec<f32> = (0..2 * height * width).map(|i| 1.0 + i as f32).collect();
        for step in [1, 2, 3] {
            let copies = ShiftedCopies {
                height,
                width,
                left: vec![-2, 0, 1],
                top: vec![-1, 1],
                step,
                row_step: step,
                rows: 4,
                columns: 18,
            };
            for set in InstructionSet::available() {
                let mut into = vec![f32::NAN; copies.len(2)];
                copies.make(set, &image, &mut into);
                for channel in 0..2 {
                    for (copy, &left) in copies.left.iter().enumerate() {
                        for (phase, &top) in copies.top.iter().enumerate() {
                            for row in 0..copies.rows {
                                for x in 0..copies.columns {
                                    let y = top + (row * step) as isize;
                                    let source = left + (x * step) as isize;
                                    let inside = (0..height as isize).contains(&y)
                                        && (0..width as isize).contains(&source);
                                    let expected = if inside {
                                        image[(channel * height + y as usize) * width + source as usize]
                                    } else {
                                        0.0
                                    };
                                    let at = channel * copies.channel_len()
                                        + copies.tap(copy, phase, row) as usize
                                        + x;
                                    assert_eq!(into[at], expected, "{set:?} step {step}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
