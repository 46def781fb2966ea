use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::BehaviorError;

/// What to do about a weights file that ships with the project.
pub(super) const SHIPPED: &str = "the file ships in `datasets/weights`";

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
    /// Reads `path` whole: a safetensors file, or a state dict as `torch.save` writes it. Floats of other widths become
    /// float32; whole numbers, which are counters, are left out.
    ///
    /// # Errors
    /// A file that cannot be read, that is neither, or whose tensors hold a NaN or an infinity. `remedy` says where to get
    /// the file.
    pub fn read(network: &'static str, path: &Path, remedy: &'static str) -> Result<Self, BehaviorError> {
        let path = path.to_path_buf();
        let bytes = std::fs::read(&path).map_err(|source| BehaviorError::WeightsUnreadable {
            network,
            path: path.clone(),
            source,
            remedy,
        })?;
        let damaged = |kind, reason: String| BehaviorError::WeightsDamaged {
            network,
            path: path.clone(),
            kind,
            reason,
            remedy,
        };
        let foreign = |key: &str, problem: String| BehaviorError::WeightsForeign {
            network,
            path: path.clone(),
            key: key.to_string(),
            problem,
        };
        let mut tensors = BTreeMap::new();
        let found = if is_torch_file(&bytes) {
            let file = pickle::torch_file(&bytes).map_err(|error| damaged("PyTorch", error.to_string()))?;
            file.into_iter().map(|(key, tensor)| (key, tensor.shape, tensor.values)).collect()
        } else {
            safetensors(&bytes).map_err(|reason| damaged("safetensors", reason))?
        };
        for (key, shape, data) in found {
            if let Some(value) = data.iter().find(|value| !value.is_finite()) {
                return Err(foreign(&key, format!("holds {value}: every weight must be finite")));
            }
            tensors.insert(key, Array { shape, data });
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

    /// Whether there is a tensor `key`.
    pub fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// The shape of the tensor `key`, which must have as many axes as asked for.
    pub fn shape<const D: usize>(&self, key: &str) -> Result<[usize; D], BehaviorError> {
        let array = self.tensors.get(key).ok_or_else(|| self.foreign(key, "is missing".to_string()))?;
        array
            .shape
            .as_slice()
            .try_into()
            .map_err(|_| self.foreign(key, format!("has shape {:?}: it must have {D} axes", array.shape)))
    }

    /// Leaves out tensors that belong to other parts of a larger model.
    pub fn ignore(&mut self, other: impl Fn(&str) -> bool) {
        self.tensors.retain(|key, _| !other(key));
    }

    /// The tensors that were not taken, by key.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Checks that every tensor was taken, and gives the file's SHA-256 in hexadecimal digits.
    pub fn finish(self) -> Result<String, BehaviorError> {
        match self.tensors.keys().next() {
            Some(key) => Err(self.foreign(key, "is not part of this network".to_string())),
            None => Ok(self.sha256),
        }
    }

    pub fn foreign(&self, key: &str, problem: String) -> BehaviorError {
        BehaviorError::WeightsForeign {
            network: self.network,
            path: self.path.clone(),
            key: key.to_string(),
            problem,
        }
    }
}

/// Whether a file begins as those of `torch.save` do: as a zip archive, or as a pickle of protocol 2.
fn is_torch_file(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80, 2])
}

type Found = Vec<(String, Vec<usize>, Vec<f32>)>;

fn safetensors(bytes: &[u8]) -> Result<Found, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for (key, view) in file.iter() {
        let data = view.data();
        let halves = || data.as_chunks::<2>().0.iter();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F16 => halves().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => halves().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            Dtype::I64 | Dtype::I32 | Dtype::U8 | Dtype::BOOL => continue,
            other => return Err(format!("tensor `{key}` is {other:?}, which is not read")),
        };
        found.push((key.to_string(), view.shape().to_vec(), values));
    }
    Ok(found)
}
