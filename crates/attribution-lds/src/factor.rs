//! Cholesky factors of a few hundred rows: solutions and inverses.
//!
//! Every sum has an order of its own that depends on the size alone, so that neither the number of threads nor the
//! processor changes a bit.

use ndarray::Array2;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Numbers added side by side.
const LANES: usize = 4;
/// Rows of the factor made at a time.
const ROWS: usize = 8;
/// Columns of an inverse made at a time.
const COLUMNS: usize = 32;
/// Pivots below this share of the largest are zero. Gram matrices of 0/1 rows that are not singular stay far above it,
/// rounding stays far below.
pub(crate) const RANK_TOLERANCE: f64 = 1e-10;

/// The lower triangular L with `L L' = G`.
pub(crate) struct Factor {
    n: usize,
    /// Row by row; what is above the diagonal means nothing.
    lower: Vec<f64>,
}

impl Factor {
    /// The factor of a symmetric matrix, of which the lower triangle is read; `None` if it is singular to rounding.
    pub(crate) fn of(gram: &Array2<f64>) -> Option<Factor> {
        let n = gram.nrows();
        let mut lower: Vec<f64> = gram.iter().copied().collect();
        Arch::new().dispatch(Factorize { n, lower: &mut lower })?;
        let factor = Factor { n, lower };
        let pivots = (0..n).map(|row| factor.lower[row * n + row].powi(2));
        let (least, most) =
            pivots.fold((f64::INFINITY, 0.0f64), |(least, most), pivot| (least.min(pivot), most.max(pivot)));
        (least > RANK_TOLERANCE * most).then_some(factor)
    }

    /// x with `G x = right`.
    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let mut x = right.to_vec();
        Arch::new().dispatch(Substitute { factor: self, x: &mut x });
        x
    }

    /// The inverse of G.
    pub(crate) fn inverse(&self) -> Array2<f64> {
        let n = self.n;
        // R = L^-1, in blocks of columns; of G^-1 = R'R then the same blocks of rows.
        let mut blocks = vec![0.0; n.div_ceil(COLUMNS) * n * COLUMNS];
        blocks
            .par_chunks_mut(n * COLUMNS)
            .enumerate()
            .for_each(|(block, into)| Arch::new().dispatch(InvertColumns { factor: self, block, into }));
        let mut inverse = vec![0.0; n * n];
        inverse.par_chunks_mut(COLUMNS * n).enumerate().for_each(|(block, into)| {
            Arch::new().dispatch(MultiplyBlocks { n, blocks: &blocks, block, into });
        });
        for row in 0..n {
            for column in row + 1..n {
                inverse[row * n + column] = inverse[column * n + row];
            }
        }
        Array2::from_shape_fn((n, n), |(row, column)| inverse[row * n + column])
    }
}

/// The dot products of one row with several, each as [`LANES`] interleaved sums.
#[inline(always)]
fn dots<const N: usize>(rows: [&[f64]; N], other: &[f64]) -> [f64; N] {
    let mut sums = [[0.0; LANES]; N];
    let whole = other.len() - other.len() % LANES;
    let rows = rows.map(|row| &row[..other.len()]);
    let mut at = 0;
    while at < whole {
        let other: [f64; LANES] = std::array::from_fn(|lane| other[at + lane]);
        for (sum, row) in sums.iter_mut().zip(&rows) {
            let row = &row[at..at + LANES];
            for lane in 0..LANES {
                sum[lane] += row[lane] * other[lane];
            }
        }
        at += LANES;
    }
    let mut totals = sums.map(|sum| (sum[0] + sum[2]) + (sum[1] + sum[3]));
    for at in whole..other.len() {
        for (total, row) in totals.iter_mut().zip(&rows) {
            *total += row[at] * other[at];
        }
    }
    totals
}

struct Factorize<'a> {
    n: usize,
    lower: &'a mut [f64],
}

impl WithSimd for Factorize<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Option<()> {
        let Self { n, lower } = self;
        for start in (0..n).step_by(ROWS) {
            let count = ROWS.min(n - start);
            let (done, rest) = lower.split_at_mut(start * n);
            let block = &mut rest[..count * n];
            for column in 0..start {
                let other = &done[column * n..column * n + column];
                let pivot = done[column * n + column];
                if count == ROWS {
                    let known = dots::<ROWS>(std::array::from_fn(|i| &block[i * n..]), other);
                    for (i, known) in known.into_iter().enumerate() {
                        let entry = &mut block[i * n + column];
                        *entry = (*entry - known) / pivot;
                    }
                } else {
                    for i in 0..count {
                        let [known] = dots([&block[i * n..]], other);
                        let entry = &mut block[i * n + column];
                        *entry = (*entry - known) / pivot;
                    }
                }
            }
            for i in 0..count {
                for j in 0..=i {
                    let column = start + j;
                    let [known] = dots([&block[i * n..]], &block[j * n..j * n + column]);
                    let rest = block[i * n + column] - known;
                    if i > j {
                        block[i * n + column] = rest / block[j * n + column];
                    } else if rest > 0.0 {
                        block[i * n + column] = rest.sqrt();
                    } else {
                        return None;
                    }
                }
            }
        }
        Some(())
    }
}

struct Substitute<'a> {
    factor: &'a Factor,
    x: &'a mut [f64],
}

impl WithSimd for Substitute<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { factor: Factor { n, lower }, x } = self;
        let n = *n;
        for row in 0..n {
            let (known, rest) = x.split_at_mut(row);
            let [sum] = dots([&lower[row * n..]], known);
            rest[0] = (rest[0] - sum) / lower[row * n + row];
        }
        for row in (0..n).rev() {
            let (before, rest) = x.split_at_mut(row);
            rest[0] /= lower[row * n + row];
            for (entry, factor) in before.iter_mut().zip(&lower[row * n..row * n + row]) {
                *entry -= factor * rest[0];
            }
        }
    }
}

struct InvertColumns<'a> {
    factor: &'a Factor,
    block: usize,
    into: &'a mut [f64],
}

impl WithSimd for InvertColumns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Factor { n, lower } = self.factor;
        let (n, first) = (*n, self.block * COLUMNS);
        for row in first..n {
            let mut sums = [0.0; COLUMNS];
            if row < first + COLUMNS {
                sums[row - first] = 1.0;
            }
            let (known, rest) = self.into.split_at_mut(row * COLUMNS);
            let known = known[first * COLUMNS..].chunks_exact(COLUMNS);
            for (factor, known) in lower[row * n + first..row * n + row].iter().zip(known) {
                for (sum, known) in sums.iter_mut().zip(known) {
                    *sum -= factor * known;
                }
            }
            let pivot = lower[row * n + row];
            for (into, sum) in rest.iter_mut().zip(sums) {
                *into = sum / pivot;
            }
        }
    }
}

/// Rows `block` of `R'R` up to the diagonal.
struct MultiplyBlocks<'a> {
    n: usize,
    blocks: &'a [f64],
    block: usize,
    into: &'a mut [f64],
}

/// Rows of a block multiplied at a time.
const TOGETHER: usize = 4;

impl WithSimd for MultiplyBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { n, blocks, block, into } = self;
        let left = &blocks[block * n * COLUMNS..][..n * COLUMNS];
        let first = block * COLUMNS;
        for other in 0..=block {
            let right = &blocks[other * n * COLUMNS..][..n * COLUMNS];
            for i in (0..COLUMNS.min(n - first)).step_by(TOGETHER) {
                for half in (0..COLUMNS).step_by(COLUMNS / 2) {
                    let mut sums = [[0.0; COLUMNS / 2]; TOGETHER];
                    // Below the diagonal blocks R is zero above row `first`.
                    for k in first..n {
                        let left = &left[k * COLUMNS + i..][..TOGETHER];
                        let right = &right[k * COLUMNS + half..][..COLUMNS / 2];
                        for (sums, left) in sums.iter_mut().zip(left) {
                            for (sum, right) in sums.iter_mut().zip(right) {
                                *sum += left * right;
                            }
                        }
                    }
                    let start = other * COLUMNS + half;
                    for (row, sums) in sums.iter().enumerate().take(into.len() / n - i) {
                        let end = n.min(start + COLUMNS / 2);
                        if start < end {
                            into[(i + row) * n + start..(i + row) * n + end]
                                .copy_from_slice(&sums[..end - start]);
                        }
                    }
                }
            }
        }
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
