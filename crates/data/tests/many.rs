//! A folder of many images: opened at once, held in bounded memory, the same batches as from memory.
//!
//! `TRIBUTE_MANY_IMAGES=200000 cargo test --release -p data --test many -- --nocapture` says how long each step takes
//! and how much memory there was at the peak; without it, there are 2,000 images.

use data::{BatchSource, Batches, Dataset, OpenOptions};
use image::{Rgb, RgbImage};
use std::fs;
use std::path::Path;
use std::time::Instant;
use streams::Streams;

const RESOLUTION: u32 = 64;
const BATCH: usize = 64;
const STEPS: u64 = 50;

/// 32 x 32 pixels of noise by 100 contributors.
fn write_images(dir: &Path, images: usize) {
    for contributor in 0..100 {
        fs::create_dir(dir.join(format!("{contributor:03}"))).unwrap();
    }
    for image in 0..images {
        let pixels = RgbImage::from_fn(32, 32, |x, y| {
            let hash = (image as u32 * 1024 + y * 32 + x).wrapping_mul(0x9e37_79b1);
            let hash = (hash ^ hash >> 15).wrapping_mul(0x85eb_ca77);
            Rgb([(hash >> 24) as u8, (hash >> 16) as u8, (hash >> 8) as u8])
        });
        pixels.save(dir.join(format!("{:03}/{image:06}.png", image % 100))).unwrap();
    }
}

/// Resident memory of this program now and at its peak, in MiB.
fn memory_mib() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib / 1024)
    };
    Some((value("VmRSS:")?, value("VmHWM:")?))
}

fn batches(dir: &Path, cache_bytes: Option<u64>) -> Batches {
    let options = OpenOptions { resolution: Some(RESOLUTION), cache_bytes, ..OpenOptions::default() };
    let dataset = Dataset::open(dir, &options).unwrap();
    dataset.preload().unwrap();
    dataset.content_hash().unwrap();
    dataset.all().batches(Streams::new(5), true).unwrap()
}

#[test]
fn folders_of_any_size_train_in_bounded_memory() {
    let images =
        std::env::var("TRIBUTE_MANY_IMAGES").map_or(2000, |text| text.parse().expect("a number of images"));
    let dir = tempfile::tempdir().unwrap();
    let mut clock = Instant::now();
    let mut told = |what: &str| {
        let memory =
            memory_mib().map_or_else(String::new, |(now, peak)| format!("{now} MiB, peak {peak} MiB"));
        println!("{images} images: {what} in {:.1} s; {memory}", clock.elapsed().as_secs_f64());
        clock = Instant::now();
    };
    write_images(dir.path(), images);
    told("written");
    // Half of them fit.
    let whole = images as u64 * u64::from(3 * RESOLUTION * RESOLUTION);
    let bounded = batches(dir.path(), Some((512 << 20).min(whole / 2)));
    assert!(!bounded.view().is_in_memory());
    told("opened, hashed, and read up to the limit");
    let first: Vec<_> = (0..STEPS).map(|step| bounded.batch(step, BATCH).unwrap()).collect();
    told("50 batches of 64");
    if let Some((_, peak)) = memory_mib() {
        assert!(peak < 1024, "{peak} MiB");
    }
    let unbounded = batches(dir.path(), Some(if images > 10_000 { 0 } else { whole }));
    for (step, batch) in first.iter().enumerate() {
        assert!(unbounded.batch(step as u64, BATCH).unwrap() == *batch, "step {step}");
    }
    told("the same batches, otherwise read");
}
