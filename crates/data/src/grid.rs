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

/// PNG of 8-bit RGB pixels.
pub(crate) fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>, DataError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_place_images_row_by_row() {
        let image = |value: u8| vec![value; 2 * 3 * 3];
        let pixels = [image(10), image(20), image(30)].concat();
        let decoded =
            image::load_from_memory(&png_grid(&pixels, [3, 2, 3, 3], 2).unwrap()).unwrap().to_rgb8();
        assert_eq!(decoded.dimensions(), (3 + 2 + 3, 2 + 2 + 2));
        let value = |x, y| decoded.get_pixel(x, y).0[0];
        assert_eq!(
            [value(0, 0), value(2, 1), value(5, 0), value(7, 1), value(0, 4), value(2, 5)],
            [10, 10, 20, 20, 30, 30]
        );
        // Between the images, and where there is none, it is white.
        assert_eq!([value(3, 0), value(4, 1), value(0, 2), value(5, 4), value(7, 5)], [255; 5]);
        let row = image::load_from_memory(&png_grid(&pixels, [3, 2, 3, 3], 9).unwrap()).unwrap();
        assert_eq!((row.width(), row.height()), (13, 2));
    }

    #[test]
    fn single_images_survive_the_png() {
        let bytes: Vec<u8> = (0..12).map(|i| i * 20).collect();
        let dataset = Dataset::from_images((2, 2), [("Ann", bytes.clone()), ("Bob", vec![0; 12])]).unwrap();
        assert_eq!(image::load_from_memory(&dataset.png(0).unwrap()).unwrap().to_rgb8().into_raw(), bytes);
        let grid = image::load_from_memory(&dataset.png_grid(&[1, 0], 2).unwrap()).unwrap();
        assert_eq!((grid.width(), grid.height()), (6, 2));
        assert!(matches!(dataset.png(2), Err(DataError::ImageOutOfRange { index: 2, len: 2 })));
    }

    #[test]
    fn refuses_shapes_that_do_not_fit() {
        for (bytes, shape, columns) in [
            (12, [1, 2, 2, 3], 0),
            (11, [1, 2, 2, 3], 1),
            (0, [0, 2, 2, 3], 1),
            (16, [1, 2, 2, 4], 1),
            (12, [usize::MAX, 2, 2, 3], 1),
        ] {
            let message = png_grid(&vec![0; bytes], shape, columns).unwrap_err().to_string();
            assert!(message.contains("are not a grid of"), "{message}");
        }
    }
}
