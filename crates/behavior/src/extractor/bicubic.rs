//! CLIP's preprocessing: Pillow's bicubic resize and the square in the middle.

use data::{Filter, resample};

/// The shorter side resized to `size`, and the square in the middle of the result, `[size, size, 3]`.
pub(super) fn resized_square(image: &[u8], [height, width]: [usize; 2], size: usize) -> Vec<u8> {
    let shorter = height.min(width);
    // The longer side is cut to whole pixels.
    let [new_height, new_width] = [height, width].map(|side| size * side / shorter);
    let resized = resample(image, [height, width], [new_height, new_width], Filter::Bicubic);
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
