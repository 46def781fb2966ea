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
    if side.is_multiple_of(resolution) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn pixels(bytes: &[u8]) -> Vec<[u8; 3]> {
        decode(Path::new("a.png"), bytes).unwrap().pixels().map(|pixel| pixel.0).collect()
    }

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
    }

    fn message(bytes: &[u8]) -> String {
        decode(Path::new("art/a.jpg"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn composes_on_white_with_rounding() {
        for channel in 0..=255u8 {
            for alpha in 0..=255u8 {
                let (c, a) = (f64::from(channel), f64::from(alpha));
                let exact = (c * a + 255.0 * (255.0 - a)) / 255.0;
                assert!((f64::from(on_white(channel, alpha)) - exact).abs() <= 0.5 + 1e-9);
            }
        }
    }

    #[test]
    fn every_png_kind_becomes_rgb8() {
        let grey: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_raw(2, 1, vec![7, 200]).unwrap();
        assert_eq!(pixels(&png(grey)), [[7; 3], [200; 3]]);
        let grey16: ImageBuffer<Luma<u16>, _> =
            ImageBuffer::from_raw(3, 1, vec![257 * 9, 257 * 9 + 128, 65535]).unwrap();
        assert_eq!(pixels(&png(grey16)), [[9; 3], [9; 3], [255; 3]]);
        let grey_alpha: ImageBuffer<LumaA<u8>, _> = ImageBuffer::from_raw(2, 1, vec![0, 0, 0, 102]).unwrap();
        assert_eq!(pixels(&png(grey_alpha)), [[255; 3], [153; 3]]);
        let rgb16: ImageBuffer<Rgb<u16>, _> = ImageBuffer::from_raw(1, 1, vec![0, 257 * 100, 65535]).unwrap();
        assert_eq!(pixels(&png(rgb16)), [[0, 100, 255]]);
        let rgba: ImageBuffer<Rgba<u8>, _> =
            ImageBuffer::from_raw(1, 2, vec![9, 8, 7, 255, 255, 0, 0, 51]).unwrap();
        assert_eq!(pixels(&png(rgba)), [[9, 8, 7], [255, 204, 204]]);
        let rgba16: ImageBuffer<Rgba<u16>, _> =
            ImageBuffer::from_raw(1, 1, vec![0, 0, 65535, 257 * 51]).unwrap();
        assert_eq!(pixels(&png(rgba16)), [[204, 204, 255]]);
        assert_eq!(pixels(&fixture("palette.png")), [[255, 255, 255], [0, 255, 0]]);
        assert_eq!(pixels(&fixture("one_bit.png")), [[0; 3], [255; 3]]);
    }

    #[test]
    fn refuses_cmyk_other_formats_and_empty_files() {
        assert!(message(&fixture("cmyk.jpg")).starts_with("art/a.jpg is a CMYK image"));
        assert!(message(b"GIF89a...").starts_with("art/a.jpg is neither PNG nor JPEG"));
        assert!(message(b"hello").starts_with("art/a.jpg is neither PNG nor JPEG"));
        assert!(message(b"").starts_with("art/a.jpg does not decode: the file is empty"));
    }

    #[test]
    fn refuses_truncated_files() {
        let noisy = RgbImage::from_fn(40, 24, |x, y| Rgb([(x * y * 91) as u8, (x * 77 + y) as u8, y as u8]));
        let whole = png(noisy);
        // The last 12 bytes are the end chunk, before it is the checksum of the last data chunk.
        for length in (0..whole.len() - 20).step_by(7) {
            assert!(message(&whole[..length]).starts_with("art/a.jpg"), "cut at {length}");
        }
        for name in ["progressive.jpg", "restarts.jpg"] {
            let whole = fixture(name);
            assert_eq!(decode(Path::new(name), &whole).unwrap().dimensions(), (48, 40));
            for length in (20..whole.len() - 1).step_by(7) {
                let message = message(&whole[..length]);
                assert!(message.contains("truncated file"), "{name} cut at {length}: {message}");
            }
        }
    }

    #[test]
    fn applies_the_exif_orientation() {
        let image = decode(Path::new("rotated.jpg"), &fixture("rotated.jpg")).unwrap();
        assert_eq!(image.dimensions(), (8, 16));
        let (top, bottom) = (image.get_pixel(4, 2).0, image.get_pixel(4, 13).0);
        assert!(top[0] > 240 && top[2] < 15 && bottom[0] < 15 && bottom[2] > 240, "{top:?} {bottom:?}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rotated.jpg");
        assert_eq!(size(&path).unwrap(), (8, 16));
    }

    #[test]
    fn fits_by_central_square_and_block_means() {
        // 6 x 4: columns 1 to 4 are the central square; each 2 x 2 block has its mean, rounded.
        let image = RgbImage::from_fn(6, 4, |x, y| Rgb([(10 * x) as u8, (y * y) as u8, 255]));
        let small = fit(image, 2);
        let values: Vec<[u8; 3]> = small.pixels().map(|pixel| pixel.0).collect();
        // Means: x of 10, 20 and of 30, 40; y of 0, 1 and of 4, 9 (0.5 and 6.5, rounded up).
        assert_eq!(values, [[15, 1, 255], [35, 1, 255], [15, 7, 255], [35, 7, 255]]);
    }

    #[test]
    fn other_ratios_keep_flat_colours_and_size() {
        for (width, height, resolution) in [(7, 5, 3), (5, 9, 16), (33, 33, 32), (1, 1, 8)] {
            let flat = RgbImage::from_pixel(width, height, Rgb([10, 200, 77]));
            let fitted = fit(flat, resolution);
            assert_eq!(fitted.dimensions(), (resolution, resolution));
            assert!(fitted.pixels().all(|pixel| pixel.0 == [10, 200, 77]));
        }
        assert!(
            check_resolution(0).is_err() && check_resolution(4097).is_err() && check_resolution(32).is_ok()
        );
    }
}
