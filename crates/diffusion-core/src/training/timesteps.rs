//! Antithetic timesteps.

use rand::Rng;
use streams::below;

/// `count` timesteps of 0..`train_timesteps`: floor(count / 2) + 1 drawn uniformly, then T - 1 - t for each of them in
/// order, cut to `count`. The pairs balance early and late timesteps in each batch, which lowers the variance of the
/// loss.
///
/// `train_timesteps` must be at least 1.
pub fn antithetic_timesteps<R: Rng + ?Sized>(
    rng: &mut R,
    train_timesteps: usize,
    count: usize,
) -> Vec<usize> {
    let mut timesteps: Vec<usize> =
        (0..count / 2 + 1).map(|_| below(rng, train_timesteps as u64) as usize).collect();
    for i in 0..timesteps.len() {
        timesteps.push(train_timesteps - 1 - timesteps[i]);
    }
    timesteps.truncate(count);
    timesteps
}

#[cfg(test)]
mod tests {
    use super::*;
    use streams::Streams;

    #[test]
    fn second_half_mirrors_the_first() {
        for count in [0, 1, 2, 3, 8, 9] {
            let t = antithetic_timesteps(&mut Streams::new(1).rng("timesteps", 0), 1000, count);
            assert_eq!(t.len(), count);
            let drawn = count / 2 + 1;
            for i in drawn..count {
                assert_eq!(t[i], 999 - t[i - drawn], "count {count}");
            }
            assert!(t.iter().all(|&t| t < 1000));
        }
    }

    #[test]
    fn draws_are_uniform() {
        let mut rng = Streams::new(2).rng("timesteps", 0);
        let mut counts = [0u32; 10];
        for _ in 0..5000 {
            for t in antithetic_timesteps(&mut rng, 10, 6) {
                counts[t] += 1;
            }
        }
        // 30000 values; antithetic pairs are dependent, so allow twice the width of 4 standard deviations.
        for count in counts {
            assert!((f64::from(count) - 3000.0).abs() < 8.0 * (3000.0f64 * 0.9).sqrt(), "{counts:?}");
        }
    }
}
