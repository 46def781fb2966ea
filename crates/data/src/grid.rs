//! PNG pictures of images and samples, for reports.

use crate::{DataError, Dataset};
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage, codecs::png};

/// Pixels between the images of a grid.
const GAP: u32 = 2;

impl Dataset {
    /// PNG of one image.
    ///
    /// # Errors
    /// An image that does not exist or cannot be read.
    pub fn png(&self, image: usize) -> Result<Vec<u8>, DataError> {
        let (width, height) = self.size();
        encode(&self.image(image)?, width, height)
    }

    /// PNG of a grid of images, `columns` a row, two white pixels apart.
    ///
    /// # Errors
    /// No images, images that do not exist or cannot be read, and a grid too large for a PNG.
    pub fn png_grid(&self, images: &[usize], columns: usize) -> Result<Vec<u8>, DataError> {
        let mut pixels = Vec::new();
        for &image in images {
            pixels.extend_from_slice(&self.image(image)?);
        }
        let (width, height) = self.size();
        png_grid(&pixels, [images.len(), height as usize, width as usize, 3], columns)
    }
}

/// PNG of a grid of 8-bit RGB images `[batch, height, width, 3]`, `columns` a row, two white pixels apart.
///
/// # Errors
/// [`DataError::Encode`] for no images, a shape that does not fit the pixels, and a grid too large for a PNG.
pub fn png_grid(pixels: &[u8], shape: [usize; 4], columns: usize) -> Result<Vec<u8>, DataError> {
    let wrong = |message: String| DataError::Encode { message };
    let [count, height, width, channels] = shape;
    let sized = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
    if sized != Some(pixels.len()) || pixels.is_empty() || channels != 3 || columns == 0 {
        return Err(wrong(format!(
            "{} bytes are not a grid of {count} RGB images of {height} x {width} in {columns} columns",
            pixels.len()
        )));
    }
    let columns = columns.min(count);
    let side = |images: usize, pixels: usize| -> Option<u32> {
        let images = u32::try_from(images).ok()?;
        images.checked_mul(u32::try_from(pixels).ok()?.checked_add(GAP)?).map(|side| side - GAP)
    };
    let (total_width, total_height) = side(columns, width)
        .zip(side(count.div_ceil(columns), height))
        .filter(|&(w, h)| u64::from(w) * u64::from(h) < 1 << 28)
        .ok_or_else(|| wrong(format!("a grid of {count} images of {height} x {width} is too large")))?;
    let mut grid = RgbImage::from_pixel(total_width, total_height, Rgb([255; 3]));
    for (image, bytes) in pixels.chunks_exact(height * width * 3).enumerate() {
        let (left, top) =
            ((image % columns) * (width + GAP as usize), (image / columns) * (height + GAP as usize));
        for (at, pixel) in bytes.chunks_exact(3).enumerate() {
            let (x, y) = (left + at % width, top + at / width);
            grid.put_pixel(x as u32, y as u32, Rgb([pixel[0], pixel[1], pixel[2]]));
        }
    }
    encode(grid.as_raw(), total_width, total_height)
}

fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let encoder = png::PngEncoder::new_with_quality(
        &mut bytes,
        png::CompressionType::Default,
        png::FilterType::Adaptive,
    );
    encoder
        .write_image(pixels, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| DataError::Encode { message: error.to_string() })?;
    Ok(bytes)
}
