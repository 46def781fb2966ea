//! Resizing number for number as Pillow does, which is how published preprocessing is defined.
//!
//! Along one axis of length n resized to m, with s = n / m and f = max(s, 1), output pixel i has the centre
//! c = (i + 1/2) s and is the weighted mean of the input pixels x from max(0, floor(c - a f + 1/2)) to
//! min(n, floor(c + a f + 1/2)) - 1 with weights L((x - c + 1/2) / f), where L is the filter and a its half width.
//! Weights are divided by their sum and rounded to multiples of 2^-22. Rows come first, then columns, and each pass rounds
//! to 8 bits. Source: `Resample.c` of Pillow <https://github.com/python-pillow/Pillow>.

use image::RgbImage;
use std::f64::consts::PI;

/// What neighbouring pixels weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// L(u) = sinc(u) sinc(u / 3) for -3 <= u < 3.
    Lanczos,
    /// The cubic of Keys (1981) with a = -1/2, for -2 < u < 2.
    Bicubic,
}

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
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

impl Filter {
    /// Half of the filter's width, in input pixels, before it is widened for reductions.
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        match self {
            Self::Lanczos => lanczos(x),
            Self::Bicubic => cubic(x),
        }
    }
}

fn weights(input: usize, output: usize, filter: Filter) -> Vec<Weights> {
    let scale = input as f64 / output as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    (0..output)
        .map(|pixel| {
            let center = (pixel as f64 + 0.5) * scale;
            // Casts to integers round towards zero, as in C, and to 0 from below.
            let start = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            let values: Vec<f64> =
                (start..end).map(|x| filter.at((x as f64 - center + 0.5) / stretch)).collect();
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

/// Resizes 8-bit pixels `[height, width, 3]` to `[new_height, new_width, 3]`; an axis whose length stays is left as it is.
pub fn resample(
    pixels: &[u8],
    [height, width]: [usize; 2],
    [new_height, new_width]: [usize; 2],
    filter: Filter,
) -> Vec<u8> {
    let narrow = if width == new_width {
        pixels.to_vec()
    } else {
        resample_rows(pixels, &weights(width, new_width, filter), 3 * width)
    };
    if height == new_height {
        narrow
    } else {
        resample_columns(&narrow, &weights(height, new_height, filter), 3 * new_width)
    }
}

/// By the Lanczos filter.
pub(crate) fn resize(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let [from, to] = [(image.height(), image.width()), (height, width)]
        .map(|(height, width)| [height as usize, width as usize]);
    let mut resized = RgbImage::new(width, height);
    resized.copy_from_slice(&resample(image.as_raw(), from, to, Filter::Lanczos));
    resized
}

fn resample_rows(pixels: &[u8], weights: &[Weights], row: usize) -> Vec<u8> {
    let mut resized = Vec::with_capacity(pixels.len() / row * 3 * weights.len());
    for from in pixels.chunks_exact(row) {
        for weights in weights {
            let mut sums = [1i64 << (PRECISION - 1); 3];
            for (weight, input) in weights.values.iter().zip(from[weights.start * 3..].chunks_exact(3)) {
                for (sum, &value) in sums.iter_mut().zip(input) {
                    *sum += weight * i64::from(value);
                }
            }
            resized.extend(sums.map(rounded));
        }
    }
    resized
}

fn resample_columns(pixels: &[u8], weights: &[Weights], row: usize) -> Vec<u8> {
    let mut resized = Vec::with_capacity(row * weights.len());
    let mut sums = vec![0i64; row];
    for weights in weights {
        sums.fill(1 << (PRECISION - 1));
        for (weight, from) in weights.values.iter().zip(pixels[weights.start * row..].chunks_exact(row)) {
            for (sum, &value) in sums.iter_mut().zip(from) {
                *sum += weight * i64::from(value);
            }
        }
        resized.extend(sums.iter().map(|&sum| rounded(sum)));
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
            for (pixel, weights) in weights(input, output, Filter::Lanczos).iter().enumerate() {
                assert!(weights.start + weights.values.len() <= input);
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
