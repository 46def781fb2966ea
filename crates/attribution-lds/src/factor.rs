//! Cholesky factors of a few hundred rows: solutions and inverses.
//!
//! Every sum has an order of its own that depends on the size alone, so that neither the number of threads nor the
//! processor changes a bit.

use ndarray::Array2;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::upper::{Aligned, STRIP, Upper};

/// Rows that are made together.
const BLOCK: usize = 8;
/// Pivots below this share of the largest are zero. Gram matrices of 0/1 rows that are not singular stay far above it,
/// rounding stays far below.
pub(crate) const RANK_TOLERANCE: f64 = 1e-10;

/// The upper triangular U with `U'U = G`.
pub(crate) struct Factor {
    upper: Upper,
}

impl Factor {
    /// The factor of a symmetric matrix; `None` if it is singular to rounding.
    pub(crate) fn of(gram: &Upper) -> Option<Factor> {
        let upper = Arch::new().dispatch(Factorize { gram })?;
        let pivots = upper.diagonal().map(|pivot| pivot.powi(2));
        let (least, most) =
            pivots.fold((f64::INFINITY, 0.0f64), |(least, most), pivot| (least.min(pivot), most.max(pivot)));
        (least > RANK_TOLERANCE * most).then_some(Factor { upper })
    }

    /// x with `G x = right`.
    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let n = self.upper.n();
        let mut x = right.to_vec();
        x.resize(n.next_multiple_of(STRIP), 0.0);
        Arch::new().dispatch(Solve { factor: self, x: &mut x });
        x.truncate(n);
        x
    }

    /// The inverse of G.
    pub(crate) fn inverse(&self) -> Array2<f64> {
        let n = self.upper.n();
        let columns = Arch::new().dispatch(Columns { factor: self });
        let mut inverse = Upper::zeros(n);
        inverse.strips_mut().into_par_iter().enumerate().for_each(|(strip, rows)| {
            Arch::new().dispatch(Squares { n, columns: &columns, strip, rows });
        });
        let mut whole = Array2::zeros((n, n));
        let entries = whole.as_slice_mut().unwrap_or_default();
        // In squares, so that neither side is read across many lines of the cache.
        for top in (0..n).step_by(BLOCK) {
            for left in (top..n).step_by(BLOCK) {
                for row in top..(top + BLOCK).min(n) {
                    let own = inverse.row(row);
                    for column in left.max(row)..(left + BLOCK).min(n) {
                        let entry = own[column - row];
                        entries[row * n + column] = entry;
                        entries[column * n + row] = entry;
                    }
                }
            }
        }
        whole
    }
}

/// Some rows of two matrices L and R, from the columns on that are multiplied.
#[derive(Clone)]
struct Pair<'a> {
    rows: usize,
    left: &'a [f64],
    left_stride: usize,
    right: &'a [f64],
    right_stride: usize,
}

impl<'a> Pair<'a> {
    /// Rows of one matrix, from the same column on.
    fn same(rows: usize, from: &'a [f64], stride: usize) -> Pair<'a> {
        Pair { rows, left: from, left_stride: stride, right: from, right_stride: stride }
    }
}

/// Takes `L'R` off the rows of `to`, at most [`BLOCK`], each with so many `columns` from its first entry on, a multiple of
/// [`BLOCK`]: rows of L and R are summed over in the order of the pairs.
#[inline(always)]
fn take_off<'a, S: Simd>(
    simd: S,
    to: &mut [f64],
    stride: usize,
    columns: usize,
    pairs: impl Iterator<Item = Pair<'a>> + Clone,
) {
    // As many sums as the processor has registers for.
    if S::F64_LANES < BLOCK {
        for column in (0..columns).step_by(2 * S::F64_LANES) {
            take_off_by::<S, 4, 2>(simd, to, stride, column, pairs.clone());
        }
        return;
    }
    let rest = columns % (3 * BLOCK);
    for column in (0..columns - rest).step_by(3 * BLOCK) {
        take_off_by::<S, BLOCK, 3>(simd, to, stride, column, pairs.clone());
    }
    match rest / BLOCK {
        1 => take_off_by::<S, BLOCK, 1>(simd, to, stride, columns - rest, pairs),
        2 => take_off_by::<S, BLOCK, 2>(simd, to, stride, columns - rest, pairs),
        _ => {}
    }
}

#[inline(always)]
fn take_off_by<'a, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    to: &mut [f64],
    stride: usize,
    column: usize,
    pairs: impl Iterator<Item = Pair<'a>> + Clone,
) {
    let lanes = VECTORS * S::F64_LANES;
    for (group, to) in to.chunks_mut(ROWS * stride).enumerate() {
        let mut sums = [[simd.splat_f64s(0.0); VECTORS]; ROWS];
        for Pair { rows, left, left_stride, right, right_stride } in pairs.clone() {
            for row in 0..rows {
                let left = &left[row * left_stride + group * ROWS..][..ROWS];
                let (right, _) = S::as_simd_f64s(&right[row * right_stride + column..][..lanes]);
                for place in 0..ROWS {
                    let factor = simd.splat_f64s(left[place]);
                    for vector in 0..VECTORS {
                        let product = simd.mul_f64s(factor, right[vector]);
                        sums[place][vector] = simd.add_f64s(sums[place][vector], product);
                    }
                }
            }
        }
        for (to, sums) in to.chunks_mut(stride).zip(sums) {
            let (to, _) = S::as_mut_simd_f64s(&mut to[column..column + lanes]);
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = simd.sub_f64s(*to, sum);
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
    gram: &'a Upper,
}

impl WithSimd for Factorize<'_> {
    type Output = Option<Upper>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Option<Upper> {
        let Self { gram } = self;
        let n = gram.n();
        let mut upper = Aligned::with_capacity(Upper::start(n, gram.count()));
        for strip in 0..gram.count() {
            let (first, stride) = (strip * STRIP, Upper::stride(n, strip));
            let known = upper.len();
            upper.push(gram.strip(strip));
            let (known, rows) = upper.split_at_mut(known);
            for block in (0..STRIP.min(n - first)).step_by(BLOCK) {
                let end = (block + BLOCK).min(n - first);
                let (above, own) = rows.split_at_mut(block * stride);
                let own = &mut own[..(end - block) * stride];
                let strips = (0..strip).map(|other| {
                    let (from, stride) = (Upper::start(n, other), Upper::stride(n, other));
                    Pair::same(STRIP, &known[from + first - other * STRIP + block..], stride)
                });
                let near = (block > 0).then(|| Pair::same(block, &above[block..], stride));
                let columns = (n - first).next_multiple_of(BLOCK) - block;
                take_off(simd, &mut own[block..], stride, columns, strips.chain(near));
                for row in block..end {
                    let (before, own) = own.split_at_mut((row - block) * stride);
                    let own = &mut own[..stride];
                    for before in before.chunks_exact(stride) {
                        add_row(simd, own, before, -before[row]);
                    }
                    let pivot = if own[row] > 0.0 { own[row].sqrt() } else { return None };
                    scale(simd, own, 1.0 / pivot);
                    // Rounded once.
                    own[row] = pivot;
                }
            }
        }
        Some(Upper::of_strips(n, upper))
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
        let Self { factor: Factor { upper }, x } = self;
        // A row's pivot, its entries up to the next whole strip, and those from there on.
        let parts = |place: usize| {
            let [pivot, row @ ..] = upper.padded_row(place) else {
                return (1.0, [].as_slice(), [].as_slice());
            };
            let (near, far) = row.split_at((place + 1).next_multiple_of(STRIP) - place - 1);
            (*pivot, near, far)
        };
        for place in 0..upper.n() {
            let (pivot, near, far) = parts(place);
            x[place] /= pivot;
            let solved = x[place];
            let (x, strips) = x[place + 1..].split_at_mut(near.len());
            x.iter_mut().zip(near).for_each(|(x, near)| *x -= near * solved);
            add_row(simd, strips, far, -solved);
        }
        for place in (0..upper.n()).rev() {
            let (pivot, near, far) = parts(place);
            let (known, strips) = x[place + 1..].split_at(near.len());
            // Sums that do not wait for each other, as many on every processor.
            let mut sums = [0.0; STRIP];
            for (own, x) in far.as_chunks::<STRIP>().0.iter().zip(strips.as_chunks::<STRIP>().0) {
                for lane in 0..STRIP {
                    sums[lane] += own[lane] * x[lane];
                }
            }
            let near: f64 = near.iter().zip(known).map(|(near, x)| near * x).sum();
            x[place] = (x[place] - (near + sums.iter().sum::<f64>())) / pivot;
        }
    }
}

/// The columns of R = U^-1 as rows, in strips of 16, 32, ... columns.
struct Columns<'a> {
    factor: &'a Factor,
}

impl WithSimd for Columns<'_> {
    type Output = Aligned;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Aligned {
        let Self { factor: Factor { upper } } = self;
        let n = upper.n();
        let start = Columns::start;
        let mut columns = Aligned::zeros(start(upper.count()));
        // R U = I: column j of R is (e_j - sum over k < j of U_kj (column k)) / U_jj, and ends with entry j.
        for strip in 0..upper.count() {
            let (first, stride) = (strip * STRIP, (strip + 1) * STRIP);
            let (known, rows) = columns.split_at_mut(start(strip));
            let factors = upper.strip(strip);
            let factor_stride = Upper::stride(n, strip);
            for block in (0..STRIP.min(n - first)).step_by(BLOCK) {
                let end = (block + BLOCK).min(n - first);
                let (above, own) = rows.split_at_mut(block * stride);
                let own = &mut own[..(end - block) * stride];
                for column in (0..first + block).step_by(STRIP) {
                    // Columns before this one have no entries here.
                    let strips = (column / STRIP..strip).map(|other| Pair {
                        rows: STRIP,
                        left: &upper.strip(other)[first + block - other * STRIP..],
                        left_stride: Upper::stride(n, other),
                        right: &known[start(other) + column..],
                        right_stride: (other + 1) * STRIP,
                    });
                    let near = (block > 0).then(|| Pair {
                        rows: block,
                        left: &factors[block..],
                        left_stride: factor_stride,
                        right: &above[column..],
                        right_stride: stride,
                    });
                    take_off(simd, &mut own[column..], stride, STRIP, strips.chain(near));
                }
                for j in block..end {
                    let (before, own) = own.split_at_mut((j - block) * stride);
                    let own = &mut own[..stride];
                    own[first + j] = 1.0;
                    for (k, before) in (block..j).zip(before.chunks_exact(stride)) {
                        add_row(simd, own, before, -factors[k * factor_stride + j]);
                    }
                    scale(simd, own, 1.0 / factors[j * factor_stride + j]);
                }
            }
        }
        columns
    }
}

impl Columns<'_> {
    /// Where a strip starts.
    fn start(strip: usize) -> usize {
        STRIP * STRIP * (strip * (strip + 1) / 2)
    }
}

/// A strip of G^-1 = R R'.
struct Squares<'a> {
    n: usize,
    columns: &'a [f64],
    strip: usize,
    rows: &'a mut [f64],
}

impl WithSimd for Squares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { n, columns, strip, rows } = self;
        let (first, stride) = (strip * STRIP, Upper::stride(n, strip));
        // The sum of the columns' squares, each entry (i, j >= i) over the columns from j on; of the opposite sign.
        for block in (0..STRIP.min(n - first)).step_by(BLOCK) {
            let end = (block + BLOCK).min(n - first);
            let own = &mut rows[block * stride..end * stride];
            for column in (0..stride).step_by(STRIP) {
                let strips = (strip + column / STRIP..n.div_ceil(STRIP)).map(|other| {
                    // Of its own strip, a block has the rows from its first on.
                    let skipped = if other == strip { block } else { 0 };
                    let stride = (other + 1) * STRIP;
                    let from = &columns[Columns::start(other) + skipped * stride + first..];
                    let rows = STRIP.min(n - other * STRIP) - skipped;
                    Pair {
                        rows,
                        left: &from[block..],
                        left_stride: stride,
                        right: &from[column..],
                        right_stride: stride,
                    }
                });
                take_off(simd, &mut own[column..], stride, STRIP, strips);
            }
        }
        scale(simd, rows, -1.0);
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
            let factor = Factor::of(&Upper::of(&gram)).unwrap();
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
        let gram = Upper::of(&positive_definite(n));
        let factor = Factor::of(&gram).unwrap();
        let scalar = Arch::Scalar.dispatch(Factorize { gram: &gram }).unwrap();
        let bits = |upper: &Upper| -> Vec<u64> {
            (0..n)
                .flat_map(|row| upper.row(row).iter().map(|entry| entry.to_bits()).collect::<Vec<_>>())
                .collect()
        };
        assert_eq!(bits(&scalar), bits(&factor.upper));
        let mut x = vec![0.5; n.next_multiple_of(STRIP)];
        let solved = factor.solve(&x[..n]);
        x[n..].fill(0.0);
        Arch::Scalar.dispatch(Solve { factor: &factor, x: &mut x });
        assert_eq!(x[..n], solved);
        let columns = Arch::Scalar.dispatch(Columns { factor: &factor });
        let mut inverse = Upper::zeros(n);
        for (strip, rows) in inverse.strips_mut().into_iter().enumerate() {
            Arch::Scalar.dispatch(Squares { n, columns: &columns, strip, rows });
        }
        for (row, entries) in factor.inverse().outer_iter().enumerate() {
            assert_eq!(inverse.row(row), &entries.to_vec()[row..]);
        }
    }

    #[test]
    fn singular_matrices_have_no_factor() {
        let mut gram = positive_definite(20);
        let row = gram.row(3).to_owned();
        gram.row_mut(11).assign(&row);
        let column = gram.column(3).to_owned();
        gram.column_mut(11).assign(&column);
        assert!(Factor::of(&Upper::of(&gram)).is_none());
        assert!(Factor::of(&Upper::zeros(3)).is_none());
    }
}
