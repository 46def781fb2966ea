//! The bicubic resize of Pillow on 8-bit images, which CLIP's preprocessing is: two passes, each rounded to 8 bits.

/// Bits behind the point of Pillow's fixed-point weights.
const PRECISION: u32 = 32 - 8 - 2;

/// The first input position of an output position, and the weights from there on.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

/// Keys' cubic with a = -1/2.
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

fn axis(input: usize, output: usize) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let stretch = scale.max(1.0);
    let shrink = 1.0 / stretch;
    let support = 2.0 * stretch;
    (0..output)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let weights: Vec<f64> = (start..end).map(|j| cubic((j as f64 - centre + 0.5) * shrink)).collect();
            let total: f64 = weights.iter().sum();
            let fixed = |weight: &f64| (weight / total * f64::from(1u32 << PRECISION)).round() as i32;
            Taps { start, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// `image` `[height, width, 3]` at `new_height` x `new_width`.
fn resize(image: &[u8], [height, width]: [usize; 2], [new_height, new_width]: [usize; 2]) -> Vec<u8> {
    let half = 1 << (PRECISION - 1);
    let weighted = |taps: &Taps, value: &dyn Fn(usize) -> u8| {
        let terms = taps.weights.iter().enumerate();
        to_byte(terms.fold(half, |sum, (k, weight)| sum + weight * i32::from(value(taps.start + k))))
    };
    // A pass that changes nothing is left out, as Pillow does.
    let narrow = if width == new_width {
        image.to_vec()
    } else {
        let columns = axis(width, new_width);
        let mut narrow = Vec::with_capacity(height * new_width * 3);
        for row in image.chunks_exact(3 * width) {
            for taps in &columns {
                narrow.extend((0..3).map(|channel| weighted(taps, &|x| row[3 * x + channel])));
            }
        }
        narrow
    };
    if height == new_height {
        return narrow;
    }
    let mut out = Vec::with_capacity(new_height * new_width * 3);
    for taps in axis(height, new_height) {
        for at in 0..3 * new_width {
            out.push(weighted(&taps, &|y| narrow[3 * new_width * y + at]));
        }
    }
    out
}

/// The shorter side resized to `size`, and the square in the middle of the result, `[size, size, 3]`.
pub(super) fn resized_square(image: &[u8], [height, width]: [usize; 2], size: usize) -> Vec<u8> {
    let shorter = height.min(width);
    // The longer side is cut to whole pixels.
    let [new_height, new_width] = [height, width].map(|side| size * side / shorter);
    let resized = resize(image, [height, width], [new_height, new_width]);
    let (top, left) = ((new_height - size) / 2, (new_width - size) / 2);
    (0..size)
        .flat_map(|y| {
            let start = 3 * ((top + y) * new_width + left);
            resized[start..start + 3 * size].iter().copied()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels, their height and width, the side to bring them to, and Pillow's pixels there.
    type Case = (Vec<u8>, [usize; 2], usize, Vec<u8>);

    #[test]
    fn squares_are_those_of_pillow() {
        let text = include_str!("../../tests/fixtures/bicubic.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert_eq!(cases.len(), 4);
        for (image, shape, size, expected) in cases {
            assert_eq!(resized_square(&image, shape, size), expected, "{shape:?} to {size}");
        }
    }
}
