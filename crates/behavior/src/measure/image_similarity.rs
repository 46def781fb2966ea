//! How alike two images are, pixel by pixel: MSE, NRMSE and SSIM, as scikit-image computes them.
//!
//! For two images made from the same noise by two models, they say how far the change of the model moved the picture. Bytes
//! count as c / 255, so that all values are of images in [0, 1].

use crate::BehaviorError;

/// Side of the window of [`structural_similarity`], scikit-image's default.
pub const WINDOW: usize = 7;

/// Mean over pixels and channels of (a - b)^2.
///
/// # Errors
/// Images of different sizes, or none.
pub fn mean_squared_error(reference: &[u8], image: &[u8]) -> Result<f64, BehaviorError> {
    check_lengths(reference.len(), image.len())?;
    let squares = reference.iter().zip(image).map(|(&a, &b)| (unit(a) - unit(b)).powi(2));
    Ok(squares.sum::<f64>() / reference.len() as f64)
}

/// Root of the mean squared error over the root of the mean square of the reference; infinite where that is black and the
/// image is not.
///
/// # Errors
/// As [`mean_squared_error`].
pub fn normalized_root_mse(reference: &[u8], image: &[u8]) -> Result<f64, BehaviorError> {
    let error = mean_squared_error(reference, image)?;
    let square = reference.iter().map(|&a| unit(a).powi(2)).sum::<f64>() / reference.len() as f64;
    Ok(if error == 0.0 { 0.0 } else { (error / square).sqrt() })
}

/// Structural similarity of two images `[height, width, 3]`: the mean over channels and over all windows of 7 x 7 of
///
/// ```text
/// (2 ma mb + C1) (2 cov + C2) / ((ma^2 + mb^2 + C1) (va + vb + C2)),   C1 = 0.01^2, C2 = 0.03^2
/// ```
///
/// with the means m, sample variances v and the sample covariance in the window. 1 for equal images.
///
/// Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity".
///
/// # Errors
/// As [`mean_squared_error`], and images smaller than a window.
pub fn structural_similarity(
    reference: &[u8],
    image: &[u8],
    [height, width]: [usize; 2],
) -> Result<f64, BehaviorError> {
    check_lengths(height * width * 3, reference.len())?;
    check_lengths(reference.len(), image.len())?;
    if height.min(width) < WINDOW {
        return Err(BehaviorError::Mismatch {
            what: "smaller side of the images in pixels, for `ssim`",
            expected: WINDOW,
            found: height.min(width),
            remedy: "the window of SSIM is 7 x 7: measure images at least as large",
        });
    }
    let mut sum = 0.0;
    for channel in 0..3 {
        for top in 0..=height - WINDOW {
            for left in 0..=width - WINDOW {
                let places = (0..WINDOW * WINDOW).map(|i| {
                    let (y, x) = (top + i / WINDOW, left + i % WINDOW);
                    (y * width + x) * 3 + channel
                });
                sum += similarity(places.map(|at| (unit(reference[at]), unit(image[at]))));
            }
        }
    }
    Ok(sum / (3 * (height - WINDOW + 1) * (width - WINDOW + 1)) as f64)
}

/// The similarity of one window.
fn similarity(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    const C1: f64 = 0.01 * 0.01;
    const C2: f64 = 0.03 * 0.03;
    let n = (WINDOW * WINDOW) as f64;
    let (mut a, mut b, mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in pairs {
        a += x;
        b += y;
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    let (ma, mb) = (a / n, b / n);
    let [va, vb, cov] = [(aa, ma, ma), (bb, mb, mb), (ab, ma, mb)]
        .map(|(products, one, other)| (products / n - one * other) * n / (n - 1.0));
    (2.0 * ma * mb + C1) * (2.0 * cov + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2))
}

fn unit(byte: u8) -> f64 {
    f64::from(byte) / 255.0
}

fn check_lengths(expected: usize, found: usize) -> Result<(), BehaviorError> {
    if expected == found && found > 0 {
        return Ok(());
    }
    Err(BehaviorError::Mismatch {
        what: "number of bytes of two images that are compared",
        expected,
        found,
        remedy: "compare images of one size",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Pair {
        shape: [usize; 2],
        reference: Vec<u8>,
        image: Vec<u8>,
        mse: f64,
        nrmse: f64,
        ssim: f64,
    }

    #[test]
    fn values_are_those_of_scikit_image() {
        let text = include_str!("../../tests/fixtures/image_similarity.json");
        let pairs: Vec<Pair> = serde_json::from_str(text).unwrap();
        assert_eq!(pairs.len(), 5);
        for pair in pairs {
            let (a, b) = (&pair.reference, &pair.image);
            let close =
                |ours: f64, theirs: f64| assert!((ours - theirs).abs() < 1e-9, "{ours}, not {theirs}");
            close(mean_squared_error(a, b).unwrap(), pair.mse);
            close(normalized_root_mse(a, b).unwrap(), pair.nrmse);
            close(structural_similarity(a, b, pair.shape).unwrap(), pair.ssim);
        }
    }

    #[test]
    fn images_that_cannot_be_compared_are_refused() {
        assert!(mean_squared_error(&[1, 2], &[1]).is_err());
        assert!(mean_squared_error(&[], &[]).is_err());
        let small = structural_similarity(&[0; 108], &[0; 108], [6, 6]).unwrap_err().to_string();
        assert!(small.contains("ssim") && small.contains('7'), "{small}");
    }
}
