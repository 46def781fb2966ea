//! The weights of a model folder in every form that diffusers writes: whole or in shards, in single or half precision, as
//! safetensors or as `torch.save` does (`.bin`), whose pickles are read without running anything.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::unet::layout::Layout;
use crate::{DiffusionError, StateDict, TensorF32};

/// Variants of half precision, which are read where there are no weights in single precision.
const HALF_VARIANTS: [&str; 2] = ["fp16", "bf16"];

/// What attention's layers were called until diffusers 0.12, and what they are called.
const LEGACY_ATTENTION: [(&str, &str); 4] =
    [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

/// Where the weights of a folder are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WeightFiles {
    /// In one file.
    Whole(PathBuf, Form),
    /// In several, named by this index.
    Sharded(PathBuf, Form),
}

/// How a file holds tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// safetensors.
    Safetensors,
    /// A state dict that `torch.save` wrote.
    Torch,
}

impl Form {
    /// In the order in which they are looked for.
    const ALL: [Self; 2] = [Self::Safetensors, Self::Torch];

    /// How names of such files end, without the dot.
    fn ending(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "bin",
        }
    }

    fn read(self, path: &Path) -> Result<StateDict, DiffusionError> {
        match self {
            Self::Safetensors => StateDict::read(path),
            Self::Torch => StateDict::read_torch(path),
        }
    }
}

/// `*.safetensors.index.json` or `*.bin.index.json`: which file holds which tensor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShardIndex {
    #[serde(default)]
    metadata: BTreeMap<String, serde_json::Value>,
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// The index of weights that are all in `file`.
    pub(crate) fn of_one_file(weights: &StateDict, file: &str) -> Self {
        let bytes = 4 * weights.parameter_count();
        Self {
            metadata: BTreeMap::from([("total_size".to_owned(), bytes.into())]),
            weight_map: weights.names().map(|name| (name.to_owned(), file.to_owned())).collect(),
        }
    }
}

impl WeightFiles {
    /// Finds the weights named `stem` (`diffusion_pytorch_model`) in `dir`: in single precision before half precision, as
    /// safetensors before `.bin`, whole before sharded.
    ///
    /// # Errors
    /// [`DiffusionError::NoWeights`].
    pub(crate) fn find(dir: &Path, stem: &str) -> Result<Self, DiffusionError> {
        let variants = [None].into_iter().chain(HALF_VARIANTS.map(Some));
        for (variant, form) in variants.flat_map(|variant| Form::ALL.map(|form| (variant, form))) {
            let ending = form.ending();
            let [whole, index] = match variant {
                None => [format!("{stem}.{ending}"), format!("{stem}.{ending}.index.json")],
                Some(variant) => {
                    [format!("{stem}.{variant}.{ending}"), format!("{stem}.{ending}.index.{variant}.json")]
                }
            };
            if dir.join(&whole).is_file() {
                return Ok(Self::Whole(dir.join(whole), form));
            }
            if dir.join(&index).is_file() {
                return Ok(Self::Sharded(dir.join(index), form));
            }
        }
        Err(DiffusionError::NoWeights { path: dir.to_owned(), file: format!("{stem}.safetensors") })
    }

    /// The file to name where the weights are wrong.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Whole(path, _) | Self::Sharded(path, _) => path,
        }
    }

    /// The names, in their folder, of the file `config` and of the weights where they are in one file: what a checkpoint has
    /// the hashes of.
    pub(crate) fn names_with<'a>(&'a self, config: &'a str) -> Vec<&'a str> {
        let own = match self {
            Self::Whole(path, _) => path.file_name().and_then(|name| name.to_str()),
            Self::Sharded(..) => None,
        };
        [config].into_iter().chain(own).collect()
    }

    /// Reads all tensors, as 32-bit floats.
    ///
    /// # Errors
    /// As [`StateDict::read`] and [`StateDict::read_torch`]; [`DiffusionError::BadShards`] if index and shards do not fit.
    pub(crate) fn read(&self) -> Result<StateDict, DiffusionError> {
        match self {
            Self::Whole(path, form) => form.read(path),
            Self::Sharded(path, form) => read_shards(path, *form),
        }
    }
}

fn read_shards(path: &Path, form: Form) -> Result<StateDict, DiffusionError> {
    let bad = |reason: String| DiffusionError::BadShards { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(DiffusionError::io("read", path))?;
    let index: ShardIndex =
        serde_json::from_slice(&bytes).map_err(|error| bad(format!("it is no index of shards ({error})")))?;
    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in &index.weight_map {
        shards.entry(file).or_default().push(tensor);
    }
    let mut weights = StateDict::new();
    for (file, tensors) in shards {
        let plain = !file.is_empty() && !file.contains(['/', '\\']) && file != "." && file != "..";
        let ending = form.ending();
        if !plain || !file.ends_with(&format!(".{ending}")) {
            return Err(bad(format!("it names `{file}`, which is no .{ending} file beside it")));
        }
        let mut shard = form.read(&path.with_file_name(file))?;
        for tensor in tensors {
            let found = shard.remove(tensor).ok_or_else(|| {
                bad(format!("it says that `{tensor}` is in {file}, which has no such tensor"))
            })?;
            weights.insert(tensor, found);
        }
        if let Some(tensor) = shard.names().next() {
            return Err(bad(format!("{file} holds `{tensor}`, which the index does not name there")));
        }
    }
    Ok(weights)
}

/// Gives the attention layers of files older than diffusers 0.12 the names that they have now.
pub(crate) fn rename_legacy_attention(weights: &mut StateDict, layout: &Layout) {
    for attention in layout.attentions() {
        for (old, new) in LEGACY_ATTENTION {
            for part in ["weight", "bias"] {
                let [old, new] = [old, new].map(|layer| format!("{}.{layer}.{part}", attention.name));
                if weights.contains(&new) {
                    continue;
                }
                if let Some(tensor) = weights.remove(&old) {
                    weights.insert(new, as_linear(tensor));
                }
            }
        }
    }
}

/// A 1 x 1 convolution's weight `[outputs, inputs, 1, 1]` as that of the linear layer that it is.
fn as_linear(tensor: TensorF32) -> TensorF32 {
    match *tensor.shape() {
        [outputs, inputs, 1, 1] => {
            let data = tensor.into_parts().1;
            TensorF32::new([outputs, inputs], data)
                .expect("leaving out axes of length 1 keeps the number of values")
        }
        _ => tensor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEM: &str = "diffusion_pytorch_model";

    fn weights(names: &[&str]) -> StateDict {
        let tensor = |value| TensorF32::filled([2], value);
        names.iter().zip(1u8..).map(|(name, value)| ((*name).to_owned(), tensor(f32::from(value)))).collect()
    }

    fn write_index(dir: &Path, map: &[(&str, &str)]) {
        let map: BTreeMap<&str, &str> = map.iter().copied().collect();
        let text = serde_json::json!({ "metadata": { "total_size": 8 }, "weight_map": map }).to_string();
        fs::write(dir.join(format!("{STEM}.safetensors.index.json")), text).unwrap();
    }

    fn read(dir: &Path) -> Result<StateDict, DiffusionError> {
        WeightFiles::find(dir, STEM)?.read()
    }

    #[test]
    fn shards_are_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["x-00001-of-00002.safetensors", "x-00002-of-00002.safetensors"];
        let all = weights(&["a", "b", "c"]);
        let part = |names: &[&str]| {
            names.iter().map(|n| ((*n).to_owned(), all.get(n).unwrap().clone())).collect::<StateDict>()
        };
        part(&["a", "c"]).write(&dir.path().join(first)).unwrap();
        part(&["b"]).write(&dir.path().join(second)).unwrap();
        write_index(dir.path(), &[("a", first), ("b", second), ("c", first)]);
        assert_eq!(read(dir.path()).unwrap(), all);

        for (map, part) in [
            (vec![("a", first), ("b", second)], "`c`"),
            (vec![("a", first), ("b", second), ("c", first), ("d", second)], "no such tensor"),
            (vec![("a", "../x.safetensors")], "no .safetensors file beside it"),
            (vec![("a", "/x.safetensors")], "no .safetensors file beside it"),
            (vec![("a", "weights.bin")], "no .safetensors file beside it"),
            (vec![("a", "gone.safetensors")], "gone.safetensors"),
        ] {
            write_index(dir.path(), &map);
            let message = read(dir.path()).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn single_precision_comes_first_and_half_precision_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let nothing = read(dir.path()).unwrap_err().to_string();
        assert!(nothing.contains(&format!("{STEM}.safetensors")), "{nothing}");
        let header = r#"{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}"#;
        let mut half = (header.len() as u64).to_le_bytes().to_vec();
        half.extend(header.as_bytes());
        half.extend([0x00, 0xC1]);
        fs::write(dir.path().join(format!("{STEM}.fp16.safetensors")), half).unwrap();
        assert_eq!(read(dir.path()).unwrap().get("a").unwrap().data(), [-2.5]);
        weights(&["a"]).write(&dir.path().join(format!("{STEM}.safetensors"))).unwrap();
        assert_eq!(read(dir.path()).unwrap(), weights(&["a"]));
    }
}
