//! Scores from projected gradients.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use ndarray::{Array1, Array2, ArrayView1, Axis};

use crate::InfluenceError;

/// The damped kernel of the training images' projected gradients, `K = sum_n phi_n phi_n' + (damping / d) I`, and what is
/// scored by its inverse.
///
/// With features F `[images, d]` (rows phi_n), where there are fewer images than dimensions the inverse is never formed in
/// d dimensions: `K^-1 F' = F' (F F' + (damping / d) I)^-1`.
///
/// The features are projections over sqrt(d), so that `damping` counts as on unnormalised ones: a score is that of
/// `(R' R + damping I)^-1` with `R = sqrt(d) F`, in the published form.
#[derive(Debug, Clone)]
pub struct Kernel<'a> {
    train: &'a Array2<f64>,
    damping: f64,
    factor: Factor,
}

#[derive(Debug, Clone)]
enum Factor {
    /// Of `F F' + (damping / d) I`, `[images, images]`.
    Images(Cholesky<f64, Dyn>),
    /// Of K, `[d, d]`.
    Dimensions(Cholesky<f64, Dyn>),
}

impl<'a> Kernel<'a> {
    /// The kernel of `train` `[images, d]`.
    ///
    /// # Errors
    /// [`InfluenceError::Empty`] without images; [`InfluenceError::Parameter`] for a negative damping;
    /// [`InfluenceError::Singular`] if the kernel has no inverse.
    pub fn new(train: &'a Array2<f64>, damping: f64) -> Result<Self, InfluenceError> {
        let (images, dimension) = train.dim();
        if images == 0 || dimension == 0 {
            return Err(InfluenceError::Empty { what: "gradients of training images" });
        }
        if !(damping >= 0.0 && damping.is_finite()) {
            let (name, value) = ("influence.damping", damping.to_string());
            return Err(InfluenceError::Parameter { name, value, valid: "a number of at least 0" });
        }
        let shift = damping / dimension as f64;
        let singular = InfluenceError::Singular { images, dimension, damping };
        let factor = |gram: Array2<f64>| {
            let size = gram.nrows();
            let mut gram = DMatrix::from_fn(size, size, |i, j| gram[(i, j)]);
            let largest = (0..size).map(|i| gram[(i, i)]).fold(0.0, f64::max);
            for i in 0..size {
                gram[(i, i)] += shift;
            }
            let factor = Cholesky::new(gram)?;
            // What rounding alone keeps from zero is no pivot.
            let smallest = factor.l_dirty().diagonal().iter().copied().fold(f64::INFINITY, f64::min);
            (smallest * smallest > largest * size as f64 * f64::EPSILON).then_some(factor)
        };
        // With no damping, K is singular wherever there are fewer images than dimensions.
        let factor = if images < dimension && shift > 0.0 {
            factor(train.dot(&train.t())).map(Factor::Images)
        } else {
            factor(train.t().dot(train)).map(Factor::Dimensions)
        };
        Ok(Self { train, damping, factor: factor.ok_or(singular)? })
    }

    /// `mean_s phi(s)' K^-1 phi_n` for each training image n, from the `targets` `[samples, d]`.
    ///
    /// Source: Park et al. 2023, equation 13, for one model, without the weights Q of a classifier's loss, as Zheng et al.
    /// 2024, equation 5.
    ///
    /// # Errors
    /// [`InfluenceError::Mismatch`] for targets of other dimensions, [`InfluenceError::Empty`] without targets.
    pub fn trak(&self, targets: &Array2<f64>) -> Result<Vec<f64>, InfluenceError> {
        let mean = mean_target(self.train, targets)?;
        Ok(match &self.factor {
            Factor::Images(factor) => {
                let products = self.train.dot(&mean);
                factor.solve(&vector(products.view())).iter().copied().collect()
            }
            Factor::Dimensions(factor) => {
                let solved = factor.solve(&vector(mean.view()));
                self.train.dot(&Array1::from_iter(solved.iter().copied())).to_vec()
            }
        })
    }

    /// [`Self::trak`] over `|K^-1 phi_n|`.
    ///
    /// Source: Barshan et al. 2020, theta-relative influence (equation 8), with K for the Hessian.
    ///
    /// # Errors
    /// As [`Self::trak`], and [`InfluenceError::NoDirection`] for a gradient of zeros.
    pub fn relative_influence(&self, targets: &Array2<f64>) -> Result<Vec<f64>, InfluenceError> {
        let norms: Vec<f64> = match &self.factor {
            Factor::Images(factor) => {
                // With A = (F F' + s I)^-1: |F' A e_n|^2 = (A F F' A)_nn = A_nn - s |A e_n|^2. Where nearly all cancels,
                // the gradient lies within the damping, and the sum itself is taken.
                let shift = self.damping / self.train.ncols() as f64;
                let inverse = factor.inverse();
                let gram = self.train.dot(&self.train.t());
                (0..self.train.nrows())
                    .map(|n| {
                        let column = inverse.column(n);
                        let difference = column[n] - shift * column.norm_squared();
                        if difference > 1e-6 * column[n] {
                            return difference.sqrt();
                        }
                        let column = Array1::from_iter(column.iter().copied());
                        column.dot(&gram.dot(&column)).max(0.0).sqrt()
                    })
                    .collect()
            }
            Factor::Dimensions(factor) => {
                let mut rows =
                    DMatrix::from_fn(self.train.ncols(), self.train.nrows(), |i, n| self.train[(n, i)]);
                factor.solve_mut(&mut rows);
                rows.column_iter().map(|column| column.norm()).collect()
            }
        };
        divided(self.trak(targets)?, &norms)
    }

    /// [`Self::trak`] over `|phi_n|`.
    ///
    /// Source: Hammoudeh and Lowd 2022, renormalised influence (equation 8).
    ///
    /// # Errors
    /// As [`Self::trak`], and [`InfluenceError::NoDirection`] for a gradient of zeros.
    pub fn renormalised_influence(&self, targets: &Array2<f64>) -> Result<Vec<f64>, InfluenceError> {
        divided(self.trak(targets)?, norms(self.train).as_slice().unwrap_or_default())
    }
}

/// The mean over `targets` `[samples, d]` of the cosine between each training image's gradient (a row of `train`) and them.
///
/// Source: Charpiat et al. 2019, equation 6.
///
/// # Errors
/// As [`Kernel::trak`], and [`InfluenceError::NoDirection`] for a gradient of zeros.
pub fn gradient_similarity(train: &Array2<f64>, targets: &Array2<f64>) -> Result<Vec<f64>, InfluenceError> {
    let lengths = norms(targets);
    if let Some(image) = lengths.iter().position(|&norm| norm == 0.0) {
        return Err(InfluenceError::NoDirection { what: "the gradients", image });
    }
    let units = targets / &lengths.insert_axis(Axis(1));
    let mean = mean_target(train, &units)?;
    divided(train.dot(&mean).to_vec(), norms(train).as_slice().unwrap_or_default())
}

fn mean_target(train: &Array2<f64>, targets: &Array2<f64>) -> Result<Array1<f64>, InfluenceError> {
    if targets.ncols() != train.ncols() {
        let (what, expected) = ("dimensions of the samples' gradients", train.ncols());
        return Err(InfluenceError::Mismatch { what, expected, found: targets.ncols() });
    }
    targets.mean_axis(Axis(0)).ok_or(InfluenceError::Empty { what: "gradients of samples" })
}

fn norms(rows: &Array2<f64>) -> Array1<f64> {
    rows.map_axis(Axis(1), |row| row.dot(&row).sqrt())
}

fn vector(values: ArrayView1<'_, f64>) -> DVector<f64> {
    DVector::from_iterator(values.len(), values.iter().copied())
}

fn divided(scores: Vec<f64>, norms: &[f64]) -> Result<Vec<f64>, InfluenceError> {
    if let Some(image) = norms.iter().position(|&norm| norm == 0.0) {
        return Err(InfluenceError::NoDirection { what: "the gradients", image });
    }
    Ok(scores.iter().zip(norms).map(|(score, norm)| score / norm).collect())
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use streams::{Streams, standard_normal};

    use super::*;

    fn rows(name: &str, images: usize, dimension: usize) -> Array2<f64> {
        let numbers = standard_normal(&mut Streams::new(4).rng(name, 0), images * dimension);
        Array2::from_shape_vec((images, dimension), numbers.into_iter().map(f64::from).collect()).unwrap()
    }

    fn close(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{found:?} {expected:?}");
        }
    }

    /// The definitions with K formed and inverted in d dimensions.
    fn by_definition(train: &Array2<f64>, targets: &Array2<f64>, damping: f64) -> [Vec<f64>; 3] {
        let d = train.ncols();
        let kernel = train.t().dot(train) + Array2::<f64>::eye(d) * (damping / d as f64);
        let inverse = DMatrix::from_fn(d, d, |i, j| kernel[(i, j)]).try_inverse().unwrap();
        let mean = targets.mean_axis(Axis(0)).unwrap();
        let mut scores = [vec![], vec![], vec![]];
        for row in train.rows() {
            let change = &inverse * vector(row);
            let trak = vector(mean.view()).dot(&change);
            scores[0].push(trak);
            scores[1].push(trak / change.norm());
            scores[2].push(trak / vector(row).norm());
        }
        scores
    }

    #[test]
    fn both_ways_to_invert_agree_with_the_definition() {
        for (images, dimension) in [(7, 20), (20, 7), (12, 12)] {
            let (train, targets) = (rows("train", images, dimension), rows("targets", 5, dimension));
            for damping in [0.5, 100.0] {
                let [trak, relative, renormalised] = by_definition(&train, &targets, damping);
                let kernel = Kernel::new(&train, damping).unwrap();
                close(&kernel.trak(&targets).unwrap(), &trak, 1e-9);
                close(&kernel.relative_influence(&targets).unwrap(), &relative, 1e-9);
                close(&kernel.renormalised_influence(&targets).unwrap(), &renormalised, 1e-9);
            }
        }
    }

    #[test]
    fn a_damping_that_swamps_the_kernel_leaves_the_inner_products() {
        let (train, targets) = (rows("train", 6, 9), rows("targets", 1, 9));
        let damping = 1e12;
        let kernel = Kernel::new(&train, damping).unwrap();
        let scaled: Vec<f64> = kernel.trak(&targets).unwrap().iter().map(|s| s * damping / 9.0).collect();
        close(&scaled, &train.dot(&targets.row(0)).to_vec(), 1e-9);
        // Then K^-1 phi is along phi, and both normalisations say the same.
        let relative = kernel.relative_influence(&targets).unwrap();
        let renormalised = kernel.renormalised_influence(&targets).unwrap();
        let scaled: Vec<f64> = renormalised.iter().map(|s| s * damping / 9.0).collect();
        close(&relative, &scaled, 1e-6);
    }

    #[test]
    fn cosines_have_closed_forms_and_ignore_lengths() {
        let train = array![[2.0, 0.0], [0.0, 5.0], [1.0, 1.0]];
        let targets = array![[3.0, 0.0], [0.0, -7.0]];
        let half = 0.5f64.sqrt();
        close(&gradient_similarity(&train, &targets).unwrap(), &[0.5, -0.5, (half - half) / 2.0], 1e-15);
    }

    #[test]
    fn degenerate_input_is_named() {
        let train = rows("train", 4, 6);
        let message = |error: InfluenceError| error.to_string();
        assert!(message(Kernel::new(&train, 0.0).unwrap_err()).contains("singular"));
        assert!(message(Kernel::new(&train, -1.0).unwrap_err()).contains("damping"));
        assert!(Kernel::new(&Array2::zeros((0, 3)), 0.5).is_err());
        let kernel = Kernel::new(&train, 0.5).unwrap();
        assert!(message(kernel.trak(&rows("targets", 2, 5)).unwrap_err()).contains("6 are needed"));
        assert!(message(kernel.trak(&Array2::zeros((0, 6))).unwrap_err()).contains("samples"));
        let zeros = array![[1.0, 0.0], [0.0, 0.0]];
        let kernel = Kernel::new(&zeros, 0.5).unwrap();
        let targets = array![[1.0, 1.0]];
        assert!(message(kernel.relative_influence(&targets).unwrap_err()).contains("image 1"));
        assert!(message(kernel.renormalised_influence(&targets).unwrap_err()).contains("image 1"));
        assert!(message(gradient_similarity(&zeros, &targets).unwrap_err()).contains("image 1"));
        assert!(message(gradient_similarity(&targets, &zeros).unwrap_err()).contains("image 1"));
        // Enough images make K regular without damping.
        assert!(Kernel::new(&rows("train", 9, 6), 0.0).is_ok());
    }
}
