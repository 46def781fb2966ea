//! The design matrix of coalitions and its weighted second moments, which all regressions here are made from.

use std::sync::OnceLock;

use ndarray::{Array1, Array2, ArrayView1, Axis, s};
use pulp::{Arch, Simd, WithSimd};

use crate::UtilityRow;
use crate::bit_moments::{Columns, MOST_TIMES};
use crate::bits::Bits;
use crate::upper::{Aligned, STRIP, Upper};

/// Columns multiplied at a time: only the upper triangle of blocks is computed.
const BLOCK: usize = 64;

/// 0/1 indicator rows X `[draws, contributors]` with their weights and targets.
pub(crate) struct Design {
    bits: Bits,
    columns: OnceLock<Columns>,
    /// Weight of each row.
    pub(crate) weights: Array1<f64>,
}

/// Weighted sums over the rows, divided by the total weight.
pub(crate) struct Moments {
    /// A = X'WX `[contributors, contributors]`.
    pub(crate) gram: Upper,
    /// A 1, the sums of A's rows.
    pub(crate) sums: Array1<f64>,
    /// X'Wy.
    pub(crate) cross: Array1<f64>,
    /// X'W1: how often each contributor is in.
    pub(crate) presence: Array1<f64>,
}

impl Design {
    /// Rows of coalitions over n contributors, with one weight a row.
    pub(crate) fn new(n: usize, rows: &[&UtilityRow], weights: Vec<f64>) -> Design {
        let bits = Bits::of_coalitions(n, rows.iter().map(|row| row.coalition()));
        Design { bits, columns: OnceLock::new(), weights: Array1::from(weights) }
    }

    pub(crate) fn rows(&self) -> usize {
        self.bits.rows()
    }

    /// X as bits.
    pub(crate) fn bits(&self) -> &Bits {
        &self.bits
    }

    /// X as double precision.
    pub(crate) fn indicators(&self) -> Array2<f64> {
        let bits = &self.bits;
        Array2::from_shape_fn((bits.rows(), bits.columns()), |(row, column)| {
            f64::from(bits.row(row)[column / 8] >> (column % 8) & 1)
        })
    }

    /// The moments with each row's weight multiplied by `factor(row)`.
    ///
    /// With small integer weights (draws counted, as in a bootstrap) the Gram matrix is counted bit by bit.
    pub(crate) fn moments(&self, targets: ArrayView1<f64>, factor: impl Fn(usize) -> f64) -> Moments {
        let weights: Vec<f64> = (0..self.rows()).map(|row| self.weights[row] * factor(row)).collect();
        let total: f64 = weights.iter().sum();
        let columns = self.columns.get_or_init(|| Columns::of(&self.bits));
        let products: Vec<f64> =
            weights.iter().zip(targets).map(|(weight, target)| weight * target).collect();
        let times = |weight: &f64| {
            let whole = weight.fract() == 0.0 && (0.0..=f64::from(MOST_TIMES)).contains(weight);
            whole.then_some(*weight as u32)
        };
        let gram = || match weights.iter().map(times).collect::<Option<Vec<u32>>>() {
            Some(times) => columns.upper_gram(&times, total),
            None => Upper::of(&(upper_gram(&self.indicators(), &Array1::from(weights)) / total)),
        };
        let (gram, cross) = rayon::join(gram, || Array1::from(columns.times(&products)));
        let (presence, sums) = (gram.diagonal().collect(), Arch::new().dispatch(RowSums { upper: &gram }));
        Moments { gram, sums, cross: cross / total, presence }
    }
}

/// The sums of the rows of a symmetric matrix.
struct RowSums<'a> {
    upper: &'a Upper,
}

impl WithSimd for RowSums<'_> {
    type Output = Array1<f64>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Array1<f64> {
        const LANES: usize = 8;
        let Self { upper } = self;
        let n = upper.n();
        let mut sums = Aligned::zeros(upper.count() * STRIP);
        for strip in 0..upper.count() {
            let sums = &mut sums[strip * STRIP..];
            for (place, entries) in upper.strip(strip).chunks_exact(sums.len()).enumerate() {
                let Some(right) = entries[..(n - strip * STRIP).min(entries.len())].get(place + 1..) else {
                    break;
                };
                let mut lanes = [0.0; LANES];
                let (whole, rest) = right.as_chunks::<LANES>();
                for right in whole {
                    for lane in 0..LANES {
                        lanes[lane] += right[lane];
                    }
                }
                sums[place] += entries[place] + lanes.iter().sum::<f64>() + rest.iter().sum::<f64>();
                // To the sums of what is right of the diagonal: one by one up to the end of a vector.
                let near = (place + 1).next_multiple_of(LANES);
                for column in place + 1..near {
                    sums[column] += entries[column];
                }
                let (far, _) = sums[near..].as_chunks_mut::<LANES>();
                for (sums, entries) in far.iter_mut().zip(entries[near..].as_chunks::<LANES>().0) {
                    let mut added = *sums;
                    for lane in 0..LANES {
                        added[lane] += entries[lane];
                    }
                    *sums = added;
                }
            }
        }
        Array1::from(sums[..n].to_vec())
    }
}

/// X' diag(weights) X, right in the blocks on and above the diagonal.
fn upper_gram(x: &Array2<f64>, weights: &Array1<f64>) -> Array2<f64> {
    let weighted = x * &weights.view().insert_axis(Axis(1));
    let n = x.ncols();
    let mut gram = Array2::zeros((n, n));
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let block = x.slice(s![.., start..end]);
        ndarray::linalg::general_mat_mul(
            1.0,
            &block.t(),
            &weighted.slice(s![.., start..]),
            0.0,
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
                    assert!((moments.gram[[i.min(j), i.max(j)]] - expected).abs() < 1e-14, "{i} {j}");
                }
                // Of up to 150 terms.
                assert!((moments.sums[i] - sum(&|c, _| bit(c, i) * c.len() as f64)).abs() < 1e-12);
                assert!((moments.cross[i] - sum(&|c, y| bit(c, i) * y)).abs() < 1e-14);
                assert!((moments.presence[i] - sum(&|c, _| bit(c, i))).abs() < 1e-14);
            }
        }
    }
}
