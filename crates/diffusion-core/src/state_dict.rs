//! Named arrays of 32-bit floats, and their safetensors files.
//!
//! A [`StateDict`] is what PyTorch calls a state dict: the parameters of a network by name. It knows nothing of
//! devices or modules, so that a model can be read, pruned, averaged, hashed and written without a tensor framework.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};

use crate::DiffusionError;
use crate::atomic_file::write_atomically;

/// A row-major array of 32-bit floats.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorF32 {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl TensorF32 {
    /// An array of `shape` that holds `data` in row-major order.
    ///
    /// # Errors
    /// [`DiffusionError::TensorSize`] if the number of values is not the product of the shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self, DiffusionError> {
        let shape = shape.into();
        let expected = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
        if expected != data.len() {
            return Err(DiffusionError::TensorSize { shape, expected, actual: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// An array of `shape` filled with `value`.
    pub fn filled(shape: impl Into<Vec<usize>>, value: f32) -> Self {
        let shape = shape.into();
        let data = vec![value; shape.iter().product()];
        Self { shape, data }
    }

    /// The lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values in row-major order, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Shape and values, by move.
    pub fn into_parts(self) -> (Vec<usize>, Vec<f32>) {
        (self.shape, self.data)
    }

    /// The array with only the given indices along `axis`, in the given order (`torch.index_select`).
    ///
    /// # Errors
    /// [`DiffusionError::Selection`] if the axis does not exist or an index is beyond it.
    pub fn select(&self, axis: usize, indices: &[usize]) -> Result<Self, DiffusionError> {
        let length = self.shape.get(axis).copied().unwrap_or(0);
        if axis >= self.shape.len() || indices.iter().any(|&i| i >= length) {
            let index = indices.iter().copied().find(|&i| i >= length).unwrap_or(0);
            return Err(DiffusionError::Selection { axis, index, shape: self.shape.clone() });
        }
        let outer: usize = self.shape[..axis].iter().product();
        let inner: usize = self.shape[axis + 1..].iter().product();
        let mut data = Vec::with_capacity(outer * indices.len() * inner);
        for block in 0..outer {
            for &index in indices {
                let start = (block * length + index) * inner;
                data.extend_from_slice(&self.data[start..start + inner]);
            }
        }
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        Ok(Self { shape, data })
    }
}

/// The parameters of a network by name, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateDict(BTreeMap<String, TensorF32>);

impl StateDict {
    /// A state dict without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a tensor; gives back the one that had this name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: TensorF32) -> Option<TensorF32> {
        self.0.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<TensorF32> {
        self.0.remove(name)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`].
    pub fn get(&self, name: &str) -> Result<&TensorF32, DiffusionError> {
        self.0.get(name).ok_or_else(|| DiffusionError::MissingTensor { tensor: name.to_owned() })
    }

    /// The tensor of this name, to be changed in place.
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`].
    pub fn get_mut(&mut self, name: &str) -> Result<&mut TensorF32, DiffusionError> {
        self.0.get_mut(name).ok_or_else(|| DiffusionError::MissingTensor { tensor: name.to_owned() })
    }

    /// The tensor of this name, which must have this shape.
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`] or [`DiffusionError::ShapeMismatch`].
    pub fn get_shaped(&self, name: &str, shape: &[usize]) -> Result<&TensorF32, DiffusionError> {
        let tensor = self.get(name)?;
        if tensor.shape() != shape {
            return Err(DiffusionError::ShapeMismatch {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                actual: tensor.shape().to_vec(),
            });
        }
        Ok(tensor)
    }

    /// The tensors in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorF32)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The tensors in the order of their names, to be changed in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut TensorF32)> {
        self.0.iter_mut().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of values in all tensors together.
    pub fn parameter_count(&self) -> usize {
        self.0.values().map(TensorF32::len).sum()
    }

    /// Checks that the tensors are exactly those of `shapes`, by name and shape.
    ///
    /// # Errors
    /// [`DiffusionError::MissingTensor`], [`DiffusionError::ShapeMismatch`] or [`DiffusionError::UnexpectedTensor`]
    /// for the first name, in sorted order, that does not fit.
    pub fn check_shapes(&self, shapes: &BTreeMap<String, Vec<usize>>) -> Result<(), DiffusionError> {
        for (name, shape) in shapes {
            self.get_shaped(name, shape)?;
        }
        match self.names().find(|name| !shapes.contains_key(*name)) {
            Some(name) => Err(DiffusionError::UnexpectedTensor { tensor: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// SHA-256 over names, shapes and values, in lower-case hexadecimal.
    ///
    /// For each tensor in the order of the names: the name's length and bytes, the number of axes and their lengths
    /// (all lengths as 64-bit little-endian), then the values as 32-bit little-endian floats. The digest depends on
    /// nothing else: not on the file, its header or its number type.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (name, tensor) in &self.0 {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update((tensor.shape.len() as u64).to_le_bytes());
            for &length in &tensor.shape {
                hash.update((length as u64).to_le_bytes());
            }
            hash.update(little_endian(&tensor.data));
        }
        hex(&hash.finalize())
    }

    /// Reads a safetensors file; F16, BF16 and F64 values become 32-bit floats.
    ///
    /// # Errors
    /// [`DiffusionError::Io`] if the file cannot be read, [`DiffusionError::NotSafetensors`] if it is cut short,
    /// foreign or its header contradicts its content, [`DiffusionError::UnsupportedDtype`] for other number types.
    pub fn read(path: &Path) -> Result<Self, DiffusionError> {
        let bytes = fs::read(path).map_err(DiffusionError::io("read", path))?;
        Self::from_safetensors(&bytes, &path.display().to_string())
    }

    /// Decodes the bytes of a safetensors file; `origin` names them in errors.
    ///
    /// # Errors
    /// As [`StateDict::read`], without the input/output ones.
    pub fn from_safetensors(bytes: &[u8], origin: &str) -> Result<Self, DiffusionError> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| DiffusionError::NotSafetensors {
            origin: origin.to_owned(),
            reason: error.to_string(),
        })?;
        let mut dict = Self::new();
        for (name, view) in file.iter() {
            let data = decode(&view).ok_or_else(|| DiffusionError::UnsupportedDtype {
                origin: origin.to_owned(),
                tensor: name.to_owned(),
                dtype: view.dtype().to_string(),
            })?;
            dict.insert(name, TensorF32::new(view.shape(), data)?);
        }
        Ok(dict)
    }

    /// Reads a state dict that `torch.save` wrote, without running what the file says; F16, BF16 and F64 values become 32-bit
    /// floats, and whole numbers, which are counters, are left out.
    ///
    /// # Errors
    /// [`DiffusionError::Io`] if the file cannot be read, [`DiffusionError::NotTorch`] if it is cut short, foreign, or holds
    /// more than tensors.
    pub fn read_torch(path: &Path) -> Result<Self, DiffusionError> {
        let bytes = fs::read(path).map_err(DiffusionError::io("read", path))?;
        let tensors = pickle::torch_file(&bytes)
            .map_err(|error| DiffusionError::NotTorch { path: path.to_owned(), reason: error.reason })?;
        tensors.into_iter().map(|(name, t)| Ok((name, TensorF32::new(t.shape, t.values)?))).collect()
    }

    /// The bytes of a safetensors file with all tensors as F32; equal state dicts give equal bytes.
    ///
    /// # Errors
    /// [`DiffusionError::NotSafetensors`] if the names alone exceed the format's limit of 100 MB.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, DiffusionError> {
        let refused = |error: safetensors::SafeTensorError| DiffusionError::NotSafetensors {
            origin: "the state dict to be written".to_owned(),
            reason: error.to_string(),
        };
        let encoded: Vec<Vec<u8>> = self.0.values().map(|tensor| little_endian(&tensor.data)).collect();
        let mut views = Vec::with_capacity(encoded.len());
        for ((name, tensor), bytes) in self.0.iter().zip(&encoded) {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(refused)?;
            views.push((name.as_str(), view));
        }
        // The key that PyTorch's own writer sets; some readers insist on it.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).map_err(refused)
    }

    /// Writes a safetensors file, all tensors as F32; the file appears whole or not at all.
    ///
    /// # Errors
    /// [`DiffusionError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), DiffusionError> {
        write_atomically(path, &self.to_safetensors()?)
    }
}

impl FromIterator<(String, TensorF32)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, TensorF32)>>(tensors: I) -> Self {
        Self(tensors.into_iter().collect())
    }
}

impl IntoIterator for StateDict {
    type Item = (String, TensorF32);
    type IntoIter = std::collections::btree_map::IntoIter<String, TensorF32>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The values of a tensor as 32-bit floats; `None` for number types that are not read.
fn decode(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = view.data();
    let values = match view.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        _ => return None,
    };
    Some(values)
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> StateDict {
        let weight = TensorF32::new([2, 3], vec![1.0, -2.5, 3.0, 0.0, 1e-30, f32::MAX]).unwrap();
        let bias = TensorF32::new([2], vec![0.25, -0.0]).unwrap();
        [("conv.weight".to_owned(), weight), ("conv.bias".to_owned(), bias)].into_iter().collect()
    }

    /// A safetensors file of one tensor, with a header under the test's control.
    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn file_round_trip_is_exact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        example().write(&path).unwrap();
        let read = StateDict::read(&path).unwrap();
        assert_eq!(read, example());
        assert_eq!(read.sha256(), example().sha256());
        assert_eq!(fs::read(&path).unwrap(), read.to_safetensors().unwrap());
    }

    #[test]
    fn half_precision_becomes_single() {
        let header = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]}}"#;
        // 0x3C00 = 1.0 and 0xC100 = -2.5 as binary16; 0x3FC0 = 1.5 as bfloat16.
        let dict =
            StateDict::from_safetensors(&file(header, &[0x00, 0x3C, 0x00, 0xC1, 0xC0, 0x3F]), "x").unwrap();
        assert_eq!(dict.get("a").unwrap().data(), [1.0, -2.5]);
        assert_eq!(dict.get("b").unwrap().data(), [1.5]);
    }

    #[test]
    fn truncation_anywhere_is_an_error_that_names_the_file() {
        let whole = example().to_safetensors().unwrap();
        for length in 0..whole.len() {
            let error = StateDict::from_safetensors(&whole[..length], "model.safetensors").unwrap_err();
            assert!(matches!(&error, DiffusionError::NotSafetensors { .. }), "{length}: {error}");
            assert!(
                error.to_string().starts_with("model.safetensors is not a whole safetensors file"),
                "{error}"
            );
        }
        let mut longer = whole;
        longer.push(0);
        assert!(StateDict::from_safetensors(&longer, "x").is_err());
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let lies = [
            // More data than there is.
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#,
            // A shape that the offsets do not fit.
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
            // A product that overflows.
            r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,8]}}"#,
            // A hole before the first tensor, and a backward range.
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#,
            // Not JSON of this kind.
            r#"["a"]"#,
            "PNG",
        ];
        for lie in lies {
            let error = StateDict::from_safetensors(&file(lie, &[0; 8]), "x").unwrap_err();
            assert!(matches!(error, DiffusionError::NotSafetensors { .. }), "{lie}: {error}");
        }
        // A header length of 2^63, and one larger than the file.
        for length in [1u64 << 63, 1000] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend([b'{'; 20]);
            assert!(StateDict::from_safetensors(&bytes, "x").is_err());
        }
        let foreign = StateDict::from_safetensors(b"\x89PNG\r\n\x1a\n0123456789", "cat.png").unwrap_err();
        assert!(foreign.to_string().contains("cat.png"));
    }

    #[test]
    fn other_number_types_are_refused_by_name() {
        let header = r#"{"steps":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
        let error = StateDict::from_safetensors(&file(header, &[0; 8]), "m").unwrap_err().to_string();
        assert!(error.contains("`steps`") && error.contains("I64"), "{error}");
    }

    #[test]
    fn missing_and_misshapen_tensors_are_named() {
        let dict = example();
        assert!(dict.get("conv.scale").unwrap_err().to_string().contains("`conv.scale`"));
        let error = dict.get_shaped("conv.weight", &[3, 2]).unwrap_err().to_string();
        assert!(
            error.contains("`conv.weight`") && error.contains("[2, 3]") && error.contains("[3, 2]"),
            "{error}"
        );

        let mut shapes =
            BTreeMap::from([("conv.weight".to_owned(), vec![2, 3]), ("conv.bias".to_owned(), vec![2])]);
        dict.check_shapes(&shapes).unwrap();
        shapes.remove("conv.bias");
        assert!(dict.check_shapes(&shapes).unwrap_err().to_string().contains("`conv.bias`"));
    }

    #[test]
    fn hash_sees_names_shapes_and_values() {
        let base = example().sha256();
        let mut renamed = example();
        let weight = renamed.remove("conv.weight").unwrap();
        renamed.insert("conv.weights", weight.clone());
        let mut reshaped = example();
        reshaped.insert("conv.weight", TensorF32::new([3, 2], weight.data().to_vec()).unwrap());
        let mut changed = example();
        changed.get_mut("conv.bias").unwrap().data_mut()[1] = 0.0;
        for other in [renamed, reshaped, changed] {
            assert_ne!(other.sha256(), base);
        }
    }

    #[test]
    fn selection_along_each_axis() {
        let tensor = TensorF32::new([2, 3, 2], (0u8..12).map(f32::from).collect()).unwrap();
        assert_eq!(tensor.select(0, &[1]).unwrap().data(), [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        let middle = tensor.select(1, &[2, 0]).unwrap();
        assert_eq!(middle.shape(), [2, 2, 2]);
        assert_eq!(middle.data(), [4.0, 5.0, 0.0, 1.0, 10.0, 11.0, 6.0, 7.0]);
        assert_eq!(tensor.select(2, &[1]).unwrap().data(), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
        assert!(tensor.select(1, &[3]).is_err());
        assert!(tensor.select(3, &[0]).is_err());
        assert!(TensorF32::new([2, 2], vec![0.0; 3]).is_err());
    }
}
