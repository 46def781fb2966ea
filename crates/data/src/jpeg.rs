//! What the JPEG decoder does not say: the number of components, and whether the stream is whole.
//!
//! Decoders fill a truncated JPEG with grey and go on, so its end must be checked by itself. Layout: ITU-T T.81, annex B.

/// What the markers of a JPEG stream say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Markers {
    /// Colour components of the frame: 1 grey, 3 colour, 4 CMYK or YCCK.
    pub components: Option<u8>,
    /// Whether the end-of-image marker was reached.
    pub complete: bool,
}

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// Walks over the markers of a JPEG stream.
pub(crate) fn markers(bytes: &[u8]) -> Markers {
    let mut found = Markers { components: None, complete: false };
    let mut at = 2;
    while let Some(marker) = next_marker(bytes, &mut at) {
        match marker {
            END_OF_IMAGE => {
                found.complete = true;
                break;
            }
            // Stand-alone markers: restarts, start of image, TEM.
            0xd0..=0xd8 | 0x01 => continue,
            _ => {}
        }
        let Some(&[high, low]) = bytes.get(at..at + 2) else { break };
        let length = usize::from(high) << 8 | usize::from(low);
        // Start of frame: every 0xCn but huffman tables, extensions and arithmetic tables.
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            found.components = bytes.get(at + 7).copied();
        }
        at += length.max(2);
        if marker == START_OF_SCAN {
            skip_scan(bytes, &mut at);
        }
    }
    found
}

/// Reads the marker at `at`, skipping fill bytes and stray data before it.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    while *bytes.get(*at)? != 0xff {
        *at += 1;
    }
    while *bytes.get(*at)? == 0xff {
        *at += 1;
    }
    let marker = bytes[*at];
    *at += 1;
    Some(marker)
}

/// Moves to the first marker after entropy-coded data: an 0xFF that is neither stuffed (0xFF00) nor a restart.
fn skip_scan(bytes: &[u8], at: &mut usize) {
    while let Some(&[first, second]) = bytes.get(*at..*at + 2) {
        if first == 0xff && !matches!(second, 0x00 | 0xd0..=0xd7 | 0xff) {
            return;
        }
        *at += 1;
    }
    *at = bytes.len();
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, ImageFormat};
    use std::io::Cursor;

    fn jpeg(image: DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn sees_components_and_every_truncation() {
        let noisy =
            image::RgbImage::from_fn(40, 24, |x, y| image::Rgb([(x * y) as u8, (x * 77) as u8, y as u8]));
        let colour = jpeg(DynamicImage::from(noisy));
        assert_eq!(markers(&colour), Markers { components: Some(3), complete: true });
        let grey = jpeg(DynamicImage::from(image::GrayImage::new(9, 9)));
        assert_eq!(markers(&grey), Markers { components: Some(1), complete: true });
        for length in 0..colour.len() {
            assert!(!markers(&colour[..length]).complete, "cut at {length}");
        }
        let padded = [colour.as_slice(), b"trailing \xff\xff"].concat();
        assert!(markers(&padded).complete);
    }
}
