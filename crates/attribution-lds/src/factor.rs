//! Cholesky factors of a few hundred rows: solutions and inverses.
//!
//! Every sum has an order of its own that depends on the size alone, so that neither the number of threads nor the
//! processor changes a bit.

use ndarray::Array2;
use pulp::{Arch, Simd, WithSimd};

/// Rows added to another at a time.
const ROWS: usize = 8;
/// Pivots below this share of the largest are zero. Gram matrices of 0/1 rows that are not singular stay far above it,
/// rounding stays far below.
pub(crate) const RANK_TOLERANCE: f64 = 1e-10;

/// The upper triangular U with `U'U = G`.
pub(crate) struct Factor {
    n: usize,
    /// Row by row; what is below the diagonal means nothing.
    upper: Vec<f64>,
}

impl Factor {
    /// The factor of a symmetric matrix, of which the upper triangle is read; `None` if it is singular to rounding.
    pub(crate) fn of(gram: &Array2<f64>) -> Option<Factor> {
        let n = gram.nrows();
        let mut upper: Vec<f64> = gram.iter().copied().collect();
        Arch::new().dispatch(Factorize { n, upper: &mut upper })?;
        let factor = Factor { n, upper };
        let pivots = (0..n).map(|row| factor.upper[row * n + row].powi(2));
        let (least, most) =
            pivots.fold((f64::INFINITY, 0.0f64), |(least, most), pivot| (least.min(pivot), most.max(pivot)));
        (least > RANK_TOLERANCE * most).then_some(factor)
    }

    /// x with `G x = right`.
    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let (n, mut x) = (self.n, right.to_vec());
        for row in 0..n {
            let (solved, rest) = x.split_at_mut(row + 1);
            solved[row] /= self.upper[row * n + row];
            for (entry, factor) in rest.iter_mut().zip(&self.upper[row * n + row + 1..(row + 1) * n]) {
                *entry -= factor * solved[row];
            }
        }
        for row in (0..n).rev() {
            let (rest, solved) = x.split_at_mut(row + 1);
            let known = self.upper[row * n + row + 1..(row + 1) * n].iter().zip(solved);
            let known: f64 = known.map(|(factor, entry)| factor * *entry).sum();
            rest[row] = (rest[row] - known) / self.upper[row * n + row];
        }
        x
    }

    /// The inverse of G.
    pub(crate) fn inverse(&self) -> Array2<f64> {
        let n = self.n;
        // The columns of R = U^-1 as rows, then G^-1 = R R'.
        let mut columns = vec![0.0; n * n];
        let mut inverse = vec![0.0; n * n];
        Arch::new().dispatch(Invert { factor: self, columns: &mut columns, inverse: &mut inverse });
        for row in 0..n {
            for column in row + 1..n {
                inverse[row * n + column] = inverse[column * n + row];
            }
        }
        Array2::from_shape_vec((n, n), inverse).unwrap_or_default()
    }
}

/// Adds multiples of rows to another: `to[j] += sum over rows of factors[row] * rows[row][j]`, in that order.
#[inline(always)]
fn add_rows(to: &mut [f64], rows: [&[f64]; ROWS], factors: [f64; ROWS]) {
    let [a, b, c, d, e, f, g, h] = rows.map(|row| &row[..to.len()]);
    for (j, to) in to.iter_mut().enumerate() {
        let near = (factors[0] * a[j] + factors[1] * b[j]) + (factors[2] * c[j] + factors[3] * d[j]);
        let far = (factors[4] * e[j] + factors[5] * f[j]) + (factors[6] * g[j] + factors[7] * h[j]);
        *to += near + far;
    }
}

/// The same for one row.
#[inline(always)]
fn add_row(to: &mut [f64], row: &[f64], factor: f64) {
    for (to, value) in to.iter_mut().zip(row) {
        *to += factor * value;
    }
}

struct Factorize<'a> {
    n: usize,
    upper: &'a mut [f64],
}

impl WithSimd for Factorize<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Option<()> {
        let Self { n, upper } = self;
        for start in (0..n).step_by(ROWS) {
            let end = (start + ROWS).min(n);
            for row in start..end {
                let (above, own) = upper.split_at_mut(row * n);
                let own = &mut own[row..n];
                for above in above[start * n..].chunks_exact(n) {
                    add_row(own, &above[row..], -above[row]);
                }
                let pivot = if own[0] > 0.0 { own[0].sqrt() } else { return None };
                own.iter_mut().for_each(|entry| *entry /= pivot);
            }
            let (above, below) = upper.split_at_mut(end * n);
            let above = &above[start * n..];
            if end - start < ROWS {
                // The last rows: nothing is below.
                break;
            }
            for (place, own) in below.chunks_exact_mut(n).enumerate() {
                let row = end + place;
                let rows = std::array::from_fn(|k| &above[k * n + row..(k + 1) * n]);
                let factors = std::array::from_fn(|k| -above[k * n + row]);
                add_rows(&mut own[row..], rows, factors);
            }
        }
        Some(())
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
    fn with_simd<S: Simd>(self, _: S) {
        let Self { factor: Factor { n, upper }, columns, inverse } = self;
        let n = *n;
        // R U = I: column j of R is (e_j - sum over k < j of U_kj (column k)) / U_jj, with j + 1 entries.
        for j in 0..n {
            let (known, own) = columns.split_at_mut(j * n);
            let own = &mut own[..=j];
            own[j] = 1.0;
            let whole = j - j % ROWS;
            for k in (0..whole).step_by(ROWS) {
                let rows = std::array::from_fn(|i| &known[(k + i) * n..(k + i) * n + k + ROWS]);
                add_rows(&mut own[..k + ROWS], rows, std::array::from_fn(|i| -upper[(k + i) * n + j]));
            }
            for k in whole..j {
                add_row(own, &known[k * n..k * n + k + 1], -upper[k * n + j]);
            }
            let pivot = upper[j * n + j];
            own.iter_mut().for_each(|entry| *entry /= pivot);
        }
        // The sum of the columns' squares, each entry (i, j <= i) over the columns from i on.
        for start in (0..n).step_by(ROWS) {
            let end = (start + ROWS).min(n);
            for i in 0..end {
                let own = &mut inverse[i * n..i * n + i + 1];
                if end - start == ROWS {
                    let rows = std::array::from_fn(|k| &columns[(start + k) * n..(start + k) * n + i + 1]);
                    add_rows(own, rows, std::array::from_fn(|k| columns[(start + k) * n + i]));
                } else {
                    for k in start..end {
                        add_row(own, &columns[k * n..k * n + i + 1], columns[k * n + i]);
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
