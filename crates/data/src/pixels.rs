//! From image files to 8-bit RGB of one size.
//!
//! * 16-bit channels are rounded to 8 bits; grey is repeated in the three channels; palettes are looked up.
//! * Transparency is composed on white: c' = round((c a + 255 (255 - a)) / 255).
//! * The EXIF orientation is applied; colour profiles are not (values are taken as sRGB).
//! * CMYK and YCCK JPEGs are refused, and so are truncated files.
//! * To a resolution r: the central square (side = the shorter side, rounded down to the left and top), then resizing to
//!   r x r by the mean of k x k blocks where the side is k r, and by Lanczos3 otherwise.

use crate::{DataError, jpeg};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Largest resolution that images are resized to.
const MAX_RESOLUTION: u32 = 4096;

/// Decodes a PNG or JPEG to 8-bit RGB by the rules above.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    let wrong = |message: String| DataError::Decode { path: path.to_owned(), message };
    if bytes.is_empty() {
        return Err(wrong("the file is empty".to_owned()));
    }
    let format = image::guess_format(bytes).ok();
    match format {
        Some(ImageFormat::Png) => {}
        Some(ImageFormat::Jpeg) => {
            let markers = jpeg::markers(bytes);
            if markers.components == Some(4) {
                return Err(DataError::Cmyk { path: path.to_owned() });
            }
            if !markers.complete {
                return Err(wrong("the JPEG data end before the image does (truncated file)".to_owned()));
            }
        }
        _ => return Err(DataError::UnsupportedFormat { path: path.to_owned() }),
    }
    let decoded = (|| {
        let mut decoder = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok::<_, image::ImageError>(image)
    })();
    Ok(rgb_on_white(&decoded.map_err(|error| wrong(error.to_string()))?))
}

/// Width and height of an image file as [`decode`] would give them, from its header.
pub(crate) fn size(path: &Path) -> Result<(u32, u32), DataError> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let reader = reader.map_err(DataError::read(path))?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(DataError::UnsupportedFormat { path: path.to_owned() });
    }
    let read = (|| {
        let mut decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        Ok::<_, image::ImageError>((width, height, decoder.orientation()?))
    })();
    let (width, height, orientation) =
        read.map_err(|error| DataError::Decode { path: path.to_owned(), message: error.to_string() })?;
    use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    Ok(match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (height, width),
        _ => (width, height),
    })
}

fn rgb_on_white(image: &DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.to_rgb8();
    }
    let rgba = image.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0;
        image::Rgb([red, green, blue].map(|channel| on_white(channel, alpha)))
    })
}

fn on_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// Checks that images can be resized to `resolution`.
pub(crate) fn check_resolution(resolution: u32) -> Result<(), DataError> {
    if (1..=MAX_RESOLUTION).contains(&resolution) {
        Ok(())
    } else {
        Err(DataError::Resolution { resolution })
    }
}

/// Crops to the central square and resizes to `resolution` x `resolution` by the rules above.
pub(crate) fn fit(image: RgbImage, resolution: u32) -> RgbImage {
    let (width, height) = image.dimensions();
    if (width, height) == (resolution, resolution) {
        return image;
    }
    let side = width.min(height);
    let square = image.view((width - side) / 2, (height - side) / 2, side, side).to_image();
    if side % resolution == 0 {
        block_means(&square, side / resolution, resolution)
    } else {
        imageops::resize(&square, resolution, resolution, FilterType::Lanczos3)
    }
}

fn block_means(square: &RgbImage, block: u32, resolution: u32) -> RgbImage {
    let area = u64::from(block) * u64::from(block);
    RgbImage::from_fn(resolution, resolution, |x, y| {
        let mut sums = [area / 2; 3];
        for v in y * block..(y + 1) * block {
            for u in x * block..(x + 1) * block {
                for (sum, channel) in sums.iter_mut().zip(square.get_pixel(u, v).0) {
                    *sum += u64::from(channel);
                }
            }
        }
        image::Rgb(sums.map(|sum| (sum / area) as u8))
    })
}
