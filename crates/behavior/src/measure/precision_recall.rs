//! Precision and recall: "Improved precision and recall metric for assessing generative models", Kynkäänniemi et al. 2019,
//! arXiv 1904.06991.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};

use super::{check_width, checked_rows};
use crate::BehaviorError;

const MEASURE: &str = "precision and recall";

/// Squared distances nearer than this share of the squared norms are recomputed without cancellation.
const CANCELLATION: f64 = 1e-9;

/// Rows whose distances to all others are held at once.
const CHUNK: usize = 256;

/// A set of features with, around each, a ball that reaches to its k-th nearest neighbour: their union estimates the
/// manifold of the set.
#[derive(Clone, Debug)]
pub struct Manifold {
    rows: Array2<f64>,
    squared_norms: Array1<f64>,
    /// The squared radius of each ball.
    squared_radii: Vec<f64>,
    k: usize,
}

impl Manifold {
    /// The manifold of the rows of `features` `[N, d]`; the paper uses `k` = 3.
    ///
    /// # Errors
    /// `k` = 0, no more than `k` rows, or a NaN or an infinity.
    pub fn new(features: ArrayView2<f32>, k: usize) -> Result<Self, BehaviorError> {
        if k == 0 {
            let valid = "at least 1 (the paper uses 3)".to_string();
            return Err(BehaviorError::Parameter { name: "k", value: "0".to_string(), valid });
        }
        let rows = checked_rows(MEASURE, "features", features, k + 1)?;
        let squared_norms = squared_norms(&rows);
        let mut manifold = Self { rows, squared_norms, squared_radii: Vec::new(), k };
        let mut radii = Vec::with_capacity(manifold.rows.nrows());
        manifold.squared_distances(&manifold.rows, |row, mut distances| {
            distances.remove(row);
            let (_, radius, _) = distances.select_nth_unstable_by(k - 1, f64::total_cmp);
            radii.push(*radius);
        });
        manifold.squared_radii = radii;
        Ok(manifold)
    }

    /// The number of images of the set.
    pub fn len(&self) -> usize {
        self.rows.nrows()
    }

    /// Never true: a manifold has more than `k` images.
    pub fn is_empty(&self) -> bool {
        self.rows.nrows() == 0
    }

    /// Which neighbour sets the radii.
    pub fn neighbours(&self) -> usize {
        self.k
    }

    /// The squared radius of each ball.
    pub(super) fn squared_radii(&self) -> &[f64] {
        &self.squared_radii
    }

    /// Calls `use_row` with the squared distances of every row of `other` to all images of the set.
    pub(super) fn each_squared_distances(
        &self,
        other: ArrayView2<f32>,
        mut use_row: impl FnMut(Vec<f64>),
    ) -> Result<(), BehaviorError> {
        check_width(self.rows.ncols(), other.ncols())?;
        self.squared_distances(&checked_rows(MEASURE, "features", other, 1)?, |_, distances| {
            use_row(distances)
        });
        Ok(())
    }

    /// The share of the rows of `other` that lie in at least one ball, borders included.
    ///
    /// With the reference's manifold and the samples as `other` this is precision, the other way round recall.
    ///
    /// # Errors
    /// No row, another number of features, or a NaN or an infinity.
    pub fn coverage(&self, other: ArrayView2<f32>) -> Result<f64, BehaviorError> {
        check_width(self.rows.ncols(), other.ncols())?;
        Ok(self.coverage_of(&checked_rows(MEASURE, "features", other, 1)?))
    }

    /// The share of the images of `other` that lie in this manifold.
    ///
    /// # Errors
    /// Another number of features.
    pub fn coverage_of_manifold(&self, other: &Manifold) -> Result<f64, BehaviorError> {
        check_width(self.rows.ncols(), other.rows.ncols())?;
        Ok(self.coverage_of(&other.rows))
    }

    fn coverage_of(&self, other: &Array2<f64>) -> f64 {
        let mut covered = 0;
        self.squared_distances(other, |_, distances| {
            covered += usize::from(distances.iter().zip(&self.squared_radii).any(|(d, radius)| d <= radius));
        });
        covered as f64 / other.nrows() as f64
    }

    /// Calls `use_row(i, d)` for every row `i` of `other`, `d` its squared distances to all rows of this set.
    ///
    /// `|a|^2 + |b|^2 - 2 a.b` by matrix products; where that cancels, the sum of squared differences, so that equal
    /// rows are at distance zero exactly.
    fn squared_distances(&self, other: &Array2<f64>, mut use_row: impl FnMut(usize, Vec<f64>)) {
        for start in (0..other.nrows()).step_by(CHUNK) {
            let chunk = other.slice(s![start..(start + CHUNK).min(other.nrows()), ..]);
            let products = chunk.dot(&self.rows.t());
            for (index, (row, products)) in chunk.rows().into_iter().zip(products.rows()).enumerate() {
                let norm = row.dot(&row);
                let distances = products
                    .iter()
                    .zip(&self.squared_norms)
                    .zip(self.rows.rows())
                    .map(|((product, own_norm), own)| {
                        let total = norm + own_norm;
                        let distance = total - 2.0 * product;
                        if distance > CANCELLATION * total { distance } else { squared_distance(row, own) }
                    })
                    .collect();
                use_row(start + index, distances);
            }
        }
    }
}

fn squared_norms(rows: &Array2<f64>) -> Array1<f64> {
    rows.rows().into_iter().map(|row| row.dot(&row)).collect()
}

fn squared_distance(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::super::fixture;
    use super::*;

    #[test]
    fn agrees_with_scikit_learn() {
        let fixture = fixture::open();
        for k in [3, 5] {
            let reference = Manifold::new(fixture.rows("reference").view(), k).unwrap();
            let samples = Manifold::new(fixture.rows("samples").view(), k).unwrap();
            let precision = reference.coverage(fixture.rows("samples").view()).unwrap();
            let recall = samples.coverage_of_manifold(&reference).unwrap();
            assert!((precision - fixture.value(&format!("precision_{k}"))).abs() < 1e-12, "{precision}");
            assert!((recall - fixture.value(&format!("recall_{k}"))).abs() < 1e-12, "{recall}");
        }
    }

    #[test]
    fn equal_rows_are_in_balls_of_radius_zero_and_borders_count() {
        let twice = array![[0.1f32, 1e4], [0.1, 1e4], [0.7, 3.0], [0.7, 3.0]];
        let manifold = Manifold::new(twice.view(), 1).unwrap();
        assert_eq!(manifold.squared_radii, [0.0; 4]);
        assert_eq!(manifold.coverage(array![[0.1f32, 1e4], [0.1, 1e4 + 1.0]].view()).unwrap(), 0.5);
        let line = array![[0.0f32], [1.0], [3.0]];
        let manifold = Manifold::new(line.view(), 1).unwrap();
        assert_eq!(manifold.squared_radii, [1.0, 1.0, 4.0]);
        assert_eq!(manifold.coverage(array![[-1.0f32], [-1.1], [5.0], [5.1]].view()).unwrap(), 0.5);
    }

    #[test]
    fn too_few_rows_and_other_features_are_refused() {
        let rows = array![[0.0f32], [1.0], [2.0]];
        let error = Manifold::new(rows.view(), 3).unwrap_err();
        assert!(matches!(error, BehaviorError::TooFewSamples { needed: 4, found: 3, .. }));
        assert!(matches!(Manifold::new(rows.view(), 0), Err(BehaviorError::Parameter { name: "k", .. })));
        let manifold = Manifold::new(rows.view(), 1).unwrap();
        assert!(matches!(
            manifold.coverage(array![[0.0f32, 1.0]].view()),
            Err(BehaviorError::Mismatch { .. })
        ));
        assert!(matches!(
            manifold.coverage(array![[f32::NAN]].view()),
            Err(BehaviorError::NotFinite { image: 0, .. })
        ));
    }
}
