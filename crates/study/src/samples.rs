//! Samples on disk: a PNG sheet with a small description beside it.

use std::fs;
use std::path::Path;

use diffusion_core::samplers::SampledImages;
use diffusion_core::write_atomically;
use image::{ImageFormat, RgbImage};
use serde::{Deserialize, Serialize};

use crate::begun::write_json;
use crate::error::StudyError;

/// Columns of a sheet of samples.
const SHEET_COLUMNS: usize = 16;
const SHEET: &str = "samples.png";
const DESCRIPTION: &str = "samples.json";

/// How a sheet is divided: image k is the tile in row `k / columns`, column `k % columns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    count: usize,
    height: usize,
    width: usize,
    columns: usize,
}

/// Writes `samples.png` and `samples.json` to a folder, which is made if needed.
///
/// # Errors
/// If a file cannot be written.
pub fn write_samples(folder: &Path, samples: &SampledImages) -> Result<(), StudyError> {
    fs::create_dir_all(folder).map_err(StudyError::io("create", folder))?;
    let [count, height, width, _] = samples.shape;
    write_sheet(&folder.join(SHEET), samples)?;
    write_json(
        &folder.join(DESCRIPTION),
        &Description { count, height, width, columns: SHEET_COLUMNS.min(count) },
    )
}

/// Writes samples to a PNG, left to right in rows of 16, without gaps; white where the last row ends early.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write_sheet(path: &Path, samples: &SampledImages) -> Result<(), StudyError> {
    let [count, height, width, _] = samples.shape;
    let columns = SHEET_COLUMNS.min(count).max(1);
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let mut sheet = RgbImage::from_pixel(
        size(columns * width),
        size(count.div_ceil(columns) * height),
        image::Rgb([255; 3]),
    );
    let (stride, row_bytes) = (columns * width * 3, width * 3);
    let pixels: &mut [u8] = &mut sheet;
    for (index, image) in samples.pixels.chunks_exact(height * row_bytes).enumerate() {
        let (top, left) = (index / columns * height, index % columns * row_bytes);
        for (y, row) in image.chunks_exact(row_bytes).enumerate() {
            let start = (top + y) * stride + left;
            pixels[start..start + row_bytes].copy_from_slice(row);
        }
    }
    let mut png = std::io::Cursor::new(Vec::new());
    sheet
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| StudyError::BadSamples { path: path.to_owned(), reason: error.to_string() })?;
    Ok(write_atomically(path, png.get_ref())?)
}

/// Reads what [`write_samples`] wrote.
///
/// # Errors
/// [`StudyError::BadSamples`] if a file is missing, is not what it should be, or the two do not fit together.
pub fn read_samples(folder: &Path) -> Result<SampledImages, StudyError> {
    let bad = |reason: String| StudyError::BadSamples { path: folder.to_owned(), reason };
    let text =
        fs::read_to_string(folder.join(DESCRIPTION)).map_err(|e| bad(format!("{DESCRIPTION}: {e}")))?;
    let about: Description = serde_json::from_str(&text).map_err(|e| bad(format!("{DESCRIPTION}: {e}")))?;
    cut_sheet(&folder.join(SHEET), &about)
}

/// Reads a sheet of `count` square samples, as the runs of a study leave them.
///
/// # Errors
/// [`StudyError::BadSamples`] if the file is missing, is no PNG, or has another size.
pub(crate) fn read_sheet(path: &Path, count: usize, side: usize) -> Result<SampledImages, StudyError> {
    let columns = SHEET_COLUMNS.min(count);
    cut_sheet(path, &Description { count, height: side, width: side, columns })
}

fn cut_sheet(path: &Path, about: &Description) -> Result<SampledImages, StudyError> {
    let bad = |reason: String| StudyError::BadSamples { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(|error| bad(error.to_string()))?;
    let sheet = image::load_from_memory_with_format(&bytes, ImageFormat::Png)
        .map_err(|error| bad(error.to_string()))?
        .into_rgb8();
    let &Description { count, height, width, columns } = about;
    let fits = count > 0 && height > 0 && width > 0 && columns > 0 && {
        let rows = count.div_ceil(columns);
        columns.checked_mul(width) == Some(sheet.width() as usize)
            && rows.checked_mul(height) == Some(sheet.height() as usize)
    };
    if !fits {
        let (w, h) = sheet.dimensions();
        return Err(bad(format!(
            "it is {w} x {h} pixels, not {count} samples of {width} x {height} in rows of {columns}"
        )));
    }
    let (stride, row_bytes) = (sheet.width() as usize * 3, width * 3);
    let mut pixels = Vec::with_capacity(count * height * row_bytes);
    for image in 0..count {
        let (top, left) = (image / columns * height, image % columns * row_bytes);
        for y in 0..height {
            let start = (top + y) * stride + left;
            pixels.extend_from_slice(&sheet.as_raw()[start..start + row_bytes]);
        }
    }
    Ok(SampledImages { pixels, shape: [count, height, width, 3] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_read_back_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let shape = [19, 4, 4, 3];
        let pixels: Vec<u8> = (0..19 * 48).map(|i| (i * 7 % 251) as u8).collect();
        let samples = SampledImages { pixels, shape };
        write_samples(folder.path(), &samples).unwrap();
        assert_eq!(read_samples(folder.path()).unwrap(), samples);

        let sheet = folder.path().join(SHEET);
        let whole = fs::read(&sheet).unwrap();
        fs::write(&sheet, &whole[..whole.len() / 2]).unwrap();
        let message = read_samples(folder.path()).unwrap_err().to_string();
        assert!(message.contains(SHEET), "{message}");
        fs::write(&sheet, whole).unwrap();
        fs::write(folder.path().join(DESCRIPTION), r#"{"count":40,"height":4,"width":4,"columns":16}"#)
            .unwrap();
        let message = read_samples(folder.path()).unwrap_err().to_string();
        assert!(message.contains("40 samples"), "{message}");
    }
}
