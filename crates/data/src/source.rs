//! Where pixels come from.

use crate::encoded::Encoded;
use crate::pixels::{self, Traits};
use crate::{DataError, Resize};
use image::{GenericImageView, RgbImage};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Pixels by number of the table row.
#[derive(Debug)]
pub(crate) enum Source {
    /// One decoded sheet of square tiles.
    Sheet {
        sheet: RgbImage,
        /// What was left out of the sheet, and its path.
        traits: Traits,
        path: String,
        tile: u32,
        columns: u32,
        /// Tile of every row.
        tiles: Vec<u32>,
        /// SHA-256 of table, sheet and layout.
        hash: [u8; 32],
    },
    /// Encoded images, read when first used.
    Encoded {
        images: Encoded,
        /// Width and height, where all images were found to share them.
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
    /// Encoded images. Without a resolution their headers are read, and must all give the same size.
    pub fn encoded(images: Encoded, resolution: Option<u32>) -> Result<Self, DataError> {
        let mut size = None;
        if resolution.is_none() {
            for image in 0..images.len() {
                let found = pixels::header(&images.path(image), &images.read(image)?)?.size;
                match size {
                    None => size = Some(found),
                    Some(first_size) if first_size != found => {
                        return Err(DataError::MixedSizes {
                            first: images.path(0),
                            first_size,
                            second: images.path(image),
                            second_size: found,
                        });
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(Self::Encoded { images, size })
    }

    /// The pixels of a row, and what was left out of them.
    pub fn read(&self, row: usize) -> Result<(RgbImage, Traits), DataError> {
        let image = match self {
            Self::Sheet { sheet, tile, columns, tiles, .. } => {
                let (x, y) = (tiles[row] % columns, tiles[row] / columns);
                sheet.view(x * tile, y * tile, *tile, *tile).to_image()
            }
            Self::Encoded { images, .. } => return pixels::decode(&images.path(row), &images.read(row)?),
            Self::Raw { bytes, planes, size: (width, height) } => {
                let image = raw_image(bytes, *planes, (*width, *height), row);
                let plane = image.len() / planes;
                RgbImage::from_fn(*width, *height, |x, y| {
                    let at = y as usize * *width as usize + x as usize;
                    image::Rgb([0, 1, 2].map(|channel: usize| image[channel.min(planes - 1) * plane + at]))
                })
            }
            Self::Memory { images, .. } => images[row].clone(),
        };
        Ok((image, Traits::default()))
    }

    /// Width and height of all images, where they share them.
    pub fn native_size(&self) -> Option<(u32, u32)> {
        match self {
            Self::Sheet { tile, .. } => Some((*tile, *tile)),
            Self::Encoded { size, .. } => *size,
            Self::Raw { size, .. } | Self::Memory { size, .. } => Some(*size),
        }
    }

    /// Width and height of one image as it is stored.
    pub fn size_of(&self, row: usize) -> Result<(u32, u32), DataError> {
        match (self.native_size(), self) {
            (Some(size), _) => Ok(size),
            (None, Self::Encoded { images, .. }) => {
                Ok(pixels::header(&images.path(row), &images.read(row)?)?.size)
            }
            (None, _) => unreachable!("only encoded images have sizes of their own"),
        }
    }

    /// Adds the content of the given rows to a hash. `note` hears of what the headers of encoded images say.
    pub fn hash_into(
        &self,
        rows: &[usize],
        hash: &mut Sha256,
        note: impl Fn(usize, Traits) + Sync,
    ) -> Result<(), DataError> {
        match self {
            Self::Sheet { hash: sheet_hash, .. } => hash.update(sheet_hash),
            Self::Encoded { images, .. } => {
                hash.update(match images {
                    Encoded::Files { .. } => &b"files"[..],
                    Encoded::Pieces { .. } => &b"pieces"[..],
                });
                let digest = |&row: &usize| {
                    let bytes = images.read(row)?;
                    // A file that is no image is named when it is decoded.
                    if let Ok(header) = pixels::header(&images.path(row), &bytes) {
                        note(row, header.traits);
                    }
                    Ok(Sha256::digest(&bytes))
                };
                let digests: Vec<_> = rows.par_iter().map(digest).collect::<Result<_, DataError>>()?;
                for (&row, digest) in rows.iter().zip(digests) {
                    let name = images.name(row);
                    hash.update((name.len() as u64).to_le_bytes());
                    hash.update(name.as_bytes());
                    hash.update(digest);
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

    /// Adds how images are resized, where that is not by the means of blocks: their pixels depend on it.
    pub fn hash_resizing(&self, resolution: Option<u32>, resize: Resize, hash: &mut Sha256) {
        let Some(resolution) = resolution else { return };
        let only_blocks = self.native_size().is_some_and(|(width, height)| {
            (width, height) == (resolution, resolution)
                || pixels::uses_block_means(width.min(height), resolution, resize)
        });
        if !only_blocks {
            hash.update(match resize {
                Resize::BlockMeans => &b"block means or lanczos of pillow"[..],
                Resize::Lanczos => &b"lanczos of pillow"[..],
            });
        }
    }
}

/// The planes of one image.
fn raw_image(bytes: &[u8], planes: usize, (width, height): (u32, u32), row: usize) -> &[u8] {
    let length = planes * width as usize * height as usize;
    &bytes[row * length..(row + 1) * length]
}
