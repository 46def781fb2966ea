//! The upper triangle of a symmetric matrix, in strips that whole vectors fit in.

use std::ops::{Deref, DerefMut, Index};

use ndarray::Array2;

/// Rows of a strip, and columns that its rows are padded to a multiple of.
pub(crate) const STRIP: usize = 16;
/// Bytes of a line of the cache.
const LINE: usize = 64;

/// The entries on and above the diagonal of an `[n, n]` matrix.
///
/// Sixteen rows are a strip: a dense matrix from the column of its first row on, so that half of what a square takes is stored.
/// What stands below the diagonal within a strip, and beyond row or column n, means nothing.
pub(crate) struct Upper {
    n: usize,
    entries: Aligned,
}

/// Numbers that start on a line of the cache, so that no vector of them lies on two.
pub(crate) struct Aligned {
    /// Numbers before the first.
    skipped: usize,
    values: Vec<f64>,
}

impl Aligned {
    /// None, with room for so many.
    pub(crate) fn with_capacity(count: usize) -> Aligned {
        let mut values: Vec<f64> = Vec::with_capacity(count + LINE / size_of::<f64>());
        let skipped = values.as_ptr().align_offset(LINE).min(LINE / size_of::<f64>());
        values.resize(skipped, 0.0);
        Aligned { skipped, values }
    }

    /// Zeros.
    pub(crate) fn zeros(count: usize) -> Aligned {
        let mut zeros = Aligned::with_capacity(count);
        zeros.values.resize(zeros.skipped + count, 0.0);
        zeros
    }

    /// Adds numbers to the end, for which there must be room.
    pub(crate) fn push(&mut self, values: &[f64]) {
        debug_assert!(self.values.len() + values.len() <= self.values.capacity());
        self.values.extend_from_slice(values);
    }
}

impl Deref for Aligned {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.values[self.skipped..]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.values[self.skipped..]
    }
}

impl Upper {
    /// Zeros.
    pub(crate) fn zeros(n: usize) -> Upper {
        Upper { n, entries: Aligned::zeros(Self::start(n, n.div_ceil(STRIP))) }
    }

    /// The upper triangle of a square matrix.
    pub(crate) fn of(matrix: &Array2<f64>) -> Upper {
        let mut upper = Upper::zeros(matrix.nrows());
        for (row, entries) in matrix.outer_iter().enumerate() {
            upper
                .row_mut(row)
                .iter_mut()
                .zip(entries.iter().skip(row))
                .for_each(|(into, entry)| *into = *entry);
        }
        upper
    }

    /// Of strips that were made one after the other.
    pub(crate) fn of_strips(n: usize, entries: Aligned) -> Upper {
        debug_assert_eq!(entries.len(), Self::start(n, n.div_ceil(STRIP)));
        Upper { n, entries }
    }

    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Number of strips.
    pub(crate) fn count(&self) -> usize {
        self.n.div_ceil(STRIP)
    }

    /// Length of a strip's rows.
    pub(crate) fn stride(n: usize, strip: usize) -> usize {
        n.next_multiple_of(STRIP) - strip * STRIP
    }

    /// Where a strip starts.
    pub(crate) fn start(n: usize, strip: usize) -> usize {
        STRIP / 2 * strip * (Self::stride(n, strip) + n.next_multiple_of(STRIP) + STRIP)
    }

    /// A strip, row by row.
    pub(crate) fn strip(&self, strip: usize) -> &[f64] {
        &self.entries[Self::start(self.n, strip)..Self::start(self.n, strip + 1)]
    }

    /// All strips, to be filled.
    pub(crate) fn strips_mut(&mut self) -> Vec<&mut [f64]> {
        let mut rest = &mut self.entries[..];
        let mut strips = Vec::with_capacity(self.n.div_ceil(STRIP));
        for strip in 0..self.n.div_ceil(STRIP) {
            let (own, others) = rest.split_at_mut(STRIP * Self::stride(self.n, strip));
            strips.push(own);
            rest = others;
        }
        strips
    }

    /// Where a row's entry on the diagonal stands.
    fn place(&self, row: usize) -> usize {
        let strip = row / STRIP;
        Self::start(self.n, strip) + row % STRIP * (Self::stride(self.n, strip) + 1)
    }

    /// A row from its diagonal on.
    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.entries[self.place(row)..][..self.n - row]
    }

    /// As [`Upper::row`], to be changed.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f64] {
        let place = self.place(row);
        &mut self.entries[place..][..self.n - row]
    }

    /// As [`Upper::row`], with what stands beyond the last column.
    pub(crate) fn padded_row(&self, row: usize) -> &[f64] {
        &self.entries[self.place(row)..][..self.n.next_multiple_of(STRIP) - row]
    }

    /// The entries on the diagonal.
    pub(crate) fn diagonal(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.n).map(|row| self.entries[self.place(row)])
    }
}

/// Entry `[row, column]`, with `row <= column`.
impl Index<[usize; 2]> for Upper {
    type Output = f64;

    fn index(&self, [row, column]: [usize; 2]) -> &f64 {
        &self.row(row)[column - row]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_follow_each_other() {
        for n in [0, 1, 15, 16, 17, 40, 64] {
            let matrix = Array2::from_shape_fn((n, n), |(row, column)| (row * 1000 + column) as f64);
            let mut upper = Upper::of(&matrix);
            let entries: Vec<f64> =
                (0..upper.count()).flat_map(|strip| upper.strip(strip).to_vec()).collect();
            assert_eq!(entries, upper.strips_mut().concat());
            assert_eq!(entries.len(), upper.entries.len());
            for row in 0..n {
                assert_eq!(upper.row(row), &matrix.row(row).to_vec()[row..]);
                assert_eq!(upper.padded_row(row)[..n - row], upper.row(row)[..]);
                assert_eq!(upper[[row, n - 1]], matrix[[row, n - 1]]);
            }
            assert_eq!(upper.diagonal().collect::<Vec<_>>(), matrix.diag().to_vec());
        }
    }
}
