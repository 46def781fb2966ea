//! Shifted copies of an image, so that every tap of a convolution reads a contiguous run.
//!
//! A copy holds the image moved by one horizontal tap, with zeros where the kernel looks outside.
//! Rows are as long as those of the result, so the pixels of the result, in row-major order, lie
//! at consecutive addresses for every tap: a vertical tap is a shift by whole rows. A 3x3 kernel
//! needs three copies in place of the nine of an unfolded image.

use std::ops::Range;

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
    let (width, step) = (copies.width as isize, copies.step as isize);
    let mut to = into;
    for channel in image.chunks_exact(copies.height * copies.width) {
        for &left in &copies.left {
            // Columns `first..end` of the copy lie inside the image.
            let first = ((-left).max(0) + step - 1) / step;
            let end = (width - left + step - 1).div_euclid(step);
            let end = end.clamp(0, copies.columns as isize);
            let columns = first.min(end)..end;
            // SAFETY: there is room for the copies, and `columns` of them lie inside the image.
            unsafe {
                match step {
                    1 => copy_vectors::<S, 1>(copies, channel, left, columns, to),
                    2 => copy_vectors::<S, 2>(copies, channel, left, columns, to),
                    _ => copy_numbers(copies, channel, left, columns, to),
                }
                to = to.add(copies.top.len() * copies.rows * copies.columns);
            }
        }
    }
}

/// Makes the copies of a channel whose left edge is at column `left`, for `STEP` 1 or 2.
///
/// # Safety
/// `to` has room for them and a vector more; `columns` of a copy lie inside the image.
#[inline(always)]
unsafe fn copy_vectors<S: Simd, const STEP: usize>(
    copies: &ShiftedCopies,
    channel: &[f32],
    left: isize,
    columns: Range<isize>,
    to: *mut f32,
) {
    // Whole vectors are stored. What they hold past a row's end is overwritten by the first vector of the row after it, so a
    // row's first vector comes last.
    for vector in (0..copies.columns.div_ceil(S::LANES)).rev() {
        let x = vector * S::LANES;
        // Which of the next `STEP * LANES` numbers of an image row are read; the last of a step is not.
        let place = |at: isize| {
            let at = STEP as isize * (at - x as isize);
            at.clamp(0, (STEP * S::LANES) as isize) as usize
        };
        let (first, end) = (place(columns.start), (place(columns.end) + 1).saturating_sub(STEP));
        let end = end.max(first);
        let low = first.min(S::LANES)..end.min(S::LANES);
        let high = first.max(S::LANES) - S::LANES..end.max(S::LANES) - S::LANES;
        let mut to = to.wrapping_add(x);
        for &top in &copies.top {
            for row in 0..copies.rows as isize {
                let y = top + row * copies.row_step as isize;
                let from = channel.as_ptr().wrapping_offset(y * copies.width as isize + left);
                let from = from.wrapping_add(STEP * x);
                // SAFETY: the numbers read lie inside the image row `y`; the room is the caller's.
                unsafe {
                    let value = if y < 0 || y >= copies.height as isize {
                        S::splat(0.0)
                    } else if STEP == 1 {
                        S::load_range(from, low.start, low.end)
                    } else {
                        let next = from.wrapping_add(S::LANES);
                        let low = S::load_range(from, low.start, low.end);
                        S::deinterleave(low, S::load_range(next, high.start, high.end)).0
                    };
                    S::store(to, value);
                }
                to = to.wrapping_add(copies.columns);
            }
        }
    }
}

/// The same number by number, for every step.
///
/// # Safety
/// As `copy_vectors`.
unsafe fn copy_numbers(
    copies: &ShiftedCopies,
    channel: &[f32],
    left: isize,
    columns: Range<isize>,
    to: *mut f32,
) {
    let mut to = to;
    for &top in &copies.top {
        for row in 0..copies.rows as isize {
            let y = top + row * copies.row_step as isize;
            let inside = 0 <= y && y < copies.height as isize;
            for x in 0..copies.columns as isize {
                let from = y * copies.width as isize + left + x * copies.step as isize;
                // SAFETY: by the caller, and row and column lie inside the image where it is read.
                unsafe {
                    *to = if inside && columns.contains(&x) { channel[from as usize] } else { 0.0 };
                    to = to.add(1);
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
