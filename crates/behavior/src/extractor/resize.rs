/// One output position of a one-dimensional resize: the first input position and the weights from there on.
#[derive(Clone, Debug)]
struct Taps {
    start: usize,
    weights: Vec<f32>,
}

/// The taps of a bilinear resize of `input` positions to `output` positions, with half-pixel centres.
///
/// Position `i` lies at `c = (i + 1/2) * input / output`; input pixel `j` has the weight
/// `max(0, 1 - |j + 1/2 - c| / s)`, `s = max(1, input / output)`, divided by the sum of the weights. Enlarging (`s = 1`)
/// is plain bilinear interpolation; shrinking widens the triangle, so that every input pixel counts and nothing aliases
/// (Parmar et al. 2022, arXiv 2104.11222, show how much aliasing moves a Fréchet distance). Without `antialias`, `s = 1` always.
fn axis(input: usize, output: usize, antialias: bool) -> Vec<Taps> {
    let scale = input as f64 / output as f64;
    let support = if antialias { scale.max(1.0) } else { 1.0 };
    (0..output)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let weights: Vec<f64> =
                (start..end).map(|j| (1.0 - (j as f64 + 0.5 - centre).abs() / support).max(0.0)).collect();
            let total: f64 = weights.iter().sum();
            Taps { start, weights: weights.iter().map(|w| (w / total) as f32).collect() }
        })
        .collect()
}

/// How one input plane of a network is made of the image: `scale * channel + shift`, on values in 0..255.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    /// The channel of the RGB image.
    pub channel: usize,
    /// The factor.
    pub scale: f32,
    /// What is added after the factor.
    pub shift: f32,
}

/// Antialiased bilinear resize of 8-bit RGB images to a square, as
/// `torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=True)` in float: no rounding between
/// the image and the network. The aspect ratio is not kept.
#[derive(Clone, Debug)]
pub(super) struct Resizer {
    rows: Vec<Taps>,
    columns: Vec<Taps>,
    width: usize,
}

impl Resizer {
    /// A resizer of `height` x `width` images to `size` x `size`.
    pub fn new(height: usize, width: usize, size: usize) -> Self {
        Self { rows: axis(height, size, true), columns: axis(width, size, true), width }
    }

    /// As [`Resizer::new`] without antialiasing (`antialias=False`): what published Fréchet distances are computed with.
    pub fn aliased(height: usize, width: usize, size: usize) -> Self {
        Self { rows: axis(height, size, false), columns: axis(width, size, false), width }
    }

    /// Writes the resized `image` `[H, W, 3]` into `out` `[3, size, size]`, plane `p` as `planes[p]` says.
    pub fn write(&self, image: &[u8], planes: &[Plane; 3], out: &mut [f32]) {
        let size = self.columns.len();
        let height = image.len() / (3 * self.width);
        let mut narrow = vec![0.0; height * size];
        for (plane, out) in planes.iter().zip(out.chunks_exact_mut(size * size)) {
            let rows = image.chunks_exact(3 * self.width).zip(narrow.chunks_exact_mut(size));
            for (row, narrow) in rows {
                for (value, taps) in narrow.iter_mut().zip(&self.columns) {
                    let pixels = row[3 * taps.start + plane.channel..].iter().step_by(3);
                    let sum: f32 =
                        pixels.zip(&taps.weights).map(|(&pixel, weight)| f32::from(pixel) * weight).sum();
                    *value = plane.scale * sum;
                }
            }
            for (row, taps) in out.chunks_exact_mut(size).zip(&self.rows) {
                row.fill(plane.shift);
                for (source, weight) in narrow[taps.start * size..].chunks_exact(size).zip(&taps.weights) {
                    for (value, source) in row.iter_mut().zip(source) {
                        *value += weight * source;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    const RGB: [Plane; 3] = [
        Plane { channel: 0, scale: 1.0, shift: 0.0 },
        Plane { channel: 1, scale: 1.0, shift: 0.0 },
        Plane { channel: 2, scale: 1.0, shift: 0.0 },
    ];

    #[test]
    fn agrees_with_pytorch_when_enlarging_and_when_shrinking() {
        let bytes = include_bytes!("../../tests/fixtures/resize.safetensors");
        let fixture = SafeTensors::deserialize(bytes).unwrap();
        let images = fixture.tensor("images").unwrap();
        let [_, height, width, _] = images.shape().try_into().unwrap();
        for (key, size) in [("to_9", 9), ("to_24", 24), ("to_36", 36)] {
            let expected: Vec<f32> = fixture
                .tensor(key)
                .unwrap()
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let resizer = Resizer::new(height, width, size);
            let mut out = vec![f32::NAN; 3 * size * size];
            let pairs = images.data().chunks_exact(height * width * 3).zip(expected.chunks_exact(out.len()));
            for (image, expected) in pairs {
                resizer.write(image, &RGB, &mut out);
                let worst = out.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-3, "{key}: {worst} of 255");
            }
        }
    }

    #[test]
    fn the_same_size_changes_nothing_but_scale_shift_and_order() {
        let image: Vec<u8> = (0..27).map(|v| v * 9).collect();
        let planes = [2, 1, 0].map(|channel| Plane { channel, scale: 0.5, shift: -3.0 });
        let mut out = vec![0.0; 27];
        Resizer::new(3, 3, 3).write(&image, &planes, &mut out);
        for (i, value) in out.iter().enumerate() {
            let (plane, pixel) = (i / 9, i % 9);
            assert_eq!(*value, f32::from(image[3 * pixel + 2 - plane]) * 0.5 - 3.0);
        }
    }
}
