//! Resizing with a Lanczos filter, number for number as Pillow does.
//!
//! Along one axis of length n resized to m, with s = n / m and f = max(s, 1), output pixel i has the centre
//! c = (i + 1/2) s and is the weighted mean of the input pixels x from max(0, floor(c - 3 f + 1/2)) to
//! min(n, floor(c + 3 f + 1/2)) - 1 with weights L((x - c + 1/2) / f), where L(u) = sinc(u) sinc(u / 3) for -3 <= u < 3.
//! Weights are divided by their sum and rounded to multiples of 2^-22. Rows come first, then columns, and each pass rounds
//! to 8 bits. Source: `Resample.c` of Pillow <https://github.com/python-pillow/Pillow>.

use image::RgbImage;
use std::f64::consts::PI;

/// Half of the filter's width, in input pixels, before it is widened for reductions.
const SUPPORT: f64 = 3.0;
/// Bits behind the point of a weight.
const PRECISION: u32 = 22;

/// The weights of one output pixel.
struct Weights {
    /// First input pixel.
    start: usize,
    values: Vec<i64>,
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

fn lanczos(x: f64) -> f64 {
    if (-SUPPORT..SUPPORT).contains(&x) { sinc(x) * sinc(x / SUPPORT) } else { 0.0 }
}

fn weights(input: u32, output: u32) -> Vec<Weights> {
    let scale = f64::from(input) / f64::from(output);
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    (0..output)
        .map(|pixel| {
            let center = (f64::from(pixel) + 0.5) * scale;
            // Casts to integers round towards zero, as in C.
            let start = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as i64).min(i64::from(input)) as usize;
            let values: Vec<f64> =
                (start..end).map(|x| lanczos((x as f64 - center + 0.5) / stretch)).collect();
            let sum: f64 = values.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            let fixed = |value: &f64| (value / sum * f64::from(1 << PRECISION)).round() as i64;
            Weights { start, values: values.iter().map(fixed).collect() }
        })
        .collect()
}

fn rounded(sum: i64) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Resizes to `width` x `height`; an axis whose length stays is left as it is.
pub(crate) fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let rows = if image.width() == width { image.clone() } else { resize_rows(image, width) };
    if rows.height() == height { rows } else { resize_columns(&rows, height) }
}

fn resize_rows(image: &RgbImage, width: u32) -> RgbImage {
    let weights = weights(image.width(), width);
    let mut resized = RgbImage::new(width, image.height());
    let input_row = image.width() as usize * 3;
    let output_row = width as usize * 3;
    for (from, to) in image.as_raw().chunks_exact(input_row).zip(resized.chunks_exact_mut(output_row)) {
        for (pixel, weights) in to.chunks_exact_mut(3).zip(&weights) {
            let mut sums = [1i64 << (PRECISION - 1); 3];
            for (weight, input) in weights.values.iter().zip(from[weights.start * 3..].chunks_exact(3)) {
                for (sum, &value) in sums.iter_mut().zip(input) {
                    *sum += weight * i64::from(value);
                }
            }
            pixel.copy_from_slice(&sums.map(rounded));
        }
    }
    resized
}

fn resize_columns(image: &RgbImage, height: u32) -> RgbImage {
    let weights = weights(image.height(), height);
    let row = image.width() as usize * 3;
    let mut resized = RgbImage::new(image.width(), height);
    let mut sums = vec![0i64; row];
    for (to, weights) in resized.chunks_exact_mut(row).zip(&weights) {
        sums.fill(1 << (PRECISION - 1));
        for (weight, from) in
            weights.values.iter().zip(image.as_raw()[weights.start * row..].chunks_exact(row))
        {
            for (sum, &value) in sums.iter_mut().zip(from) {
                *sum += weight * i64::from(value);
            }
        }
        for (value, &sum) in to.iter_mut().zip(&sums) {
            *value = rounded(sum);
        }
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn weights_add_up_and_stay_inside() {
        for (input, output) in [(7, 3), (3, 7), (100, 99), (1, 5), (4096, 4), (5, 1)] {
            for (pixel, weights) in weights(input, output).iter().enumerate() {
                assert!(weights.start + weights.values.len() <= input as usize);
                let sum: i64 = weights.values.iter().sum();
                let slack = weights.values.len() as i64;
                assert!((sum - (1 << PRECISION)).abs() <= slack, "{input} to {output}, pixel {pixel}: {sum}");
            }
        }
    }

    #[test]
    fn edges_overshoot_into_clipped_values() {
        let step = RgbImage::from_fn(20, 1, |x, _| Rgb([if x < 10 { 20 } else { 235 }; 3]));
        let resized = resize(&step, 31, 1);
        let values: Vec<u8> = resized.pixels().map(|pixel| pixel[0]).collect();
        assert_eq!((values[0], values[30]), (20, 235));
        assert!(
            values.iter().any(|&value| value < 20) && values.iter().any(|&value| value > 235),
            "{values:?}"
        );
    }
}
