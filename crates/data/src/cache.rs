//! The pixels that are kept in memory.

use crate::notice::{Notice, NoticeKind};
use crate::pixels::{self, Traits};
use crate::source::Source;
use crate::{Channels, DataError, Resize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Bytes of pixels that are kept where nothing else is asked for.
pub(crate) const DEFAULT_BUDGET: u64 = 512 << 20;

/// Images of one size, each read and resized when first used. The first ones used are kept until the budget is spent; the
/// others are read again at each use. Training visits every image once an epoch, in an order without pattern: no rule for
/// replacing kept images finds more of them than keeping the first.
#[derive(Debug)]
pub(crate) struct PixelCache {
    source: Arc<Source>,
    resolution: Option<u32>,
    resize: Resize,
    channels: Channels,
    /// Width and height.
    size: (u32, u32),
    budget: u64,
    /// Bytes kept, or promised to an image that is being kept.
    kept: AtomicU64,
    images: Vec<OnceLock<Arc<[u8]>>>,
    /// Rows of which something was left out.
    noted: Mutex<BTreeMap<NoticeKind, BTreeSet<usize>>>,
}

impl PixelCache {
    /// A cache for `rows` images; `resolution` must be given where the source has no one size.
    pub fn new(
        source: Arc<Source>,
        resolution: Option<u32>,
        resize: Resize,
        channels: Channels,
        budget: u64,
        rows: usize,
    ) -> Result<Self, DataError> {
        let size = match (resolution, source.native_size()) {
            (Some(resolution), _) => {
                pixels::check_resolution(resolution)?;
                (resolution, resolution)
            }
            (None, Some(size)) => size,
            (None, None) => return Err(DataError::Resolution { resolution: 0 }),
        };
        let images = (0..rows).map(|_| OnceLock::new()).collect();
        let (kept, noted) = (AtomicU64::new(0), Mutex::default());
        Ok(Self { source, resolution, resize, channels, size, budget, kept, images, noted })
    }

    /// The same rows at another resolution.
    pub fn resized(&self, resolution: u32) -> Result<Self, DataError> {
        let (source, rows) = (Arc::clone(&self.source), self.images.len());
        Self::new(source, Some(resolution), self.resize, self.channels, self.budget, rows)
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    pub fn resolution(&self) -> Option<u32> {
        self.resolution
    }

    pub fn resize(&self) -> Resize {
        self.resize
    }

    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// Bytes of an image's pixels.
    fn bytes(&self) -> u64 {
        3 * u64::from(self.size.0) * u64::from(self.size.1)
    }

    /// Whether there is room for one more image.
    pub fn has_room(&self) -> bool {
        self.kept.load(Ordering::Relaxed) + self.bytes() <= self.budget
    }

    /// Whether a row's pixels are kept.
    pub fn holds(&self, row: usize) -> bool {
        self.images[row].get().is_some()
    }

    /// 8-bit RGB `[height, width, 3]` of a row.
    pub fn image(&self, row: usize) -> Result<Arc<[u8]>, DataError> {
        if let Some(pixels) = self.images[row].get() {
            return Ok(Arc::clone(pixels));
        }
        let (mut image, traits) = self.source.read(row)?;
        self.note(row, traits);
        if self.channels == Channels::Grey {
            pixels::to_luma(&mut image);
        }
        if let Some(resolution) = self.resolution {
            image = pixels::fit(image, resolution, self.resize);
        }
        if image.dimensions() != self.size {
            return Err(self.changed(row, image.dimensions()));
        }
        let pixels: Arc<[u8]> = image.into_raw().into();
        let bytes = self.bytes();
        let promised = self.kept.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.budget;
        if promised && self.images[row].set(Arc::clone(&pixels)).is_ok() {
            return Ok(pixels);
        }
        // No room, or another thread was faster.
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
        Ok(pixels)
    }

    /// Remembers what was left out of a row's pixels.
    pub fn note(&self, row: usize, traits: Traits) {
        let kinds = [(traits.profile, NoticeKind::ColourProfile), (traits.animated, NoticeKind::Animation)];
        for (_, kind) in kinds.into_iter().filter(|(there, _)| *there) {
            // A set of rows is whole whatever thread panicked beside it.
            self.noted.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default().insert(row);
        }
    }

    /// What was left out of those rows that were read so far.
    pub fn notices(&self, rows: &[usize]) -> Vec<Notice> {
        if let Source::Sheet { traits, path, .. } = &*self.source {
            let kinds =
                [(traits.profile, NoticeKind::ColourProfile), (traits.animated, NoticeKind::Animation)];
            let there = kinds.into_iter().filter(|(there, _)| *there);
            return there.map(|(_, kind)| Notice { kind, count: 1, first: path.clone() }).collect();
        }
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notices = Vec::new();
        for (&kind, among) in &*noted {
            let mut found = rows.iter().filter(|row| among.contains(row));
            let Some(&first) = found.next() else { continue };
            let first = self.path(first).display().to_string();
            notices.push(Notice { kind, count: 1 + found.count(), first });
        }
        notices
    }

    fn path(&self, row: usize) -> PathBuf {
        match &*self.source {
            Source::Encoded { images, .. } => images.path(row),
            _ => PathBuf::new(),
        }
    }

    /// A file whose size is another than when the data set was opened.
    fn changed(&self, row: usize, size: (u32, u32)) -> DataError {
        let message = format!(
            "it is {} x {} pixels now, but was {} x {} when the data set was opened",
            size.0, size.1, self.size.0, self.size.1
        );
        DataError::Decode { path: self.path(row), message }
    }
}
