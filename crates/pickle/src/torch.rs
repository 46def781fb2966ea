//! State dicts in the files of `torch.save`: a zip archive since PyTorch 1.6, a row of pickles before.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::PickleError;
use crate::machine::{Pickle, TensorView};
use crate::zip;

/// What the first pickle of a file before PyTorch 1.6 holds: 10 bytes, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// A tensor as 32-bit floats.
#[derive(Debug, Clone, PartialEq)]
pub struct TorchTensor {
    /// The lengths of the axes.
    pub shape: Vec<usize>,
    /// The values in row-major order.
    pub values: Vec<f32>,
}

/// The tensors of floating point numbers of a state dict that `torch.save` wrote, by name; half and double precision become
/// 32-bit floats, whole numbers (counters) are left out. A state dict under the key `state_dict` of a larger dictionary is found.
///
/// # Errors
/// Bytes that are no such file, that would run code, or whose tensors do not lie in their storages.
pub fn torch_file(bytes: &[u8]) -> Result<BTreeMap<String, TorchTensor>, PickleError> {
    if bytes.starts_with(b"PK\x03\x04") { from_zip(bytes) } else { from_row_of_pickles(bytes) }
}

fn from_zip(bytes: &[u8]) -> Result<BTreeMap<String, TorchTensor>, PickleError> {
    let entries = zip::entries(bytes)?;
    let (pickle, folder) = entries
        .iter()
        .find_map(|(name, range)| Some((range.clone(), name.strip_suffix("data.pkl")?.to_owned())))
        .ok_or("it is a zip archive, but not one of PyTorch: it has no data.pkl")?;
    if entries.contains_key(&format!("{folder}constants.pkl")) {
        return Err("it is a TorchScript archive, which holds a program: save the model's state_dict() with torch.save \
                    instead"
            .into());
    }
    let order = entries.get(&format!("{folder}byteorder")).cloned().flatten();
    if order.is_some_and(|range| bytes[range].starts_with(b"big")) {
        return Err("its numbers are big-endian, which is not read".into());
    }
    let pickle = pickle.ok_or("its data.pkl is compressed, which PyTorch's never are")?;
    let pickle = Pickle::parse(&bytes[pickle])?;
    tensors(bytes, &pickle, |key| entries.get(&format!("{folder}data/{key}")).cloned().flatten())
}

fn from_row_of_pickles(bytes: &[u8]) -> Result<BTreeMap<String, TorchTensor>, PickleError> {
    let mut at = 0;
    let mut next = || {
        let pickle = Pickle::parse(&bytes[at..])?;
        at += pickle.length();
        Ok::<_, PickleError>((pickle, at))
    };
    let (magic, end) = next()?;
    if !bytes[..end].windows(MAGIC.len()).any(|window| window == MAGIC) {
        return Err("it is no file of torch.save".into());
    }
    drop(magic);
    // The protocol's version, and the sizes of C's types where it was written.
    next()?;
    next()?;
    let (object, _) = next()?;
    let (keys, mut at) = next()?;
    let sizes: BTreeMap<String, usize> =
        object.storages().into_iter().map(|(key, kind)| (key, kind.size())).collect();
    let mut places: BTreeMap<String, Range<usize>> = BTreeMap::new();
    for key in keys.texts().ok_or("it does not list its storages")? {
        let size = *sizes.get(&key).ok_or_else(|| format!("nothing uses its storage {key}"))?;
        let count = bytes.get(at..at + 8).ok_or("it ends within its storages: it was cut short")?;
        let count = u64::from_le_bytes(count.try_into().map_err(|_| "a count has 8 bytes")?);
        let start = at + 8;
        let end = usize::try_from(count).ok().and_then(|count| count.checked_mul(size)?.checked_add(start));
        let end =
            end.filter(|&end| end <= bytes.len()).ok_or("it ends within its storages: it was cut short")?;
        places.insert(key, start..end);
        at = end;
    }
    tensors(bytes, &object, |key| places.get(key).cloned())
}

fn tensors(
    bytes: &[u8],
    pickle: &Pickle<'_>,
    place: impl Fn(&str) -> Option<Range<usize>>,
) -> Result<BTreeMap<String, TorchTensor>, PickleError> {
    let found =
        pickle.tensors().ok_or("it holds no state dict: save the model's state_dict() with torch.save")?;
    let mut total = 0usize;
    let mut tensors = BTreeMap::new();
    for (name, view) in found {
        let storage =
            place(&view.key).ok_or_else(|| format!("the storage {} of `{name}` is missing", view.key))?;
        total = view.count().and_then(|count| total.checked_add(count)).unwrap_or(usize::MAX);
        // Tensors may share numbers, but a file that announces more of them than it has bytes is not a model's.
        if total > bytes.len() {
            return Err(format!("`{name}` announces more numbers than the file has bytes").into());
        }
        if let Some(values) =
            values(&view, &bytes[storage]).map_err(|reason| format!("`{name}`: {reason}"))?
        {
            tensors.insert(name, TorchTensor { shape: view.shape, values });
        }
    }
    Ok(tensors)
}

/// The numbers of a view of a storage in row-major order; `None` for whole numbers.
fn values(view: &TensorView, storage: &[u8]) -> Result<Option<Vec<f32>>, String> {
    let size = view.kind.size();
    let mut values = Vec::with_capacity(view.count().unwrap_or(0));
    let mut index = vec![0usize; view.shape.len()];
    if view.shape.contains(&0) {
        return Ok(Some(values));
    }
    loop {
        let steps = index
            .iter()
            .zip(&view.strides)
            .try_fold(view.offset, |at, (&i, &stride)| at.checked_add(i.checked_mul(stride)?));
        let number = steps.and_then(|at| {
            let start = at.checked_mul(size)?;
            storage.get(start..start.checked_add(size)?)
        });
        match view.kind.value(number.ok_or("it reaches beyond its storage")?) {
            Some(value) => values.push(value),
            None => return Ok(None),
        }
        // Counts up, the last axis fastest.
        let Some(axis) = (0..index.len()).rev().find(|&axis| index[axis] + 1 < view.shape[axis]) else {
            return Ok(Some(values));
        };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}
