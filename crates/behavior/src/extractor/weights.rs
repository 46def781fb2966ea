use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::BehaviorError;

/// One tensor in float32.
#[derive(Debug)]
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// The tensors of a weights file, taken out one by one by the network that is being built.
#[derive(Debug)]
pub(super) struct Weights {
    network: &'static str,
    path: PathBuf,
    tensors: BTreeMap<String, Array>,
    sha256: String,
}

impl Weights {
    /// Reads `path` whole; float16 and bfloat16 are widened to float32.
    ///
    /// # Errors
    /// A file that cannot be read, that is no whole safetensors file, or whose tensors are of another type or hold a NaN
    /// or an infinity.
    pub fn read(network: &'static str, path: &Path) -> Result<Self, BehaviorError> {
        let path = path.to_path_buf();
        let bytes = std::fs::read(&path).map_err(|source| BehaviorError::WeightsUnreadable {
            network,
            path: path.clone(),
            source,
        })?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| BehaviorError::WeightsDamaged {
            network,
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let foreign = |key: &str, problem: String| BehaviorError::WeightsForeign {
            network,
            path: path.clone(),
            key: key.to_string(),
            problem,
        };
        let mut tensors = BTreeMap::new();
        for (key, view) in file.iter() {
            let halves = || view.data().as_chunks::<2>().0.iter();
            let data: Vec<f32> = match view.dtype() {
                Dtype::F16 => halves().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
                Dtype::BF16 => halves().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
                Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
                other => return Err(foreign(key, format!("is {other:?}: it must be F16, BF16 or F32"))),
            };
            if let Some(value) = data.iter().find(|value| !value.is_finite()) {
                return Err(foreign(key, format!("holds {value}: every weight must be finite")));
            }
            tensors.insert(key.to_string(), Array { shape: view.shape().to_vec(), data });
        }
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { network, path, tensors, sha256 })
    }

    /// Takes the tensor `key`, which must have `shape`.
    pub fn take(&mut self, key: &str, shape: &[usize]) -> Result<Array, BehaviorError> {
        let array = self.tensors.remove(key).ok_or_else(|| self.foreign(key, "is missing".to_string()))?;
        if array.shape != shape {
            return Err(self.foreign(key, format!("has shape {:?}: it must be {shape:?}", array.shape)));
        }
        Ok(array)
    }

    /// Checks that every tensor was taken, and gives the file's SHA-256 in hexadecimal digits.
    pub fn finish(self) -> Result<String, BehaviorError> {
        match self.tensors.keys().next() {
            Some(key) => Err(self.foreign(key, "is not part of this network".to_string())),
            None => Ok(self.sha256),
        }
    }

    fn foreign(&self, key: &str, problem: String) -> BehaviorError {
        BehaviorError::WeightsForeign {
            network: self.network,
            path: self.path.clone(),
            key: key.to_string(),
            problem,
        }
    }
}
