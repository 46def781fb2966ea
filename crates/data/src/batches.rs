//! Training batches that depend on the step number alone.

use crate::{DataError, Dataset, View};
use std::sync::{Arc, Mutex, PoisonError};
use streams::{Streams, coin, permutation};

/// Images ready for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageBatch {
    /// Values c / 127.5 - 1 in [-1, 1], `[batch, channels, height, width]`.
    pub pixels: Vec<f32>,
    /// `[batch, channels, height, width]`.
    pub shape: [usize; 4],
    /// Number of every image in the data set.
    pub indices: Vec<usize>,
}

impl ImageBatch {
    /// Reads images; `flipped` says for a place in the batch whether it is mirrored left to right.
    pub(crate) fn read(
        dataset: &Dataset,
        indices: &[usize],
        flipped: impl Fn(usize) -> bool,
    ) -> Result<Self, DataError> {
        let (width, height) = dataset.size();
        let (width, height) = (width as usize, height as usize);
        let plane = width * height;
        let mut pixels = vec![0.0; indices.len() * 3 * plane];
        for (place, (&index, image)) in indices.iter().zip(pixels.chunks_exact_mut(3 * plane)).enumerate() {
            let bytes = dataset.image(index)?;
            let flipped = flipped(place);
            for (at, pixel) in bytes.chunks_exact(3).enumerate() {
                let (y, x) = (at / width, at % width);
                let x = if flipped { width - 1 - x } else { x };
                for (channel, &value) in pixel.iter().enumerate() {
                    image[channel * plane + y * width + x] = f32::from(value) / 127.5 - 1.0;
                }
            }
        }
        Ok(Self { pixels, shape: [indices.len(), 3, height, width], indices: indices.to_vec() })
    }
}

/// Something that gives the batch of any training step.
pub trait BatchSource {
    /// The batch of a step, counted from 0. It depends on `step`, `batch_size` and the source's settings alone, so a run
    /// resumes from the step number.
    ///
    /// # Errors
    /// A batch size of 0, or images that cannot be read.
    fn batch(&self, step: u64, batch_size: usize) -> Result<ImageBatch, DataError>;
}

/// Shuffled batches of a view's images.
///
/// Training positions 0, 1, 2, ... run through the view's images epoch after epoch, in a new order each: position p is
/// image p mod N of epoch p div N, whose order is the permutation of stream (`data order`, epoch). Step k takes positions
/// k B to (k + 1) B - 1 for batch size B. Every batch is full: one that reaches past the end of an epoch goes on with the
/// next, and one larger than N holds images more than once. Flips are coins of stream (`flip`, step), one a place in the
/// batch.
///
/// ```
/// use data::{BatchSource, Dataset};
/// use streams::Streams;
///
/// let images = (0..6u8).map(|i| (if i < 3 { "Ann" } else { "Bob" }, vec![i; 12]));
/// let batches = Dataset::from_images((2, 2), images)?.all().batches(Streams::new(1), true)?;
/// let batch = batches.batch(4, 4)?;
/// assert_eq!(batch.shape, [4, 3, 2, 2]);
/// assert_eq!(batch, batches.batch(4, 4)?);
/// # Ok::<(), data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Batches {
    view: View,
    streams: Streams,
    flip: bool,
    /// The order of the epoch used last.
    order: Mutex<Option<(u64, Arc<[usize]>)>>,
}

impl Batches {
    pub(crate) fn new(view: View, streams: Streams, flip: bool) -> Result<Self, DataError> {
        if view.is_empty() {
            return Err(DataError::EmptyView);
        }
        Ok(Self { view, streams, flip, order: Mutex::new(None) })
    }

    /// The images that batches are made of.
    pub fn view(&self) -> &View {
        &self.view
    }

    fn order_of(&self, epoch: u64) -> Arc<[usize]> {
        // The cache holds a pure function of the epoch, so a value left by a panicking thread is as good as any.
        let mut cached = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((of, order)) if *of == epoch => Arc::clone(order),
            _ => {
                let order: Arc<[usize]> =
                    permutation(&mut self.streams.rng("data order", epoch), self.view.len()).into();
                *cached = Some((epoch, Arc::clone(&order)));
                order
            }
        }
    }
}

impl BatchSource for Batches {
    fn batch(&self, step: u64, batch_size: usize) -> Result<ImageBatch, DataError> {
        if batch_size == 0 {
            return Err(DataError::EmptyBatch);
        }
        let images = self.view.len() as u128;
        let first = u128::from(step) * batch_size as u128;
        let mut indices = Vec::with_capacity(batch_size);
        for position in first..first + batch_size as u128 {
            let order = self.order_of((position / images) as u64);
            indices.push(self.view.indices()[order[(position % images) as usize]]);
        }
        let mut rng = self.streams.rng("flip", step);
        let flips: Vec<bool> = (0..batch_size).map(|_| self.flip && coin(&mut rng)).collect();
        ImageBatch::read(self.view.dataset(), &indices, |place| flips[place])
    }
}
