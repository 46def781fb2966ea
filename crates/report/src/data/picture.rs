//! Pictures as PNG files in memory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ReportError;

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];

/// A PNG picture with the words that stand in for it.
///
/// Its bytes go into the page as a `data:` URI and are left out of `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// The PNG file; empty if the picture was read back from `report.json`.
    #[serde(skip)]
    png: Vec<u8>,
    /// Width in pixels.
    width: u32,
    /// Height in pixels.
    height: u32,
    /// What a reader who cannot see it should know.
    description: String,
}

impl Picture {
    /// Takes a PNG file as it is.
    ///
    /// # Errors
    /// [`ReportError::NotAPng`] if the bytes do not begin as a PNG file does.
    pub fn from_png(png: Vec<u8>, description: impl Into<String>) -> Result<Self, ReportError> {
        let description = description.into();
        let size = |at: usize| {
            png.get(at..at + 4).map(|b| b.iter().fold(0u32, |n, &byte| (n << 8) | u32::from(byte)))
        };
        let header = png.starts_with(&SIGNATURE) && png.get(12..16) == Some(b"IHDR");
        match (header, size(16), size(20)) {
            (true, Some(width), Some(height)) if width > 0 && height > 0 => {
                Ok(Picture { png, width, height, description })
            }
            _ => Err(ReportError::NotAPng { description, bytes: png.len() }),
        }
    }

    /// Encodes one 8-bit RGB image, `pixels` of shape `[height, width, 3]`.
    ///
    /// # Errors
    /// [`ReportError::PixelCount`] if `pixels` has another length, or the image is empty.
    pub fn from_rgb8(
        pixels: &[u8],
        height: usize,
        width: usize,
        description: impl Into<String>,
    ) -> Result<Self, ReportError> {
        let description = description.into();
        let expected = height.checked_mul(width).and_then(|n| n.checked_mul(3));
        if expected != Some(pixels.len()) || pixels.is_empty() {
            return Err(ReportError::PixelCount {
                description,
                shape: vec![height, width, 3],
                found: pixels.len(),
            });
        }
        let too_large = |_| ReportError::PixelCount {
            description: description.clone(),
            shape: vec![height, width, 3],
            found: pixels.len(),
        };
        let columns = u32::try_from(width).map_err(too_large)?;
        let rows = u32::try_from(height).map_err(too_large)?;
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, columns, rows);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(pixels)?;
        Picture::from_png(png, description)
    }

    /// Lays out samples of shape `[count, height, width, 3]` in rows of `columns`, white where the last row ends early.
    ///
    /// # Errors
    /// [`ReportError::PixelCount`] if `pixels` does not have the shape, there is no sample, or `columns` is 0.
    pub fn grid(
        pixels: &[u8],
        shape: [usize; 4],
        columns: usize,
        description: impl Into<String>,
    ) -> Result<Self, ReportError> {
        let [count, height, width, channels] = shape;
        let description = description.into();
        let length = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if length != Some(pixels.len()) || pixels.is_empty() || channels != 3 || columns == 0 {
            return Err(ReportError::PixelCount { description, shape: shape.to_vec(), found: pixels.len() });
        }
        let columns = columns.min(count);
        let rows = count.div_ceil(columns);
        let mut sheet = vec![255u8; rows * height * columns * width * 3];
        for (index, sample) in pixels.chunks_exact(height * width * 3).enumerate() {
            let (top, left) = (index / columns * height, index % columns * width);
            for (y, line) in sample.chunks_exact(width * 3).enumerate() {
                let start = ((top + y) * columns * width + left) * 3;
                sheet[start..start + line.len()].copy_from_slice(line);
            }
        }
        Picture::from_rgb8(&sheet, rows * height, columns * width, description)
    }

    /// The PNG file, unless the picture was read back from `report.json`.
    pub fn png(&self) -> Option<&[u8]> {
        (!self.png.is_empty()).then_some(&self.png)
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The words that stand in for the picture.
    pub fn description(&self) -> &str {
        &self.description
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(picture: &Picture) -> Vec<u8> {
        let bytes = picture.png().expect("just encoded");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a small picture")];
        reader.next_frame(&mut pixels).expect("one frame");
        pixels
    }

    #[test]
    fn a_grid_puts_samples_left_to_right_and_fills_with_white() {
        let samples: Vec<u8> = [1u8, 2, 3].iter().flat_map(|&v| vec![v; 2 * 3]).collect();
        let grid = Picture::grid(&samples, [3, 1, 2, 3], 2, "three").expect("the shape fits");
        assert_eq!((grid.width(), grid.height()), (4, 2));
        let expected: Vec<u8> = [1u8, 1, 2, 2, 3, 3, 255, 255].iter().flat_map(|&v| [v; 3]).collect();
        assert_eq!(decode(&grid), expected);
    }

    #[test]
    fn wrong_shapes_and_foreign_bytes_are_refused() {
        assert!(matches!(
            Picture::grid(&[0; 5], [1, 1, 2, 3], 1, "x"),
            Err(ReportError::PixelCount { found: 5, .. })
        ));
        assert!(matches!(Picture::from_rgb8(&[], 0, 4, "x"), Err(ReportError::PixelCount { .. })));
        assert!(matches!(
            Picture::from_png(b"GIF89a".to_vec(), "x"),
            Err(ReportError::NotAPng { bytes: 6, .. })
        ));
    }

    #[test]
    fn json_leaves_the_bytes_out() {
        let picture = Picture::from_rgb8(&[7; 12], 2, 2, "grey").expect("2 x 2");
        let json = serde_json::to_value(&picture).expect("plain data");
        assert_eq!(json, serde_json::json!({ "width": 2, "height": 2, "description": "grey" }));
        let back: Picture = serde_json::from_value(json).expect("what was just written");
        assert_eq!((back.width(), back.png()), (2, None));
    }
}
