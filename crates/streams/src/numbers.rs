//! Numbers, subsets and orders from random bits.

use rand_chacha::rand_core::Rng;
use rand_distr::{Distribution, StandardNormal};

/// A uniform integer in `0..bound`, without bias (Lemire 2019, "Fast Random Integer Generation in an Interval").
///
/// A `bound` of 0 has no integers below it; the answer is then 0.
pub fn below<R: Rng + ?Sized>(rng: &mut R, bound: u64) -> u64 {
    if bound <= 1 {
        return 0;
    }
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        // The threshold is below the bound, so the division is rarely needed.
        if product as u64 >= bound || product as u64 >= bound.wrapping_neg() % bound {
            return (product >> 64) as u64;
        }
    }
}

/// A uniform number in `[0, 1)`: a multiple of 2^-53.
pub fn uniform<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// True with probability 1/2 (the highest bit of one 64-bit word).
pub fn coin<R: Rng + ?Sized>(rng: &mut R) -> bool {
    rng.next_u64() >> 63 == 1
}

/// `n` independent standard normal numbers.
pub fn standard_normal<R: Rng + ?Sized>(rng: &mut R, n: usize) -> Vec<f32> {
    (0..n).map(|_| StandardNormal.sample(rng)).collect()
}

/// A uniformly random order of `0..n` (Fisher-Yates, front to back).
pub fn permutation<R: Rng + ?Sized>(rng: &mut R, n: usize) -> Vec<usize> {
    shuffled_front(rng, n, n)
}

/// A uniformly random subset of `0..n` with `size` members, in the order in which they were drawn; the whole range
/// where `size` is larger than `n`.
pub fn subset<R: Rng + ?Sized>(rng: &mut R, n: usize, size: usize) -> Vec<usize> {
    let mut members = shuffled_front(rng, n, size.min(n));
    members.truncate(size);
    members
}

/// `0..n` with its first `front` places filled by a uniform draw without replacement.
fn shuffled_front<R: Rng + ?Sized>(rng: &mut R, n: usize, front: usize) -> Vec<usize> {
    let mut items: Vec<usize> = (0..n).collect();
    for place in 0..front {
        let other = place + below(rng, (n - place) as u64) as usize;
        items.swap(place, other);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Streams;

    #[test]
    fn numbers_are_golden() {
        let streams = Streams::new(42);
        assert_eq!(
            standard_normal(&mut streams.rng("noise", 7), 4),
            [0.178656, -0.47696856, 1.4180745, 0.20867693]
        );
        assert_eq!(permutation(&mut streams.rng("data order", 0), 10), [6, 8, 7, 0, 5, 9, 4, 2, 3, 1]);
        assert_eq!(subset(&mut streams.rng("subset", 1), 100, 5), [58, 1, 79, 17, 74]);
        let mut rng = streams.rng("integers", 2);
        assert_eq!((0..6).map(|_| below(&mut rng, 1000)).collect::<Vec<_>>(), [179, 629, 921, 7, 713, 601]);
        let mut rng = streams.rng("uniform", 3);
        assert_eq!(
            (0..3).map(|_| uniform(&mut rng)).collect::<Vec<_>>(),
            [0.11266579720211245, 0.7187976254457813, 0.0993080358168652]
        );
        let mut rng = streams.rng("coin", 4);
        assert_eq!(
            (0..16).map(|_| u8::from(coin(&mut rng))).collect::<Vec<_>>(),
            [1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1]
        );
    }

    #[test]
    fn normals_have_the_moments_of_a_standard_normal() {
        let n = 200_000;
        let numbers = standard_normal(&mut Streams::new(9).rng("moments", 0), n);
        let moment = |k: i32| numbers.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / n as f64;
        // Bounds of four standard errors: Var(x^k) = (2k-1)!! - (k odd ? 0 : (k-1)!!)^2.
        let root = (n as f64).sqrt();
        assert!(moment(1).abs() < 4.0 / root);
        assert!((moment(2) - 1.0).abs() < 4.0 * 2f64.sqrt() / root);
        assert!(moment(3).abs() < 4.0 * 15f64.sqrt() / root);
        assert!((moment(4) - 3.0).abs() < 4.0 * 96f64.sqrt() / root);
        let beyond = numbers.iter().filter(|x| x.abs() > 1.959_964).count() as f64 / n as f64;
        assert!((beyond - 0.05).abs() < 4.0 * (0.05 * 0.95f64).sqrt() / root);
    }

    #[test]
    fn integers_are_uniform() {
        let mut rng = Streams::new(5).rng("below", 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut rng, 7) as usize] += 1;
        }
        let chi_square: f64 = counts.iter().map(|&c| (f64::from(c) - 10_000.0).powi(2) / 10_000.0).sum();
        // 0.999 quantile of chi-square with 6 degrees of freedom.
        assert!(chi_square < 22.46, "chi-square {chi_square}");
        assert_eq!(below(&mut rng, 0), 0);
        assert_eq!(below(&mut rng, 1), 0);
    }

    #[test]
    fn integers_stay_below_bounds_that_reject_often() {
        let mut rng = Streams::new(5).rng("below", 1);
        let bound = (1u64 << 63) + 1;
        assert!((0..1000).all(|_| below(&mut rng, bound) < bound));
    }

    #[test]
    fn every_order_of_three_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for index in 0..12_000 {
            *counts.entry(permutation(&mut Streams::new(2).rng("order", index), 3)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        let chi_square: f64 = counts.values().map(|&c| (f64::from(c) - 2000.0).powi(2) / 2000.0).sum();
        // 0.999 quantile of chi-square with 5 degrees of freedom.
        assert!(chi_square < 20.52, "chi-square {chi_square}");
    }

    #[test]
    fn subsets_have_distinct_members() {
        let mut rng = Streams::new(2).rng("subset", 0);
        for size in [0, 1, 10, 50, 60] {
            let mut members = subset(&mut rng, 50, size);
            assert_eq!(members.len(), size.min(50));
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), size.min(50));
            assert!(members.iter().all(|&member| member < 50));
        }
    }
}
