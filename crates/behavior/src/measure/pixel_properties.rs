//! Properties of the pixels themselves, which need no network; each is the mean over the images.

use crate::{BehaviorError, Samples};

/// Channel values from here to 255 count as background in [`background_fraction`].
pub const BACKGROUND_LEVEL: u8 = 250;

/// Colourfulness: "Measuring colourfulness in natural images", Hasler & Süsstrunk 2003, the metric M(3).
///
/// Of an image `sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2)` with `rg = R - G`, `yb = (R + G) / 2 - B` on values in
/// 0..255, `m` the mean and `s` the standard deviation (dividing by the number of pixels) over the image. Grey images have
/// 0; the paper calls 15 slightly, 59 quite and 109 extremely colourful.
///
/// # Errors
/// [`BehaviorError::TooFewSamples`] of no image.
pub fn colourfulness(samples: &Samples) -> Result<f64, BehaviorError> {
    mean_of_images("colourfulness", samples, |pixels| {
        let count = pixels.len() as f64;
        // Sums of integers (rg and 2 yb): exact, so that the variances do not cancel.
        let (mut rg, mut yb, mut rg2, mut yb2) = (0i64, 0i64, 0i64, 0i64);
        for &[r, g, b] in pixels {
            let (r, g, b) = (i64::from(r), i64::from(g), i64::from(b));
            let (opponent, twice) = (r - g, r + g - 2 * b);
            rg += opponent;
            rg2 += opponent * opponent;
            yb += twice;
            yb2 += twice * twice;
        }
        let (mean_rg, mean_yb) = (rg as f64 / count, yb as f64 / (2.0 * count));
        let variance =
            rg2 as f64 / count - mean_rg * mean_rg + yb2 as f64 / (4.0 * count) - mean_yb * mean_yb;
        variance.max(0.0).sqrt() + 0.3 * mean_rg.hypot(mean_yb)
    })
}

/// Mean luma `0.299 R + 0.587 G + 0.114 B` (Rec. 601), from 0 (black) to 1 (white).
///
/// # Errors
/// [`BehaviorError::TooFewSamples`] of no image.
pub fn brightness(samples: &Samples) -> Result<f64, BehaviorError> {
    mean_of_pixels("brightness", samples, |[r, g, b]| {
        f64::from(299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b)) / 255_000.0
    })
}

/// Mean saturation `(max - min) / max` of the HSV colour model, 0 for black: from 0 (grey) to 1 (pure colours).
///
/// # Errors
/// [`BehaviorError::TooFewSamples`] of no image.
pub fn saturation(samples: &Samples) -> Result<f64, BehaviorError> {
    mean_of_pixels("saturation", samples, |[r, g, b]| {
        let (top, bottom) = (r.max(g).max(b), r.min(g).min(b));
        if top == 0 { 0.0 } else { f64::from(top - bottom) / f64::from(top) }
    })
}

/// The share of pixels that are nearly white, every channel at least [`BACKGROUND_LEVEL`]: how much of a drawing on white
/// is left empty.
///
/// # Errors
/// [`BehaviorError::TooFewSamples`] of no image.
pub fn background_fraction(samples: &Samples) -> Result<f64, BehaviorError> {
    mean_of_pixels("the background fraction", samples, |pixel| {
        f64::from(u8::from(pixel.iter().all(|&value| value >= BACKGROUND_LEVEL)))
    })
}

fn mean_of_pixels(
    measure: &'static str,
    samples: &Samples,
    value: impl Fn([u8; 3]) -> f64,
) -> Result<f64, BehaviorError> {
    mean_of_images(measure, samples, |pixels| {
        pixels.iter().map(|&pixel| value(pixel)).sum::<f64>() / pixels.len() as f64
    })
}

fn mean_of_images(
    measure: &'static str,
    samples: &Samples,
    value: impl Fn(&[[u8; 3]]) -> f64,
) -> Result<f64, BehaviorError> {
    if samples.is_empty() {
        return Err(BehaviorError::TooFewSamples { measure, what: "samples", needed: 1, found: 0 });
    }
    Ok(samples.images().map(|image| value(image.as_chunks().0)).sum::<f64>() / samples.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn every_property_agrees_with_numpy() {
        let fixture = fixture::open();
        let (pixels, shape) = fixture.images();
        let samples = Samples::new(&pixels, shape).unwrap();
        for (key, found) in [
            ("colourfulness", colourfulness(&samples)),
            ("brightness", brightness(&samples)),
            ("saturation", saturation(&samples)),
            ("background", background_fraction(&samples)),
        ] {
            let (found, expected) = (found.unwrap(), fixture.value(key));
            assert!((found - expected).abs() < 1e-10, "{key}: {found} against {expected}");
        }
    }

    #[test]
    fn grey_has_no_colour_and_pure_red_has_a_known_one() {
        let grey = [90; 12];
        let samples = Samples::new(&grey, [1, 2, 2, 3]).unwrap();
        assert_eq!((colourfulness(&samples).unwrap(), saturation(&samples).unwrap()), (0.0, 0.0));
        let red = [255, 0, 0];
        let samples = Samples::new(&red, [1, 1, 1, 3]).unwrap();
        let expected = 0.3 * 255f64.hypot(127.5);
        assert!((colourfulness(&samples).unwrap() - expected).abs() < 1e-12);
        assert_eq!(saturation(&samples).unwrap(), 1.0);
    }

    #[test]
    fn no_image_is_refused() {
        let samples = Samples::new(&[], [0, 2, 2, 3]).unwrap();
        for measure in [colourfulness, brightness, saturation, background_fraction] {
            assert!(matches!(measure(&samples), Err(BehaviorError::TooFewSamples { found: 0, .. })));
        }
    }
}
