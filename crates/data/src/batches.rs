//! Training batches that depend on the step number alone.

use crate::{DataError, Dataset, View};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use streams::{Streams, coin, permutation};

/// Threads that decode the images of a batch, at most.
const DECODERS: usize = 4;

/// Images ready for a network.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageBatch {
    /// Values c / 127.5 - 1 in [-1, 1], or the data set's [latents](Dataset::with_latents);
    /// `[batch, channels, height, width]`.
    pub pixels: Vec<f32>,
    /// `[batch, channels, height, width]`.
    pub shape: [usize; 4],
    /// Number of every image in the data set.
    pub indices: Vec<usize>,
}

impl ImageBatch {
    /// Reads images on up to `threads` threads; `flipped` says for each whether it is mirrored left to right.
    pub(crate) fn read(
        dataset: &Dataset,
        indices: &[usize],
        flipped: &[bool],
        threads: usize,
    ) -> Result<Self, DataError> {
        if let Some(latents) = dataset.latents() {
            return latents.batch(indices, flipped);
        }
        let (width, height) = dataset.size();
        let (width, height) = (width as usize, height as usize);
        let channels = dataset.channels().count();
        let size = channels * width * height;
        let mut pixels = vec![0.0; indices.len() * size];
        let share = indices.len().div_ceil(threads.max(1)).max(1);
        let places = indices.chunks(share).zip(flipped.chunks(share)).zip(pixels.chunks_mut(share * size));
        let fill = |((indices, flipped), pixels): ((&[usize], &[bool]), &mut [f32])| {
            for ((&index, &flipped), image) in indices.iter().zip(flipped).zip(pixels.chunks_exact_mut(size))
            {
                scale_to_planes(&dataset.image(index)?, flipped, width, image);
            }
            Ok(())
        };
        if share >= indices.len() {
            places.into_iter().try_for_each(fill)?;
        } else {
            thread::scope(|scope| {
                let parts: Vec<_> = places.map(|part| scope.spawn(|| fill(part))).collect();
                // A thread that panics takes the caller with it, as it would without threads.
                parts
                    .into_iter()
                    .try_for_each(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })?;
        }
        Ok(Self { pixels, shape: [indices.len(), channels, height, width], indices: indices.to_vec() })
    }
}

/// Writes 8-bit RGB `[height, width, 3]`, mirrored left to right if `flipped`, as planes `[channels, height, width]` of numbers
/// c / 127.5 - 1: as many of the three as `image` has room for.
pub fn scale_to_planes(bytes: &[u8], flipped: bool, width: usize, image: &mut [f32]) {
    let plane = bytes.len() / 3;
    let channels = image.len().checked_div(plane).unwrap_or(0);
    for (at, pixel) in bytes.chunks_exact(3).enumerate() {
        let (y, x) = (at / width, at % width);
        let x = if flipped { width - 1 - x } else { x };
        for (channel, &value) in pixel.iter().take(channels).enumerate() {
            image[channel * plane + y * width + x] = f32::from(value) / 127.5 - 1.0;
        }
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
/// Where not all images are in memory, the batch after the one asked for last is read meanwhile. Which batches are read
/// ahead changes nothing in them.
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
    plan: Arc<Plan>,
    /// The batch that is read meanwhile.
    ahead: Mutex<Option<Ahead>>,
}

/// What determines all batches.
#[derive(Debug)]
struct Plan {
    view: View,
    streams: Streams,
    flip: bool,
    /// The order of the epoch used last.
    order: Mutex<Option<(u64, Arc<[usize]>)>>,
}

/// A batch that is being read.
#[derive(Debug)]
struct Ahead {
    step: u64,
    batch_size: usize,
    reader: JoinHandle<Result<ImageBatch, DataError>>,
}

impl Batches {
    pub(crate) fn new(view: View, streams: Streams, flip: bool) -> Result<Self, DataError> {
        if view.is_empty() {
            return Err(DataError::EmptyView);
        }
        let plan = Plan { view, streams, flip, order: Mutex::new(None) };
        Ok(Self { plan: Arc::new(plan), ahead: Mutex::new(None) })
    }

    /// The images that batches are made of.
    pub fn view(&self) -> &View {
        &self.plan.view
    }

    /// Number of batches in one pass over the images.
    pub fn per_pass(&self, batch_size: usize) -> usize {
        if batch_size == 0 { 0 } else { self.plan.view.len().div_ceil(batch_size) }
    }

    /// Batch `number` of one pass, in the order of the first epoch: every image is in one batch and once, so the last one
    /// may be smaller. Flips are those of the step of that number.
    ///
    /// # Errors
    /// A batch size of 0, images that cannot be read; [`DataError::EmptyView`] past the last batch.
    pub fn of_pass(&self, number: usize, batch_size: usize) -> Result<ImageBatch, DataError> {
        if batch_size == 0 {
            return Err(DataError::EmptyBatch);
        }
        let order = self.plan.order_of(0);
        let places = order.chunks(batch_size).nth(number).ok_or(DataError::EmptyView)?;
        let indices = places.iter().map(|&place| self.plan.view.indices()[place]).collect();
        self.plan.read(indices, number as u64)
    }

    /// The batch of a step, if it was read meanwhile.
    fn take_ahead(&self, step: u64, batch_size: usize) -> Option<Result<ImageBatch, DataError>> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        if (ahead.step, ahead.batch_size) != (step, batch_size) {
            return None;
        }
        // One that panicked is read again here, where the panic is seen.
        ahead.reader.join().ok()
    }

    /// Begins to read the batch of a step.
    fn read_ahead(&self, step: u64, batch_size: usize) {
        let plan = Arc::clone(&self.plan);
        let reader =
            thread::Builder::new().name("images".to_owned()).spawn(move || plan.batch(step, batch_size));
        // Without another thread the batch is read when it is asked for.
        let ahead = reader.ok().map(|reader| Ahead { step, batch_size, reader });
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = ahead;
    }
}

impl Plan {
    /// Reads images with the flips of a step.
    fn read(&self, indices: Vec<usize>, step: u64) -> Result<ImageBatch, DataError> {
        let mut rng = self.streams.rng("flip", step);
        let flips: Vec<bool> = indices.iter().map(|_| self.flip && coin(&mut rng)).collect();
        let dataset = self.view.dataset();
        let threads = if dataset.holds_all(&indices) {
            1
        } else {
            thread::available_parallelism().map_or(1, usize::from).min(DECODERS)
        };
        ImageBatch::read(dataset, &indices, &flips, threads)
    }

    fn batch(&self, step: u64, batch_size: usize) -> Result<ImageBatch, DataError> {
        let images = self.view.len() as u128;
        let first = u128::from(step) * batch_size as u128;
        let mut indices = Vec::with_capacity(batch_size);
        for position in first..first + batch_size as u128 {
            let order = self.order_of((position / images) as u64);
            indices.push(self.view.indices()[order[(position % images) as usize]]);
        }
        self.read(indices, step)
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
        let batch = self.take_ahead(step, batch_size).unwrap_or_else(|| self.plan.batch(step, batch_size))?;
        if let Some(next) = step.checked_add(1)
            && !self.plan.view.is_in_memory()
        {
            self.read_ahead(next, batch_size);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use removal::Coalition;

    /// `images` images of 2 x 1 by two contributors; image i is the pixels (i, 0, 0) and (0, i, 255).
    fn dataset(images: usize) -> Dataset {
        let image = |i: usize| (["Ann", "Bob"][i % 2], vec![i as u8, 0, 0, 0, i as u8, 255]);
        Dataset::from_images((2, 1), (0..images).map(image)).unwrap()
    }

    #[test]
    fn pixels_are_scaled_planes() {
        let batch = dataset(3).all().load(1..3).unwrap();
        assert_eq!(batch.shape, [2, 3, 1, 2]);
        assert_eq!(batch.indices, [1, 2]);
        let scaled = |value: u8| f32::from(value) / 127.5 - 1.0;
        let first = [1, 0, 0, 1, 0, 255].map(scaled);
        let second = [2, 0, 0, 2, 0, 255].map(scaled);
        assert_eq!(batch.pixels, [first, second].concat());
        assert_eq!((scaled(0), scaled(255)), (-1.0, 1.0));
        assert_eq!(dataset(3).all().load(2..9).unwrap().indices, [2]);
        assert!(dataset(3).all().load(7..9).unwrap().indices.is_empty());
    }

    proptest! {
        #[test]
        fn every_epoch_uses_every_image_once(images in 2usize..40, batch_size in 1usize..50, seed: u64) {
            let batches = dataset(images).all().batches(Streams::new(seed), true).unwrap();
            let steps = (3 * images).div_ceil(batch_size) as u64;
            let mut order = Vec::new();
            for step in 0..steps {
                let batch = batches.batch(step, batch_size).unwrap();
                prop_assert_eq!(batch.indices.len(), batch_size);
                order.extend(batch.indices);
            }
            for epoch in order.chunks_exact(images) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..images).collect::<Vec<_>>());
            }
        }

        #[test]
        fn batches_depend_on_the_step_alone(seed: u64, steps in proptest::collection::vec(0u64..200, 1..12)) {
            let batches = dataset(7).all().batches(Streams::new(seed), true).unwrap();
            let visited: Vec<ImageBatch> = steps.iter().map(|&step| batches.batch(step, 5).unwrap()).collect();
            for (&step, batch) in steps.iter().zip(visited) {
                let fresh = dataset(7).all().batches(Streams::new(seed), true).unwrap();
                prop_assert_eq!(fresh.batch(step, 5).unwrap(), batch);
            }
        }
    }

    #[test]
    fn flips_mirror_half_of_the_images_and_leave_the_order() {
        let plain = dataset(20).all().batches(Streams::new(1), false).unwrap();
        let flipping = dataset(20).all().batches(Streams::new(1), true).unwrap();
        let (mut flipped, mut images) = (0, 0);
        for step in 0..50 {
            let (a, b) = (plain.batch(step, 20).unwrap(), flipping.batch(step, 20).unwrap());
            assert_eq!(a.indices, b.indices);
            for (a, b) in a.pixels.chunks(6).zip(b.pixels.chunks(6)) {
                let mirrored = [a[1], a[0], a[3], a[2], a[5], a[4]];
                assert!(b == a || b == mirrored);
                flipped += usize::from(b == mirrored);
                images += 1;
            }
        }
        // Within four standard deviations of one half.
        assert_eq!(images, 1000);
        assert!((437..=563).contains(&flipped), "{flipped} of {images} flipped");
    }

    #[test]
    fn epochs_and_seeds_have_orders_of_their_own() {
        let batches = dataset(30).all().batches(Streams::new(1), false).unwrap();
        let other_seed = dataset(30).all().batches(Streams::new(2), false).unwrap();
        let first = batches.batch(0, 30).unwrap().indices;
        assert_ne!(first, batches.batch(1, 30).unwrap().indices);
        assert_ne!(first, other_seed.batch(0, 30).unwrap().indices);
        assert_ne!(first, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn coalitions_train_on_their_members_only() {
        let dataset = dataset(10);
        let bob = Coalition::from_members(2, [1]).unwrap();
        let batches = dataset.view(&bob).unwrap().batches(Streams::new(4), true).unwrap();
        let batch = batches.batch(3, 12).unwrap();
        assert!(batch.indices.iter().all(|index| index % 2 == 1));
        assert_eq!(batches.view().indices(), [1, 3, 5, 7, 9]);
    }

    #[test]
    fn a_pass_has_every_image_once() {
        let batches = dataset(10).all().batches(Streams::new(4), true).unwrap();
        assert_eq!((batches.per_pass(4), batches.per_pass(5), batches.per_pass(99)), (3, 2, 1));
        let pass: Vec<ImageBatch> = (0..3).map(|number| batches.of_pass(number, 4).unwrap()).collect();
        assert_eq!(pass[0], batches.batch(0, 4).unwrap());
        assert_eq!(pass[2].shape, [2, 3, 1, 2]);
        let mut indices: Vec<usize> = pass.into_iter().flat_map(|batch| batch.indices).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..10).collect::<Vec<_>>());
        assert!(matches!(batches.of_pass(3, 4), Err(DataError::EmptyView)));
        assert!(matches!(batches.of_pass(0, 0), Err(DataError::EmptyBatch)));
    }

    #[test]
    fn refuses_nothing_to_train_on() {
        let view = dataset(4).view(&Coalition::empty(2)).unwrap();
        assert!(matches!(view.batches(Streams::new(0), false), Err(DataError::EmptyView)));
        let batches = dataset(4).all().batches(Streams::new(0), false).unwrap();
        assert!(matches!(batches.batch(0, 0), Err(DataError::EmptyBatch)));
        assert_eq!(batches.batch(u64::MAX, 3).unwrap().indices.len(), 3);
    }
}
