//! Image files as Pillow decodes and resizes them, and what is told about them.

use data::{ContributorKey, Dataset, NoticeKind, OpenOptions, Resize};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoding").join(name)
}

/// A folder in which every file is by a contributor of its own, in this order.
fn folder(files: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (place, file) in files.iter().enumerate() {
        let own = dir.path().join(format!("{place:03}"));
        fs::create_dir(&own).unwrap();
        fs::copy(fixture(file), own.join(file)).unwrap();
    }
    dir
}

fn open(dir: &TempDir, resolution: Option<u32>, resize: Resize) -> Dataset {
    let options = OpenOptions { resolution, resize, ..OpenOptions::default() };
    Dataset::open(dir.path(), &options).unwrap()
}

fn expected(name: &str) -> Vec<u8> {
    image::open(fixture(name)).unwrap().to_rgb8().into_raw()
}

/// Largest difference between two images, in grey levels.
fn difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn lanczos_is_pillows_to_the_last_bit_at_every_ratio() {
    let dir = folder(&["source.png", "source.png"]);
    for side in [1, 7, 16, 24, 31, 32, 47, 50, 100] {
        let resized = open(&dir, Some(side), Resize::Lanczos).image(0).unwrap();
        assert_eq!(difference(&resized, &expected(&format!("lanczos_{side}.png"))), 0, "to {side}");
    }
    // Where the side is no multiple of the resolution, that is what is done anyway.
    for side in [7, 31, 32, 47, 50, 100] {
        let resized = open(&dir, Some(side), Resize::default()).image(0).unwrap();
        assert_eq!(difference(&resized, &expected(&format!("lanczos_{side}.png"))), 0, "to {side}");
    }
}

#[test]
fn block_means_are_pillows_reduce_within_its_rounding() {
    let dir = folder(&["source.png", "source.png"]);
    for side in [24, 16, 8] {
        let resized = open(&dir, Some(side), Resize::default()).image(0).unwrap();
        // Pillow multiplies by a rounded reciprocal of the area; the mean here is exact.
        assert!(difference(&resized, &expected(&format!("reduced_{side}.png"))) <= 1, "to {side}");
    }
}

#[test]
fn the_way_of_resizing_is_part_of_the_content() {
    let dir = folder(&["source.png", "source.png"]);
    let hash = |resize| open(&dir, Some(16), resize).content_hash().unwrap();
    assert_ne!(hash(Resize::Lanczos), hash(Resize::BlockMeans));
}

#[test]
fn every_exif_orientation_is_applied() {
    let text = fs::read_to_string(fixture("orientations.json")).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    for orientation in 1..=8 {
        let file = format!("orientation_{orientation}.png");
        let dir = folder(&[&file, &file]);
        let dataset = open(&dir, None, Resize::default());
        let seen = &shown[orientation.to_string()];
        let size = (seen["size"][0].as_u64().unwrap() as u32, seen["size"][1].as_u64().unwrap() as u32);
        assert_eq!(dataset.size(), size, "{file}");
        let pixels: Vec<u8> =
            seen["pixels"].as_array().unwrap().iter().map(|value| value.as_u64().unwrap() as u8).collect();
        assert_eq!(dataset.image(0).unwrap()[..], pixels, "{file}");
    }
}

#[test]
fn profiles_and_animations_are_told_with_count_and_first_file() {
    let dir = folder(&["srgb.png", "other.png", "other.jpg", "animated.png"]);
    for read in [Dataset::preload, |dataset: &Dataset| dataset.content_hash().map(drop)] {
        let dataset = open(&dir, Some(4), Resize::default());
        assert!(dataset.notices().is_empty(), "nothing was read yet");
        read(&dataset).unwrap();
        let notices = dataset.notices();
        assert_eq!(notices.len(), 2, "{notices:?}");
        assert_eq!((notices[0].kind, notices[0].count), (NoticeKind::ColourProfile, 2));
        assert!(notices[0].first.ends_with("001/other.png"), "{}", notices[0].first);
        assert_eq!((notices[1].kind, notices[1].count), (NoticeKind::Animation, 1));
        // The profile changes nothing, and of an animation it is the first picture.
        for image in [0, 1, 3] {
            assert_eq!(dataset.image(image).unwrap()[..3], [10, 20, 30]);
        }
    }
    let some = open(&dir, Some(4), Resize::default());
    some.preload().unwrap();
    let some = some.select(&data::Selection::names(["000", "003"])).unwrap();
    assert_eq!(some.notices().len(), 1, "of the selected images only");
}

#[test]
fn animated_formats_are_refused_by_name() {
    let dir = folder(&["source.png", "animated.gif"]);
    let error =
        Dataset::open_folder(dir.path(), &ContributorKey::default(), Some(4)).unwrap_err().to_string();
    assert!(error.contains("animated.gif is neither PNG nor JPEG"), "{error}");
}

#[test]
fn sixteen_bits_are_rounded_to_the_nearest_of_eight() {
    let dir = folder(&["grey16.png", "grey16.png"]);
    let dataset = open(&dir, None, Resize::default());
    let values: Vec<u8> = dataset.image(0).unwrap().iter().step_by(3).copied().collect();
    assert_eq!(values, [0, 0, 1, 77, 77, 255, 255]);
}

#[test]
fn a_header_cannot_announce_more_pixels_than_its_file_holds() {
    let dir = folder(&["source.png", "source.png"]);
    let path = dir.path().join("000/source.png");
    let mut bytes = fs::read(&path).unwrap();
    // Width and height of the header chunk, and its checksum.
    for (sides, expected) in
        [([60_000u32, 60_000], "announces more pixels"), ([u32::MAX >> 1, 1 << 30], "does not decode")]
    {
        bytes[16..20].copy_from_slice(&sides[0].to_be_bytes());
        bytes[20..24].copy_from_slice(&sides[1].to_be_bytes());
        let checksum = crc32(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&checksum);
        fs::write(&path, &bytes).unwrap();
        let error = open(&dir, Some(4), Resize::default()).preload().unwrap_err().to_string();
        assert!(error.contains("source.png does not decode") && error.contains(expected), "{error}");
    }
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let update = |crc: u32, &byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(!0, update)
}
