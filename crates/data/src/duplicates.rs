//! Images that look alike.
//!
//! Two contributors who supplied the same image cannot both be credited for it: what one adds, the other has added already.
//!
//! Images are reduced to 16 x 16 pixels (Lanczos), in 64 places of 2 x 2. Of two images a and b, `d_p` is the mean absolute
//! difference over the pixels and channels of place p; the contrast `c` of an image is the largest such difference from its mean
//! colour, but at least 2.5 grey levels, so that rounding does not tell flat images apart. Their *distance* in percent is
//!
//! `100 max_p d_p / min(c_a, c_b)`, up to 100.
//!
//! It is the largest difference that counts, not a mean or a hash of signs: on clip art most places are white in every image, and
//! flags or faces share all but one place. Other sizes, compression and brightness change no place by much.

use crate::{DataError, Dataset, resample};
use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

/// The largest distance, in percent.
pub const MAX_DISTANCE: u32 = 100;
/// Side of the reduced image.
const SIDE: usize = 16;
/// Side of a place.
const PLACE: usize = 2;
/// Bytes of a place.
const PLACE_BYTES: usize = 3 * PLACE * PLACE;
const PLACES: usize = (SIDE / PLACE) * (SIDE / PLACE);
/// Contrast of the flattest images, in grey levels.
const MIN_CONTRAST: f32 = 2.5;
/// Images compared with all later ones before pairs are sorted.
const BLOCK: usize = 4096;

/// Two images that look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NearDuplicate {
    /// Largest difference of a place in percent of the contrast, rounded up: 0 to 100.
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

type Places = [[u8; PLACE_BYTES]; PLACES];

struct Print {
    places: Places,
    /// Mean of each channel.
    means: [f32; 3],
    contrast: f32,
}

impl Dataset {
    /// Pairs of images by different contributors that are at most `distance` percent apart. Up to `limit` pairs are given, and all
    /// are counted. Takes a time quadratic in the number of images: 2,000 take milliseconds.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn near_duplicates(&self, distance: u32, limit: usize) -> Result<NearDuplicates, DataError> {
        let (width, height) = self.size();
        let print = |image: usize| -> Result<Print, DataError> {
            let pixels = self.image(image)?;
            // The cache gives pixels of this size.
            let pixels = RgbImage::from_raw(width, height, pixels.to_vec()).unwrap_or_default();
            Ok(print_of(places_of(&resample::resize(&pixels, SIDE as u32, SIDE as u32))))
        };
        let mut prints: Vec<Print> = (0..self.len()).into_par_iter().map(print).collect::<Result<_, _>>()?;
        order_places(&mut prints);
        let mut found = NearDuplicates { total: 0, pairs: Vec::new() };
        for block in (0..prints.len()).collect::<Vec<_>>().chunks(BLOCK) {
            // Of each image, only as many pairs as can be given are kept.
            let of_image = |&first: &usize| -> (usize, Vec<NearDuplicate>) {
                let mut pairs: Vec<NearDuplicate> = (first + 1..prints.len())
                    .filter(|&second| self.owner(first) != self.owner(second))
                    .filter_map(|second| {
                        let distance = distance_within(&prints[first], &prints[second], distance)?;
                        Some(NearDuplicate { distance, first, second })
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

fn places_of(reduced: &RgbImage) -> Places {
    let mut places = [[0; PLACE_BYTES]; PLACES];
    for (x, y, pixel) in reduced.enumerate_pixels() {
        let (x, y) = (x as usize, y as usize);
        let place = y / PLACE * (SIDE / PLACE) + x / PLACE;
        let within = y % PLACE * PLACE + x % PLACE;
        places[place][3 * within..][..3].copy_from_slice(&pixel.0);
    }
    places
}

/// The mean absolute difference of each place from the mean colour.
fn deviations(places: &Places, means: [f32; 3]) -> [f32; PLACES] {
    let from_mean = |(at, &value): (usize, &u8)| (f32::from(value) - means[at % 3]).abs();
    places.map(|place| place.iter().enumerate().map(from_mean).sum::<f32>() / PLACE_BYTES as f32)
}

fn print_of(places: Places) -> Print {
    let mut means = [0.0f32; 3];
    for (at, &value) in places.iter().flatten().enumerate() {
        means[at % 3] += f32::from(value) / (SIDE * SIDE) as f32;
    }
    let contrast = deviations(&places, means).into_iter().fold(MIN_CONTRAST, f32::max);
    Print { places, means, contrast }
}

/// Brings the places of all into one order: those first in which images differ most from their means, so that images that are not
/// alike are told apart soon.
fn order_places(prints: &mut [Print]) {
    let mut total = [0.0; PLACES];
    for print in &*prints {
        for (total, own) in total.iter_mut().zip(deviations(&print.places, print.means)) {
            *total += f64::from(own);
        }
    }
    let mut order: Vec<usize> = (0..PLACES).collect();
    order.sort_by(|&a, &b| total[b].total_cmp(&total[a]));
    for print in prints {
        let places = print.places;
        print.places = std::array::from_fn(|place| places[order[place]]);
    }
}

/// The distance of two images, if it is at most `most`.
fn distance_within(a: &Print, b: &Print, most: u32) -> Option<u32> {
    let contrast = a.contrast.min(b.contrast);
    let limit = most as f32 / 100.0 * contrast;
    // No two means are further apart than the largest difference of a place; rounding adds less than 0.01.
    let mean = |print: &Print| print.means.iter().sum::<f32>() / 3.0;
    if most < MAX_DISTANCE && (mean(a) - mean(b)).abs() > limit + 0.01 {
        return None;
    }
    let most_of_place = if most < MAX_DISTANCE { (limit * PLACE_BYTES as f32) as u32 } else { u32::MAX };
    let mut largest = 0;
    for (a, b) in a.places.iter().zip(&b.places) {
        let sum: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        if sum > most_of_place {
            return None;
        }
        largest = largest.max(sum);
    }
    let percent = 100.0 * largest as f32 / (PLACE_BYTES as f32 * contrast);
    Some((percent.ceil() as u32).min(most))
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

    /// 32 x 32 pixels by their places.
    fn picture(colour: impl Fn(i32, i32) -> [u8; 3]) -> Vec<u8> {
        (0..32).flat_map(|y| (0..32).map(move |x| (x, y))).flat_map(|(x, y)| colour(x, y)).collect()
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
        assert_eq!((found.total, &pairs[..]), (3, &[(3, 5), (0, 2), (1, 2)][..]));
        assert_eq!(found.pairs[0].distance, 0);
        assert!((1..=10).contains(&found.pairs[1].distance), "{found:?}");
        assert_eq!(
            dataset.near_duplicates(10, 1).unwrap(),
            NearDuplicates { total: 3, pairs: found.pairs[..1].to_vec() }
        );
    }

    #[test]
    fn small_things_on_white_are_not_all_alike() {
        let spot = |colour: [u8; 3]| -> Vec<u8> {
            let inside = |x: i32, y: i32| (14..18).contains(&x) && (14..18).contains(&y);
            picture(|x, y| if inside(x, y) { colour } else { [255; 3] })
        };
        let images =
            [("Ann", spot([200, 30, 10])), ("Bob", spot([0, 40, 200])), ("Eve", spot([200, 30, 12]))];
        let dataset = Dataset::from_images((32, 32), images).unwrap();
        let found = dataset.near_duplicates(40, 10).unwrap();
        assert_eq!(found.pairs.iter().map(|pair| (pair.first, pair.second)).collect::<Vec<_>>(), [(0, 2)]);
    }

    /// Two blue flags that differ in what is in one corner.
    #[test]
    fn one_place_tells_images_apart() {
        let flag = |star: [u8; 3]| -> Vec<u8> {
            let inside = |x: i32, y: i32| (24..28).contains(&x) && (20..24).contains(&y);
            picture(|x, y| if inside(x, y) { star } else { [20, 30, 8 * y as u8] })
        };
        let images =
            [("Ann", flag([250, 240, 90])), ("Bob", flag([20, 200, 30])), ("Eve", flag([244, 243, 95]))];
        let dataset = Dataset::from_images((32, 32), images).unwrap();
        let found = dataset.near_duplicates(20, 10).unwrap();
        assert_eq!(found.pairs.iter().map(|pair| (pair.first, pair.second)).collect::<Vec<_>>(), [(0, 2)]);
        assert_eq!(dataset.near_duplicates(MAX_DISTANCE, 10).unwrap().total, 3);
    }

    #[test]
    fn different_images_are_far_apart() {
        let images = (0..40u32).map(|seed| (["Ann", "Bob"][seed as usize % 2], noise(seed)));
        let dataset = Dataset::from_images((32, 32), images).unwrap();
        assert_eq!(dataset.near_duplicates(20, 10).unwrap().total, 0);
    }
}
