//! How alike training images and samples are, without the model.

use ndarray::{Array1, Array2, ArrayView1, Axis};

use crate::InfluenceError;

/// The mean over `samples` (rows) of each of `images`' cosine similarity to them.
///
/// With unit rows the mean over pairs is the product with the mean: `u(z)' mean_s u(s)`. A row of zeros, such as the pixels
/// of a black image, has similarity 0 to every other, as in scikit-learn.
///
/// # Errors
/// No rows, rows of different lengths, NaN or infinities. `what` names the rows in messages.
pub fn mean_cosine(
    images: &Array2<f32>,
    samples: &Array2<f32>,
    what: &'static str,
) -> Result<Vec<f64>, InfluenceError> {
    check(images, samples, what)?;
    let images = unit_rows(images);
    let samples = unit_rows(samples);
    let mean = samples.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(images.ncols()));
    Ok(images.dot(&mean).to_vec())
}

/// The mean over `samples` of each of `images`' negated Euclidean distance to them.
///
/// # Errors
/// No rows, rows of different lengths, NaN or infinities.
pub fn mean_negated_distance(
    images: &Array2<f32>,
    samples: &Array2<f32>,
    what: &'static str,
) -> Result<Vec<f64>, InfluenceError> {
    check(images, samples, what)?;
    let (images, samples) = (images.mapv(f64::from), samples.mapv(f64::from));
    let count = samples.nrows() as f64;
    let distance = |a: ArrayView1<f64>, b: ArrayView1<f64>| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    Ok(images
        .rows()
        .into_iter()
        .map(|image| -samples.rows().into_iter().map(|sample| distance(image, sample)).sum::<f64>() / count)
        .collect())
}

/// 8-bit images, one after the other and each of `size` bytes, as rows of numbers in 0..=1.
///
/// # Errors
/// Bytes that are not whole images.
pub fn pixel_rows(pixels: &[u8], size: usize) -> Result<Array2<f32>, InfluenceError> {
    let count = pixels.len() / size.max(1);
    let rows = pixels.iter().map(|&byte| f32::from(byte) / 255.0).collect();
    Array2::from_shape_vec((count, size), rows).map_err(|_| InfluenceError::Mismatch {
        what: "bytes of pixels",
        expected: count * size,
        found: pixels.len(),
    })
}

fn check(images: &Array2<f32>, samples: &Array2<f32>, what: &'static str) -> Result<(), InfluenceError> {
    for (rows, name) in [(images, "training images"), (samples, "samples")] {
        if rows.nrows() == 0 {
            return Err(InfluenceError::Empty { what: name });
        }
        if let Some(((image, _), &value)) = rows.indexed_iter().find(|(_, value)| !value.is_finite()) {
            return Err(InfluenceError::NotFinite {
                what: format!("{what} ({name})"),
                image,
                value: f64::from(value),
            });
        }
    }
    if images.ncols() != samples.ncols() {
        return Err(InfluenceError::Mismatch { what, expected: images.ncols(), found: samples.ncols() });
    }
    Ok(())
}

fn unit_rows(rows: &Array2<f32>) -> Array2<f64> {
    let rows = rows.mapv(f64::from);
    let norms = rows.map_axis(Axis(1), |row| row.dot(&row).sqrt().max(f64::MIN_POSITIVE));
    rows / norms.insert_axis(Axis(1))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn closed_forms() {
        let images = array![[1.0f32, 0.0], [0.0, 2.0], [3.0, 3.0]];
        let samples = array![[4.0f32, 0.0], [0.0, 1.0]];
        let cosines = mean_cosine(&images, &samples, "features").unwrap();
        let half = 0.5f64.sqrt();
        for (found, expected) in cosines.iter().zip([0.5, 0.5, half]) {
            assert!((found - expected).abs() < 1e-15, "{cosines:?}");
        }
        let distances = mean_negated_distance(&images, &samples, "features").unwrap();
        let expected =
            [-(3.0 + 2f64.sqrt()) / 2.0, -(20f64.sqrt() + 1.0) / 2.0, -(10f64.sqrt() + 13f64.sqrt()) / 2.0];
        for (found, expected) in distances.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-14, "{distances:?}");
        }
        assert_eq!(pixel_rows(&[0, 255, 51, 102], 2).unwrap(), array![[0.0f32, 1.0], [0.2, 0.4]]);
    }

    #[test]
    fn rows_without_numbers_are_named_and_zeros_are_like_nothing() {
        let samples = array![[1.0f32, 0.0]];
        let message =
            |images: Array2<f32>| mean_cosine(&images, &samples, "features").unwrap_err().to_string();
        assert_eq!(mean_cosine(&array![[0.0, 0.0]], &samples, "features").unwrap(), [0.0]);
        assert!(message(array![[f32::NAN, 0.0]]).contains("NaN"));
        assert!(message(Array2::zeros((0, 2))).contains("training images"));
        assert!(message(array![[1.0, 0.0, 0.0]]).contains("3 are needed"));
        assert!(pixel_rows(&[0; 5], 2).is_err());
    }
}
