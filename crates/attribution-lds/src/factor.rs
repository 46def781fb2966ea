//! Cholesky factors of a few hundred rows: solutions and inverses.
//!
//! Every sum has an order of its own that depends on the size alone, so that neither the number of threads nor the
//! processor changes a bit.

use std::ops::Range;

use ndarray::Array2;
use pulp::{Arch, Simd, WithSimd};

/// Rows that are made together.
const BLOCK: usize = 8;
/// Columns that are made together; rows are padded to a multiple of it.
const STRIP: usize = 16;
/// Pivots below this share of the largest are zero. Gram matrices of 0/1 rows that are not singular stay far above it,
/// rounding stays far below.
pub(crate) const RANK_TOLERANCE: f64 = 1e-10;

/// The upper triangular U with `U'U = G`.
pub(crate) struct Factor {
    n: usize,
    /// Length of a row.
    width: usize,
    /// Row by row; what is below the diagonal means nothing.
    upper: Vec<f64>,
}

impl Factor {
    /// The factor of a symmetric matrix, of which the upper triangle is read; `None` if it is singular to rounding.
    pub(crate) fn of(gram: &Array2<f64>) -> Option<Factor> {
        let n = gram.nrows();
        let width = n.next_multiple_of(STRIP);
        let mut upper = vec![0.0; n * width];
        for (row, (entries, into)) in gram.outer_iter().zip(upper.chunks_exact_mut(width.max(1))).enumerate()
        {
            into[row..n].iter_mut().zip(entries.iter().skip(row)).for_each(|(into, entry)| *into = *entry);
        }
        Arch::new().dispatch(Factorize { n, width, upper: &mut upper })?;
        let pivots = (0..n).map(|row| upper[row * width + row].powi(2));
        let (least, most) =
            pivots.fold((f64::INFINITY, 0.0f64), |(least, most), pivot| (least.min(pivot), most.max(pivot)));
        (least > RANK_TOLERANCE * most).then_some(Factor { n, width, upper })
    }

    /// x with `G x = right`.
    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut x = right.to_vec();
        x.resize(self.width, 0.0);
        Arch::new().dispatch(Solve { factor: self, x: &mut x });
        x.truncate(self.n);
        x
    }

    /// The inverse of G.
    pub(crate) fn inverse(&self) -> Array2<f64> {
        let (n, width) = (self.n, self.width);
        // The columns of R = U^-1 as rows, then G^-1 = R R'.
        let mut columns = vec![0.0; n * width];
        let mut inverse = vec![0.0; n * width];
        Arch::new().dispatch(Invert { factor: self, columns: &mut columns, inverse: &mut inverse });
        let mut whole = Array2::zeros((n, n));
        let entries = whole.as_slice_mut().unwrap_or_default();
        // In squares, so that neither side is read across many lines of the cache.
        for top in (0..n).step_by(BLOCK) {
            for left in (top..n).step_by(BLOCK) {
                for row in top..(top + BLOCK).min(n) {
                    for column in left.max(row)..(left + BLOCK).min(n) {
                        let entry = inverse[row * width + column];
                        entries[row * n + column] = entry;
                        entries[column * n + row] = entry;
                    }
                }
            }
        }
        whole
    }
}

/// Products of two matrices with rows of the same length: `L'R`, over some of their rows.
struct Products<'a> {
    left: &'a [f64],
    right: &'a [f64],
    width: usize,
    /// Rows of both that are summed over, in their order.
    rows: Range<usize>,
    /// The first of [`BLOCK`] columns of `left`.
    first: usize,
}

impl Products<'_> {
    /// Takes the products with [`STRIP`] columns of `right`, from `column` on, off the rows of `to`, at most [`BLOCK`].
    #[inline(always)]
    fn take_off<S: Simd>(&self, simd: S, to: &mut [f64], column: usize) {
        // As many sums as the processor has registers for.
        if S::F64_LANES < 8 { self.by::<S, 4>(simd, to, column) } else { self.by::<S, 8>(simd, to, column) }
    }

    #[inline(always)]
    fn by<S: Simd, const ROWS: usize>(&self, simd: S, to: &mut [f64], column: usize) {
        let Self { left, right, width, ref rows, first } = *self;
        let pair = 2 * S::F64_LANES;
        for (group, to) in to.chunks_mut(ROWS * width).enumerate() {
            for column in (column..column + STRIP).step_by(pair) {
                let mut sums = [[simd.splat_f64s(0.0); 2]; ROWS];
                for row in rows.clone() {
                    let left = &left[row * width + first + group * ROWS..][..ROWS];
                    let (right, _) = S::as_simd_f64s(&right[row * width + column..][..pair]);
                    let (near, far) = (right[0], right[1]);
                    for place in 0..ROWS {
                        let factor = simd.splat_f64s(left[place]);
                        sums[place][0] = simd.add_f64s(sums[place][0], simd.mul_f64s(factor, near));
                        sums[place][1] = simd.add_f64s(sums[place][1], simd.mul_f64s(factor, far));
                    }
                }
                for (to, sums) in to.chunks_exact_mut(width).zip(sums) {
                    let (to, _) = S::as_mut_simd_f64s(&mut to[column..column + pair]);
                    for (to, sum) in to.iter_mut().zip(sums) {
                        *to = simd.sub_f64s(*to, sum);
                    }
                }
            }
        }
    }
}

/// `to[j] += factor * row[j]`, for whole strips.
#[inline(always)]
fn add_row<S: Simd>(simd: S, to: &mut [f64], row: &[f64], factor: f64) {
    let factor = simd.splat_f64s(factor);
    for (to, row) in S::as_mut_simd_f64s(to).0.iter_mut().zip(S::as_simd_f64s(row).0) {
        *to = simd.add_f64s(*to, simd.mul_f64s(factor, *row));
    }
}

/// Multiplies whole strips.
#[inline(always)]
fn scale<S: Simd>(simd: S, row: &mut [f64], factor: f64) {
    let factor = simd.splat_f64s(factor);
    for entry in S::as_mut_simd_f64s(row).0 {
        *entry = simd.mul_f64s(*entry, factor);
    }
}

struct Factorize<'a> {
    n: usize,
    width: usize,
    upper: &'a mut [f64],
}

impl WithSimd for Factorize<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<()> {
        let Self { n, width, upper } = self;
        for start in (0..n).step_by(BLOCK) {
            let end = (start + BLOCK).min(n);
            let (above, rest) = upper.split_at_mut(start * width);
            let own = &mut rest[..(end - start) * width];
            let strips = start - start % STRIP;
            let known = Products { left: above, right: above, width, rows: 0..start, first: start };
            for column in (strips..width).step_by(STRIP) {
                known.take_off(simd, own, column);
            }
            for row in start..end {
                let (before, own) = own.split_at_mut((row - start) * width);
                let own = &mut own[..width];
                for before in before.chunks_exact(width) {
                    add_row(simd, &mut own[strips..], &before[strips..], -before[row]);
                }
                let pivot = if own[row] > 0.0 { own[row].sqrt() } else { return None };
                scale(simd, &mut own[strips..], 1.0 / pivot);
                // Rounded once.
                own[row] = pivot;
            }
        }
        Some(())
    }
}

struct Solve<'a> {
    factor: &'a Factor,
    x: &'a mut [f64],
}

impl WithSimd for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { factor: &Factor { n, width, ref upper }, x } = self;
        let row = |row: usize| &upper[row * width..(row + 1) * width];
        for place in 0..n {
            let own = row(place);
            x[place] /= own[place];
            let (solved, strip) = (x[place], (place + 1).next_multiple_of(STRIP));
            for near in place + 1..strip {
                x[near] -= own[near] * solved;
            }
            add_row(simd, &mut x[strip..], &own[strip..], -solved);
        }
        for place in (0..n).rev() {
            let (own, strip) = (row(place), (place + 1).next_multiple_of(STRIP));
            // Sums that do not wait for each other, as many on every processor.
            let mut sums = [0.0; STRIP];
            for (own, x) in own[strip..].as_chunks::<STRIP>().0.iter().zip(x[strip..].as_chunks::<STRIP>().0)
            {
                for lane in 0..STRIP {
                    sums[lane] += own[lane] * x[lane];
                }
            }
            let near: f64 = (place + 1..strip).map(|near| own[near] * x[near]).sum();
            x[place] = (x[place] - (near + sums.iter().sum::<f64>())) / own[place];
        }
    }
}

struct Invert<'a> {
    factor: &'a Factor,
    columns: &'a mut [f64],
    inverse: &'a mut [f64],
}

impl WithSimd for Invert<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { factor: &Factor { n, width, ref upper }, columns, inverse } = self;
        // R U = I: column j of R is (e_j - sum over k < j of U_kj (column k)) / U_jj, and ends with entry j.
        for start in (0..n).step_by(BLOCK) {
            let end = (start + BLOCK).min(n);
            let (known, rest) = columns.split_at_mut(start * width);
            let own = &mut rest[..(end - start) * width];
            for column in (0..start).step_by(STRIP) {
                // Columns before this one have no entries here.
                let products =
                    Products { left: upper, right: known, width, rows: column..start, first: start };
                products.take_off(simd, own, column);
            }
            let strips = end.next_multiple_of(STRIP);
            for j in start..end {
                let (before, own) = own.split_at_mut((j - start) * width);
                let own = &mut own[..strips];
                own[j] = 1.0;
                for (k, before) in (start..j).zip(before.chunks_exact(width)) {
                    add_row(simd, own, &before[..strips], -upper[k * width + j]);
                }
                scale(simd, own, 1.0 / upper[j * width + j]);
            }
        }
        // The sum of the columns' squares, each entry (i, j >= i) over the columns from j on; of the opposite sign.
        for start in (0..n).step_by(BLOCK) {
            let end = (start + BLOCK).min(n);
            let own = &mut inverse[start * width..end * width];
            for column in (start - start % STRIP..width).step_by(STRIP) {
                let rows = column.max(start).min(n)..n;
                let products = Products { left: columns, right: columns, width, rows, first: start };
                products.take_off(simd, own, column);
            }
        }
        scale(simd, inverse, -1.0);
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn positive_definite(n: usize) -> Array2<f64> {
        let root =
            Array2::from_shape_fn((n + 3, n), |(row, column)| ((row * 37 + column * 101) as f64).sin());
        root.t().dot(&root) + Array2::<f64>::eye(n) * 0.1
    }

    #[test]
    fn solutions_and_inverses_undo_the_matrix() {
        for n in [1, 2, 7, 8, 9, 31, 32, 33, 70, 130] {
            let gram = positive_definite(n);
            let factor = Factor::of(&gram).unwrap();
            let identity = gram.dot(&factor.inverse());
            let right: Vec<f64> = (0..n).map(|i| (i as f64).cos()).collect();
            let back = gram.dot(&ndarray::Array1::from(factor.solve(&right)));
            for i in 0..n {
                assert!((back[i] - right[i]).abs() < 1e-9, "{n}");
                for j in 0..n {
                    assert!((identity[[i, j]] - f64::from(u8::from(i == j))).abs() < 1e-9, "{n} {i} {j}");
                }
            }
        }
    }

    /// Whatever the processor adds at once.
    #[test]
    fn instructions_change_no_bit() {
        let n = 61;
        let factor = Factor::of(&positive_definite(n)).unwrap();
        let mut upper = vec![0.0; n * factor.width];
        for (into, row) in upper.chunks_exact_mut(factor.width).zip(positive_definite(n).outer_iter()) {
            into.iter_mut().zip(row).for_each(|(into, entry)| *into = *entry);
        }
        Arch::Scalar.dispatch(Factorize { n, width: factor.width, upper: &mut upper }).unwrap();
        let bits = |upper: &[f64]| -> Vec<u64> {
            let rows = upper.chunks_exact(factor.width).enumerate();
            rows.flat_map(|(row, entries)| entries[row..n].iter().map(|entry| entry.to_bits())).collect()
        };
        assert_eq!(bits(&upper), bits(&factor.upper));
        let mut x = vec![0.5; factor.width];
        let solved = factor.solve(&x[..n]);
        x[n..].fill(0.0);
        Arch::Scalar.dispatch(Solve { factor: &factor, x: &mut x });
        assert_eq!(x[..n], solved);
        let [mut columns, mut inverse] = [0, 1].map(|_| vec![0.0; n * factor.width]);
        Arch::Scalar.dispatch(Invert { factor: &factor, columns: &mut columns, inverse: &mut inverse });
        for (row, entries) in factor.inverse().outer_iter().enumerate() {
            assert_eq!(inverse[row * factor.width..][row..n], entries.to_vec()[row..]);
        }
    }

    #[test]
    fn singular_matrices_have_no_factor() {
        let mut gram = positive_definite(20);
        let row = gram.row(3).to_owned();
        gram.row_mut(11).assign(&row);
        let column = gram.column(3).to_owned();
        gram.column_mut(11).assign(&column);
        assert!(Factor::of(&gram).is_none());
        assert!(Factor::of(&Array2::zeros((3, 3))).is_none());
    }
}
