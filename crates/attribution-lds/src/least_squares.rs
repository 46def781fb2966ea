//! Least squares from second moments, with the sandwich variance.

use nalgebra::DMatrix;
use ndarray::{Array1, Array2};

use crate::bit_moments::Product;
use crate::bits::Bits;
use crate::factor::{Factor, RANK_TOLERANCE};
use crate::upper::Upper;

/// How a positive semi-definite Gram matrix G was inverted.
pub(crate) struct Inverse {
    /// G^-1, or the pseudo-inverse.
    pub(crate) matrix: Array2<f64>,
    /// Rank of G.
    pub(crate) rank: usize,
    /// Coefficients that the rows do not determine: e_i is not in the row space.
    pub(crate) unidentified: Vec<usize>,
}

/// Inverts a symmetric G by Cholesky; if it is singular, gives the Moore-Penrose inverse by its eigenvectors.
pub(crate) fn invert(gram: &Upper) -> Inverse {
    let n = gram.n();
    if let Some(factor) = Factor::of(gram) {
        return Inverse { matrix: factor.inverse(), rank: n, unidentified: Vec::new() };
    }
    let eigen = DMatrix::from_fn(n, n, |i, j| gram[[i.min(j), i.max(j)]]).symmetric_eigen();
    let largest = eigen.eigenvalues.amax();
    let nonzero = |value: f64| largest > 0.0 && value > RANK_TOLERANCE * largest;
    let mut scaled = eigen.eigenvectors.clone();
    let mut in_null_space = vec![0.0; n];
    let mut rank = 0;
    for (place, &value) in eigen.eigenvalues.iter().enumerate() {
        if nonzero(value) {
            rank += 1;
            scaled.column_mut(place).scale_mut(1.0 / value);
        } else {
            let vector = eigen.eigenvectors.column(place);
            in_null_space.iter_mut().zip(vector.iter()).for_each(|(share, entry)| *share += entry * entry);
            scaled.column_mut(place).fill(0.0);
        }
    }
    let matrix = to_ndarray(&(scaled * eigen.eigenvectors.transpose()));
    let unidentified = (0..n).filter(|&place| in_null_space[place] > 1e-8).collect();
    Inverse { matrix, rank, unidentified }
}

/// The HC3 variances of least-squares coefficients (MacKinnon & White 1985):
/// `V_ii = sum over rows j of (P z_j)_i^2 (w_j r_j / (1 - h_j))^2 / w^2`,
/// with rows z_j, weights w_j (w their sum), residuals r_j, `P = (Z'WZ / w)^-1` and leverages
/// `h_j = w_j z_j'P z_j / w + extra`, `extra` being the leverage of an intercept that was projected out.
///
/// It is the sandwich `P M P / w` with `M = sum of w_j^2 r_j^2 z_j z_j' / w`, made to hold up in small samples. A row that the
/// fit meets exactly because nothing else bears on it (h_j = 1) makes the variances it touches infinite.
pub(crate) fn sandwich_variances(
    rows: &Array2<f64>,
    weights: &Array1<f64>,
    residuals: &Array1<f64>,
    inverse: &Array2<f64>,
    intercept: bool,
) -> Array1<f64> {
    let total = weights.sum();
    let mut variances = Array1::zeros(rows.ncols());
    let projected = rows.dot(inverse);
    for (place, influence) in projected.outer_iter().enumerate() {
        let share = weights[place] / total;
        let leverage = share * (influence.dot(&rows.row(place)) + f64::from(u8::from(intercept)));
        let residual = share * residuals[place] / (1.0 - leverage);
        for (variance, &effect) in variances.iter_mut().zip(influence) {
            if leverage < 1.0 - 1e-9 {
                *variance += (effect * residual).powi(2);
            } else if effect.abs() > 1e-9 {
                *variance = f64::INFINITY;
            }
        }
    }
    variances
}

/// [`sandwich_variances`] without an intercept, for rows of bits less a multiple of 1 each, which `inverse` takes to zero.
pub(crate) fn sandwich_variances_of_bits(
    bits: &Bits,
    weights: &Array1<f64>,
    residuals: &Array1<f64>,
    inverse: &Array2<f64>,
) -> Array1<f64> {
    let total = weights.sum();
    let projected: Product = bits.times_matrix(inverse);
    let mut factors = projected.quadratic_forms(bits);
    let mut alone = Vec::new();
    for (row, factor) in factors.iter_mut().enumerate() {
        let share = weights[row] / total;
        let leverage = share * *factor;
        *factor = if leverage < 1.0 - 1e-9 {
            (share * residuals[row] / (1.0 - leverage)).powi(2)
        } else {
            alone.push(row);
            0.0
        };
    }
    let mut variances = projected.weighted_squares(&factors);
    for row in alone {
        for (variance, effect) in variances.iter_mut().zip(projected.row(row)) {
            if effect.abs() > 1e-9 {
                *variance = f64::INFINITY;
            }
        }
    }
    variances
}

/// As [`sandwich_variances`], where units of one or two rows are independent of each other, but not the two rows of a unit:
/// `V_ii = sum over units of (sum over its rows j of w_j (P z_j)_i r*_j / w)^2` with `r* = (I - H)^-1 r` and H the unit's
/// block of the hat matrix (CR3, Bell & McCaffrey 2002).
pub(crate) fn paired_variances(
    rows: &Array2<f64>,
    weights: &Array1<f64>,
    residuals: &Array1<f64>,
    inverse: &Array2<f64>,
    units: &[std::ops::Range<usize>],
) -> Array1<f64> {
    let total = weights.sum();
    let mut variances = Array1::zeros(rows.ncols());
    let projected = rows.dot(inverse);
    for unit in units {
        let (one, two) = (unit.start, unit.end - 1);
        // H_jk = w_k z_j'P z_k / w, of the symmetric part's scaling W^1/2: the inverse acts on r alike.
        let hat = |j: usize, k: usize| weights[k] / total * projected.row(j).dot(&rows.row(k));
        let (adjusted, determinant) = if one == two {
            let left = 1.0 - hat(one, one);
            ([residuals[one] / left, 0.0], left)
        } else {
            let [a, b, c, d] = [1.0 - hat(one, one), -hat(one, two), -hat(two, one), 1.0 - hat(two, two)];
            let determinant = a * d - b * c;
            let first = (d * residuals[one] - b * residuals[two]) / determinant;
            let second = (a * residuals[two] - c * residuals[one]) / determinant;
            ([first, second], determinant)
        };
        for (i, variance) in variances.iter_mut().enumerate() {
            let mut influence = 0.0;
            let mut touched = 0.0f64;
            for (row, residual) in unit.clone().zip(adjusted) {
                influence += weights[row] / total * projected[[row, i]] * residual;
                touched = touched.max(projected[[row, i]].abs());
            }
            if determinant > 1e-9 {
                *variance += influence * influence;
            } else if touched > 1e-9 {
                *variance = f64::INFINITY;
            }
        }
    }
    variances
}

pub(crate) fn to_nalgebra(matrix: &Array2<f64>) -> DMatrix<f64> {
    DMatrix::from_row_iterator(matrix.nrows(), matrix.ncols(), matrix.iter().copied())
}

fn to_ndarray(matrix: &DMatrix<f64>) -> Array2<f64> {
    Array2::from_shape_fn(matrix.shape(), |place| matrix[place])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn inverse_and_pseudo_inverse() {
        let gram = array![[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 4.0]];
        let inverse = invert(&Upper::of(&gram));
        assert_eq!((inverse.rank, inverse.unidentified.len()), (3, 0));
        let expected = array![[2.0 / 3.0, -1.0 / 3.0, 0.0], [-1.0 / 3.0, 2.0 / 3.0, 0.0], [0.0, 0.0, 0.25]];
        assert!((inverse.matrix - expected).iter().all(|difference| difference.abs() < 1e-14));
        // Two contributors that only occur together.
        let singular = invert(&Upper::of(&array![[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]));
        assert_eq!((singular.rank, singular.unidentified), (2, vec![0, 1]));
        let expected = array![[0.25, 0.25, 0.0], [0.25, 0.25, 0.0], [0.0, 0.0, 0.5]];
        assert!((singular.matrix - expected).iter().all(|difference| difference.abs() < 1e-14));
        assert_eq!(invert(&Upper::zeros(2)).rank, 0);
    }

    #[test]
    fn a_row_that_stands_alone_has_no_variance() {
        let rows = array![[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]];
        let weights = Array1::ones(3);
        let inverse = array![[1.5, 0.0], [0.0, 3.0]];
        let variances = sandwich_variances(&rows, &weights, &array![1.0, -1.0, 0.0], &inverse, false);
        // (1.5 * (1/3) * 1 / (1 - 1/2))^2, twice.
        assert!((variances[0] - 2.0).abs() < 1e-12, "{variances}");
        assert_eq!(variances[1], f64::INFINITY);
    }
}
