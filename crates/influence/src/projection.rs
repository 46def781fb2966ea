//! The random projection of gradients.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};
use rand::Rng;
use rayon::prelude::*;
use streams::{ChaCha12Rng, Streams, standard_normal};

use crate::{InfluenceError, ProjectionKind};

/// Columns of the matrix that are generated together: the bits of one 64-bit word.
const COLUMNS: usize = 64;
/// Rows of the matrix that are generated together.
const ROWS: usize = 256;

/// The projection `P' g / sqrt(d)` of gradients g onto d dimensions, P `[parameters, d]` with independent entries of mean
/// 0 and variance 1, so that the mean of `(P' g)' (P' h) / d` over matrices is `g' h`.
///
/// P is never whole in memory. Rows b * 256.. and columns c * 64.. of a parameter tensor's part come from the stream
/// (`block`, c 2^32 + b) among the streams of child (`projection of NAME`, 0), row by row: for Rademacher entries one
/// 64-bit word a row, whose bit k set means -1 in column k. So entries depend on neither d, nor the order of the tensors,
/// nor the number of threads.
///
/// With as many dimensions as parameters, or more, nothing is projected: the result is the gradient itself.
#[derive(Debug, Clone)]
pub struct Projection {
    kind: ProjectionKind,
    dimension: usize,
    identity: bool,
    tensors: Vec<ProjectedTensor>,
}

#[derive(Debug, Clone)]
struct ProjectedTensor {
    streams: Streams,
    /// Place of its first value among all parameters.
    offset: usize,
    len: usize,
}

impl Projection {
    /// A projection of gradients of parameter tensors, each with its name and number of values, onto `dimension`
    /// dimensions.
    ///
    /// # Errors
    /// [`InfluenceError::Parameter`] for 0 dimensions, [`InfluenceError::Empty`] without parameters.
    pub fn new<'a>(
        kind: ProjectionKind,
        dimension: usize,
        tensors: impl IntoIterator<Item = (&'a str, usize)>,
        streams: &Streams,
    ) -> Result<Self, InfluenceError> {
        if dimension == 0 {
            let (name, value) = ("influence.dimension", "0".to_owned());
            return Err(InfluenceError::Parameter { name, value, valid: "at least 1" });
        }
        let mut parameters = 0;
        let tensors: Vec<ProjectedTensor> = tensors
            .into_iter()
            .map(|(name, len)| {
                let streams = streams.child(&format!("projection of {name}"), 0);
                let tensor = ProjectedTensor { streams, offset: parameters, len };
                parameters += len;
                tensor
            })
            .collect();
        if parameters == 0 {
            return Err(InfluenceError::Empty { what: "parameters" });
        }
        let identity = dimension >= parameters;
        Ok(Self { kind, dimension: dimension.min(parameters), identity, tensors })
    }

    /// Dimensions of the result: as asked for, but never more than parameters.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Whether the result is the gradient itself.
    pub fn is_identity(&self) -> bool {
        self.identity
    }

    /// Adds the projection of the part of each image's gradient that belongs to parameter tensor `tensor` to `features`
    /// `[images, dimension]`; `gradients` is `[images, values of the tensor]`.
    ///
    /// # Errors
    /// [`InfluenceError::Mismatch`] for arrays of other shapes or a tensor that does not exist.
    pub fn add(
        &self,
        tensor: usize,
        gradients: ArrayView2<'_, f32>,
        features: &mut ArrayViewMut2<'_, f64>,
    ) -> Result<(), InfluenceError> {
        let mismatch = |what, expected, found| Err(InfluenceError::Mismatch { what, expected, found });
        let Some(part) = self.tensors.get(tensor) else {
            return mismatch("parameter tensors", tensor + 1, self.tensors.len());
        };
        if gradients.ncols() != part.len {
            return mismatch("values of a gradient", part.len, gradients.ncols());
        }
        if features.dim() != (gradients.nrows(), self.dimension) {
            return mismatch("numbers of features", gradients.nrows() * self.dimension, features.len());
        }
        if self.identity {
            for (mut features, gradients) in features.rows_mut().into_iter().zip(gradients.rows()) {
                for (feature, &gradient) in features.iter_mut().skip(part.offset).zip(gradients) {
                    *feature += f64::from(gradient);
                }
            }
            return Ok(());
        }
        let columns: Vec<usize> = (0..self.dimension.div_ceil(COLUMNS)).collect();
        let products: Vec<Array2<f64>> =
            columns.into_par_iter().map(|column| self.product(part, gradients, column)).collect();
        let scale = 1.0 / (self.dimension as f64).sqrt();
        for (column, product) in products.iter().enumerate() {
            for ((image, k), value) in product.indexed_iter() {
                if let Some(feature) = features.get_mut((image, column * COLUMNS + k)) {
                    *feature += value * scale;
                }
            }
        }
        Ok(())
    }

    /// The product with a tensor's part of columns `column` * 64.., `[images, 64]`.
    fn product(&self, part: &ProjectedTensor, gradients: ArrayView2<'_, f32>, column: usize) -> Array2<f64> {
        let images = gradients.nrows();
        let mut total = Array2::<f64>::zeros((images, COLUMNS));
        let mut sum = Array2::<f32>::zeros((images, COLUMNS));
        let mut block = Array2::<f32>::zeros((ROWS.min(part.len), COLUMNS));
        for (b, start) in (0..part.len).step_by(ROWS).enumerate() {
            let rows = ROWS.min(part.len - start);
            let mut rng = part.streams.rng("block", (column as u64) << 32 | b as u64);
            let mut block = block.slice_mut(ndarray::s![..rows, ..]);
            if let Some(entries) = block.as_slice_mut() {
                fill(self.kind, &mut rng, entries);
            }
            let gradients = gradients.slice(ndarray::s![.., start..start + rows]);
            general_mat_mul(1.0, &gradients, &block, 0.0, &mut sum);
            total.zip_mut_with(&sum, |total, &value| *total += f64::from(value));
        }
        total
    }
}

/// Entries row by row, a multiple of 64 of them.
fn fill(kind: ProjectionKind, rng: &mut ChaCha12Rng, entries: &mut [f32]) {
    match kind {
        ProjectionKind::Rademacher => {
            let mut words = vec![0u8; entries.len() / 8];
            rng.fill_bytes(&mut words);
            for (row, word) in entries.chunks_exact_mut(8).zip(words) {
                for (k, entry) in row.iter_mut().enumerate() {
                    let sign = u32::from(word >> k & 1) << 31;
                    *entry = f32::from_bits(1f32.to_bits() | sign);
                }
            }
        }
        ProjectionKind::Normal => {
            let numbers = standard_normal(rng, entries.len());
            entries.copy_from_slice(&numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENS: [(&str, usize); 3] = [("a.weight", 700), ("a.bias", 3), ("b.weight", 257)];

    fn rows(images: usize) -> Array2<f32> {
        let numbers = standard_normal(&mut Streams::new(1).rng("gradients", 0), images * 960);
        Array2::from_shape_vec((images, 960), numbers).unwrap()
    }

    fn features(kind: ProjectionKind, dimension: usize, seed: u64, rows: &Array2<f32>) -> Array2<f64> {
        let projection = Projection::new(kind, dimension, LENS, &Streams::new(seed)).unwrap();
        let mut features = Array2::zeros((rows.nrows(), projection.dimension()));
        let mut start = 0;
        for (tensor, (_, len)) in LENS.iter().enumerate() {
            projection
                .add(tensor, rows.slice(ndarray::s![.., start..start + len]), &mut features.view_mut())
                .unwrap();
            start += len;
        }
        features
    }

    /// The matrix itself, by projecting the unit vectors.
    fn matrix(kind: ProjectionKind, dimension: usize, seed: u64) -> Array2<f64> {
        features(kind, dimension, seed, &Array2::eye(960)) * (dimension as f64).sqrt()
    }

    #[test]
    fn is_the_product_with_one_fixed_matrix_of_unit_variance() {
        for kind in [ProjectionKind::Rademacher, ProjectionKind::Normal] {
            let whole = matrix(kind, 100, 7);
            let rows = rows(5);
            let expected = rows.mapv(f64::from).dot(&whole) / 10.0;
            for (found, expected) in features(kind, 100, 7, &rows).iter().zip(&expected) {
                // Sums of 256 products in 32 bits.
                assert!((found - expected).abs() < 2e-5, "{found} {expected}");
            }
            let n = whole.len() as f64;
            let (mean, square) = (whole.sum() / n, whole.mapv(|x| x * x).sum() / n);
            assert!(mean.abs() < 4.0 / n.sqrt(), "{mean}");
            let spread = if kind == ProjectionKind::Normal { 4.0 * (2.0 / n).sqrt() } else { 1e-9 };
            assert!((square - 1.0).abs() < spread, "{square}");
            if kind == ProjectionKind::Rademacher {
                assert!(whole.iter().all(|x| (x.abs() - 1.0).abs() < 1e-9));
            }
            // Neither rows nor columns are related: every pair's product is within five standard errors of 0.
            let gram = whole.t().dot(&whole) / 960.0;
            let largest =
                gram.indexed_iter().filter(|((i, j), _)| i < j).map(|(_, x)| x.abs()).fold(0.0, f64::max);
            assert!(largest < 5.0 / 960f64.sqrt(), "{largest}");
            // A column is the same whatever the dimension.
            let narrow = matrix(kind, 70, 7);
            assert!((&narrow - &whole.slice(ndarray::s![.., ..70])).iter().all(|x| x.abs() < 1e-9));
        }
    }

    #[test]
    fn inner_products_are_unbiased() {
        let rows = rows(2);
        let wide = rows.mapv(f64::from);
        let (inner, norms) =
            (wide.row(0).dot(&wide.row(1)), wide.row(0).dot(&wide.row(0)) * wide.row(1).dot(&wide.row(1)));
        for kind in [ProjectionKind::Rademacher, ProjectionKind::Normal] {
            let (d, seeds) = (64, 200);
            let mean: f64 = (0..seeds)
                .map(|seed| {
                    let features = features(kind, d, seed, &rows);
                    features.row(0).dot(&features.row(1))
                })
                .sum::<f64>()
                / seeds as f64;
            // Var <= (|g|^2 |h|^2 + (g'h)^2) / d for one matrix of normals, less for signs.
            let error = ((norms + inner * inner) / (d as f64 * seeds as f64)).sqrt();
            assert!((mean - inner).abs() < 4.0 * error, "{mean} {inner} {error}");
        }
    }

    #[test]
    fn as_many_dimensions_as_parameters_leave_gradients_as_they_are() {
        let rows = rows(3);
        for dimension in [960, 5000] {
            let projection =
                Projection::new(ProjectionKind::Normal, dimension, LENS, &Streams::new(0)).unwrap();
            assert!(projection.is_identity() && projection.dimension() == 960);
            assert_eq!(features(ProjectionKind::Normal, dimension, 0, &rows), rows.mapv(f64::from));
        }
        assert!(!Projection::new(ProjectionKind::Normal, 959, LENS, &Streams::new(0)).unwrap().is_identity());
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let rows = rows(3);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| features(ProjectionKind::Rademacher, 300, 2, &rows))
        };
        assert_eq!(with(1), with(5));
    }

    #[test]
    fn entries_are_golden() {
        // The first columns of the first rows: a study's scores must not change with a library.
        let signs = matrix(ProjectionKind::Rademacher, 64, 42);
        let first: Vec<i8> = signs.row(0).iter().take(12).map(|&x| x.round() as i8).collect();
        assert_eq!(first, GOLDEN_SIGNS);
        let word = Streams::new(42).child("projection of a.weight", 0).rng("block", 0).next_u64();
        let documented: Vec<i8> = (0..12).map(|k| if word >> k & 1 == 1 { -1 } else { 1 }).collect();
        assert_eq!(first, documented);
    }

    const GOLDEN_SIGNS: [i8; 12] = [1, 1, 1, 1, -1, -1, -1, 1, -1, 1, 1, 1];

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let streams = Streams::new(0);
        let none: [(&str, usize); 0] = [];
        assert!(Projection::new(ProjectionKind::Normal, 0, LENS, &streams).is_err());
        assert!(Projection::new(ProjectionKind::Normal, 8, none, &streams).is_err());
        let projection = Projection::new(ProjectionKind::Normal, 8, LENS, &streams).unwrap();
        let rows = Array2::<f32>::zeros((2, 700));
        assert!(projection.add(1, rows.view(), &mut Array2::zeros((2, 8)).view_mut()).is_err());
        assert!(projection.add(0, rows.view(), &mut Array2::zeros((2, 9)).view_mut()).is_err());
        assert!(projection.add(3, rows.view(), &mut Array2::zeros((2, 8)).view_mut()).is_err());
    }
}
