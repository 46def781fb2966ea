//! The inverse of the damped empirical Fisher matrix, times a vector.

use std::ops::Range;

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::rows::Rows;
use crate::UnlearnError;

/// Numbers of one block of columns, over all rows: 32 MiB.
const BLOCK: usize = 8 << 20;
/// N of the reference's recursion.
const REFERENCE_COUNT: f64 = 1000.0;

/// The direction v and the gradients whose Fisher matrix is inverted.
pub(super) struct Problem<'a> {
    /// G: the gradients of the batches of R.
    pub rows: &'a Rows,
    /// Share of R's images in each batch; they sum to 1.
    pub weights: &'a [f64],
    /// g_D.
    pub removed: &'a [f64],
    /// |D| / (|D| + |R|).
    pub scale: f64,
}

impl Problem<'_> {
    /// F^-1 v with F = lambda I + 1/m G'G, exact up to rounding in 64 bits.
    ///
    /// One pass over the columns gathers G G' and G v, a second one makes the result.
    pub fn exact(&self, damping: f64) -> Result<Vec<f64>, UnlearnError> {
        let m = self.rows.count();
        let pairs: Vec<(usize, usize)> = (0..m).flat_map(|i| (0..=i).map(move |j| (i, j))).collect();
        let mut gram = vec![0.0; pairs.len()];
        let mut projected = vec![0.0; m];
        self.for_each_block(|columns, block| {
            let direction = self.direction(columns, block);
            // Each sum is one thread's, in the order of the columns: the same bits with any number of threads.
            gram.par_iter_mut().zip(&pairs).for_each(|(sum, &(i, j))| {
                let products = block[i].iter().zip(&block[j]).map(|(&a, &b)| f64::from(a) * f64::from(b));
                *sum += products.sum::<f64>();
            });
            for (sum, row) in projected.iter_mut().zip(block) {
                *sum += row.iter().zip(&direction).map(|(&a, &b)| f64::from(a) * b).sum::<f64>();
            }
        })?;

        let mut system = DMatrix::from_diagonal_element(m, m, m as f64 * damping);
        for (&(i, j), &value) in pairs.iter().zip(&gram) {
            system[(i, j)] += value;
            if i != j {
                system[(j, i)] += value;
            }
        }
        let factors = system.cholesky().ok_or(UnlearnError::Singular { batches: m, damping })?;
        let solved = factors.solve(&DVector::from_vec(projected));

        let mut result = Vec::with_capacity(self.rows.width());
        self.for_each_block(|columns, block| {
            let mut part = self.direction(columns, block);
            for (row, &coefficient) in block.iter().zip(solved.iter()) {
                for (value, &gradient) in part.iter_mut().zip(row) {
                    *value -= coefficient * f64::from(gradient);
                }
            }
            result.extend(part.into_iter().map(|value| value / damping));
        })?;
        Ok(result)
    }

    /// The recursion of [`InfluenceVariant::Reference`](super::InfluenceVariant::Reference), in 64 bits.
    pub fn reference(&self) -> Result<Vec<f64>, UnlearnError> {
        let mut k = Vec::with_capacity(self.rows.width());
        self.for_each_block(|columns, block| k.extend(self.direction(columns, block)))?;
        let whole = 0..self.rows.width();
        let mut o: Vec<f64> = self.rows.part(0, whole.clone())?.into_iter().map(f64::from).collect();
        let dot = |left: &[f64], right: &[f32]| -> f64 {
            left.iter().zip(right).map(|(&a, &b)| a * f64::from(b)).sum()
        };
        for row in 1..self.rows.count() {
            let gradient = self.rows.part(row, whole.clone())?;
            let (s, along) = (dot(&o, &gradient), dot(&k, &gradient));
            for (k, o) in k.iter_mut().zip(&mut o) {
                *k -= along / (REFERENCE_COUNT + s) * *o;
                *o -= s / (REFERENCE_COUNT + s) * *o;
            }
        }
        Ok(k)
    }

    /// v in some columns: scale (g_D - weighted mean of the rows).
    fn direction(&self, columns: Range<usize>, block: &[Vec<f32>]) -> Vec<f64> {
        let mut direction = self.removed[columns].to_vec();
        for (row, &weight) in block.iter().zip(self.weights) {
            for (value, &gradient) in direction.iter_mut().zip(row) {
                *value -= weight * f64::from(gradient);
            }
        }
        direction.iter_mut().for_each(|value| *value *= self.scale);
        direction
    }

    /// Gives all rows' parts in each block of columns, in order.
    fn for_each_block(&self, mut take: impl FnMut(Range<usize>, &[Vec<f32>])) -> Result<(), UnlearnError> {
        let (rows, width) = (self.rows.count(), self.rows.width());
        let step = (BLOCK / rows.max(1)).max(1);
        for start in (0..width).step_by(step) {
            let columns = start..(start + step).min(width);
            let block: Vec<Vec<f32>> =
                (0..rows).map(|row| self.rows.part(row, columns.clone())).collect::<Result<_, _>>()?;
            take(columns, &block);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streams::{Streams, standard_normal};

    /// `m` gradients of `p` parameters, with their weights and g_D.
    fn problem(m: usize, p: usize) -> (Vec<Vec<f32>>, Vec<f64>, Vec<f64>) {
        let streams = Streams::new(3);
        let rows = (0..m as u64).map(|i| standard_normal(&mut streams.rng("row", i), p)).collect();
        let mut weights: Vec<f64> = (0..m).map(|i| 1.0 + (i % 3) as f64).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let removed = standard_normal(&mut streams.rng("removed", 0), p).into_iter().map(f64::from).collect();
        (rows, weights, removed)
    }

    fn stored(rows: &[Vec<f32>], limit: u64) -> Rows {
        let mut stored = Rows::within(limit, rows.len(), rows[0].len()).unwrap();
        rows.iter().for_each(|row| stored.push(row).unwrap());
        stored
    }

    #[test]
    fn woodbury_is_the_dense_inverse() {
        let scale = 0.3;
        for (m, p, damping) in [(5, 40, 1.0), (30, 12, 0.01), (1, 9, 1e-4), (12, 60, 10.0)] {
            let (rows, weights, removed) = problem(m, p);
            let matrix = DMatrix::from_fn(m, p, |i, j| f64::from(rows[i][j]));
            let fisher = DMatrix::identity(p, p) * damping + matrix.transpose() * &matrix / m as f64;
            let mean = matrix.transpose() * DVector::from_column_slice(&weights);
            let v = (DVector::from_column_slice(&removed) - mean) * scale;
            let dense = fisher.lu().solve(&v).unwrap();
            for limit in [u64::MAX, 0] {
                let rows = stored(&rows, limit);
                let problem = Problem { rows: &rows, weights: &weights, removed: &removed, scale };
                let ours = DVector::from_vec(problem.exact(damping).unwrap());
                let error = (&ours - &dense).norm() / dense.norm();
                assert!(error < 1e-10, "{m} rows, {p} columns, damping {damping}: off by {error}");
            }
        }
    }

    #[test]
    fn the_recursion_is_the_one_of_the_formula() {
        let (rows, weights, removed) = problem(4, 3);
        let stored = stored(&rows, u64::MAX);
        let problem = Problem { rows: &stored, weights: &weights, removed: &removed, scale: 1.0 };
        let ours = problem.reference().unwrap();
        let row = |i: usize| DVector::from_iterator(3, rows[i].iter().map(|&v| f64::from(v)));
        let mean = (0..4).map(|i| row(i) * weights[i]).sum::<DVector<f64>>();
        let mut k = DVector::from_column_slice(&removed) - mean;
        let mut o = row(0);
        for i in 1..4 {
            let s = o.dot(&row(i));
            k -= &o * (k.dot(&row(i)) / (1000.0 + s));
            o -= &o.clone() * (s / (1000.0 + s));
        }
        assert!((DVector::from_vec(ours.clone()) - &k).norm() < 1e-14);
        // It is not the inverse.
        let exact = DVector::from_vec(problem.exact(1.0).unwrap());
        assert!((DVector::from_vec(ours) - &exact).norm() > 0.1 * exact.norm());
    }
}
