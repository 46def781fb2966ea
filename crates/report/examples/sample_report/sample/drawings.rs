//! Small drawings made in code.

use report::{Picture, ReportError};

const HUES: [[u8; 3]; 12] = [
    [206, 84, 60],
    [60, 120, 190],
    [240, 180, 60],
    [90, 160, 90],
    [150, 90, 170],
    [40, 60, 90],
    [220, 120, 160],
    [80, 180, 180],
    [170, 110, 60],
    [110, 110, 110],
    [200, 40, 80],
    [120, 170, 40],
];

/// A small, repeatable source of numbers in 0..1.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number in 0..1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }

    /// About normal: mean 0, variance 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// A 32 x 32 drawing in the manner of one contributor.
pub fn drawing(manner: usize, numbers: &mut Numbers) -> Vec<u8> {
    let (cx, cy, r) =
        (16.0 + numbers.normal() * 2.0, 16.0 + numbers.normal() * 2.0, 6.0 + numbers.next() * 6.0);
    let colour = HUES[manner % 12];
    let second = HUES[(manner * 5 + (numbers.next() * 3.0) as usize) % 12];
    let mut pixels = Vec::with_capacity(32 * 32 * 3);
    for y in 0..32 {
        for x in 0..32 {
            let (dx, dy) = (f64::from(x) - cx, f64::from(y) - cy);
            let inside = match manner % 4 {
                0 => dx.hypot(dy) < r,
                1 => dx.abs().max(dy.abs()) < r,
                2 => dx.abs() + dy.abs() < r * 1.3,
                _ => dy > -r && dy < r && dx.abs() < (dy + r) / 2.0,
            };
            let core = dx.hypot(dy) < r * 0.4;
            pixels.extend(if core {
                second
            } else if inside {
                colour
            } else {
                [255; 3]
            });
        }
    }
    pixels
}

/// A grid of 36 samples in the manners of `members`.
pub fn grid(members: &[usize], seed: u64, noise: f64, description: &str) -> Result<Picture, ReportError> {
    let mut numbers = Numbers(seed);
    let mut pixels = Vec::new();
    for _ in 0..36 {
        let manner = members[(numbers.next() * members.len() as f64) as usize % members.len()];
        let image = drawing(manner, &mut numbers);
        pixels
            .extend(image.iter().map(|&p| (f64::from(p) + numbers.normal() * noise).clamp(0.0, 255.0) as u8));
    }
    Picture::grid(&pixels, [36, 32, 32, 3], 6, description)
}
