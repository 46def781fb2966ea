//! Where pixels come from, and the cache in front of it.

use crate::{DataError, pixels};
use image::{GenericImageView, RgbImage};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Pixels by number of the table row.
#[derive(Debug)]
pub(crate) enum Source {
    /// One decoded sheet of square tiles.
    Sheet {
        sheet: RgbImage,
        tile: u32,
        columns: u32,
        /// Tile of every row.
        tiles: Vec<u32>,
        /// SHA-256 of table, sheet and layout.
        hash: [u8; 32],
    },
    /// One file a row, read when first used.
    Files {
        /// Path of every row.
        paths: Vec<PathBuf>,
        /// The same paths relative to the data set, for its hash.
        names: Vec<String>,
        /// Width and height, where all files were found to share them.
        size: Option<(u32, u32)>,
    },
    /// Planes of one after the other, of one image after the other: `[images, planes, height, width]`.
    Raw {
        bytes: Vec<u8>,
        /// 1 (grey) or 3 (red, green, blue).
        planes: usize,
        size: (u32, u32),
    },
    /// Images handed over in memory.
    Memory { images: Vec<RgbImage>, size: (u32, u32) },
}

impl Source {
    fn read(&self, row: usize) -> Result<RgbImage, DataError> {
        match self {
            Self::Sheet { sheet, tile, columns, tiles, .. } => {
                let (x, y) = (tiles[row] % columns, tiles[row] / columns);
                Ok(sheet.view(x * tile, y * tile, *tile, *tile).to_image())
            }
            Self::Files { paths, .. } => {
                let path = &paths[row];
                pixels::decode(path, &fs::read(path).map_err(DataError::read(path))?)
            }
            Self::Raw { bytes, planes, size: (width, height) } => {
                let image = raw_image(bytes, *planes, (*width, *height), row);
                let plane = image.len() / planes;
                Ok(RgbImage::from_fn(*width, *height, |x, y| {
                    let at = y as usize * *width as usize + x as usize;
                    image::Rgb([0, 1, 2].map(|channel: usize| image[channel.min(planes - 1) * plane + at]))
                }))
            }
            Self::Memory { images, .. } => Ok(images[row].clone()),
        }
    }

    fn native_size(&self) -> Option<(u32, u32)> {
        match self {
            Self::Sheet { tile, .. } => Some((*tile, *tile)),
            Self::Files { size, .. } => *size,
            Self::Raw { size, .. } | Self::Memory { size, .. } => Some(*size),
        }
    }

    /// Adds the content of the given rows to a hash.
    pub fn hash_into(&self, rows: &[usize], hash: &mut Sha256) -> Result<(), DataError> {
        match self {
            Self::Sheet { hash: sheet_hash, .. } => hash.update(sheet_hash),
            Self::Files { paths, names, .. } => {
                hash.update(b"files");
                for &row in rows {
                    let bytes = fs::read(&paths[row]).map_err(DataError::read(&paths[row]))?;
                    hash.update((names[row].len() as u64).to_le_bytes());
                    hash.update(names[row].as_bytes());
                    hash.update(Sha256::digest(&bytes));
                }
            }
            Self::Raw { bytes, planes, size } => {
                hash.update(b"raw");
                hash.update((*planes as u64).to_le_bytes());
                for number in [size.0, size.1] {
                    hash.update(number.to_le_bytes());
                }
                for &row in rows {
                    hash.update(Sha256::digest(raw_image(bytes, *planes, *size, row)));
                }
            }
            Self::Memory { images, .. } => {
                hash.update(b"memory");
                for &row in rows {
                    hash.update(Sha256::digest(images[row].as_raw()));
                }
            }
        }
        Ok(())
    }
}

/// The planes of one image.
fn raw_image(bytes: &[u8], planes: usize, (width, height): (u32, u32), row: usize) -> &[u8] {
    let length = planes * width as usize * height as usize;
    &bytes[row * length..(row + 1) * length]
}

/// Images of one size, each read and resized when first used, then kept.
#[derive(Debug)]
pub(crate) struct PixelCache {
    source: Arc<Source>,
    resolution: Option<u32>,
    /// Width and height.
    size: (u32, u32),
    images: Vec<OnceLock<Arc<[u8]>>>,
}

impl PixelCache {
    /// A cache for `rows` images; `resolution` must be given where the source has no one size.
    pub fn new(source: Arc<Source>, resolution: Option<u32>, rows: usize) -> Result<Self, DataError> {
        let size = match (resolution, source.native_size()) {
            (Some(resolution), _) => {
                pixels::check_resolution(resolution)?;
                (resolution, resolution)
            }
            (None, Some(size)) => size,
            (None, None) => return Err(DataError::Resolution { resolution: 0 }),
        };
        let images = (0..rows).map(|_| OnceLock::new()).collect();
        Ok(Self { source, resolution, size, images })
    }

    pub fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    pub fn resolution(&self) -> Option<u32> {
        self.resolution
    }

    /// Number of rows, used or not.
    pub fn rows(&self) -> usize {
        self.images.len()
    }

    /// 8-bit RGB `[height, width, 3]` of a row.
    pub fn image(&self, row: usize) -> Result<Arc<[u8]>, DataError> {
        if let Some(pixels) = self.images[row].get() {
            return Ok(Arc::clone(pixels));
        }
        let mut image = self.source.read(row)?;
        if let Some(resolution) = self.resolution {
            image = pixels::fit(image, resolution);
        }
        if image.dimensions() != self.size {
            return Err(self.changed(row, image.dimensions()));
        }
        Ok(Arc::clone(self.images[row].get_or_init(|| image.into_raw().into())))
    }

    /// A file whose size is another than when the data set was opened.
    fn changed(&self, row: usize, size: (u32, u32)) -> DataError {
        let path = match &*self.source {
            Source::Files { paths, .. } => paths[row].clone(),
            _ => PathBuf::new(),
        };
        let message = format!(
            "it is {} x {} pixels now, but was {} x {} when the data set was opened",
            size.0, size.1, self.size.0, self.size.1
        );
        DataError::Decode { path, message }
    }
}
