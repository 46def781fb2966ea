//! The Fréchet distance of feature distributions: "GANs trained by a two time-scale update rule converge to a local Nash
//! equilibrium", Heusel et al. 2017, arXiv 1706.08500.

use std::sync::OnceLock;

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::symmetric::{cholesky, eigenvalues, gram, product};
use super::{check_width, checked_rows};
use crate::BehaviorError;

const MEASURE: &str = "the Fréchet distance";
const MAX_ITERATIONS: usize = 100_000;

/// Streaming mean and scatter of feature rows, merged batch by batch (Chan, Golub & LeVeque 1983): features of any number
/// of images need `d^2` numbers.
#[derive(Clone, Debug)]
pub struct MomentAccumulator {
    count: usize,
    mean: Array1<f64>,
    scatter: Array2<f64>,
}

impl MomentAccumulator {
    /// An empty accumulator of rows of `features` numbers.
    pub fn new(features: usize) -> Self {
        Self { count: 0, mean: Array1::zeros(features), scatter: Array2::zeros((features, features)) }
    }

    /// Adds rows `[N, features]`.
    ///
    /// # Errors
    /// Another number of features, or a NaN or an infinity.
    pub fn push(&mut self, rows: ArrayView2<f32>) -> Result<(), BehaviorError> {
        check_width(self.mean.len(), rows.ncols())?;
        if rows.nrows() == 0 {
            return Ok(());
        }
        let batch = Centred::new(rows, 1)?;
        let (have, more) = (self.count as f64, batch.rows.nrows() as f64);
        self.scatter += &gram(batch.rows.view());
        if self.count > 0 {
            let shift = (&batch.mean - &self.mean).insert_axis(Axis(0));
            self.scatter.scaled_add(have * more / (have + more), &gram(shift.view()));
        }
        self.mean = (&self.mean * have + &batch.mean * more) / (have + more);
        self.count += batch.rows.nrows();
        Ok(())
    }

    /// The Gaussian of all rows; the covariance divides by N - 1.
    ///
    /// # Errors
    /// [`BehaviorError::TooFewSamples`] with fewer than two rows.
    pub fn finish(self) -> Result<Gaussian, BehaviorError> {
        if self.count < 2 {
            return Err(too_few(self.count));
        }
        let covariance = self.scatter / (self.count - 1) as f64;
        Ok(Gaussian { count: self.count, mean: self.mean, covariance })
    }
}

/// Mean and covariance of the features of a set of images.
#[derive(Clone, Debug)]
pub struct Gaussian {
    count: usize,
    mean: Array1<f64>,
    covariance: Array2<f64>,
}

impl Gaussian {
    /// The Gaussian of the rows of `features` `[N, d]`.
    ///
    /// # Errors
    /// Fewer than two rows, or a NaN or an infinity.
    pub fn fit(features: ArrayView2<f32>) -> Result<Self, BehaviorError> {
        let mut moments = MomentAccumulator::new(features.ncols());
        moments.push(features)?;
        moments.finish()
    }

    /// The number of images.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether the covariance is singular because there are no more images than features. The distance is still
    /// defined, but strongly biased upwards: compare it only with distances of the same N.
    pub fn rank_deficient(&self) -> bool {
        self.count <= self.mean.len()
    }
}

/// A reference distribution, prepared for many comparisons.
#[derive(Debug)]
pub struct FrechetReference {
    gaussian: Gaussian,
    /// A `B` with `B B' = C_r`, made when first needed.
    root: OnceLock<Array2<f64>>,
}

impl FrechetReference {
    /// Takes `gaussian` as the reference.
    pub fn new(gaussian: Gaussian) -> Self {
        Self { gaussian, root: OnceLock::new() }
    }

    /// The reference distribution.
    pub fn gaussian(&self) -> &Gaussian {
        &self.gaussian
    }

    /// `|m_r - m|^2 + tr C_r + tr C - 2 tr (C_r C)^(1/2)` between the reference and the rows of `features` `[N, d]`.
    ///
    /// The last trace is the sum of the square roots of the eigenvalues of `A' C_r A` with `C = A A'`, `A` `[d, N]`, where
    /// N <= d, and of `B' C B` with `C_r = B B'` otherwise; both matrices are symmetric. `B` is the Cholesky factor of
    /// `C_r`, or its symmetric square root if it is singular.
    ///
    /// # Errors
    /// Fewer than two rows, another number of features, a NaN or an infinity, or an eigendecomposition that does not
    /// converge.
    pub fn distance(&self, features: ArrayView2<f32>) -> Result<f64, BehaviorError> {
        check_width(self.gaussian.mean.len(), features.ncols())?;
        if features.nrows() > features.ncols() {
            return self.distance_to(&Gaussian::fit(features)?);
        }
        let Centred { mean, rows } = Centred::new(features, 2)?;
        let factor = rows / ((features.nrows() - 1) as f64).sqrt();
        let turned = product(factor.view(), self.gaussian.covariance.view());
        let trace = factor.iter().map(|value| value * value).sum();
        Ok(self.assemble(&mean, trace, product_trace(product(turned.view(), factor.t()))?))
    }

    /// The distance to another Gaussian of the same number of features; else as [`FrechetReference::distance`].
    ///
    /// # Errors
    /// Another number of features, or an eigendecomposition that does not converge.
    pub fn distance_to(&self, other: &Gaussian) -> Result<f64, BehaviorError> {
        check_width(self.gaussian.mean.len(), other.mean.len())?;
        let root = match self.root.get() {
            Some(root) => root,
            None => {
                let covariance = &self.gaussian.covariance;
                let root = match cholesky(covariance.view()) {
                    Some(factor) => factor,
                    None => square_root(covariance)?,
                };
                self.root.get_or_init(|| root)
            }
        };
        let turned = product(root.t(), other.covariance.view());
        let trace = product_trace(product(turned.view(), root.view()))?;
        Ok(self.assemble(&other.mean, other.covariance.diag().sum(), trace))
    }

    fn assemble(&self, mean: &Array1<f64>, trace: f64, product_trace: f64) -> f64 {
        let shift: f64 = (&self.gaussian.mean - mean).iter().map(|value| value * value).sum();
        // Rounding can leave a distance of zero slightly negative.
        (shift + self.gaussian.covariance.diag().sum() + trace - 2.0 * product_trace).max(0.0)
    }
}

/// Rows `[N, d]` less their mean, and the mean.
struct Centred {
    mean: Array1<f64>,
    rows: Array2<f64>,
}

impl Centred {
    fn new(rows: ArrayView2<f32>, needed: usize) -> Result<Self, BehaviorError> {
        let mut rows = checked_rows(MEASURE, "features", rows, needed)?;
        let mean = rows.sum_axis(Axis(0)) / rows.nrows() as f64;
        rows -= &mean;
        Ok(Self { mean, rows })
    }
}

/// `V diag(sqrt(max(0, l))) V'` of a symmetric positive semidefinite matrix.
fn square_root(matrix: &Array2<f64>) -> Result<Array2<f64>, BehaviorError> {
    let n = matrix.nrows();
    let square = DMatrix::from_iterator(n, n, matrix.iter().copied());
    let SymmetricEigen { eigenvectors, eigenvalues } =
        SymmetricEigen::try_new(square, f64::EPSILON, MAX_ITERATIONS).ok_or_else(|| no_convergence(n))?;
    let floor = rounding_floor(eigenvalues.as_slice());
    let vectors = Array2::from_shape_fn((n, n), |place| eigenvectors[place]);
    let roots: Array1<f64> =
        eigenvalues.iter().map(|&value| if value > floor { value.sqrt() } else { 0.0 }).collect();
    Ok(product((&vectors * &roots).view(), vectors.t()))
}

/// The sum of the square roots of the eigenvalues of a positive semidefinite `matrix`, symmetric up to rounding.
fn product_trace(matrix: Array2<f64>) -> Result<f64, BehaviorError> {
    let size = matrix.nrows();
    let values = eigenvalues((&matrix + &matrix.t()) * 0.5).ok_or_else(|| no_convergence(size))?;
    let floor = rounding_floor(&values);
    Ok(values.iter().filter(|&&value| value > floor).map(|value| value.sqrt()).sum())
}

/// Eigenvalues under `n eps max|l|` are rounding errors of zeros, whose square roots would not be small.
fn rounding_floor(eigenvalues: &[f64]) -> f64 {
    let largest = eigenvalues.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    largest * f64::EPSILON * eigenvalues.len() as f64
}

fn too_few(found: usize) -> BehaviorError {
    BehaviorError::TooFewSamples { measure: MEASURE, what: "features", needed: 2, found }
}

fn no_convergence(size: usize) -> BehaviorError {
    BehaviorError::NoConvergence { routine: "the symmetric eigendecomposition", size }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};

    use super::super::fixture;
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-8 * expected.abs().max(1.0), "{found} against {expected}");
    }

    #[test]
    fn agrees_with_scipy_with_more_and_with_fewer_images_than_features() {
        let fixture = fixture::open();
        let reference = FrechetReference::new(Gaussian::fit(fixture.rows("reference").view()).unwrap());
        close(reference.distance(fixture.rows("samples").view()).unwrap(), fixture.value("frechet"));
        let few = fixture.rows("few");
        close(reference.distance(few.view()).unwrap(), fixture.value("frechet_few"));
        let gaussian = Gaussian::fit(few.view()).unwrap();
        assert!(gaussian.rank_deficient() && !reference.gaussian().rank_deficient());
        close(reference.distance_to(&gaussian).unwrap(), fixture.value("frechet_few"));
        let swapped = FrechetReference::new(gaussian);
        close(swapped.distance(fixture.rows("reference").view()).unwrap(), fixture.value("frechet_few"));
    }

    #[test]
    fn a_set_is_at_distance_zero_from_itself_and_a_shift_adds_its_square() {
        let rows = fixture::open().rows("samples");
        let reference = FrechetReference::new(Gaussian::fit(rows.view()).unwrap());
        assert!(reference.distance(rows.view()).unwrap() < 1e-8);
        let shifted = &rows + 0.5;
        let distance = reference.distance(shifted.view()).unwrap();
        assert!((distance - 0.25 * rows.ncols() as f64).abs() < 1e-5, "{distance}");
    }

    #[test]
    fn batches_add_up_to_the_whole() {
        let rows = fixture::open().rows("reference") + 100.0;
        let whole = Gaussian::fit(rows.view()).unwrap();
        let mut moments = MomentAccumulator::new(rows.ncols());
        for (start, end) in [(0, 1), (1, 40), (40, 40), (40, 90)] {
            moments.push(rows.slice(s![start..end, ..])).unwrap();
        }
        let parts = moments.finish().unwrap();
        assert_eq!(parts.count(), 90);
        let small = |value: &f64| value.abs() < 1e-10;
        assert!((&whole.mean - &parts.mean).iter().all(small));
        assert!((&whole.covariance - &parts.covariance).iter().all(small));
    }

    #[test]
    fn one_image_other_features_and_nan_are_refused() {
        let one = Array2::zeros((1, 4));
        assert!(matches!(Gaussian::fit(one.view()), Err(BehaviorError::TooFewSamples { found: 1, .. })));
        let reference = FrechetReference::new(Gaussian::fit(Array2::from_elem((3, 4), 1.0).view()).unwrap());
        assert!(matches!(reference.distance(one.view()), Err(BehaviorError::TooFewSamples { found: 1, .. })));
        let wide = Array2::zeros((3, 5));
        assert!(matches!(
            reference.distance(wide.view()),
            Err(BehaviorError::Mismatch { expected: 4, found: 5, .. })
        ));
        let mut damaged = Array2::zeros((3, 4));
        damaged[[2, 1]] = f32::INFINITY;
        assert!(matches!(reference.distance(damaged.view()), Err(BehaviorError::NotFinite { image: 2, .. })));
    }
}
