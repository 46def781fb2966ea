//! Large symmetric matrices: Gram matrix, Cholesky factor, eigenvalues. In blocks shared among threads, with sums whose
//! order depends on the size alone, so that the number of threads changes no bit.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

/// Rows and columns of a block.
const BLOCK: usize = 128;

/// `A B`.
pub(super) fn product(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Array2<f64> {
    let mut result = Array2::zeros((a.nrows(), b.ncols()));
    let blocks: Vec<_> =
        result.axis_chunks_iter_mut(Axis(0), BLOCK).zip(a.axis_chunks_iter(Axis(0), BLOCK)).collect();
    blocks.into_par_iter().for_each(|(mut to, rows)| general_mat_mul(1.0, &rows, &b, 0.0, &mut to));
    result
}

/// `A' A`.
pub(super) fn gram(a: ArrayView2<f64>) -> Array2<f64> {
    let mut result = Array2::zeros((a.ncols(), a.ncols()));
    let blocks: Vec<_> = result.axis_chunks_iter_mut(Axis(0), BLOCK).enumerate().collect();
    blocks.into_par_iter().for_each(|(block, mut to)| {
        let end = block * BLOCK + to.nrows();
        let mut to = to.slice_mut(s![.., ..end]);
        general_mat_mul(1.0, &a.slice(s![.., block * BLOCK..end]).t(), &a.slice(s![.., ..end]), 0.0, &mut to);
    });
    mirror(&mut result);
    result
}

/// Copies the lower triangle to the upper one.
fn mirror(matrix: &mut Array2<f64>) {
    for row in 0..matrix.nrows() {
        for column in 0..row {
            matrix[[column, row]] = matrix[[row, column]];
        }
    }
}

/// The lower `L` with `L L' = matrix`; `None` unless the symmetric `matrix` is positive definite beyond rounding.
pub(super) fn cholesky(matrix: ArrayView2<f64>) -> Option<Array2<f64>> {
    let n = matrix.nrows();
    let mut factor = matrix.to_owned();
    let smallest =
        matrix.diag().iter().fold(0.0, |most: f64, value| most.max(*value)) * f64::EPSILON * n as f64;
    for start in (0..n).step_by(BLOCK) {
        let end = n.min(start + BLOCK);
        let (mut top, mut below) = factor.view_mut().split_at(Axis(0), end);
        let mut corner = top.slice_mut(s![start.., start..end]);
        for row in 0..end - start {
            for column in 0..=row {
                let known = dot(&corner, row, column);
                let rest = corner[[row, column]] - known;
                corner[[row, column]] = if row > column {
                    rest / corner[[column, column]]
                } else if rest > smallest {
                    rest.sqrt()
                } else {
                    return None;
                };
            }
        }
        let (mut panel, mut trailing) = below.slice_mut(s![.., start..]).split_at(Axis(1), end - start);
        let corner = corner.view();
        let rows: Vec<_> = panel.axis_iter_mut(Axis(0)).collect();
        rows.into_par_iter().for_each(|mut row| {
            for column in 0..end - start {
                let known = row.slice(s![..column]).dot(&corner.slice(s![column, ..column]));
                row[column] = (row[column] - known) / corner[[column, column]];
            }
        });
        let panel = panel.view();
        let blocks: Vec<_> = trailing.axis_chunks_iter_mut(Axis(0), BLOCK).enumerate().collect();
        blocks.into_par_iter().for_each(|(block, mut to)| {
            let end = block * BLOCK + to.nrows();
            let left = panel.slice(s![block * BLOCK..end, ..]);
            general_mat_mul(
                -1.0,
                &left,
                &panel.slice(s![..end, ..]).t(),
                1.0,
                &mut to.slice_mut(s![.., ..end]),
            );
        });
    }
    for row in 0..n {
        factor.slice_mut(s![row, row + 1..]).fill(0.0);
    }
    Some(factor)
}

/// The product of the first `column` entries of two rows.
fn dot(matrix: &ndarray::ArrayViewMut2<f64>, row: usize, column: usize) -> f64 {
    matrix.slice(s![row, ..column]).dot(&matrix.slice(s![column, ..column]))
}

/// The eigenvalues of a symmetric matrix, of which the lower triangle is read, in no order; `None` if the iteration does
/// not converge.
///
/// Householder reflections make it tridiagonal, the implicit QL algorithm diagonal (Golub & Van Loan, "Matrix
/// Computations", sections 8.3.1 and 8.3.3). Each reflection is applied in the pass that multiplies by the next one, so
/// that the matrix goes through memory once for each column.
pub(super) fn eigenvalues(matrix: Array2<f64>) -> Option<Vec<f64>> {
    let n = matrix.nrows();
    let scale = matrix.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    if n == 0 || scale == 0.0 {
        return Some(vec![0.0; n]);
    }
    let mut values = matrix.mapv(|value| value / scale).into_raw_vec_and_offset().0;
    let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n]);
    // The reflection not yet applied: A - v w' - w v'.
    let (mut v, mut w) = (vec![0.0; n], vec![0.0; n]);
    for k in (0..n).rev() {
        let (above, row) = values.split_at_mut(k * n);
        for (j, value) in row[..=k].iter_mut().enumerate() {
            *value -= v[k] * w[j] + w[k] * v[j];
        }
        diagonal[k] = row[k];
        let Some(last) = k.checked_sub(1) else { break };
        let mut reflector = row[..k].to_vec();
        let rest: f64 = reflector[..last].iter().map(|x| x * x).sum();
        let mut factor = 0.0;
        beside[k] = reflector[last];
        if rest > 0.0 {
            let norm = (rest + reflector[last] * reflector[last]).sqrt();
            let turned = -norm.copysign(reflector[last]);
            beside[k] = turned;
            reflector[last] -= turned;
            factor = 2.0 / (rest + reflector[last] * reflector[last]);
        }
        let mut image = reflect_and_multiply(above, n, &v[..k], &w[..k], &reflector);
        image.iter_mut().for_each(|value| *value *= factor);
        let half = 0.5 * factor * image.iter().zip(&reflector).map(|(p, u)| p * u).sum::<f64>();
        v[..k].copy_from_slice(&reflector);
        for ((w, p), u) in w.iter_mut().zip(image).zip(&reflector) {
            *w = p - half * u;
        }
        if factor == 0.0 {
            v[..k].fill(0.0);
        }
    }
    beside.remove(0);
    beside.push(0.0);
    diagonalise(&mut diagonal, &mut beside)?;
    Some(diagonal.into_iter().map(|value| value * scale).collect())
}

/// Ranges of the rows of a pass, each with a sum of its own.
const PARTS: usize = 8;
/// Entries below which a pass is not shared.
const WORTHWHILE: usize = 20_000;

/// Subtracts `v w' + w v'` from the lower triangle of the first `v.len()` rows (each `stride` long), and gives the
/// product of the result with `u`.
fn reflect_and_multiply(rows: &mut [f64], stride: usize, v: &[f64], w: &[f64], u: &[f64]) -> Vec<f64> {
    let k = v.len();
    // The triangle in parts of about equal area.
    let bound = |part: usize| ((part as f64 / PARTS as f64).sqrt() * k as f64).round() as usize;
    let mut parts = Vec::with_capacity(PARTS);
    let mut left = &mut rows[..k * stride];
    for part in 0..PARTS {
        let (first, end) = (bound(part), bound(part + 1));
        let (rows, others) = left.split_at_mut((end - first) * stride);
        parts.push((first, rows, vec![0.0; end]));
        left = others;
    }
    let work = |(first, rows, sums): &mut (usize, &mut [f64], Vec<f64>)| {
        for (row, i) in rows.chunks_exact_mut(stride).zip(*first..) {
            let along =
                reflect_row(&mut row[..i], [v[i], w[i], u[i]], &v[..i], &w[..i], &u[..i], &mut sums[..i]);
            row[i] -= 2.0 * v[i] * w[i];
            sums[i] += along + row[i] * u[i];
        }
    };
    if k * k / 2 < WORTHWHILE {
        parts.iter_mut().for_each(work);
    } else {
        parts.par_iter_mut().for_each(work);
    }
    let mut total = vec![0.0; k];
    for (_, _, sums) in parts {
        for (total, value) in total.iter_mut().zip(sums) {
            *total += value;
        }
    }
    total
}

/// Updates a row left of the diagonal, adds its column's products to `sums`, and gives its own product with `u`.
#[inline]
fn reflect_row(
    row: &mut [f64],
    [vi, wi, ui]: [f64; 3],
    v: &[f64],
    w: &[f64],
    u: &[f64],
    sums: &mut [f64],
) -> f64 {
    const LANES: usize = 8;
    let mut along = [0.0; LANES];
    let whole = row.len() - row.len() % LANES;
    let (row, row_rest) = row.split_at_mut(whole);
    let (sums, sums_rest) = sums.split_at_mut(whole);
    let chunks = row.chunks_exact_mut(LANES).zip(v.chunks_exact(LANES)).zip(w.chunks_exact(LANES));
    for ((((a, v), w), u), sums) in chunks.zip(u.chunks_exact(LANES)).zip(sums.chunks_exact_mut(LANES)) {
        for lane in 0..LANES {
            a[lane] -= vi * w[lane] + wi * v[lane];
            along[lane] += a[lane] * u[lane];
            sums[lane] += a[lane] * ui;
        }
    }
    let mut total: f64 = along.iter().sum();
    for (i, (a, sum)) in row_rest.iter_mut().zip(sums_rest).enumerate() {
        *a -= vi * w[whole + i] + wi * v[whole + i];
        total += *a * u[whole + i];
        *sum += *a * ui;
    }
    total
}

/// Sweeps of the QL iteration for one eigenvalue; three are usual.
const SWEEPS: usize = 60;

/// Turns the diagonal of a tridiagonal matrix into its eigenvalues; `beside[i]` is the entry between `i` and `i + 1`.
fn diagonalise(diagonal: &mut [f64], beside: &mut [f64]) -> Option<()> {
    let n = diagonal.len();
    for first in 0..n {
        for sweep in 0.. {
            let small =
                |m: usize| beside[m].abs() <= f64::EPSILON * (diagonal[m].abs() + diagonal[m + 1].abs());
            let last = (first..n - 1).find(|&m| small(m)).unwrap_or(n - 1);
            if last == first {
                break;
            }
            if sweep == SWEEPS {
                return None;
            }
            let slope = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
            let shift = slope + slope.hypot(1.0).copysign(slope);
            let mut g = diagonal[last] - diagonal[first] + beside[first] / shift;
            let (mut sine, mut cosine, mut moved) = (1.0, 1.0, 0.0);
            let mut deflated = false;
            for i in (first..last).rev() {
                let (f, b) = (sine * beside[i], cosine * beside[i]);
                let r = f.hypot(g);
                beside[i + 1] = r;
                if r == 0.0 {
                    diagonal[i + 1] -= moved;
                    beside[last] = 0.0;
                    deflated = true;
                    break;
                }
                (sine, cosine) = (f / r, g / r);
                g = diagonal[i + 1] - moved;
                let r = (diagonal[i] - g) * sine + 2.0 * cosine * b;
                moved = sine * r;
                diagonal[i + 1] = g + moved;
                g = cosine * r - b;
            }
            if !deflated {
                diagonal[first] -= moved;
                beside[first] = g;
                beside[last] = 0.0;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;
    use streams::{Streams, standard_normal};

    use super::*;

    fn normal(rows: usize, columns: usize) -> Array2<f64> {
        let values = standard_normal(&mut Streams::new(3).rng("matrix", rows as u64), rows * columns);
        Array2::from_shape_vec((rows, columns), values.into_iter().map(f64::from).collect()).unwrap()
    }

    fn largest_difference(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
        (a - b).iter().fold(0.0, |most, value| value.abs().max(most))
    }

    #[test]
    fn blocks_make_the_whole_product() {
        for (rows, columns) in [(1, 1), (7, 130), (300, 129), (40, 257)] {
            let a = normal(rows, columns);
            assert!(largest_difference(&gram(a.view()), &a.t().dot(&a)) < 1e-10);
            assert!(largest_difference(&product(a.t(), a.view()), &a.t().dot(&a)) < 1e-10);
        }
    }

    #[test]
    fn the_factor_times_its_transpose_is_the_matrix() {
        for n in [1, 2, 127, 128, 129, 300] {
            let matrix = gram(normal(2 * n + 5, n).view());
            let factor = cholesky(matrix.view()).unwrap();
            assert!(largest_difference(&factor.dot(&factor.t()), &matrix) < 1e-9 * n as f64);
            assert_eq!(factor.get([0, n - 1]).copied().unwrap_or(0.0) == 0.0, n > 1);
        }
        assert!(cholesky(gram(normal(20, 40).view()).view()).is_none());
        assert!(cholesky(Array2::zeros((3, 3)).view()).is_none());
    }

    #[test]
    fn eigenvalues_are_those_of_nalgebra() {
        for n in [1, 2, 3, 10, 65, 250] {
            for matrix in
                [gram(normal(n + 3, n).view()), gram(normal(n.div_ceil(2), n).view()), Array2::eye(n)]
            {
                let other = DMatrix::from_row_iterator(n, n, matrix.iter().copied());
                let mut expected: Vec<f64> = other.symmetric_eigenvalues().iter().copied().collect();
                let mut found = eigenvalues(matrix).unwrap();
                expected.sort_by(f64::total_cmp);
                found.sort_by(f64::total_cmp);
                for (found, expected_value) in found.iter().zip(&expected) {
                    assert!(
                        (found - expected_value).abs() < 1e-12 * expected[n - 1].max(1.0) * n as f64,
                        "{n}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let work = || {
            let matrix = gram(normal(400, 260).view());
            (cholesky(matrix.view()), eigenvalues(matrix))
        };
        let on =
            |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work);
        assert_eq!(on(1), on(3));
    }
}
