//! The aesthetic score: a linear map of CLIP's normalised image features, fitted to people's ratings.
//!
//! Read are the two forms in which LAION published such heads: one map (`weight`, `bias`), and a chain of maps without anything
//! between them (`layers.0.weight`, `layers.0.bias`, `layers.2.weight`, ...), which is linear, too.

use std::path::Path;

use ndarray::{Array1, Array2, ArrayView2};

use super::weights::Weights;
use crate::BehaviorError;

const TITLE: &str = "an aesthetic head";
const REMEDY: &str = "name the file of the linear head with `measures.aesthetic_head`";

/// A linear map from CLIP's features to a score.
#[derive(Debug)]
pub struct AestheticHead {
    weight: Array1<f64>,
    bias: f64,
    sha256: String,
}

impl AestheticHead {
    /// Reads a head from a safetensors file or a file of `torch.save`.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no chain of maps to one number.
    pub fn load(path: &Path) -> Result<Self, BehaviorError> {
        let mut weights = Weights::read(TITLE, path, REMEDY)?;
        let mut maps: Vec<(usize, String)> = weights
            .keys()
            .filter_map(|key| {
                let name = key.strip_suffix("weight")?;
                let number = name.trim_end_matches('.').rsplit('.').next()?.parse().unwrap_or(0);
                Some((number, name.to_owned()))
            })
            .collect();
        maps.sort_unstable();
        // From the last map to the first: the score is row . x + bias for the features x that enter the map.
        let mut row = Array2::from_elem((1, 1), 1.0);
        let mut bias = 0.0;
        for (_, name) in maps.iter().rev() {
            let key = format!("{name}weight");
            let [outputs, inputs] = weights.shape::<2>(&key)?;
            if outputs != row.ncols() {
                let problem =
                    format!("has {outputs} outputs: the next map, or the score, takes {}", row.ncols());
                return Err(weights.foreign(&key, problem));
            }
            let values = weights.take(&key, &[outputs, inputs])?.data.into_iter().map(f64::from).collect();
            let shift = weights.take(&format!("{name}bias"), &[outputs])?.data;
            bias += row.row(0).iter().zip(&shift).map(|(r, &b)| r * f64::from(b)).sum::<f64>();
            let map = Array2::from_shape_vec((outputs, inputs), values).map_err(|error| {
                BehaviorError::Device { what: "the aesthetic head", reason: error.to_string() }
            })?;
            row = row.dot(&map);
        }
        if maps.is_empty() {
            return Err(weights.foreign("weight", "is missing".to_owned()));
        }
        Ok(Self { weight: row.row(0).to_owned(), bias, sha256: weights.finish()? })
    }

    /// The SHA-256 of the file, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The score of each row of CLIP's `features` `[N, embedding]`.
    ///
    /// # Errors
    /// Another number of features than the head was fitted to, or features that are all zero.
    pub fn scores(&self, features: ArrayView2<f32>) -> Result<Vec<f64>, BehaviorError> {
        if features.ncols() != self.weight.len() {
            return Err(BehaviorError::Mismatch {
                what: "number of CLIP's features for the aesthetic head",
                expected: self.weight.len(),
                found: features.ncols(),
                remedy: "take the head that was fitted to this CLIP model (most were to ViT-L/14, with 768)",
            });
        }
        features
            .rows()
            .into_iter()
            .enumerate()
            .map(|(image, row)| {
                let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                if norm == 0.0 {
                    return Err(BehaviorError::ZeroFeatures { what: "sample", image });
                }
                let product: f64 = row.iter().zip(&self.weight).map(|(&x, w)| f64::from(x) * w).sum();
                Ok(product / norm + self.bias)
            })
            .collect()
    }
}
