//! Named, seeded random streams.
//!
//! Every random number of a study comes from a stream that is named by its purpose and numbered by an index:
//! `(seed, name, index)` fixes all of it. Streams never share state, so a new stage, another batch size or another
//! order of work cannot shift the numbers of an existing one.
//!
//! The generator is ChaCha with 12 rounds. The key of stream `(name, index)` under `seed` is
//!
//! ```text
//! SHA-256( "tribute/v1" || seed as u64 LE || len(name) as u64 LE || name as UTF-8 || index as u64 LE )
//! ```
//!
//! The functions that turn bits into numbers ([`below`], [`permutation`], [`subset`], [`uniform`]) are written here
//! rather than taken from a library, so that a library update cannot change a study; [`standard_normal`] uses the
//! ziggurat of `rand_distr` and is held by golden values in the tests.
//!
//! ```
//! use streams::{permutation, standard_normal, Streams};
//!
//! let streams = Streams::new(42);
//! let order = permutation(&mut streams.rng("data order", 0), 5);
//! let noise = standard_normal(&mut streams.rng("noise", 7), 3);
//! assert_eq!(order, permutation(&mut Streams::new(42).rng("data order", 0), 5));
//! assert_eq!(noise.len(), 3);
//! ```

mod numbers;

pub use numbers::{below, coin, permutation, standard_normal, subset, uniform};
pub use rand_chacha::ChaCha12Rng;

use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// Domain of the keys of random streams.
const STREAM_DOMAIN: &[u8] = b"tribute/v1";
/// Domain of derived seeds. As long as [`STREAM_DOMAIN`], so that no input of one can equal an input of the other.
const CHILD_DOMAIN: &[u8] = b"tribute/c1";

/// All random streams of one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed that these streams were made from; [`Streams::new`] with it gives the same streams.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// A fresh generator at the start of stream `(name, index)`.
    pub fn rng(&self, name: &str, index: u64) -> ChaCha12Rng {
        ChaCha12Rng::from_seed(self.digest(STREAM_DOMAIN, name, index))
    }

    /// The streams of a derived seed: for a part of a study that has streams of its own, such as one run.
    ///
    /// The derived seed is the first eight bytes (little endian) of the stream key's hash with the domain
    /// `tribute/c1`.
    pub fn child(&self, name: &str, index: u64) -> Streams {
        let digest = self.digest(CHILD_DOMAIN, name, index);
        let mut seed = [0; 8];
        seed.copy_from_slice(&digest[..8]);
        Streams::new(u64::from_le_bytes(seed))
    }

    fn digest(&self, domain: &[u8], name: &str, index: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(domain);
        hash.update(self.seed.to_le_bytes());
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(index.to_le_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn key_is_the_documented_hash() {
        let mut message = b"tribute/v1".to_vec();
        message.extend(42u64.to_le_bytes());
        message.extend(5u64.to_le_bytes());
        message.extend(b"noise");
        message.extend(7u64.to_le_bytes());
        let key: [u8; 32] = Sha256::digest(&message).into();
        assert_eq!(Streams::new(42).rng("noise", 7).get_seed(), key);
    }

    #[test]
    fn every_seed_name_and_index_has_its_own_stream() {
        let mut first_numbers = BTreeSet::new();
        let mut streams = 0;
        for seed in [0, 1, u64::MAX] {
            for name in ["", "a", "b", "ab", "noise"] {
                for index in [0, 1, 256, u64::MAX] {
                    first_numbers.insert(Streams::new(seed).rng(name, index).next_u64());
                    first_numbers.insert(Streams::new(seed).child(name, index).rng(name, index).next_u64());
                    streams += 2;
                }
            }
        }
        assert_eq!(first_numbers.len(), streams);
    }

    #[test]
    fn reading_one_stream_never_moves_another() {
        let streams = Streams::new(3);
        let expected = streams.rng("b", 0).next_u64();
        let mut other = streams.rng("a", 0);
        for _ in 0..1000 {
            other.next_u64();
        }
        assert_eq!(streams.rng("b", 0).next_u64(), expected);
    }

    #[test]
    fn neighbouring_streams_are_uncorrelated() {
        let streams = Streams::new(1);
        let n = 20_000;
        let pairs = [(("noise", 0), ("noise", 1)), (("noise", 0), ("flip", 0)), (("noise", 5), ("noise", 6))];
        for ((name_a, index_a), (name_b, index_b)) in pairs {
            let a = standard_normal(&mut streams.rng(name_a, index_a), n);
            let b = standard_normal(&mut streams.rng(name_b, index_b), n);
            let product: f64 = a.iter().zip(&b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            let correlation = product / n as f64;
            assert!(correlation.abs() < 4.0 / (n as f64).sqrt(), "correlation {correlation}");
        }
    }

    #[test]
    fn child_seeds_are_golden() {
        let child = Streams::new(42).child("run", 3);
        assert_eq!(child, Streams::new(child.seed()));
        assert_eq!(child.seed(), GOLDEN_CHILD_SEED);
    }

    const GOLDEN_CHILD_SEED: u64 = 13_383_510_761_585_892_078;
}
