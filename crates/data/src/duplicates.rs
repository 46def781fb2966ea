//! Images that look alike.
//!
//! Two contributors who supplied the same image cannot both be credited for it: what one adds, the other has added already.
//!
//! An image is reduced to 9 x 9 pixels (Lanczos). Of their luma Y, the 64 signs of Y(x + 1, y) - Y(x, y) and the 64 of
//! Y(x, y + 1) - Y(x, y), for x and y below 8, are its *difference hash*, of 128 bits (after N. Krawetz, "Kind of Like
//! That", 2013, who has the first half). Images are near duplicates if their hashes differ in few bits and their reduced
//! pixels by at most 1/2 + c/4 grey levels on average, c being the smaller of their contrasts: the mean absolute difference
//! of an image's reduced pixels from their mean. Otherwise all flat images, and all small things on white, would be alike.

use crate::{DataError, Dataset, resample};
use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

/// Bits of a difference hash, the largest distance.
pub const MAX_DISTANCE: u32 = 128;
/// Side of the reduced image.
const SIDE: u32 = 9;
/// Share of the contrast by which images may differ.
const MAX_OF_CONTRAST: f64 = 0.25;
/// Grey levels by which they may differ beyond that, for what rounding does to flat images.
const SLACK: f64 = 0.5;
/// Images compared with all later ones before pairs are sorted.
const BLOCK: usize = 4096;

/// Two images that look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NearDuplicate {
    /// Bits in which their hashes differ, 0 to 128.
    pub distance: u32,
    /// Number of the one image.
    pub first: usize,
    /// Number of the other image, larger than the first.
    pub second: usize,
}

/// All pairs of images that look alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearDuplicates {
    /// Number of pairs.
    pub total: usize,
    /// The closest pairs, by distance and then by number.
    pub pairs: Vec<NearDuplicate>,
}

struct Print {
    hash: u128,
    pixels: [u8; 3 * (SIDE * SIDE) as usize],
    /// Mean absolute difference of the pixels from their mean.
    contrast: f64,
}

impl Dataset {
    /// Pairs of images by different contributors whose difference hashes differ in at most `distance` bits. Up to `limit`
    /// pairs are given, and all are counted. Takes a time quadratic in the number of images: 2,000 take milliseconds.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn near_duplicates(&self, distance: u32, limit: usize) -> Result<NearDuplicates, DataError> {
        let (width, height) = self.size();
        let print = |image: usize| -> Result<Print, DataError> {
            let pixels = self.image(image)?;
            // The cache gives pixels of this size.
            let pixels = RgbImage::from_raw(width, height, pixels.to_vec()).unwrap_or_default();
            Ok(print_of(&resample::resize(&pixels, SIDE, SIDE)))
        };
        let prints: Vec<Print> = (0..self.len()).into_par_iter().map(print).collect::<Result<_, _>>()?;
        let mut found = NearDuplicates { total: 0, pairs: Vec::new() };
        for block in (0..prints.len()).collect::<Vec<_>>().chunks(BLOCK) {
            // Of each image, only as many pairs as can be given are kept.
            let of_image = |&first: &usize| -> (usize, Vec<NearDuplicate>) {
                let mut pairs: Vec<NearDuplicate> = (first + 1..prints.len())
                    .filter(|&second| self.owner(first) != self.owner(second))
                    .filter_map(|second| {
                        let apart = (prints[first].hash ^ prints[second].hash).count_ones();
                        let alike = apart <= distance && are_alike(&prints[first], &prints[second]);
                        alike.then_some(NearDuplicate { distance: apart, first, second })
                    })
                    .collect();
                let total = pairs.len();
                pairs.sort_unstable();
                pairs.truncate(limit);
                (total, pairs)
            };
            let pairs: Vec<(usize, Vec<NearDuplicate>)> = block.par_iter().map(of_image).collect();
            for (total, pairs) in pairs {
                found.total += total;
                found.pairs.extend(pairs);
                if found.pairs.len() > 4 * limit {
                    found.pairs.sort_unstable();
                    found.pairs.truncate(limit);
                }
            }
        }
        found.pairs.sort_unstable();
        found.pairs.truncate(limit);
        Ok(found)
    }
}

fn print_of(reduced: &RgbImage) -> Print {
    // Rec. 601, times 1000.
    let luma = |x: u32, y: u32| -> u32 {
        let [red, green, blue] = reduced.get_pixel(x, y).0.map(u32::from);
        299 * red + 587 * green + 114 * blue
    };
    let mut hash = 0;
    for (y, x) in (0..SIDE - 1).flat_map(|y| (0..SIDE - 1).map(move |x| (y, x))) {
        hash = hash << 2
            | u128::from(luma(x + 1, y) > luma(x, y)) << 1
            | u128::from(luma(x, y + 1) > luma(x, y));
    }
    let mut pixels = [0; 3 * (SIDE * SIDE) as usize];
    pixels.copy_from_slice(reduced.as_raw());
    let count = pixels.len() as f64;
    let mean = pixels.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let contrast = pixels.iter().map(|&value| (f64::from(value) - mean).abs()).sum::<f64>() / count;
    Print { hash, pixels, contrast }
}

fn are_alike(a: &Print, b: &Print) -> bool {
    let sum: u32 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    let difference = f64::from(sum) / a.pixels.len() as f64;
    difference <= SLACK + MAX_OF_CONTRAST * a.contrast.min(b.contrast)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32 x 32 noise of large grains, another for each seed.
    fn noise(seed: u32) -> Vec<u8> {
        let value = |x: u32, y: u32, channel: u32| {
            let mut hash = (x / 4 + 31 * (y / 4) + 997 * channel + 7919 * seed).wrapping_mul(0x9e37_79b1);
            hash ^= hash >> 15;
            (hash.wrapping_mul(0x85eb_ca77) >> 24) as u8
        };
        (0..32)
            .flat_map(|y| (0..32).flat_map(move |x| (0..3).map(move |channel| value(x, y, channel))))
            .collect()
    }

    #[test]
    fn copies_by_others_are_found_and_own_ones_are_not() {
        let brighter: Vec<u8> = noise(1).iter().map(|value| value.saturating_add(6)).collect();
        let images = [
            ("Ann", noise(1)),
            ("Ann", noise(1)),
            ("Bob", brighter),
            ("Bob", noise(2)),
            ("Eve", noise(3)),
            ("Eve", noise(2)),
            ("Eve", vec![0; 3072]),
            ("Bob", vec![255; 3072]),
        ];
        let dataset = Dataset::from_images((32, 32), images).unwrap();
        let found = dataset.near_duplicates(10, 100).unwrap();
        let pairs: Vec<(usize, usize)> = found.pairs.iter().map(|pair| (pair.first, pair.second)).collect();
        assert_eq!((found.total, &pairs[..]), (3, &[(0, 2), (1, 2), (3, 5)][..]));
        assert_eq!(found.pairs[2].distance, 0);
        assert_eq!(
            dataset.near_duplicates(10, 1).unwrap(),
            NearDuplicates { total: 3, pairs: found.pairs[..1].to_vec() }
        );
    }

    #[test]
    fn small_things_on_white_are_not_all_alike() {
        let spot = |colour: [u8; 3]| -> Vec<u8> {
            let inside = |x: i32, y: i32| (14..18).contains(&x) && (14..18).contains(&y);
            (0..32)
                .flat_map(|y| (0..32).flat_map(move |x| if inside(x, y) { colour } else { [255; 3] }))
                .collect()
        };
        let images =
            [("Ann", spot([200, 30, 10])), ("Bob", spot([0, 40, 200])), ("Eve", spot([200, 30, 12]))];
        let dataset = Dataset::from_images((32, 32), images).unwrap();
        let found = dataset.near_duplicates(40, 10).unwrap();
        assert_eq!(found.pairs.iter().map(|pair| (pair.first, pair.second)).collect::<Vec<_>>(), [(0, 2)]);
    }

    #[test]
    fn different_images_are_far_apart() {
        let images = (0..40u32).map(|seed| (["Ann", "Bob"][seed as usize % 2], noise(seed)));
        let dataset = Dataset::from_images((32, 32), images).unwrap();
        assert_eq!(dataset.near_duplicates(20, 10).unwrap().total, 0);
    }
}
