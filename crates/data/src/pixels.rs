//! From image files to 8-bit RGB of one size.
//!
//! * 16-bit channels are rounded to 8 bits; grey is repeated in the three channels; palettes are looked up.
//! * Transparency is composed on white: c' = round((c a + 255 (255 - a)) / 255).
//! * The EXIF orientation is applied; colour profiles are not (values are taken as sRGB), which is noted unless the profile
//!   is sRGB's own.
//! * Of an animated PNG the default picture is used, which is noted. Animated formats (GIF, WebP) are not read.
//! * CMYK and YCCK JPEGs are refused, and so are truncated files.
//! * To a resolution r: the central square (side = the shorter side, rounded down to the left and top), then resizing to
//!   r x r by the mean of k x k blocks where the side is k r, and by [Pillow's Lanczos filter](mod@crate::resample) otherwise;
//!   or always by that filter.

use crate::{DataError, jpeg, resample};
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageError, ImageFormat, Limits, RgbImage};
use serde::{Deserialize, Serialize};
use std::io::Cursor;
use std::path::Path;

/// Largest resolution that images are resized to.
const MAX_RESOLUTION: u32 = 4096;
/// Most bytes that the pixels of one file may take: 178 million RGB pixels.
const MAX_DECODED: u64 = 1 << 29;
/// No deflate stream unpacks to more than 1032 times its size, and no bit of it becomes more than 4 bytes (a palette of two
/// colours with transparency).
const MAX_PNG_RATIO: u64 = 1032 * 32;

/// How squares become smaller or larger ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// The mean of blocks of k x k pixels where the side is k times the resolution, Lanczos otherwise.
    #[default]
    BlockMeans,
    /// Always the Lanczos filter (a = 3), as Pillow has it.
    Lanczos,
}

/// What a file has that is left out of its pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// A colour profile other than sRGB's.
    pub profile: bool,
    /// Further pictures.
    pub animated: bool,
}

/// What the headers of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Width and height as [`decode`] gives them.
    pub size: (u32, u32),
    pub traits: Traits,
}

/// A decoder behind the headers of a PNG or whole JPEG.
fn open<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Box<dyn ImageDecoder + 'a>, Traits), DataError> {
    let wrong = |message: String| DataError::Decode { path: path.to_owned(), message };
    let broken = |error: ImageError| wrong(error.to_string());
    if bytes.is_empty() {
        return Err(wrong("the file is empty".to_owned()));
    }
    let mut traits = Traits::default();
    let mut decoder: Box<dyn ImageDecoder + 'a> = match image::guess_format(bytes).ok() {
        Some(ImageFormat::Png) => {
            let mut limits = Limits::no_limits();
            limits.max_alloc = Some(MAX_DECODED);
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(broken)?;
            traits.animated = decoder.is_apng().map_err(broken)?;
            if decoder.total_bytes() > (bytes.len() as u64).saturating_mul(MAX_PNG_RATIO) {
                return Err(wrong("its header announces more pixels than such a file can hold".to_owned()));
            }
            Box::new(decoder)
        }
        Some(ImageFormat::Jpeg) => {
            let markers = jpeg::markers(bytes);
            if markers.components == Some(4) {
                return Err(DataError::Cmyk { path: path.to_owned() });
            }
            if !markers.complete {
                return Err(wrong("the JPEG data end before the image does (truncated file)".to_owned()));
            }
            Box::new(JpegDecoder::new(Cursor::new(bytes)).map_err(broken)?)
        }
        _ => return Err(DataError::UnsupportedFormat { path: path.to_owned() }),
    };
    let (width, height) = decoder.dimensions();
    if decoder.total_bytes() > MAX_DECODED {
        return Err(wrong(format!(
            "{width} x {height} pixels are more than {MAX_DECODED} bytes, which are not read"
        )));
    }
    traits.profile = decoder.icc_profile().map_err(broken)?.is_some_and(|profile| !is_srgb(&profile));
    Ok((decoder, traits))
}

/// Whether a colour profile calls itself sRGB, in ASCII or UTF-16.
fn is_srgb(profile: &[u8]) -> bool {
    let named = |name: &[u8]| profile.windows(name.len()).any(|window| window == name);
    named(b"sRGB") || named(b"s\0R\0G\0B")
}

/// Decodes a PNG or JPEG to 8-bit RGB by the rules above.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<(RgbImage, Traits), DataError> {
    let (mut decoder, traits) = open(path, bytes)?;
    let decoded = (|| {
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok::<_, ImageError>(image)
    })();
    let decoded =
        decoded.map_err(|error| DataError::Decode { path: path.to_owned(), message: error.to_string() })?;
    Ok((rgb_on_white(&decoded), traits))
}

/// What the headers of an image file say; of a JPEG, also that it is whole.
pub(crate) fn header(path: &Path, bytes: &[u8]) -> Result<Header, DataError> {
    use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let (mut decoder, traits) = open(path, bytes)?;
    let (width, height) = decoder.dimensions();
    let orientation = decoder
        .orientation()
        .map_err(|error| DataError::Decode { path: path.to_owned(), message: error.to_string() })?;
    let size = match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => (height, width),
        _ => (width, height),
    };
    Ok(Header { size, traits })
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

/// Sets all channels to the luma (19595 R + 38470 G + 7471 B + 32768) div 65536: that of Rec. 601 as Pillow's `convert("L")`
/// rounds it.
pub(crate) fn to_luma(image: &mut RgbImage) {
    for pixel in image.pixels_mut() {
        let [red, green, blue] = pixel.0.map(u32::from);
        pixel.0 = [((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8; 3];
    }
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
pub(crate) fn fit(image: RgbImage, resolution: u32, resize: Resize) -> RgbImage {
    let (width, height) = image.dimensions();
    if (width, height) == (resolution, resolution) {
        return image;
    }
    let side = width.min(height);
    let square = image.view((width - side) / 2, (height - side) / 2, side, side).to_image();
    if uses_block_means(side, resolution, resize) {
        block_means(&square, side / resolution, resolution)
    } else {
        resample::resize(&square, resolution, resolution)
    }
}

/// Whether squares of this side are reduced by the means of blocks.
pub(crate) fn uses_block_means(side: u32, resolution: u32, resize: Resize) -> bool {
    resize == Resize::BlockMeans && side.is_multiple_of(resolution)
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
        decode(Path::new("a.png"), bytes).unwrap().0.pixels().map(|pixel| pixel.0).collect()
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
            assert_eq!(decode(Path::new(name), &whole).unwrap().0.dimensions(), (48, 40));
            for length in (20..whole.len() - 1).step_by(7) {
                let message = message(&whole[..length]);
                assert!(message.contains("truncated file"), "{name} cut at {length}: {message}");
            }
        }
    }

    #[test]
    fn applies_the_exif_orientation() {
        let bytes = fixture("rotated.jpg");
        let (image, traits) = decode(Path::new("rotated.jpg"), &bytes).unwrap();
        assert_eq!(image.dimensions(), (8, 16));
        let (top, bottom) = (image.get_pixel(4, 2).0, image.get_pixel(4, 13).0);
        assert!(top[0] > 240 && top[2] < 15 && bottom[0] < 15 && bottom[2] > 240, "{top:?} {bottom:?}");
        let header = header(Path::new("rotated.jpg"), &bytes).unwrap();
        assert_eq!(header, Header { size: (8, 16), traits });
    }

    #[test]
    fn grey_is_what_pillow_makes_of_colours() {
        let colours = fixture("decoding/source.png");
        let (mut image, _) = decode(Path::new("source.png"), &colours).unwrap();
        to_luma(&mut image);
        let (grey, _) = decode(Path::new("luma.png"), &fixture("decoding/luma.png")).unwrap();
        assert_eq!(image, grey);
        let mut shades = RgbImage::from_fn(256, 1, |x, _| Rgb([x as u8; 3]));
        to_luma(&mut shades);
        assert!(shades.enumerate_pixels().all(|(x, _, pixel)| pixel.0 == [x as u8; 3]));
    }

    #[test]
    fn fits_by_central_square_and_block_means() {
        // 6 x 4: columns 1 to 4 are the central square; each 2 x 2 block has its mean, rounded.
        let image = RgbImage::from_fn(6, 4, |x, y| Rgb([(10 * x) as u8, (y * y) as u8, 255]));
        let small = fit(image, 2, Resize::BlockMeans);
        let values: Vec<[u8; 3]> = small.pixels().map(|pixel| pixel.0).collect();
        // Means: x of 10, 20 and of 30, 40; y of 0, 1 and of 4, 9 (0.5 and 6.5, rounded up).
        assert_eq!(values, [[15, 1, 255], [35, 1, 255], [15, 7, 255], [35, 7, 255]]);
    }

    #[test]
    fn other_ratios_keep_flat_colours_and_size() {
        for (width, height, resolution) in [(7, 5, 3), (5, 9, 16), (33, 33, 32), (1, 1, 8)] {
            let flat = RgbImage::from_pixel(width, height, Rgb([10, 200, 77]));
            let fitted = fit(flat, resolution, Resize::BlockMeans);
            assert_eq!(fitted.dimensions(), (resolution, resolution));
            assert!(fitted.pixels().all(|pixel| pixel.0 == [10, 200, 77]));
        }
        assert!(
            check_resolution(0).is_err() && check_resolution(4097).is_err() && check_resolution(32).is_ok()
        );
    }
}
