//! Latents on disk: safetensors shards, each with the hashes of the images and of the autoencoder that it was made from.
//!
//! A shard holds one array `latents`, `[images, channels, height, width]`, F32, as the encoder gave them (not multiplied by the
//! scaling factor), and the metadata `tribute`: a JSON object with `format`, `model` (hash of the autoencoder), `encoding` (how the
//! images were encoded), `images` (a name for each image that follows from its pixels) and `sha256` (of the array's bytes).
//!
//! A shard's name follows from the names of its images, so that programs that write the same shard at once do no harm, and a
//! shard is either whole or absent: encoding that was interrupted goes on with the images that no shard has.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::DiffusionError;
use crate::atomic_file::write_atomically;
use crate::state_dict::hex;

const FORMAT: &str = "tribute-latents/1";
const METADATA: &str = "tribute";
const ARRAY: &str = "latents";

/// What a shard says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardFacts {
    format: String,
    model: String,
    encoding: String,
    images: Vec<String>,
    sha256: String,
}

/// A folder of latents of one autoencoder.
#[derive(Debug, Clone)]
pub struct LatentStore {
    dir: PathBuf,
    model: String,
    encoding: String,
    shape: [usize; 3],
}

/// Latents of images in files, as 32-bit little-endian floats one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredLatents {
    /// The files.
    pub files: Vec<PathBuf>,
    /// Of each image by name, which of the files holds its latents, and their first byte.
    pub places: BTreeMap<String, (usize, u64)>,
}

impl StoredLatents {
    fn add(&mut self, file: PathBuf, places: impl Iterator<Item = (String, u64)>) {
        let number = self.files.len();
        self.files.push(file);
        self.places.extend(places.map(|(name, offset)| (name, (number, offset))));
    }
}

/// The name of an image: SHA-256, in lower-case hexadecimal, of its width and height (32-bit little-endian) and its 8-bit RGB
/// pixels, row by row.
pub fn image_name((width, height): (u32, u32), pixels: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(width.to_le_bytes());
    hash.update(height.to_le_bytes());
    hash.update(pixels);
    hex(&hash.finalize())
}

/// What stands for the hash of a data set in all that depends on its latents: SHA-256, in lower-case hexadecimal, of the text
/// `tribute/latents/1` and, each after a line feed, the hash of the images, that of the autoencoder, and how it is used.
pub fn encoded_data_hash(images: &str, model: &str, encoding: &str) -> String {
    hex(&Sha256::digest(format!("tribute/latents/1\n{images}\n{model}\n{encoding}")))
}

impl LatentStore {
    /// The latents of shape `[channels, height, width]` in folder `dir`, which need not exist yet, of the autoencoder with hash
    /// `model`. `encoding` says in words what else they depend on.
    pub fn new(dir: &Path, model: &str, encoding: &str, shape: [usize; 3]) -> Self {
        Self { dir: dir.to_owned(), model: model.to_owned(), encoding: encoding.to_owned(), shape }
    }

    /// Where the latents of those images are that `wanted` says yes to. Every shard of the folder is verified.
    ///
    /// # Errors
    /// [`DiffusionError::LatentShard`] naming the first shard that is damaged, or was made otherwise;
    /// [`DiffusionError::Io`].
    pub fn find(&self, wanted: impl Fn(&str) -> bool) -> Result<StoredLatents, DiffusionError> {
        let mut found = StoredLatents::default();
        for path in self.shards()? {
            let bytes = fs::read(&path).map_err(DiffusionError::io("read", &path))?;
            let (names, offset) = self.verified(&path, &bytes)?;
            found.add(path, self.places(names, offset).filter(|(name, _)| wanted(name)));
        }
        Ok(found)
    }

    /// The first byte of each image's latents in a shard.
    fn places(&self, names: Vec<String>, offset: u64) -> impl Iterator<Item = (String, u64)> {
        let bytes = 4 * self.shape.iter().product::<usize>() as u64;
        names.into_iter().zip(0..).map(move |(name, image)| (name, offset + bytes * image))
    }

    /// Writes a shard with the latents, row-major `[images, channels, height, width]`, of the images of these names, and adds them
    /// to `found`.
    ///
    /// # Errors
    /// [`DiffusionError::TensorSize`] for another number of values; [`DiffusionError::Io`].
    pub fn write(
        &self,
        images: Vec<String>,
        latents: &[f32],
        found: &mut StoredLatents,
    ) -> Result<(), DiffusionError> {
        let [channels, height, width] = self.shape;
        let shape = vec![images.len(), channels, height, width];
        let expected = shape.iter().product();
        if latents.len() != expected {
            return Err(DiffusionError::TensorSize { shape, expected, actual: latents.len() });
        }
        fs::create_dir_all(&self.dir).map_err(DiffusionError::io("create", &self.dir))?;
        let path = self.dir.join(format!("{}.safetensors", &hex(&Sha256::digest(images.join("\n")))[..16]));
        let bytes: Vec<u8> = latents.iter().flat_map(|value| value.to_le_bytes()).collect();
        let facts = ShardFacts {
            format: FORMAT.to_owned(),
            model: self.model.clone(),
            encoding: self.encoding.clone(),
            images: images.clone(),
            sha256: hex(&Sha256::digest(&bytes)),
        };
        let failed = |reason: String| DiffusionError::LatentShard { path: path.clone(), reason };
        let facts = serde_json::to_string(&facts).map_err(|error| failed(error.to_string()))?;
        let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(|error| failed(error.to_string()))?;
        let metadata = HashMap::from([(METADATA.to_owned(), facts)]);
        let file = safetensors::serialize([(ARRAY, view)], Some(metadata))
            .map_err(|error| failed(error.to_string()))?;
        write_atomically(&path, &file)?;
        // The array is all that follows the header.
        let offset = (file.len() - bytes.len()) as u64;
        found.add(path, self.places(images, offset));
        Ok(())
    }

    /// The folder's shards, sorted by name.
    fn shards(&self) -> Result<Vec<PathBuf>, DiffusionError> {
        if !self.dir.exists() {
            return Ok(Vec::new());
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(DiffusionError::io("read", &self.dir))? {
            let path = entry.map_err(DiffusionError::io("read", &self.dir))?.path();
            let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && path.extension().is_some_and(|extension| extension == "safetensors") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// The names in a shard that is what it says and what is asked for, and the first byte of its array.
    fn verified(&self, path: &Path, bytes: &[u8]) -> Result<(Vec<String>, u64), DiffusionError> {
        let wrong = |reason: String| DiffusionError::LatentShard { path: path.to_owned(), reason };
        let damaged = |what: String| {
            wrong(format!(
                "{what}; delete it and run once with `latent.precompute = \"save\"`, which makes it anew"
            ))
        };
        let other = |what: String| {
            wrong(format!(
                "{what}; give back what it was made with, or name another folder in `latent.folder` and run once with \
                 `latent.precompute = \"save\"`"
            ))
        };
        let (header_length, header) = SafeTensors::read_metadata(bytes)
            .map_err(|error| damaged(format!("it is not a whole safetensors file ({error})")))?;
        let facts = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA));
        let facts: ShardFacts = facts
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| other("it is no shard of latents".to_owned()))?;
        for (what, found, expected) in [
            ("its format", facts.format.as_str(), FORMAT),
            ("the hash of its autoencoder", &facts.model, &self.model),
            ("its encoding", &facts.encoding, &self.encoding),
        ] {
            if found != expected {
                return Err(other(format!("{what} is {found}, but this study needs {expected}")));
            }
        }
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| damaged(format!("it is not a whole safetensors file ({error})")))?;
        let view = file.tensor(ARRAY).map_err(|error| damaged(error.to_string()))?;
        if hex(&Sha256::digest(view.data())) != facts.sha256 {
            return Err(damaged("its numbers do not have the hash that it names: it was altered".to_owned()));
        }
        let [channels, height, width] = self.shape;
        let shape = [facts.images.len(), channels, height, width];
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(other(format!(
                "it holds {:?} {:?}, but this study needs F32 {shape:?}",
                view.dtype(),
                view.shape()
            )));
        }
        let start = header.info(ARRAY).map_or(0, |info| info.data_offsets.0);
        Ok((facts.images, (8 + header_length + start) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path) -> LatentStore {
        LatentStore::new(dir, "abc", "mean", [1, 1, 2])
    }

    #[test]
    fn latents_read_back_by_image() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder.path().join("latents"));
        assert!(store.find(|_| true).unwrap().places.is_empty());
        let names =
            |range: std::ops::Range<u8>| range.map(|i| image_name((1, 1), &[i; 3])).collect::<Vec<_>>();
        let mut written = StoredLatents::default();
        store.write(names(0..2), &[0.0, 0.5, 1.0, 1.5], &mut written).unwrap();
        store.write(names(2..3), &[2.0, 2.5], &mut written).unwrap();
        let wanted = names(1..3);
        let found = store.find(|name| wanted.iter().any(|one| one == name)).unwrap();
        assert_eq!((found.places.len(), written.places.len()), (2, 3));
        for stored in [&found, &written] {
            let values = wanted.iter().map(|name| {
                let (file, offset) = stored.places[name];
                let bytes = fs::read(&stored.files[file]).unwrap()[offset as usize..][..8].to_vec();
                [0, 4].map(|at| f32::from_le_bytes(*bytes[at..].first_chunk().unwrap()))
            });
            assert_eq!(values.collect::<Vec<_>>(), [[1.0, 1.5], [2.0, 2.5]]);
        }
        assert!(store.write(names(0..1), &[0.0], &mut written).is_err());
        assert_ne!(image_name((1, 2), &[0; 6]), image_name((2, 1), &[0; 6]));
    }

    #[test]
    fn shards_of_something_else_and_damage_are_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let mut written = StoredLatents::default();
        store(folder.path()).write(vec!["a".to_owned()], &[1.0, 2.0], &mut written).unwrap();
        let path = written.files.remove(0);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let message = |store: LatentStore| store.find(|_| true).unwrap_err().to_string();
        for (other, needle) in [
            (LatentStore::new(folder.path(), "abd", "mean", [1, 1, 2]), "autoencoder is abc"),
            (LatentStore::new(folder.path(), "abc", "sample", [1, 1, 2]), "encoding is mean"),
            (LatentStore::new(folder.path(), "abc", "mean", [2, 1, 1]), "[1, 1, 1, 2]"),
        ] {
            let message = message(other);
            assert!(
                message.contains(&name) && message.contains(needle) && message.contains("latent.folder"),
                "{message}"
            );
        }
        let whole = fs::read(&path).unwrap();
        let mut altered = whole.clone();
        *altered.last_mut().unwrap() ^= 1;
        for (bytes, needle) in [(altered.as_slice(), "altered"), (&whole[..whole.len() - 3], "not a whole")] {
            fs::write(&path, bytes).unwrap();
            let message = message(store(folder.path()));
            assert!(
                message.contains(&name) && message.contains(needle) && message.contains("delete it"),
                "{message}"
            );
        }
    }
}
