//! Diversity as the entropy of the samples over clusters of the reference images.

use kodama::{Method, linkage};
use ndarray::{Array1, Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::{check_width, checked_rows, entropy_bits};
use crate::BehaviorError;

const MEASURE: &str = "the cluster entropy";

/// Reference images grouped by the looks of their features.
#[derive(Clone, Debug)]
pub struct ReferenceClusters {
    labels: Vec<usize>,
    /// Of each cluster the mean of its features, each scaled to length one first: `[clusters, d]`.
    means: Array2<f64>,
}

/// How samples spread over the clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterEntropy {
    /// `-sum p_c log2 p_c`, in bits: from 0 (one cluster) to `log2(clusters)` (all alike).
    pub bits: f64,
    /// Samples in each cluster.
    pub counts: Vec<usize>,
    /// Shares of the samples, p.
    pub proportions: Vec<f64>,
}

impl ReferenceClusters {
    /// The most reference images: their pairwise distances take 8 bytes for each of N (N - 1) / 2 pairs.
    pub const MAX_IMAGES: usize = 20_000;

    /// Groups the rows of `features` `[N, d]` into exactly `clusters` clusters.
    ///
    /// Ward's linkage on the distance `max(sim) - sim`, `sim` the cosine similarity and the maximum over all pairs, an
    /// image with itself included; the tree is cut after its first `N - clusters` merges. Clusters are numbered in the
    /// order of their first images.
    ///
    /// # Errors
    /// No cluster, fewer images than clusters, more than [`Self::MAX_IMAGES`], a feature vector of length zero, or a NaN
    /// or an infinity.
    pub fn new(features: ArrayView2<f32>, clusters: usize) -> Result<Self, BehaviorError> {
        if clusters == 0 {
            let valid = "at least 1 (the usual number is 20)".to_string();
            return Err(BehaviorError::Parameter { name: "clusters", value: "0".to_string(), valid });
        }
        let count = features.nrows();
        if count < clusters {
            let what = "reference images (one a cluster)";
            return Err(BehaviorError::TooFewSamples {
                measure: MEASURE,
                what,
                needed: clusters,
                found: count,
            });
        }
        if count > Self::MAX_IMAGES {
            return Err(BehaviorError::TooManyReferences { limit: Self::MAX_IMAGES, found: count });
        }
        let unit = unit_rows("reference image", features)?;
        let labels = cut(&mut condensed_distances(&unit), count, clusters);
        let mut means = Array2::zeros((clusters, unit.ncols()));
        let mut sizes = vec![0.0; clusters];
        for (row, &label) in unit.rows().into_iter().zip(&labels) {
            let mut mean = means.row_mut(label);
            mean += &row;
            sizes[label] += 1.0;
        }
        for (mut mean, size) in means.rows_mut().into_iter().zip(sizes) {
            mean /= size;
        }
        Ok(Self { labels, means })
    }

    /// The number of clusters.
    pub fn clusters(&self) -> usize {
        self.means.nrows()
    }

    /// The cluster of each reference image.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Assigns each row of `features` `[N, d]` to the cluster whose images have the smallest mean distance to it.
    ///
    /// That is the cluster with the largest mean cosine similarity, which is the product with the cluster's mean of unit
    /// features. Of equal clusters the first is taken.
    ///
    /// # Errors
    /// No row, another number of features, a feature vector of length zero, or a NaN or an infinity.
    pub fn assign(&self, features: ArrayView2<f32>) -> Result<Vec<usize>, BehaviorError> {
        check_width(self.means.ncols(), features.ncols())?;
        let similarity = unit_rows("sample", features)?.dot(&self.means.t());
        let best = |row: ndarray::ArrayView1<f64>| {
            let start = (0, f64::NEG_INFINITY);
            row.iter().enumerate().fold(start, |best, (c, &s)| if s > best.1 { (c, s) } else { best }).0
        };
        Ok(similarity.rows().into_iter().map(best).collect())
    }

    /// The entropy of the rows of `features` over the clusters.
    ///
    /// # Errors
    /// As [`ReferenceClusters::assign`].
    pub fn entropy(&self, features: ArrayView2<f32>) -> Result<ClusterEntropy, BehaviorError> {
        let mut counts = vec![0; self.clusters()];
        for label in self.assign(features)? {
            counts[label] += 1;
        }
        let total = features.nrows() as f64;
        let proportions: Vec<f64> = counts.iter().map(|&count| count as f64 / total).collect();
        let bits = entropy_bits(&proportions);
        Ok(ClusterEntropy { bits, counts, proportions })
    }
}

/// Rows scaled to length one.
pub(super) fn unit_rows(what: &'static str, features: ArrayView2<f32>) -> Result<Array2<f64>, BehaviorError> {
    let mut rows = checked_rows(MEASURE, "features", features, 1)?;
    let norms: Array1<f64> = rows.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
    if let Some(image) = norms.iter().position(|&norm| norm == 0.0) {
        return Err(BehaviorError::ZeroFeatures { what, image });
    }
    for (mut row, norm) in rows.rows_mut().into_iter().zip(norms) {
        row /= norm;
    }
    Ok(rows)
}

/// `max(sim) - sim` of all pairs i < j of unit rows, row by row.
fn condensed_distances(unit: &Array2<f64>) -> Vec<f64> {
    let similarity = unit.dot(&unit.t());
    let top = similarity.fold(f64::NEG_INFINITY, |top, &value| top.max(value));
    let count = unit.nrows();
    (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j))).map(|pair| top - similarity[pair]).collect()
}

/// Labels after the first `count - clusters` merges of Ward's linkage, numbered by first appearance.
fn cut(condensed: &mut [f64], count: usize, clusters: usize) -> Vec<usize> {
    let tree = linkage(condensed, count, Method::Ward);
    // parent[x] of images (0..count) and of merged clusters (count..): itself until merged.
    let mut parent: Vec<usize> = (0..2 * count).collect();
    for (step, merge) in tree.steps().iter().take(count - clusters).enumerate() {
        parent[merge.cluster1] = count + step;
        parent[merge.cluster2] = count + step;
    }
    let mut roots = Vec::with_capacity(clusters);
    (0..count)
        .map(|image| {
            let mut root = image;
            while parent[root] != root {
                root = parent[root];
            }
            roots.iter().position(|&known| known == root).unwrap_or_else(|| {
                roots.push(root);
                roots.len() - 1
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::super::fixture;
    use super::*;

    #[test]
    fn clusters_counts_and_entropy_agree_with_scipy() {
        let fixture = fixture::open();
        for clusters in [5, 20] {
            let reference = ReferenceClusters::new(fixture.rows("reference").view(), clusters).unwrap();
            assert_eq!(reference.labels(), fixture.integers(&format!("labels_{clusters}")));
            let found = reference.entropy(fixture.rows("samples").view()).unwrap();
            assert_eq!(found.counts, fixture.integers(&format!("counts_{clusters}")));
            let expected = fixture.value(&format!("entropy_{clusters}"));
            assert!((found.bits - expected).abs() < 1e-12, "{} against {expected}", found.bits);
            assert!((found.proportions.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn entropy_ranges_from_zero_to_the_logarithm_of_the_clusters() {
        let reference = array![[1.0f32, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [0.1, 0.0, 3.0]];
        let clusters = ReferenceClusters::new(reference.view(), 3).unwrap();
        assert_eq!(clusters.labels(), [0, 1, 2, 2]);
        let even =
            clusters.entropy(array![[9.0f32, 0.1, 0.0], [0.0, 1.0, 0.1], [0.2, 0.0, 1.0]].view()).unwrap();
        assert!((even.bits - 3f64.log2()).abs() < 1e-12);
        let one = clusters.entropy(array![[9.0f32, 0.1, 0.0], [1.0, 0.0, 0.1]].view()).unwrap();
        assert_eq!((one.bits, one.counts), (0.0, vec![2, 0, 0]));
    }

    #[test]
    fn wrong_numbers_and_zero_features_are_refused() {
        let rows = array![[1.0f32, 0.0], [0.0, 1.0], [0.0, 0.0]];
        let new = |clusters| ReferenceClusters::new(rows.view(), clusters);
        assert!(matches!(new(4), Err(BehaviorError::TooFewSamples { needed: 4, found: 3, .. })));
        assert!(matches!(new(0), Err(BehaviorError::Parameter { name: "clusters", .. })));
        assert!(matches!(new(2), Err(BehaviorError::ZeroFeatures { image: 2, .. })));
        let many = Array2::zeros((ReferenceClusters::MAX_IMAGES + 1, 1));
        assert!(matches!(
            ReferenceClusters::new(many.view(), 2),
            Err(BehaviorError::TooManyReferences { found: 20_001, .. })
        ));
    }
}
