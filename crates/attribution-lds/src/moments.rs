//! The design matrix of coalitions and its weighted second moments, which all regressions here are made from.

use ndarray::{Array1, Array2, ArrayView1, Axis, s};

use crate::UtilityRow;

/// Columns multiplied at a time: only the upper triangle of blocks is computed.
const BLOCK: usize = 64;
/// Sums of integers below this are exact in single precision.
const EXACT_F32: f64 = (1u32 << 24) as f64;

/// 0/1 indicator rows X `[draws, contributors]` with their weights and targets.
pub(crate) struct Design {
    indicators: Array2<f32>,
    /// Weight of each row.
    pub(crate) weights: Array1<f64>,
}

/// Weighted sums over the rows, divided by the total weight.
pub(crate) struct Moments {
    /// A = X'WX `[contributors, contributors]`.
    pub(crate) gram: Array2<f64>,
    /// X'Wy.
    pub(crate) cross: Array1<f64>,
    /// X'W1: how often each contributor is in.
    pub(crate) presence: Array1<f64>,
}

impl Design {
    /// Rows of coalitions over n contributors, with one weight a row.
    pub(crate) fn new(n: usize, rows: &[&UtilityRow], weights: Vec<f64>) -> Design {
        let mut indicators = Array2::zeros((rows.len(), n));
        for (mut indicator, row) in indicators.outer_iter_mut().zip(rows) {
            row.coalition().members().for_each(|member| indicator[member] = 1.0);
        }
        Design { indicators, weights: Array1::from(weights) }
    }

    pub(crate) fn rows(&self) -> usize {
        self.indicators.nrows()
    }

    /// X as double precision.
    pub(crate) fn indicators(&self) -> Array2<f64> {
        self.indicators.mapv(f64::from)
    }

    /// The moments with each row's weight multiplied by `factor(row)`.
    ///
    /// With integer weights (draws counted, as in a bootstrap) the Gram matrix is computed in single precision, where
    /// sums of integers below 2^24 are exact; otherwise in double precision.
    pub(crate) fn moments(&self, targets: ArrayView1<f64>, factor: impl Fn(usize) -> f64) -> Moments {
        let weights: Vec<(usize, f64)> = (0..self.rows())
            .map(|row| (row, self.weights[row] * factor(row)))
            .filter(|(_, w)| *w != 0.0)
            .collect();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let n = self.indicators.ncols();
        let (mut cross, mut presence) = (Array1::zeros(n), Array1::<f64>::zeros(n));
        for &(row, weight) in &weights {
            let product = weight * targets[row];
            let sums = cross.iter_mut().zip(presence.iter_mut());
            for ((cross, presence), &x) in sums.zip(self.indicators.row(row)) {
                let x = f64::from(x);
                *cross += product * x;
                *presence += weight * x;
            }
        }
        let places: Vec<usize> = weights.iter().map(|(row, _)| *row).collect();
        let selected = self.indicators.select(Axis(0), &places);
        let whole = weights.iter().all(|(_, weight)| weight.fract() == 0.0);
        let mut gram = if whole && total < EXACT_F32 {
            let scale = Array1::from_iter(weights.iter().map(|(_, weight)| *weight as f32));
            upper_gram(&selected, &scale).mapv(f64::from)
        } else {
            let scale = Array1::from_iter(weights.iter().map(|(_, weight)| *weight));
            upper_gram(&selected.mapv(f64::from), &scale)
        };
        for column in 0..n {
            for row in column + 1..n {
                gram[[row, column]] = gram[[column, row]];
            }
        }
        gram /= total;
        Moments { gram, cross: cross / total, presence: presence / total }
    }
}

/// X' diag(weights) X, right in the blocks on and above the diagonal.
fn upper_gram<T: ndarray::LinalgScalar>(x: &Array2<T>, weights: &Array1<T>) -> Array2<T> {
    let weighted = x * &weights.view().insert_axis(Axis(1));
    let n = x.ncols();
    let mut gram = Array2::zeros((n, n));
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let block = x.slice(s![.., start..end]);
        ndarray::linalg::general_mat_mul(
            T::one(),
            &block.t(),
            &weighted.slice(s![.., start..]),
            T::zero(),
            &mut gram.slice_mut(s![start..end, start..]),
        );
    }
    gram
}

#[cfg(test)]
mod tests {
    use removal::{Coalition, RemovalDistribution};
    use streams::Streams;

    use super::*;
    use crate::UtilityTable;

    /// The sums written out, one by one.
    #[test]
    fn moments_are_the_plain_sums() {
        let n = 150;
        let mut table = UtilityTable::new(n);
        for index in 0..90 {
            let draw = RemovalDistribution::Shapley.draw(n, &Streams::new(4), index).unwrap();
            table.push(draw.coalition, (index as f64).cos()).unwrap();
        }
        let rows: Vec<&UtilityRow> = table.rows().iter().collect();
        let targets = Array1::from_iter(rows.iter().map(|row| row.mean()));
        for scale in [1.0, 0.37] {
            let design = Design::new(n, &rows, vec![scale; 90]);
            let factor = |row: usize| (row % 3) as f64;
            let moments = design.moments(targets.view(), factor);
            let total: f64 = (0..90).map(factor).sum();
            let sum = |term: &dyn Fn(&Coalition, f64) -> f64| {
                let terms = rows
                    .iter()
                    .enumerate()
                    .map(|(place, row)| factor(place) * term(row.coalition(), row.mean()));
                terms.sum::<f64>() / total
            };
            let bit = |c: &Coalition, member| f64::from(u8::from(c.contains(member)));
            for i in [0, 1, 63, 64, 149] {
                for j in [0, 5, 63, 64, 148] {
                    let expected = sum(&|c, _| bit(c, i) * bit(c, j));
                    assert!((moments.gram[[i, j]] - expected).abs() < 1e-14, "{i} {j}");
                }
                assert!((moments.cross[i] - sum(&|c, y| bit(c, i) * y)).abs() < 1e-14);
                assert!((moments.presence[i] - sum(&|c, _| bit(c, i))).abs() < 1e-14);
            }
        }
    }
}
