//! What is measured on samples: each file one measure, arithmetic in float64.

pub mod cluster_entropy;
pub mod command;
mod command_output;
pub mod density_coverage;
pub mod frechet_distance;
pub mod held_out_loss;
pub mod image_similarity;
pub mod inception_score;
pub mod label_entropy;
pub mod percentile;
pub mod pixel_properties;
pub mod precision_recall;
mod symmetric;

use ndarray::{Array2, ArrayView2};

use crate::BehaviorError;

/// `rows` in float64.
///
/// # Errors
/// Fewer than `needed` rows, and a NaN or an infinity.
fn checked_rows(
    measure: &'static str,
    what: &'static str,
    rows: ArrayView2<f32>,
    needed: usize,
) -> Result<Array2<f64>, BehaviorError> {
    if rows.nrows() < needed {
        return Err(BehaviorError::TooFewSamples { measure, what, needed, found: rows.nrows() });
    }
    if let Some(((image, _), value)) = rows.indexed_iter().find(|(_, value)| !value.is_finite()) {
        return Err(BehaviorError::NotFinite { what, image, value: f64::from(*value) });
    }
    Ok(rows.mapv(f64::from))
}

/// `-sum p log2 p`, of shares that add up to 1.
fn entropy_bits(shares: &[f64]) -> f64 {
    shares.iter().filter(|&&p| p > 0.0).map(|p| p * (1.0 / p).log2()).sum()
}

/// Checks that samples have as many features as the reference.
fn check_width(expected: usize, found: usize) -> Result<(), BehaviorError> {
    if expected == found {
        return Ok(());
    }
    Err(BehaviorError::Mismatch {
        what: "number of features of the samples and of the reference",
        expected,
        found,
        remedy: "extract both with the same network",
    })
}

#[cfg(test)]
mod fixture {
    use ndarray::Array2;
    use safetensors::SafeTensors;
    use safetensors::tensor::TensorView;

    /// The arrays of `tests/fixtures/measures.safetensors`, computed by NumPy, SciPy and scikit-learn.
    pub struct Fixture(SafeTensors<'static>);

    pub fn open() -> Fixture {
        let bytes = include_bytes!("../../tests/fixtures/measures.safetensors");
        Fixture(SafeTensors::deserialize(bytes).unwrap())
    }

    impl Fixture {
        fn get(&self, key: &str) -> TensorView<'_> {
            self.0.tensor(key).unwrap()
        }

        pub fn rows(&self, key: &str) -> Array2<f32> {
            let view = self.get(key);
            let [rows, columns] = view.shape().try_into().unwrap();
            let data = view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            Array2::from_shape_vec((rows, columns), data).unwrap()
        }

        pub fn value(&self, key: &str) -> f64 {
            f64::from_le_bytes(self.get(key).data().try_into().unwrap())
        }

        pub fn integers(&self, key: &str) -> Vec<usize> {
            let chunks = self.get(key).data().as_chunks::<8>().0.to_vec();
            chunks.into_iter().map(|b| i64::from_le_bytes(b) as usize).collect()
        }

        pub fn images(&self) -> (Vec<u8>, [usize; 4]) {
            let view = self.get("images");
            (view.data().to_vec(), view.shape().try_into().unwrap())
        }
    }
}
