//! The Fréchet distance of feature distributions: "GANs trained by a two time-scale update rule converge to a local Nash
//! equilibrium", Heusel et al. 2017, arXiv 1706.08500.

use std::sync::OnceLock;

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use ndarray::ArrayView2;

use super::{check_width, checked_rows};
use crate::BehaviorError;

const MEASURE: &str = "the Fréchet distance";
const MAX_ITERATIONS: usize = 100_000;

/// Streaming mean and scatter of feature rows, merged batch by batch (Chan, Golub & LeVeque 1983): features of any number
/// of images need `d^2` numbers.
#[derive(Clone, Debug)]
pub struct MomentAccumulator {
    count: usize,
    mean: DVector<f64>,
    scatter: DMatrix<f64>,
}

impl MomentAccumulator {
    /// An empty accumulator of rows of `features` numbers.
    pub fn new(features: usize) -> Self {
        Self { count: 0, mean: DVector::zeros(features), scatter: DMatrix::zeros(features, features) }
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
        let (have, more) = (self.count as f64, batch.columns.ncols() as f64);
        let shift = &batch.mean - &self.mean;
        self.scatter.gemm(1.0, &batch.columns, &batch.columns.transpose(), 1.0);
        self.scatter.ger(have * more / (have + more), &shift, &shift, 1.0);
        self.mean.axpy(more / (have + more), &shift, 1.0);
        self.count += batch.columns.ncols();
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
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
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
    /// The symmetric square root of the covariance, made when first needed.
    root: OnceLock<DMatrix<f64>>,
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
    /// N <= d, and of `R C R` with `R = C_r^(1/2)` otherwise; both matrices are symmetric.
    ///
    /// # Errors
    /// Fewer than two rows, another number of features, a NaN or an infinity, or an eigendecomposition that does not
    /// converge.
    pub fn distance(&self, features: ArrayView2<f32>) -> Result<f64, BehaviorError> {
        check_width(self.gaussian.mean.len(), features.ncols())?;
        if features.nrows() > features.ncols() {
            return self.distance_to(&Gaussian::fit(features)?);
        }
        let Centred { mean, columns } = Centred::new(features, 2)?;
        let factor = columns / ((features.nrows() - 1) as f64).sqrt();
        let product = factor.transpose() * (&self.gaussian.covariance * &factor);
        Ok(self.assemble(&mean, factor.norm_squared(), product_trace(product)))
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
                let root = square_root(&self.gaussian.covariance)?;
                self.root.get_or_init(|| root)
            }
        };
        let product = root * (&other.covariance * root);
        Ok(self.assemble(&other.mean, other.covariance.trace(), product_trace(product)))
    }

    fn assemble(&self, mean: &DVector<f64>, trace: f64, product_trace: f64) -> f64 {
        let shift = (&self.gaussian.mean - mean).norm_squared();
        // Rounding can leave a distance of zero slightly negative.
        (shift + self.gaussian.covariance.trace() + trace - 2.0 * product_trace).max(0.0)
    }
}

/// Rows as centred columns `[d, N]`, and their mean.
struct Centred {
    mean: DVector<f64>,
    columns: DMatrix<f64>,
}

impl Centred {
    fn new(rows: ArrayView2<f32>, needed: usize) -> Result<Self, BehaviorError> {
        let rows = checked_rows(MEASURE, "features", rows, needed)?;
        let (count, width) = rows.dim();
        // A row-major [N, d] is a column-major [d, N].
        let mut columns = DMatrix::from_iterator(width, count, rows.iter().copied());
        let mean = columns.column_mean();
        for mut column in columns.column_iter_mut() {
            column -= &mean;
        }
        Ok(Self { mean, columns })
    }
}

/// `V diag(sqrt(max(0, l))) V'` of a symmetric positive semidefinite matrix.
fn square_root(matrix: &DMatrix<f64>) -> Result<DMatrix<f64>, BehaviorError> {
    let SymmetricEigen { eigenvectors, eigenvalues } =
        SymmetricEigen::try_new(matrix.clone(), f64::EPSILON, MAX_ITERATIONS)
            .ok_or_else(|| no_convergence(matrix.nrows()))?;
    let floor = rounding_floor(&eigenvalues);
    let mut scaled = eigenvectors.clone();
    for (mut column, &value) in scaled.column_iter_mut().zip(&eigenvalues) {
        column *= if value > floor { value.sqrt() } else { 0.0 };
    }
    Ok(scaled * eigenvectors.transpose())
}

/// The sum of the square roots of the eigenvalues of a positive semidefinite `matrix`, symmetric up to rounding.
fn product_trace(matrix: DMatrix<f64>) -> f64 {
    let eigenvalues = ((&matrix + matrix.transpose()) * 0.5).symmetric_eigenvalues();
    let floor = rounding_floor(&eigenvalues);
    eigenvalues.iter().filter(|&&value| value > floor).map(|value| value.sqrt()).sum()
}

/// Eigenvalues under `n eps max|l|` are rounding errors of zeros, whose square roots would not be small.
fn rounding_floor(eigenvalues: &DVector<f64>) -> f64 {
    eigenvalues.amax() * f64::EPSILON * eigenvalues.len() as f64
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
        assert!((&whole.mean - &parts.mean).amax() < 1e-10);
        assert!((&whole.covariance - &parts.covariance).amax() < 1e-10);
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
