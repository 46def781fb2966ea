//! Damages well-formed inputs at random and reads them: nothing may panic, hang, or take memory without end.
//!
//! `TRIBUTE_FUZZ_SECONDS` is the time for each reader, half a second when it is not set; `TRIBUTE_FUZZ_SEED` chooses other
//! damages than those of seed 0. An input that is not survived is kept in the folder of temporary files of the build.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Longest time for one input, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Inputs read even where the time is spent.
const LEAST_INPUTS: u64 = 40;
/// Most memory that all readers of a test program may take together at their peak.
const MEMORY_MIB: u64 = 1024;
/// Numbers that headers had better not announce.
const EXTREMES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 1 << 31, u32::MAX as u64, 1 << 60, 1 << 63, u64::MAX];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}

fn number<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")),
        Err(_) => otherwise,
    }
}

/// Reads damaged copies of `seeds` until the time is spent.
pub fn fuzz(name: &str, seeds: &[Vec<u8>], mut read: impl FnMut(&[u8])) {
    let seconds: f64 = number("TRIBUTE_FUZZ_SECONDS", 0.5);
    let salt = name.bytes().fold(number("TRIBUTE_FUZZ_SEED", 0u64), |salt, byte| {
        (salt ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut rng = Rng(salt);
    let begin = Instant::now();
    let mut inputs = 0;
    while inputs < LEAST_INPUTS || begin.elapsed().as_secs_f64() < seconds {
        let mut input = seeds[rng.below(seeds.len())].clone();
        // The first inputs are whole.
        if inputs >= seeds.len() as u64 {
            for _ in 0..=rng.below(6) {
                damage(&mut input, seeds, &mut rng);
            }
        }
        let start = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| read(&input))).is_ok();
        if !survived || start.elapsed() > PATIENCE {
            let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}.bin"));
            fs::write(&path, &input).expect("room for the input");
            panic!("{name}: input {inputs} took {:?} or panicked: see {}", start.elapsed(), path.display());
        }
        inputs += 1;
    }
    if let Some(peak) = peak_memory_mib() {
        println!(
            "{name}: {inputs} inputs in {:.1} s, peak memory so far {peak} MiB",
            begin.elapsed().as_secs_f64()
        );
        assert!(peak < MEMORY_MIB, "{name}: {peak} MiB of memory were taken");
    }
}

fn damage(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let length = input.len();
    let at = rng.below(length);
    let end = (at + 1 + rng.below(40)).min(length);
    match rng.below(9) {
        0 if length > 0 => input[at] ^= 1 << rng.below(8),
        1 if length > 0 => input[at] = rng.next() as u8,
        2 if length > 0 => input[at] = EXTREMES[rng.below(5)] as u8,
        3 => {
            let extreme = EXTREMES[rng.below(EXTREMES.len())];
            let bytes = if rng.below(2) == 0 { extreme.to_le_bytes() } else { extreme.to_be_bytes() };
            let width = [2, 4, 8][rng.below(3)];
            let bytes = if rng.below(2) == 0 { &bytes[..width] } else { &bytes[8 - width..] };
            for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
                *place = *byte;
            }
        }
        4 => input.truncate(at),
        5 if at < end => drop(input.drain(at..end)),
        6 if at < end => {
            let part = input[at..end].to_vec();
            let to = rng.below(length);
            input.splice(to..to, part);
        }
        7 => {
            let part: Vec<u8> = (0..rng.below(12)).map(|_| rng.next() as u8).collect();
            input.splice(at..at, part);
        }
        8 => {
            let other = &seeds[rng.below(seeds.len())];
            let from = rng.below(other.len());
            let part = other[from..(from + rng.below(200)).min(other.len())].to_vec();
            let to = (at + part.len()).min(length);
            input.splice(at..to, part);
        }
        _ => {}
    }
}

/// The most memory that this program has held so far, where the system tells it.
fn peak_memory_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib / 1024)
}
