//! Extents of a convolution and the taps that its passes read.

use super::pack::ShiftedCopies;

/// A convolution of `[batch, channels, height, width]` with `[outputs, channels, kernel, kernel]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel_height: usize,
    pub(crate) kernel_width: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Geometry {
    /// Rows of the result.
    pub(crate) fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel_height) / self.stride + 1
    }

    /// Columns of the result.
    pub(crate) fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel_width) / self.stride + 1
    }

    /// Pixels of the result.
    pub(crate) fn out_pixels(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel_height * self.kernel_width
    }

    /// Whether each result pixel reads the one pixel at the same place.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.stride == 1 && self.padding == 0
    }

    /// Multiply-adds per image, twice.
    pub(crate) fn flops(&self) -> usize {
        2 * self.outputs * self.channels * self.taps() * self.out_pixels()
    }

    /// The copies of the input that the forward pass reads.
    pub(crate) fn input_copies(&self) -> ShiftedCopies {
        let padding = self.padding as isize;
        ShiftedCopies {
            height: self.height,
            width: self.width,
            left: (0..self.kernel_width as isize).map(|x| x - padding).collect(),
            top: (0..self.stride.min(self.kernel_height) as isize).map(|y| y - padding).collect(),
            step: self.stride,
            row_step: self.stride,
            rows: self.out_height() + (self.kernel_height - 1) / self.stride,
            columns: self.out_width(),
        }
    }

    /// Where each tap reads in the copies of each of `channels` channels, in the order of the
    /// weights of one output: channel, kernel row, kernel column.
    pub(crate) fn input_taps(&self, copies: &ShiftedCopies, channels: usize) -> Vec<u32> {
        let mut taps = Vec::with_capacity(channels * self.taps());
        for channel in 0..channels {
            let start = (channel * copies.channel_len()) as u32;
            for y in 0..self.kernel_height {
                for x in 0..self.kernel_width {
                    taps.push(start + copies.tap(x, y % self.stride, y / self.stride));
                }
            }
        }
        taps
    }
}

/// The pixels of the input gradient in rows `row, row + stride, ...` and columns
/// `column, column + stride, ...`: a convolution of the result's gradient with stride one.
pub(crate) struct GradientPhase {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// The taps `(kernel row, kernel column)` that reach these pixels.
    pub(crate) taps: Vec<(usize, usize)>,
    /// Copies of the result's gradient, and where each tap reads in those of one channel.
    pub(crate) copies: ShiftedCopies,
    pub(crate) offsets: Vec<u32>,
}

impl Geometry {
    /// The phases of the input gradient that have pixels; one with stride one.
    pub(crate) fn gradient_phases(&self) -> Vec<GradientPhase> {
        let mut phases = Vec::new();
        for row in 0..self.stride.min(self.height) {
            for column in 0..self.stride.min(self.width) {
                phases.push(self.gradient_phase(row, column));
            }
        }
        phases
    }

    fn gradient_phase(&self, row: usize, column: usize) -> GradientPhase {
        // Tap `k` brings result pixel `a + shift` to gradient pixel `stride a + phase`.
        let shifts = |phase: usize, kernel: usize| -> Vec<(usize, isize)> {
            (0..kernel)
                .filter(|k| (phase + self.padding + self.stride * kernel - k).is_multiple_of(self.stride))
                .map(|k| {
                    let shift = (phase + self.padding) as isize - k as isize;
                    (k, shift.div_euclid(self.stride as isize))
                })
                .collect()
        };
        let rows = shifts(row, self.kernel_height);
        let columns = shifts(column, self.kernel_width);
        let height = (self.height - row).div_ceil(self.stride);
        let width = (self.width - column).div_ceil(self.stride);
        let top = rows.iter().map(|&(_, shift)| shift).min().unwrap_or(0);
        let bottom = rows.iter().map(|&(_, shift)| shift).max().unwrap_or(0);
        let copies = ShiftedCopies {
            height: self.out_height(),
            width: self.out_width(),
            left: columns.iter().map(|&(_, shift)| shift).collect(),
            top: vec![top],
            step: 1,
            row_step: 1,
            rows: height + (bottom - top) as usize,
            columns: width,
        };
        let (mut taps, mut offsets) = (Vec::new(), Vec::new());
        for &(y, shift) in &rows {
            for (copy, &(x, _)) in columns.iter().enumerate() {
                taps.push((y, x));
                offsets.push(copies.tap(copy, 0, (shift - top) as usize));
            }
        }
        GradientPhase { row, column, height, width, taps, copies, offsets }
    }
}
