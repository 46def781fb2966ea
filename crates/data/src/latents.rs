//! Latents of images, on which models are trained in place of pixels.

use crate::{DataError, ImageBatch};
use std::sync::Arc;

/// For each image of a data set, `[channels, height, width]` numbers that batches hold in place of its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Latents {
    shape: [usize; 3],
    plain: Arc<[f32]>,
    mirrored: Option<Arc<[f32]>>,
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
        Ok(Self { shape, plain: plain.into(), mirrored: mirrored.map(Into::into) })
    }

    /// `[channels, height, width]` of an image.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of images.
    pub(crate) fn images(&self) -> usize {
        self.plain.len().checked_div(self.shape.iter().product()).unwrap_or(0)
    }

    pub(crate) fn batch(&self, indices: &[usize], flipped: &[bool]) -> Result<ImageBatch, DataError> {
        let size: usize = self.shape.iter().product();
        let mut values = Vec::with_capacity(indices.len() * size);
        for (&index, &flipped) in indices.iter().zip(flipped) {
            let of = match (flipped, &self.mirrored) {
                (false, _) => &self.plain,
                (true, Some(mirrored)) => mirrored,
                (true, None) => return Err(DataError::NotMirrored),
            };
            values.extend_from_slice(&of[index * size..(index + 1) * size]);
        }
        let [channels, height, width] = self.shape;
        Ok(ImageBatch {
            pixels: values,
            shape: [indices.len(), channels, height, width],
            indices: indices.to_vec(),
        })
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
