use crate::BehaviorError;

/// A borrowed set of 8-bit RGB images of one size, `[N, H, W, 3]`, row by row.
///
/// ```
/// let pixels = vec![255; 2 * 4 * 4 * 3];
/// let samples = behavior::Samples::new(&pixels, [2, 4, 4, 3])?;
/// assert_eq!((samples.len(), samples.height(), samples.width()), (2, 4, 4));
/// # Ok::<(), behavior::BehaviorError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    pixels: &'a [u8],
    count: usize,
    height: usize,
    width: usize,
}

impl<'a> Samples<'a> {
    /// Takes `pixels` as images of `shape` = `[N, H, W, 3]`.
    ///
    /// # Errors
    /// [`BehaviorError::SampleShape`] where there are not three channels, a side is zero or the number of bytes is not
    /// the product of the shape. An empty set (N = 0) is accepted here and refused by the measures.
    pub fn new(pixels: &'a [u8], shape: [usize; 4]) -> Result<Self, BehaviorError> {
        let [count, height, width, channels] = shape;
        let bytes = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        if channels != 3 || height == 0 || width == 0 || bytes != Some(pixels.len()) {
            return Err(BehaviorError::SampleShape { shape, pixels: pixels.len() });
        }
        Ok(Self { pixels, count, height, width })
    }

    /// The number of images, N.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The images' height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The images' width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The images one after the other, each `[H, W, 3]`.
    pub fn images(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.pixels.chunks_exact(self.height * self.width * 3)
    }

    /// Images `start..start + count`, cut at the end of the set.
    pub fn slice(&self, start: usize, count: usize) -> Self {
        let size = self.height * self.width * 3;
        let start = start.min(self.count);
        let count = count.min(self.count - start);
        Self { pixels: &self.pixels[start * size..(start + count) * size], count, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_shapes_are_refused_by_name() {
        let pixels = [0; 24];
        for shape in [[2, 2, 2, 1], [1, 2, 2, 3], [2, 0, 2, 3], [2, 2, 3, 3], [usize::MAX, 2, 2, 3]] {
            let error = Samples::new(&pixels, shape).unwrap_err().to_string();
            assert!(error.contains(&format!("{shape:?}")), "{error}");
        }
        assert_eq!(Samples::new(&pixels, [2, 2, 2, 3]).unwrap().len(), 2);
    }

    #[test]
    fn slices_stop_at_the_end() {
        let pixels: Vec<u8> = (0..36).collect();
        let samples = Samples::new(&pixels, [3, 2, 2, 3]).unwrap();
        let tail = samples.slice(2, 5);
        assert_eq!(tail.len(), 1);
        assert_eq!(tail.images().next().unwrap(), &pixels[24..]);
        assert!(samples.slice(7, 1).is_empty());
    }
}
