//! Density and coverage: "Reliable fidelity and diversity metrics for generative models", Naeem et al. 2020, arXiv 2002.09797.

use ndarray::ArrayView2;

use super::precision_recall::Manifold;
use crate::BehaviorError;

/// Density and coverage of samples on a reference manifold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DensityCoverage {
    /// `1 / (k M) sum_j #{i : |y_j - x_i| < r_i}` over the M samples: how many reference balls a sample lies in, over k. 1 for
    /// samples of the reference's distribution, and without an upper bound.
    pub density: f64,
    /// `1 / N #{i : min_j |y_j - x_i| < r_i}` over the N reference images: the share of balls with a sample inside.
    pub coverage: f64,
}

/// Both measures of the rows of `samples` `[M, d]`, with the balls that reach to the k-th nearest neighbours in `reference`.
///
/// Borders do not count, as in the authors' `prdc`.
///
/// # Errors
/// No row, another number of features, or a NaN or an infinity.
pub fn density_coverage(
    reference: &Manifold,
    samples: ArrayView2<f32>,
) -> Result<DensityCoverage, BehaviorError> {
    let mut within = 0usize;
    let mut covered = vec![false; reference.len()];
    let radii = reference.squared_radii();
    reference.each_squared_distances(samples, |distances| {
        for ((distance, radius), covered) in distances.iter().zip(radii).zip(&mut covered) {
            if distance < radius {
                within += 1;
                *covered = true;
            }
        }
    })?;
    let covered = covered.iter().filter(|&&covered| covered).count();
    Ok(DensityCoverage {
        density: within as f64 / (reference.neighbours() * samples.nrows()) as f64,
        coverage: covered as f64 / reference.len() as f64,
    })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::super::fixture;
    use super::*;

    #[test]
    fn values_are_those_of_prdc() {
        let fixture = fixture::open();
        for k in [3, 5] {
            let reference = Manifold::new(fixture.rows("reference").view(), k).unwrap();
            let found = density_coverage(&reference, fixture.rows("samples").view()).unwrap();
            for (name, value) in [("density", found.density), ("coverage", found.coverage)] {
                let expected = fixture.value(&format!("{name}_{k}"));
                assert!((value - expected).abs() < 1e-12, "{name} at k = {k}: {value}, not {expected}");
            }
        }
    }

    #[test]
    fn far_samples_have_neither_and_repeated_ones_have_density_alone() {
        let reference = Manifold::new(array![[0.0f32], [1.0], [2.0], [3.0]].view(), 1).unwrap();
        let far = density_coverage(&reference, array![[50.0f32]].view()).unwrap();
        assert_eq!(far, DensityCoverage { density: 0.0, coverage: 0.0 });
        let one_place = density_coverage(&reference, array![[0.5f32], [0.5], [0.5]].view()).unwrap();
        assert_eq!(one_place, DensityCoverage { density: 2.0, coverage: 0.5 });
        // On the border of every ball.
        let border = density_coverage(&reference, array![[1.0f32]].view()).unwrap();
        assert_eq!(border, DensityCoverage { density: 1.0, coverage: 0.25 });
        assert!(density_coverage(&reference, array![[1.0f32, 2.0]].view()).is_err());
    }
}
