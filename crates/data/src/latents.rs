//! Latents of images, on which models are trained in place of pixels.

use crate::encoded::read_at;
use crate::{DataError, ImageBatch};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// For each image of a data set, `[channels, height, width]` numbers that batches hold in place of its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    shape: [usize; 3],
    values: Values,
}

/// Where the numbers of an image lie: 32-bit little-endian floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentPlace {
    /// Which of the files.
    pub file: usize,
    /// First byte.
    pub offset: u64,
}

/// Latents in files, as an autoencoder gave them.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentFiles {
    /// The files that places count.
    pub paths: Vec<PathBuf>,
    /// Of each image.
    pub plain: Vec<LatentPlace>,
    /// Of each image mirrored left to right, for training that mirrors at random.
    pub mirrored: Option<Vec<LatentPlace>>,
    /// What batches make of every number.
    pub scaling: LatentScaling,
}

/// How an autoencoder's latents become what is diffused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentScaling {
    /// Taken from every number.
    pub shift: f32,
    /// What every number is multiplied by after that; not 0.
    pub factor: f32,
}

impl LatentScaling {
    /// What is diffused of a latent z: (z - shift) factor.
    pub fn diffused(self, latent: f32) -> f32 {
        (latent - self.shift) * self.factor
    }

    /// The latent of what was diffused, x: x / factor + shift.
    pub fn latent(self, diffused: f32) -> f32 {
        diffused / self.factor + self.shift
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    Memory { plain: Arc<[f32]>, mirrored: Option<Arc<[f32]>> },
    Files(Arc<LatentFiles>),
}

impl Latents {
    /// The numbers of `images` images, row-major `[images, channels, height, width]`; `mirrored` are those of the images
    /// mirrored left to right, for training that mirrors at random.
    ///
    /// # Errors
    /// [`DataError::LatentCount`] if there are fewer or more numbers.
    pub fn new(
        images: usize,
        shape: [usize; 3],
        plain: Vec<f32>,
        mirrored: Option<Vec<f32>>,
    ) -> Result<Self, DataError> {
        let expected = images * shape.iter().product::<usize>();
        for values in std::iter::once(&plain).chain(&mirrored) {
            if values.len() != expected {
                return Err(DataError::LatentCount { found: values.len(), expected, images });
            }
        }
        let values = Values::Memory { plain: plain.into(), mirrored: mirrored.map(Into::into) };
        Ok(Self { shape, values })
    }

    /// Numbers that stay in files, and are read for each batch: memory holds their places only.
    pub fn in_files(shape: [usize; 3], files: LatentFiles) -> Self {
        Self { shape, values: Values::Files(Arc::new(files)) }
    }

    /// `[channels, height, width]` of an image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of images.
    pub(crate) fn images(&self) -> usize {
        match &self.values {
            Values::Memory { plain, .. } => plain.len().checked_div(self.shape.iter().product()).unwrap_or(0),
            Values::Files(files) => files.plain.len(),
        }
    }

    /// Whether batches need no file.
    pub(crate) fn are_in_memory(&self) -> bool {
        matches!(self.values, Values::Memory { .. })
    }

    pub(crate) fn batch(&self, indices: &[usize], flipped: &[bool]) -> Result<ImageBatch, DataError> {
        let size: usize = self.shape.iter().product();
        let mut values = Vec::with_capacity(indices.len() * size);
        for (&index, &flipped) in indices.iter().zip(flipped) {
            match &self.values {
                Values::Memory { plain, mirrored } => {
                    let of = of_side(plain, mirrored.as_ref(), flipped)?;
                    values.extend_from_slice(&of[index * size..(index + 1) * size]);
                }
                Values::Files(files) => {
                    let of = of_side(&files.plain, files.mirrored.as_ref(), flipped)?;
                    files.read(of[index], size, &mut values)?;
                }
            }
        }
        let [channels, height, width] = self.shape;
        Ok(ImageBatch {
            pixels: values,
            shape: [indices.len(), channels, height, width],
            indices: indices.to_vec(),
        })
    }
}

fn of_side<'a, T>(plain: &'a T, mirrored: Option<&'a T>, flipped: bool) -> Result<&'a T, DataError> {
    if flipped { mirrored.ok_or(DataError::NotMirrored) } else { Ok(plain) }
}

impl LatentFiles {
    /// Adds the `size` numbers at a place.
    fn read(&self, place: LatentPlace, size: usize, values: &mut Vec<f32>) -> Result<(), DataError> {
        let path = &self.paths[place.file];
        let mut bytes = vec![0; 4 * size];
        File::open(path)
            .and_then(|file| read_at(&file, place.offset, &mut bytes))
            .map_err(DataError::read(path))?;
        let numbers = bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number));
        values.extend(numbers.map(|latent| self.scaling.diffused(latent)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchSource, Dataset};
    use streams::Streams;

    /// Six images of 2 x 2; the numbers of image i are i and -i, mirrored 10 + i.
    fn dataset(mirrored: bool) -> Dataset {
        let images = (0..6u8).map(|i| (if i < 3 { "Ann" } else { "Bob" }, vec![i; 12]));
        let dataset = Dataset::from_images((2, 2), images).unwrap();
        let plain = (0..6).flat_map(|i| [i as f32, -(i as f32)]).collect();
        let turned = (0..6).flat_map(|i| [10.0 + i as f32; 2]).collect();
        let latents = Latents::new(6, [2, 1, 1], plain, mirrored.then_some(turned)).unwrap();
        dataset.with_latents(latents).unwrap()
    }

    #[test]
    fn batches_hold_the_numbers_in_place_of_pixels() {
        let dataset = dataset(false);
        let batch = dataset.all().load(1..4).unwrap();
        assert_eq!((batch.shape, batch.pixels), ([3, 2, 1, 1], vec![1.0, -1.0, 2.0, -2.0, 3.0, -3.0]));
        assert_eq!(*dataset.image(4).unwrap(), [4; 12], "pictures stay");
        let step = dataset.all().batches(Streams::new(1), false).unwrap().batch(0, 4).unwrap();
        let expected: Vec<f32> = step.indices.iter().flat_map(|&i| [i as f32, -(i as f32)]).collect();
        assert_eq!(step.pixels, expected);
    }

    #[test]
    fn numbers_are_read_from_files_shifted_and_scaled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let numbers = (0..12).flat_map(|i| (i as f32).to_le_bytes()).collect::<Vec<u8>>();
        std::fs::write(&path, [&b"head"[..], &numbers].concat()).unwrap();
        let place = |image: u64| LatentPlace { file: 0, offset: 4 + 8 * image };
        let files = LatentFiles {
            paths: vec![path.clone()],
            plain: (0..6).rev().map(place).collect(),
            mirrored: None,
            scaling: LatentScaling { shift: 1.0, factor: 2.0 },
        };
        let stored = dataset(false).with_latents(Latents::in_files([2, 1, 1], files)).unwrap();
        assert_eq!(stored.all().load(4..6).unwrap().pixels, [2.0, 4.0, -2.0, 0.0]);
        assert!(!stored.all().is_in_memory() && dataset(false).all().is_in_memory());
        assert!(matches!(
            stored.all().batches(Streams::new(1), true).unwrap().batch(0, 32),
            Err(DataError::NotMirrored)
        ));
        std::fs::remove_file(path).unwrap();
        assert!(matches!(stored.all().load(0..1), Err(DataError::Read { .. })));
    }

    #[test]
    fn mirrored_images_have_numbers_of_their_own() {
        let mirrored = dataset(true).all().batches(Streams::new(1), true).unwrap().batch(0, 32).unwrap();
        assert!(mirrored.pixels.iter().any(|&v| v >= 10.0) && mirrored.pixels.iter().any(|&v| v < 10.0));
        let without = dataset(false).all().batches(Streams::new(1), true).unwrap().batch(0, 32);
        assert!(matches!(without, Err(DataError::NotMirrored)));
        let short = Latents::new(6, [2, 1, 1], vec![0.0; 11], None).unwrap_err().to_string();
        assert!(short.contains("11") && short.contains("12"), "{short}");
        let five = Latents::new(5, [2, 1, 1], vec![0.0; 10], None).unwrap();
        assert!(dataset(false).with_latents(five).is_err());
    }
}
